//! The engine on a history: on whole books and on books read in part. Long, for it
//! makes a request of every step.

use std::time::Duration;

use fealty_ledger::{
    Account, AccountTotals, Accrue, Activate, Activation, Active, Adjust, Capture, Command, Entry,
    Extend, ExtendHold, Facts, Gift, Grant, HoldCommand, Inactivity, Log, LotOrigin, LotTerms,
    MemberBook, Moment, Named, Principal, Purchase, Redeem, Refusal, Reinstate, Release, Request,
    Return, ReturnFacts, Returned, ReversalFacts, Reverse, RuleResult, Stamp, Stop, Tender,
    TierChanged, TierEffect, advance, canonical, change_tier, execute, given, receive,
};
use fealty_types::{
    Attributes, BrandId, LotId, Metadata, Money, Points, Position, Reference, RefundPolicy,
    RefundTerms, ShardId, TenderKind, Timestamp,
};
use proptest::prelude::*;

use crate::{
    model::{LotName, Picture, shard_of},
    steps::{MEMBERS, Policy, Step, What, When},
    stored::{Stored, as_the_programme_says, currency, empty_book},
};

/// What all is stamped with.
const STAMP: Stamp = Stamp {
    written_at: Timestamp::EPOCH,
    seed: [7; 32],
};

fn brand(number: usize) -> BrandId {
    ["shop", "cafe"][number].parse().expect("an id")
}

fn text(text: &str) -> Reference {
    text.parse().expect("a reference")
}

fn points(value: i64) -> Points {
    Points::amount(value).expect("in range")
}

fn hours(hours: i64) -> Duration {
    Duration::from_secs(u64::try_from(hours).expect("forward") * 3_600)
}

fn shard(member: usize) -> ShardId {
    ShardId::new(u8::try_from(shard_of(member)).expect("small"))
}

/// A member as the history sees it.
struct Member {
    known: MemberBook,
    stored: Stored,
    holds: Vec<Position>,
    lots: Vec<LotId>,
    requests: Vec<Position>,
}

pub(crate) struct Engine {
    now: Timestamp,
    members: Vec<Member>,
    logs: Vec<Log>,
    totals: AccountTotals,
    number: usize,
}

fn active(inactive_at: Timestamp) -> Active {
    Active {
        currency: currency(),
        inactive_at,
    }
}

impl Engine {
    pub(crate) fn new() -> Self {
        let members = (0..MEMBERS).map(|member| Member {
            known: empty_book(member),
            stored: Stored::default(),
            holds: Vec::new(),
            lots: Vec::new(),
            requests: Vec::new(),
        });
        let log = |shard| Log::new(ShardId::new(shard), Position::FIRST, STAMP);
        Self {
            now: Timestamp::EPOCH,
            members: members.collect(),
            logs: vec![log(0), log(1)],
            totals: AccountTotals::default(),
            number: 0,
        }
    }

