//! The end of a period: what the programme gives a member for it, beyond what it gave before.

use fealty_ledger::{
    Converted, ConvertedInto, EarnedFacts, EndOf, Ended, LotOrigin, MemberBook, PeriodEnd,
    ReversalFacts, SlotRead, Taken,
};
use fealty_program::{Program, ProgramVersion};
use fealty_rules::{
    End, EndOutcome, Event, Every, Recorded, Silent, SlotValue, Subject, Verdicts, evaluate_end,
};
use fealty_types::{CurrencyId, OrderScope, Points, TenderKind, TierId, Timestamp};

use super::{
    OfMember, Plan, PlanError,
    event::{LedgerNumbers, LeftOf, rank},
    moves::{counter_move, slot_move},
    verdicts::{OfRule, read, told},
};

/// The end of a period, and how it is evaluated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AskedEnd {
    pub(crate) end: End,
    /// Whether all members' ends are written already, so that rules which read the wallet have
    /// been evaluated.
    pub(crate) is_over: bool,
    /// When it takes effect.
    pub(crate) at: Timestamp,
}

/// The ends that are due by a moment and not written, in order: the place of the version that
/// was in force just before, and the end. Versions are in the order in which they began, each
/// with when; `None` is one without such rules.
pub(crate) fn ends_due(
    versions: &[(Timestamp, Option<ProgramVersion>)],
    (through, now): (Option<Timestamp>, Timestamp),
    max: usize,
) -> Vec<(usize, End)> {
    let mut due = Vec::new();
    for (at, (begun_at, applied)) in versions.iter().enumerate() {
        let until = versions.get(at + 1).map(|(begun_at, _)| *begun_at);
        let after = through.unwrap_or(Timestamp::EPOCH).max(*begun_at);
        if until.is_some_and(|until| until <= after) {
            continue;
        }
        let Some(applied) = applied else {
            continue;
        };
        let rules = &applied.program.earning.rules;
        let last = until.map_or(now, |until| until.min(now));
        let ends = rules.ends_between(after, last, max + 1).into_iter();
        due.extend(ends.map(|end| (at, end)));
    }
    // What ends at one instant is worked off together.
    if let Some((_, cut)) = due.get(max).copied() {
        due.retain(|(_, end)| end.at < cut.at);
    }
    due
}

/// Works out what the end of a period comes to for a member; `None` where nothing changes by
/// it. Where points are taken back, what was written of it before is to be added.
pub(crate) fn plan_end(
    applied: &ProgramVersion,
    asked: AskedEnd,
    (book, tier): (&MemberBook, Option<TierId>),
) -> Result<Option<PeriodEnd>, PlanError> {
    let of_member = OfMember {
        counters: Some(&book.counters),
        ..OfMember::with(tier)
    };
    let mut plan = Plan::by(applied, of_member, asked.at);
    let end = asked.end;
    if !plan.program.end_waits_for_tiers(end.every) {
        // None counts.
        plan.tier = None;
    }
    let rules = &plan.program.earning.rules;
    let numbers = LedgerNumbers {
        wallets: Some(&book.wallets),
        ..plan.numbers()
    };
    if !rules.may_end(end, &numbers) {
        return Ok(None);
    }
    let mut event = end_event(plan.program, end, plan.tier.as_ref());
    event.counts = rules.counts(event.at, asked.at);
    // Before anything else is written to a wallet, the ends are that come before it.
    let has_moved_on = |currency: &CurrencyId| {
        let wallet = book.wallets.get(currency);
        wallet.and_then(|wallet| wallet.wallet().last_at) > Some(end.at)
    };
    let is_written = |end| rules.end_written_before(end, &numbers) > 0;
    event.again = asked.is_over
        || is_written(end)
        || rules.longer_ends(end).any(is_written)
        || rules.wallets_of_end(end.every).any(has_moved_on);
    let inputs = event.inputs(rules, &numbers);
    let outcome = evaluate_end(rules, &event, &inputs, &mut Silent);
    let outcome = outcome.map_err(|_| PlanError::TooManyPoints)?;
    if outcome.results.is_empty() {
        return Ok(None);
    }
    plan.period_end((asked, event.again), outcome).map(Some)
}

/// How often the end of a period was written for a member.
pub(crate) fn written_before(applied: &ProgramVersion, end: End, book: &MemberBook) -> u16 {
    let numbers = LedgerNumbers {
        counters: Some(&book.counters),
        left: LeftOf::Nothing,
        wallets: None,
    };
    applied
        .program
        .earning
        .rules
        .end_written_before(end, &numbers)
}

