//! How a transaction came to be, in sentences.

use fealty_ledger::{
    Account, BackfilledReturnFacts, BudgetedFacts, Cause, Command, Due, Ended, Facts, ReturnFacts,
    ReversalFacts, Transaction, Transfer,
};
use fealty_proto::points::v1 as wire;
use fealty_rules::Verdict;
use fealty_types::{Ids, LotPlace, Money, TransactionPlace};

use super::{Call, wire as render};
use crate::{ledger::history::Explained, plan::OfRule};

fn step(text: String) -> wire::ExplanationStep {
    wire::ExplanationStep {
        text,
        ..wire::ExplanationStep::default()
    }
}

/// Why it was done, and by which version of the programme.
fn cause(ids: Ids, transaction: &Transaction) -> Vec<wire::ExplanationStep> {
    let at = transaction.effective_at;
    match &transaction.cause {
        Cause::Due(Due::Activate) => vec![step(format!("pending points fell due at {at}"))],
        Cause::Due(Due::Expire) => vec![step(format!("points expired at {at}"))],
        Cause::Due(Due::ExpireInactive) => vec![step(format!(
            "points expired at {at}: the member was inactive for long enough"
        ))],
        Cause::TierChanged(change) => {
            let (tier, since, version) = (&change.tier, change.since, change.program_version);
            vec![step(format!(
                "from {since} on the member is in tier {tier}, which decides under version \
                 {version} of the programme whether points go with inactivity"
            ))]
        }
        Cause::Due(Due::HoldTimeout { hold }) => {
            let hold = ids.hold(TransactionPlace {
                shard: transaction.shard,
                position: *hold,
            });
            vec![step(format!("hold {hold} reached its time-out at {at}"))]
        }
        Cause::Ended(ended) => ended_steps(ended),
        Cause::Backfilled(backfilled) => vec![step(format!(
            "version {} of the programme began, and has counters that count what was before: \
             they are worked out from the member's log",
            backfilled.program_version
        ))],
        Cause::Received(received) => {
            let (from, gift) = (&received.from, ids.transaction(received.gift));
            vec![step(format!(
                "member {from} gave the points with {gift}; they keep issuer and expiry"
            ))]
        }
        Cause::Request {
            request_id,
            command,
            program_version,
            facts,
            ..
        } => {
            let kind = command.kind();
            let mut steps = vec![step(format!(
                "request {request_id} asked for it ({kind}), under version {program_version} of \
                 the programme"
            ))];
            if let Command::Activity(activity) = command {
                let (id, of_type, brand) = (&activity.id, &activity.of_type, &activity.brand);
                steps.push(step(format!("{of_type} {id} at {brand}")));
            }
            if let Command::Purchase(purchase) = command {
                let (order, brand, amount) =
                    (&purchase.order_number, &purchase.brand, purchase.amount);
                steps.push(step(format!("order {order} at {brand} for {amount}")));
                let tenders = purchase.tenders.iter();
                let given = tenders.filter(|tender| !tender.kind.earns());
                let given: i64 = given.map(|tender| tender.minor_units).sum();
                if let (1.., Ok(given)) = (given, Money::new(amount.currency(), given)) {
                    let what = format!("of it, {given} by points or vouchers earn nothing");
                    steps.push(step(what));
                }
            }
            steps.extend(facts.iter().flat_map(decided_by));
            steps
        }
    }
}

/// Which period ended, and what was taken back of what that gave before.
fn ended_steps(ended: &Ended) -> Vec<wire::ExplanationStep> {
    let (of, ends_at, version) = (ended.of.name(), ended.ends_at, ended.program_version);
    let mut steps = vec![step(format!(
        "the {of} ended at {ends_at}, under version {version} of the programme"
    ))];
    if ended.again {
        let text = "it was evaluated again, for something came late or came back";
        steps.push(step(text.to_owned()));
    }
    if let Some(tier) = &ended.facts.tier {
        steps.push(step(format!("the member's tier that counted: {tier}")));
    }
    steps.extend(reversed(&ended.taken_back));
    steps
}