    /// Plays a step: the reason of a refusal, or nothing.
    pub(crate) fn play(&mut self, step: &Step) -> Result<Option<&'static str>, TestCaseError> {
        let member = step.member;
        if let What::Wait { hours: waited } = step.what {
            self.now = self.now.checked_add(hours(waited)).expect("in range");
            return Ok(None);
        }
        if let What::ChangeTier {
            keeps,
            hours_ago,
            after_fall,
        } = step.what
        {
            let starts = self.starts();
            self.change_tier(member, keeps, hours_ago, after_fall)?;
            self.add_up(&starts)?;
            return Ok(None);
        }
        let Some(request) = self.request(member, &step.what) else {
            return Ok(Some(match step.what {
                What::Capture { .. }
                | What::Purchase { .. }
                | What::Release { .. }
                | What::ExtendHold { .. } => "hold not found",
                What::Extend { .. } | What::Reinstate { .. } => "lot not found",
                What::Transfer { .. } => "to oneself",
                What::Return { transaction, .. }
                    if transaction < self.members[member].requests.len() =>
                {
                    "return exceeded"
                }
                _ => "transaction not found",
            }));
        };
        let starts = self.starts();
        let answer = self.execute(member, &request)?;
        let position = |log: &Log| log.transactions().last().expect("it was written").position;
        if answer.is_none() {
            let at = position(&self.logs[shard_of(member)]);
            self.members[member].requests.push(at);
            if matches!(request.command, Command::Hold(_)) {
                self.members[member].holds.push(at);
            }
            let transaction = self.logs[shard_of(member)].at(at).expect("it is there");
            let lots = transaction.lots.iter().map(|terms| terms.lot);
            self.members[member].lots.extend(lots);
            if let What::Transfer { to, .. } = step.what {
                let giver = &self.members[member].known;
                let received = given(giver, transaction, request.term_ends);
                self.receive(to, &received)?;
                let log = &self.logs[shard_of(to)];
                let lots = log
                    .transactions()
                    .last()
                    .expect("it was written")
                    .lots
                    .iter();
                let lots: Vec<LotId> = lots.map(|terms| terms.lot).collect();
                self.members[to].lots.extend(lots);
            }
        }
        self.add_up(&starts)?;
        Ok(answer)
    }

    /// How long the logs are.
    fn starts(&self) -> Vec<usize> {
        self.logs.iter().map(|log| log.written().len()).collect()
    }

    /// Adds up what was written since, and reads its bytes again.
    fn add_up(&mut self, starts: &[usize]) -> Result<(), TestCaseError> {
        for (log, start) in self.logs.iter().zip(starts) {
            for transaction in log.transactions().skip(*start) {
                self.totals.add(transaction);
                let bytes = canonical::encode(&Entry::Transaction(transaction.clone()));
                let decoded = canonical::decode(&bytes).expect("our own bytes");
                prop_assert_eq!(decoded.transaction(), Some(transaction));
            }
        }
        Ok(())
    }

    /// On both books; both must do the same.
    fn change_tier(
        &mut self,
        member: usize,
        keeps: bool,
        hours_ago: i64,
        after_fall: i64,
    ) -> Result<(), TestCaseError> {
        let since = self.now.checked_sub(hours(hours_ago));
        let since = since.unwrap_or(Timestamp::EPOCH).max(Timestamp::EPOCH);
        let change = TierChanged {
            tier: "gold".parse().expect("an id"),
            since,
            program_version: 1,
        };
        let effects = [TierEffect {
            currency: currency(),
            inactivity: if keeps {
                Inactivity::Waived
            } else {
                Inactivity::Counts
            },
            not_before: since.checked_add(hours(after_fall)).expect("in range"),
        }];
        let log = &mut self.logs[shard_of(member)];
        let of = &mut self.members[member];
        let start = log.written().len();
        as_the_programme_says(member, &mut of.known);
        let mut partial = of.stored.book(member);
        let mut partial_log = Log::new(shard(member), log.next(), STAMP);
        change_tier(&mut of.known, &change, &effects, log).expect("all is known");
        while let Err(stop) = change_tier(&mut partial, &change, &effects, &mut partial_log) {
            prop_assert!(
                matches!(stop, Stop::LotsNeeded { .. }),
                "nothing is refused"
            );
            of.stored.read_on(&mut partial, self.now);
        }
        prop_assert_eq!(partial_log.written(), &log.written()[start..]);
        of.stored.write(&partial);
        Ok(())
    }

    /// On both books; both must do the same.
    fn execute(
        &mut self,
        member: usize,
        request: &Request,
    ) -> Result<Option<&'static str>, TestCaseError> {
        let (now, log) = (self.now, &mut self.logs[shard_of(member)]);
        let of = &mut self.members[member];
        let start = log.written().len();
        as_the_programme_says(member, &mut of.known);
        let mut partial = of.stored.book(member);
        let mut partial_log = Log::new(shard(member), log.next(), STAMP);
        let answer = execute(&mut of.known, request, now, log);
        let needs = matches!(answer, Err(Stop::LotsNeeded { .. }));
        prop_assert!(!needs, "all is known");
        of.stored.read_named(&mut partial, request);
        let partial_answer = loop {
            match execute(&mut partial, request, now, &mut partial_log) {
                Err(Stop::LotsNeeded { .. }) => of.stored.read_on(&mut partial, now),
                answer => break answer,
            }
        };
        prop_assert_eq!(&partial_answer, &answer);
        prop_assert_eq!(partial_log.written(), &log.written()[start..]);
        of.stored.write(&partial);
        Ok(answer.err().map(|stop| reason(&stop)))
    }

    fn receive(
        &mut self,
        to: usize,
        received: &fealty_ledger::Received,
    ) -> Result<(), TestCaseError> {
        let (now, log) = (self.now, &mut self.logs[shard_of(to)]);
        let of = &mut self.members[to];
        let start = log.written().len();
        as_the_programme_says(to, &mut of.known);
        let mut partial = of.stored.book(to);
        let mut partial_log = Log::new(shard(to), log.next(), STAMP);
        receive(&mut of.known, received, now, log).expect("there is room");
        loop {
            match receive(&mut partial, received, now, &mut partial_log) {
                Err(Stop::LotsNeeded { .. }) => of.stored.read_on(&mut partial, now),
                answer => break answer.expect("there is room"),
            }
        }
        prop_assert_eq!(partial_log.written(), &log.written()[start..]);
        of.stored.write(&partial);
        Ok(())
    }

    #[expect(clippy::too_many_lines, reason = "a case for each command")]
    fn request(&mut self, member: usize, what: &What) -> Option<Request> {
        let now = self.now;
        let later = |h: i64| now.checked_add(hours(h)).expect("in range");
        let of = &self.members[member];
        let (mut grants, mut activity) = (Vec::new(), Vec::new());
        let mut refunds = RefundTerms::default();
        let (mut term_ends, mut facts) = (None, None);
        let mut grant = |amount: i64, brand: BrandId, activates_at, expires_at, origin| {
            grants.push(Grant {
                activates_on: None,
                rule: None,
                currency: currency(),
                points: points(amount),
                brand,
                earned_at: now,
                activates_at,
                expires_at,
                origin,
                unit_value_micros: None,
                program_version: 1,
            });
        };
        let named = |index: usize| of.requests.get(index).copied();
        let command = match what {
            What::Wait { .. } | What::ChangeTier { .. } => return None,
            What::Accrue {
                points: amount,
                brand: issuer,
                activates,
                expires,
            } => {
                let activates_at = match activates {
                    When::Unset => None,
                    When::After(hours) => Some(later(*hours)),
                    When::Otherwise(_) => Some(LotTerms::ON_EVENT),
                };
                let expires_at = match expires {
                    When::Unset => None,
                    When::After(hours) => Some(later(*hours)),
                    When::Otherwise(hours) => {
                        activity.push(active(later(*hours)));
                        Some(LotTerms::WITH_ACTIVITY)
                    }
                };
                let issuer = brand(*issuer);
                let origin = LotOrigin::Promotion;
                grant(*amount, issuer.clone(), activates_at, expires_at, origin);
                Command::Accrue(Accrue {
                    earned_at: None,
                    brand: issuer,
                    currency: currency(),
                    points: points(*amount),
                    activation: activates_at.map(Activation::At),
                    expires_at,
                    reference: text(""),
                })
            }
            What::Adjust {
                points: amount,
                brand: bearer,
                gives,
            } => {
                if *gives {
                    let origin = LotOrigin::Adjustment;
                    grant(*amount, brand(*bearer), None, None, origin);
                }
                Command::Adjust(Adjust {
                    brand: brand(*bearer),
                    currency: currency(),
                    points: points(*amount),
                    gives: *gives,
                    reason: text("goodwill"),
                    actor: text("ines"),
                    approver: None,
                    note: text(""),
                })
            }
            What::Redeem {
                points: amount,
                brand: acceptor,
                active,
            } => {
                let counts = active.map(|hours| self::active(later(hours)));
                activity.extend(counts);
                Command::Redeem(Redeem {
                    brand: brand(*acceptor),
                    currency: currency(),
                    points: points(*amount),
                    reference: text(""),
                })
            }
            What::Hold {
                points: amount,
                brand: acceptor,
                timeout,
            } => Command::Hold(HoldCommand {
                brand: brand(*acceptor),
                currency: currency(),
                points: points(*amount),
                timeout_micros: u64::try_from(hours(*timeout).as_micros()).expect("in range"),
                reference: text(""),
            }),
            What::Capture {
                hold,
                points: amount,
                is_final,
            } => Command::Capture(Capture {
                hold: *of.holds.get(*hold)?,
                points: amount.map(points),
                keeps_rest: !*is_final,
            }),
            What::Purchase {
                hold,
                brand: shop,
                points: amount,
            } => {
                let shop = brand(*shop);
                grant(*amount, shop.clone(), None, None, LotOrigin::Purchase);
                Command::Purchase(Purchase {
                    brand: shop,
                    order_number: "order".parse().expect("a number"),
                    amount: Money::new("EUR".parse().expect("money"), 100).expect("in range"),
                    purchased_at: None,
                    channel: None,
                    store: None,
                    terminal: None,
                    lines: Vec::new(),
                    tenders: vec![Tender {
                        kind: TenderKind::Points,
                        minor_units: 100,
                        hold: Some(*of.holds.get(*hold)?),
                    }],
                    attributes: Attributes::new(),
                    tier: None,
                })
            }
            What::Release { hold } => Command::Release(Release {
                hold: *of.holds.get(*hold)?,
            }),
            What::ExtendHold { hold, timeout } => Command::ExtendHold(ExtendHold {
                hold: *of.holds.get(*hold)?,
                timeout_micros: u64::try_from(hours(*timeout).as_micros()).expect("small"),
            }),
            What::Reverse {
                transaction,
                points: amount,
                policy,
                grace,
            } => {
                refunds = refund_terms(*policy, *grace);
                Command::Reverse(Reverse {
                    transaction: named(*transaction)?,
                    currency: None,
                    points: amount.map(points),
                    reference: text(""),
                })
            }
            What::Return {
                transaction,
                amount,
                policy,
                grace,
                earns,
            } => {
                refunds = refund_terms(*policy, *grace);
                let eur = || "EUR".parse().expect("money");
                let asked = Return {
                    transaction: named(*transaction)?,
                    lines: Vec::new(),
                    amount: amount.map(|amount| Money::new(eur(), amount).expect("in range")),
                    reference: text(""),
                };
                let original = self.logs[shard_of(member)].at(asked.transaction)?;
                if let Some(Command::Purchase(purchase)) = original.command() {
                    let book = &self.members[member].known;
                    facts = Some(Facts::Return(returned(book, purchase, &asked, *earns)?));
                }
                Command::Return(asked)
            }
            What::Transfer {
                to,
                points: amount,
                term,
            } => {
                term_ends = term.map(later);
                Command::Gift(Gift {
                    to: (*to != member).then(|| self.members[*to].known.member.clone())?,
                    currency: currency(),
                    points: points(*amount),
                    reference: text(""),
                })
            }
            What::Extend { lot, hours } => Command::Extend(Extend {
                lot: *of.lots.get(*lot)?,
                expires_at: later(*hours),
                reason: text("goodwill"),
                actor: text("ines"),
            }),
            What::Reinstate {
                lot,
                points: amount,
                hours,
            } => Command::Reinstate(Reinstate {
                lot: *of.lots.get(*lot)?,
                points: amount.map(points),
                expires_at: later(*hours),
                reason: text("goodwill"),
                actor: text("ines"),
            }),
            What::Activate { transaction } => Command::Activate(Activate {
                event: None,
                transaction: named(*transaction)?,
                reference: text(""),
            }),
        };
        let original = match command.names() {
            Some(Named::Transaction(at)) => self.logs[shard_of(member)].at(at).cloned(),
            _ => None,
        };
        self.number += 1;
        Some(Request {
            request_id: format!("request-{}", self.number).parse().expect("an id"),
            metadata: Metadata::default(),
            principal: Some(Principal {
                roles: 0,
                subject: "till-7".parse().expect("a subject"),
                acting_for: None,
            }),
            command,
            asked_at: now,
            program_version: 1,
            facts,
            grants,
            counter_moves: Vec::new(),
            forgotten: Vec::new(),
            unmet: Vec::new(),
            activity,
            refunds,
            term_ends,
            original: original.map(Box::new),
        })
    }

    /// What is to be seen of the books.
    pub(crate) fn picture(&self) -> Picture {
        let mut picture = Picture::default();
        for log in &self.logs {
            picture.heads.push(log.next().get() - 1);
        }
        for (number, member) in self.members.iter().enumerate() {
            let name =
                |lot: LotId| -> LotName { (shard_of(number), lot.position().get(), lot.number()) };
            let Some(wallet) = member.known.wallets.get(&currency()) else {
                picture.buckets.push([0; 4]);
                continue;
            };
            let buckets = wallet.wallet().buckets;
            let of = [
                buckets.pending,
                buckets.available,
                buckets.held,
                buckets.debt,
            ];
            picture.buckets.push(of.map(Points::get));
            for lot in wallet.lots() {
                let pending = lot.pending && !lot.remaining.is_zero();
                let of = [lot.remaining, lot.held, lot.expired].map(Points::get);
                let seen = (of[0], of[1], of[2], pending);
                picture.lots.insert(name(lot.terms.lot), seen);
            }
            for hold in wallet.holds().filter(|hold| !hold.lots.is_empty()) {
                let parts = hold
                    .lots
                    .iter()
                    .map(|part| (name(part.lot), part.points.get()));
                let key = (shard_of(number), hold.position.get());
                picture.holds.insert(key, parts.collect());
            }
        }
        for (key, sums) in self.totals.rows() {
            let kind = key.account.kind().to_owned();
            let brand = key.account.brand().map(ToString::to_string);
            let name = (kind, brand.unwrap_or_default(), key.issuer.to_string());
            let small = |sum: i128| i64::try_from(sum).expect("small");
            let sums = (small(sums.debits), small(sums.credits));
            picture.accounts.insert(name, sums);
        }
        picture
    }

    /// What must hold of the whole log at the end.
    pub(crate) fn check_end(&self) -> Result<(), TestCaseError> {
        let (mut debits, mut credits, mut gifts) = (0, 0, 0);
        for (key, sums) in self.totals.rows() {
            debits += sums.debits;
            credits += sums.credits;
            if key.account == Account::Gift {
                gifts += sums.credits - sums.debits;
            }
        }
        prop_assert_eq!(debits, credits);
        prop_assert_eq!(gifts, 0, "every gift has arrived");
        for (number, member) in self.members.iter().enumerate() {
            advancing_in_steps_is_advancing_at_once(
                &member.known,
                &self.logs[shard_of(number)],
                self.now,
            )?;
            self.foreseeing_is_advancing(number, member)?;
        }
        Ok(())
    }

    /// Who reads little at a time, and forgets what is over, comes to the same balance.
    fn foreseeing_is_advancing(&self, number: usize, member: &Member) -> Result<(), TestCaseError> {
        let end = self.now.checked_add(hours(1_000)).expect("in range");
        let log = &self.logs[shard_of(number)];
        let empty = || Log::new(log.shard(), log.next(), STAMP);
        let (mut all, mut all_log) = (member.known.clone(), empty());
        advance(&mut all, &currency(), end, &mut all_log).expect("all is known");
        let mut little = member.stored.book(number);
        let mut little_log = empty();
        little_log.allow_due(1);
        while let Err(stop) = advance(&mut little, &currency(), end, &mut little_log) {
            if matches!(stop, Stop::LotsNeeded { .. }) {
                member.stored.read_on(&mut little, end);
                continue;
            }
            prop_assert!(matches!(stop, Stop::MoreIsDue), "{:?}", stop);
            little_log.forget_written();
            little_log.allow_due(1);
            if let Some(wallet) = little.wallets.get_mut(&currency()) {
                wallet.forget_closed();
            }
        }
        let wallet = |book: &MemberBook| book.wallets.get(&currency()).map(|w| w.wallet().clone());
        prop_assert_eq!(wallet(&little), wallet(&all));
        Ok(())
    }
}