/// What became of each rule for the end of a period.
pub(crate) fn recorded_end(applied: &ProgramVersion, ended: &Ended) -> Vec<OfRule> {
    let program = &*applied.program;
    let end = End {
        at: ended.ends_at,
        every: every(ended.of),
    };
    // What comes too late moves nothing, so nothing is written of it: this one counted.
    let mut event = end_event(program, end, ended.facts.tier.as_ref());
    event.again = ended.again;
    let mut verdicts = Verdicts::default();
    let (rules, read) = (&program.earning.rules, read(&ended.facts));
    match evaluate_end(rules, &event, &Recorded(&read), &mut verdicts) {
        Ok(_) => told(rules, verdicts),
        Err(_) => Vec::new(),
    }
}

/// The end of a period as rules see it.
fn end_event<'a>(program: &Program, end: End, tier: Option<&'a TierId>) -> Event<'a> {
    Event {
        subject: Subject::End(end.every),
        at: end.last_instant(),
        brand: "",
        channel: "",
        store: "",
        terminal: "",
        amount: 0,
        whole_amount: 0,
        paid: [0; TenderKind::ALL.len()],
        lines: Vec::new(),
        attributes: Vec::new(),
        issues: &[],
        tier_rank: rank(program, tier),
        tier: tier.map(TierId::as_str).unwrap_or_default(),
        counts: true,
        again: false,
    }
}

impl Plan<'_> {
    fn period_end(
        &self,
        (asked, again): (AskedEnd, bool),
        outcome: EndOutcome,
    ) -> Result<PeriodEnd, PlanError> {
        let earning = &self.program.earning;
        let (rules, end) = (&earning.rules, asked.end);
        let (mut grants, mut takes, mut converted) = (Vec::new(), Vec::new(), Vec::new());
        for result in &outcome.results {
            let number = usize::from(result.rule);
            let (rule, terms) = (&rules.rules()[number], &earning.terms[number]);
            let (points, back) = (result.points - result.before, result.before - result.points);
            let brand = rule.funded_by.clone().ok_or_else(no_brand)?;
            if let Ok(points) = Points::amount(back) {
                takes.push(Taken {
                    rule: rule.id.clone(),
                    currency: rule.currency.clone(),
                    points,
                });
                continue;
            }
            let points = Points::amount(points).map_err(|_| PlanError::TooManyPoints)?;
            if let Some(minor_units) = result.converts {
                converted.push(Converted {
                    rule: rule.id.clone(),
                    currency: rule.currency.clone(),
                    points,
                    brand,
                    into: ConvertedInto::Voucher,
                    minor_units,
                });
                continue;
            }
            let terms = self.terms_by(terms, &rule.currency, end.last_instant());
            let id = Some(rule.id.clone());
            let origin = LotOrigin::Promotion;
            grants.push(terms.grant(id, &brand, points, origin, self.version));
        }
        let mut moves = outcome.moves;
        moves.extend(rules.end_written(end));
        let facts = EarnedFacts {
            purchased_at: end.last_instant(),
            order_scope: OrderScope::default(),
            tier: self.tier.clone(),
            read: outcome.read.into_iter().map(slot_read).collect(),
            moves: moves.iter().map(slot_move).collect(),
        };
        let counter_moves = moves.iter();
        let counter_moves = counter_moves.filter_map(|moved| counter_move(rules, moved));
        Ok(PeriodEnd {
            activity: self.active_by(&grants, end.last_instant()),
            ended: Ended {
                of: end_of(end.every),
                ends_at: end.at,
                program_version: self.version,
                number: outcome.written_before,
                again,
                facts,
                converted,
                taken_back: ReversalFacts::default(),
            },
            grants,
            takes,
            before: Vec::new(),
            counter_moves: counter_moves.collect(),
            forgotten: Vec::new(),
            refunds: self.program.refunds,
        })
    }
}

fn slot_read((slot, value): (u16, SlotValue)) -> SlotRead {
    SlotRead {
        slot,
        before: value.before,
        with_any: value.with_any,
    }
}

/// A programme is checked: each of its rules for periods' ends has a brand.
fn no_brand() -> PlanError {
    PlanError::Field {
        field: "funded_by".to_owned(),
        what: "must be known at a period's end",
    }
}

/// What the log calls a kind of period.
pub(crate) fn end_of(every: Every) -> EndOf {
    match every {
        Every::Day => EndOf::Day,
        Every::Week => EndOf::Week,
        Every::Month => EndOf::Month,
        Every::Quarter => EndOf::Quarter,
        Every::Year => EndOf::Year,
    }
}

/// The kind of period that the log names.
pub(crate) fn every(of: EndOf) -> Every {
    match of {
        EndOf::Day => Every::Day,
        EndOf::Week => Every::Week,
        EndOf::Month => Every::Month,
        EndOf::Quarter => Every::Quarter,
        EndOf::Year => Every::Year,
    }
}