/// What decided the points.
fn decided_by(facts: &Facts) -> Vec<wire::ExplanationStep> {
    let mut steps = Vec::new();
    match facts {
        Facts::Purchase(facts) => {
            if let Some(tier) = &facts.tier {
                steps.push(step(format!("the member's tier that counted: {tier}")));
            }
            for earned in &facts.earned {
                let (rule, points, currency) = (&earned.rule, earned.points, &earned.currency);
                let how = if earned.bonus { "added" } else { "gave" };
                let outcome = if points.is_zero() {
                    wire::RuleOutcome::RoundedAway
                } else {
                    wire::RuleOutcome::Gave
                };
                steps.push(wire::ExplanationStep {
                    rule: rule.to_string(),
                    currency: currency.to_string(),
                    points: points.get(),
                    text: format!("rule {rule} {how} {points} {currency}"),
                    outcome: outcome.into(),
                });
            }
        }
        Facts::Earned(facts) | Facts::Budgeted(BudgetedFacts { earned: facts, .. }) => {
            if let Some(tier) = &facts.tier {
                steps.push(step(format!("the member's tier that counted: {tier}")));
            }
        }
        Facts::Tier(tier) => {
            steps.push(step(format!("the tier that decided the expiry: {tier}")));
        }
        Facts::Reversal(facts) => steps.extend(reversed(facts)),
        Facts::Return(facts) => {
            steps.extend(returned(facts));
            steps.extend(reversed(&facts.reversal));
        }
        Facts::BackfilledReturn(BackfilledReturnFacts { facts, .. }) => {
            steps.extend(returned(facts));
            steps.extend(reversed(&facts.reversal));
            let text = "counters go back with it that began after the purchase, and count it too";
            steps.push(step(text.to_owned()));
        }
    }
    steps
}

/// What became of points that could not simply go back.
fn reversed(facts: &ReversalFacts) -> Vec<wire::ExplanationStep> {
    let mut steps = Vec::new();
    if !facts.expired.is_zero() {
        let points = facts.expired;
        steps.push(step(format!(
            "{points} points had expired: neither taken from elsewhere nor restored"
        )));
    }
    if !facts.borne.is_zero() {
        let points = facts.borne;
        steps.push(step(format!(
            "{points} points could not be taken back, and are borne by the brand"
        )));
    }
    steps
}

/// What came back of a purchase, and what the rest earns.
fn returned(facts: &ReturnFacts) -> Vec<wire::ExplanationStep> {
    let ReturnFacts {
        brand,
        purchased_at,
        left,
        ..
    } = facts;
    let came_back = facts.part.minor_units;
    let text = match Money::new(left.currency(), came_back) {
        Ok(money) => format!("{money} of the purchase of {purchased_at} at {brand} came back"),
        Err(_) => format!("some of the purchase of {purchased_at} at {brand} came back"),
    };
    let mut steps = vec![step(text)];
    if facts.earns.is_empty() {
        steps.push(step(format!("{left} of it are left, and earn nothing")));
    } else {
        let how = "by the tier, the counters and the version that it was recorded by";
        steps.push(step(format!("{left} of it are left, and earn, {how}:")));
    }
    for earned in &facts.earns {
        let (rule, points, currency) = (&earned.rule, earned.points, &earned.currency);
        steps.push(wire::ExplanationStep {
            rule: rule.to_string(),
            currency: currency.to_string(),
            points: points.get(),
            text: format!("rule {rule} gives {points} {currency}"),
            outcome: wire::RuleOutcome::Gave.into(),
        });
    }
    for back in &facts.points {
        let (currency, taken, restored) = (&back.currency, back.taken, back.restored);
        if !restored.is_zero() {
            let text = format!("{restored} {currency} that it was paid with are restored");
            steps.push(step(text));
        }
        if !taken.is_zero() {
            let text = format!("{taken} {currency} that it keeps no longer are taken back");
            steps.push(step(text));
        }
    }
    if !facts.counts {
        let text = "it came too late for counters, caps and edges: they stay as they are";
        steps.push(step(text.to_owned()));
    }
    steps
}

/// What became of a rule.
pub(crate) fn rule_step(of_rule: &OfRule) -> wire::ExplanationStep {
    let OfRule { rule, currency, .. } = of_rule;
    let (points, text) = match of_rule.verdict {
        Verdict::Gave { points, uncapped } => {
            let how = if of_rule.is_bonus { "added" } else { "gave" };
            let text = format!("rule {rule} {how} {points} {currency}");
            let text = if points < uncapped {
                format!("{text} of {uncapped}: its caps or its budget left room for no more")
            } else {
                text
            };
            (points, text)
        }
        verdict => (
            0,
            format!("rule {rule} gave nothing: {}", why_not(of_rule, verdict)),
        ),
    };
    wire::ExplanationStep {
        rule: rule.to_string(),
        currency: currency.to_string(),
        points,
        text,
        outcome: outcome(of_rule.verdict).into(),
    }
}