fn refund_terms(policy: Policy, grace: Option<i64>) -> RefundTerms {
    RefundTerms {
        policy: match policy {
            Policy::LotOnly => RefundPolicy::LotOnly,
            Policy::Balance => RefundPolicy::Balance,
            Policy::Debt => RefundPolicy::Debt,
        },
        restore_grace: grace.map(hours),
    }
}

/// What decides a return, after which the rest earns so many points; nothing, if it asks for
/// more than is left.
fn returned(
    book: &MemberBook,
    purchase: &Purchase,
    asked: &Return,
    earns: i64,
) -> Option<ReturnFacts> {
    let nothing = || Returned::nothing(&[]);
    let before = book.returned(asked.transaction).cloned();
    let before = before.unwrap_or_else(nothing);
    let part = before.part(purchase, asked).ok()?;
    let after = before.with((&part, true), &[]);
    // Of 0 points no rule has a result.
    let earned = Points::amount(earns).ok().map(|points| RuleResult {
        rule: "base".parse().expect("an id"),
        currency: currency(),
        points,
        bonus: false,
    });
    Some(ReturnFacts {
        brand: purchase.brand.clone(),
        purchased_at: Timestamp::EPOCH,
        left: after.rest(purchase).amount,
        earns: earned
            .filter(|_| !after.is_all(purchase))
            .into_iter()
            .collect(),
        part,
        moves: Vec::new(),
        counts: true,
        draws: Vec::new(),
        reversal: ReversalFacts::default(),
        points: Vec::new(),
    })
}

