//! How a transaction came to be, in sentences.

use fealty_auth::Caller;
use fealty_ledger::{Account, Cause, Command, Due, Facts, Transaction, Transfer};
use fealty_proto::points::v1 as wire;
use fealty_types::LotId;

use super::wire as render;
use crate::ledger::history::Explained;

fn step(text: String) -> wire::ExplanationStep {
    wire::ExplanationStep {
        text,
        ..wire::ExplanationStep::default()
    }
}

/// Why it was done, and by which version of the programme.
fn cause(transaction: &Transaction) -> Vec<wire::ExplanationStep> {
    let at = transaction.effective_at;
    match &transaction.cause {
        Cause::Due(Due::Activate) => vec![step(format!("pending points fell due at {at}"))],
        Cause::Due(Due::Expire) => vec![step(format!("points expired at {at}"))],
        Cause::Due(Due::HoldTimeout { hold }) => {
            let hold = render::name(transaction.shard, *hold);
            vec![step(format!("hold {hold} reached its time-out at {at}"))]
        }
        Cause::Received(received) => {
            let (from, transfer) = (&received.from, received.transfer);
            vec![step(format!(
                "member {from} gave the points with {transfer}; they keep issuer and expiry"
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
            if let Command::Purchase(purchase) = command {
                let (order, brand, amount) =
                    (&purchase.order_number, &purchase.brand, purchase.amount);
                let (units, money) = (amount.minor_units(), amount.currency());
                steps.push(step(format!(
                    "order {order} at {brand} for {units} minor units of {money}"
                )));
            }
            steps.extend(facts.iter().flat_map(decided_by));
            steps
        }
    }
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
                steps.push(wire::ExplanationStep {
                    rule: rule.to_string(),
                    currency: currency.to_string(),
                    points: points.get(),
                    text: format!("rule {rule} {how} {points} {currency}"),
                });
            }
        }
        Facts::Tier(tier) => {
            steps.push(step(format!("the tier that decided the expiry: {tier}")));
        }
        Facts::Reversal(facts) => {
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
        }
    }
    steps
}

fn account(account: &Account) -> String {
    match account.brand() {
        Some(brand) => format!("{}/{brand}", account.kind()),
        None => account.kind().to_owned(),
    }
}

fn movement(transaction: &Transaction, transfer: &Transfer) -> wire::ExplanationStep {
    let (from, to) = (account(&transfer.debit), account(&transfer.credit));
    let lot: LotId = transfer.lot;
    let lot = render::lot_name(transaction.shard, lot);
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
    }
}

pub(super) fn explanation(
    caller: &Caller,
    explained: &Explained,
) -> wire::ExplainTransactionResponse {
    let transaction = &explained.logged.transaction;
    let shard = transaction.shard;
    let mut steps = cause(transaction);
    let moved = transaction.transfers.iter();
    steps.extend(moved.map(|transfer| movement(transaction, transfer)));
    for change in &transaction.expiry_changes {
        let lot = render::lot_name(shard, change.lot);
        steps.push(step(format!(
            "lot {lot} now expires at {}",
            change.expires_at
        )));
    }
    let reversed = explained.reversal.parts.iter();
    wire::ExplainTransactionResponse {
        transaction: Some(render::transaction(
            caller,
            transaction,
            &explained.logged.chain,
        )),
        steps,
        lots: explained
            .lots
            .iter()
            .map(|lot| render::open_lot(shard, lot))
            .collect(),
        reversed: reversed
            .map(|part| wire::ReversedPart {
                lot: render::lot_name(shard, part.lot),
                points: part.points.get(),
            })
            .collect(),
    }
}