fn why_not(of_rule: &OfRule, verdict: Verdict) -> String {
    let condition = |text: &Option<Box<str>>| {
        text.as_ref()
            .map_or(String::new(), |text| format!(": {text}"))
    };
    match verdict {
        Verdict::Gave { .. } => String::new(),
        Verdict::NotIssued => "the brand does not issue its currency".to_owned(),
        Verdict::NotBegun => "it was not in force yet".to_owned(),
        Verdict::Over => "it was in force no more".to_owned(),
        Verdict::ConditionNotMet => {
            format!("its condition did not hold{}", condition(&of_rule.when))
        }
        Verdict::EdgeNotReached => {
            let when = condition(&of_rule.when);
            format!("its counter did not come to where it gives, or had before{when}")
        }
        Verdict::BudgetOver => "its budget had ended".to_owned(),
        Verdict::BudgetSpent { uncapped } => {
            format!("of {uncapped} points its budget had too few left")
        }
        Verdict::TooLate => "it came too late for counters and caps".to_owned(),
        Verdict::NoLines => {
            format!(
                "none of the lines is one that it picks{}",
                condition(&of_rule.lines)
            )
        }
        Verdict::OutOfGroup { .. } => {
            let other = of_rule.other.as_ref();
            let other = other.map(ToString::to_string).unwrap_or_default();
            format!("of its group, rule {other} gave")
        }
        Verdict::BaseGaveNothing => "the rule that it multiplies gave nothing".to_owned(),
        Verdict::NothingCounted => {
            "nothing that it reads was counted in the period that ended".to_owned()
        }
        Verdict::EndedBefore => "it reads the wallet, and was evaluated when the period ended: it \
                                 keeps what it gave"
            .to_owned(),
        Verdict::RoundedAway => "it came to less than a point".to_owned(),
        Verdict::CapReached { cap, uncapped } => {
            let number = cap + 1;
            format!("of {uncapped} points its cap {number} had room for none")
        }
    }
}

fn outcome(verdict: Verdict) -> wire::RuleOutcome {
    match verdict {
        Verdict::Gave { .. } => wire::RuleOutcome::Gave,
        Verdict::NotIssued => wire::RuleOutcome::NotIssued,
        Verdict::NotBegun => wire::RuleOutcome::NotBegun,
        Verdict::Over => wire::RuleOutcome::Over,
        Verdict::ConditionNotMet => wire::RuleOutcome::ConditionNotMet,
        Verdict::EdgeNotReached => wire::RuleOutcome::EdgeNotReached,
        Verdict::BudgetOver => wire::RuleOutcome::BudgetOver,
        Verdict::BudgetSpent { .. } => wire::RuleOutcome::BudgetSpent,
        Verdict::TooLate => wire::RuleOutcome::TooLate,
        Verdict::NoLines => wire::RuleOutcome::NoLines,
        Verdict::OutOfGroup { .. } => wire::RuleOutcome::OutOfGroup,
        Verdict::BaseGaveNothing => wire::RuleOutcome::BaseGaveNothing,
        Verdict::NothingCounted => wire::RuleOutcome::NothingCounted,
        Verdict::EndedBefore => wire::RuleOutcome::EndedBefore,
        Verdict::RoundedAway => wire::RuleOutcome::RoundedAway,
        Verdict::CapReached { .. } => wire::RuleOutcome::CapReached,
    }
}

fn account(account: &Account) -> String {
    match account.brand() {
        Some(brand) => format!("{}/{brand}", account.kind()),
        None => account.kind().to_owned(),
    }
}

fn movement(ids: Ids, transaction: &Transaction, transfer: &Transfer) -> wire::ExplanationStep {
    let (from, to) = (account(&transfer.debit), account(&transfer.credit));
    let lot = ids.lot(LotPlace {
        shard: transaction.shard,
        lot: transfer.lot,
    });
    let (amount, currency, issuer) = (transfer.amount, &transfer.currency, transfer.issuer());
    wire::ExplanationStep {
        rule: transfer
            .rule
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        currency: currency.to_string(),
        points: amount.get(),
        text: format!("{amount} {currency} of lot {lot}, issued by {issuer}: {from} to {to}"),
        ..wire::ExplanationStep::default()
    }
}

pub(super) fn explanation(
    call: Call<'_>,
    explained: &Explained,
) -> wire::ExplainTransactionResponse {
    let transaction = &explained.transaction;
    let (ids, shard) = (call.ids, transaction.shard);
    let of_lot = |lot| ids.lot(LotPlace { shard, lot });
    let mut steps = cause(ids, transaction);
    steps.extend(explained.rules.iter().map(rule_step));
    let moved = transaction.transfers.iter();
    steps.extend(moved.map(|transfer| movement(ids, transaction, transfer)));
    for change in &transaction.expiry_changes {
        let lot = of_lot(change.lot);
        steps.push(step(format!(
            "lot {lot} now expires at {}",
            change.expires_at
        )));
    }
    let reversed = explained.reversal.parts.iter();
    wire::ExplainTransactionResponse {
        transaction: Some(call.transaction(transaction)),
        steps,
        lots: explained
            .lots
            .iter()
            .map(|lot| render::open_lot(ids, shard, lot))
            .collect(),
        reversed: reversed
            .map(|part| wire::ReversedPart {
                lot: of_lot(part.lot),
                points: part.points.get(),
            })
            .collect(),
    }
}