/// To t1 and then to t2 is to t2, whichever t1. Where it is not known at t1 who had which
/// tier, what waits for that comes after what does not wait, and all the same is written.
fn advancing_in_steps_is_advancing_at_once(
    book: &MemberBook,
    log: &Log,
    now: Timestamp,
) -> Result<(), TestCaseError> {
    let empty = || Log::new(log.shard(), log.next(), STAMP);
    let known = |now: Timestamp| Moment {
        now,
        tiers_known: now,
    };
    let waiting = |now: Timestamp| Moment::from(now);
    let to = |moment: &dyn Fn(Timestamp) -> Moment, steps: &[i64]| {
        let (mut book, mut log) = (book.clone(), empty());
        for step in steps {
            let at = now.checked_add(hours(100 * step)).expect("in range");
            advance(&mut book, &currency(), moment(at), &mut log).expect("all is known");
        }
        let buckets = book
            .wallets
            .get(&currency())
            .map(|book| book.wallet().buckets);
        (log, buckets)
    };
    let steps: Vec<i64> = (1..=10).collect();
    let (once, _) = to(&known, &[10]);
    let (often, _) = to(&known, &steps);
    prop_assert_eq!(once.written(), often.written());
    let (once, at_once) = to(&waiting, &[10]);
    let (often, in_steps) = to(&waiting, &steps);
    prop_assert_eq!(at_once, in_steps);
    let moved = |log: &Log| {
        let transactions = log.written().iter().filter_map(Entry::transaction);
        let moved = transactions.map(|made| (made.effective_at, made.transfers.clone()));
        let mut moved: Vec<String> = moved.map(|moved| format!("{moved:?}")).collect();
        moved.sort();
        moved
    };
    prop_assert_eq!(moved(&once), moved(&often));
    Ok(())
}

fn reason(stop: &Stop) -> &'static str {
    let Stop::Refused(refusal) = stop else {
        return "not all is done";
    };
    match refusal {
        Refusal::InsufficientPoints { .. } => "insufficient points",
        Refusal::AmountLimit => "amount limit",
        Refusal::HoldNotFound { .. } => "hold not found",
        Refusal::HoldExhausted { .. } => "hold exhausted",
        Refusal::HoldNotLater { .. } => "not later",
        Refusal::TooManyHolds => "too many holds",
        Refusal::TooManyLots => "too many lots",
        Refusal::TimeOutOfRange => "time out of range",
        Refusal::TransactionNotFound { .. } => "transaction not found",
        Refusal::NotReversible { .. } => "not reversible",
        Refusal::ReversalExceeded { .. } => "reversal exceeded",
        Refusal::CurrencyUnclear { .. } => "currency unclear",
        Refusal::LotNotFound { .. } => "lot not found",
        Refusal::LotClosed { .. } => "lot closed",
        Refusal::ExpiryNotLater { .. } => "expiry not later",
        Refusal::NotExpired { .. } => "not expired",
        Refusal::NothingPending { .. } => "nothing pending",
        Refusal::NotAPurchase { .. } => "not a purchase",
    }
}
