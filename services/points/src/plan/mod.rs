//! From a command to what the ledger engine is to do: the programme says which
//! points, under which terms.
//!
//! The same arguments always give the same request: the service plans once,
//! and `fealty verify` plans again and compares.

mod activity;
mod backfill;
mod earns;
mod ends;
mod error;
mod event;
mod grant;
mod moves;
mod purchase;
mod referral;
mod returns;
mod spend;
mod tier;
mod verdicts;

use fealty_ledger::{Active, Command, Counters, Facts, Grant, Purchase, Request};
use fealty_program::{Activity, Program, ProgramVersion, TierAsOf};
use fealty_types::{CurrencyId, Metadata, RequestId, TierId, Timestamp};

pub(crate) use backfill::{FromLog, is_backfilled_before, recorded_backfill};
pub(crate) use ends::{AskedEnd, end_of, ends_due, every, plan_end, recorded_end, written_before};
pub(crate) use error::{PlanError, field};
pub(crate) use event::{LedgerNumbers, LeftOf};
pub(crate) use referral::{
    Course, ENTRIES_OF_NEW_MAX, LOOK_AGAIN, NotNew, Stands, bought_at, claims_referral,
    is_before_claim, why_not_new,
};
pub(crate) use returns::plan_return;
pub(crate) use tier::tier_effects;
pub(crate) use verdicts::{OfRule, Preview, held_back, preview, recorded};

/// The moment whose tier counts for a command; `None` where no tier does.
pub(crate) fn tier_moment(
    program: &Program,
    command: &Command,
    now: Timestamp,
) -> Option<Timestamp> {
    program.tiers.as_ref()?;
    match command {
        // Whoever records a history says the tier.
        Command::Purchase(purchase) if purchase.tier.is_some() => None,
        Command::Purchase(purchase) => {
            Some(counts_at(program, purchase.purchased_at.unwrap_or(now)))
        }
        Command::Activity(activity) => {
            Some(counts_at(program, activity.occurred_at.unwrap_or(now)))
        }
        Command::Accrue(accrue) if program.expires_by_tier(&accrue.currency) => Some(now),
        Command::Adjust(adjust) if program.expires_by_tier(&adjust.currency) => Some(now),
        _ => None,
    }
}

/// The moment whose tier counts for what happens at a moment.
fn counts_at(program: &Program, moment: Timestamp) -> Timestamp {
    match program.earning.rules.tier_as_of() {
        TierAsOf::Purchase => moment,
        TierAsOf::StartOfDay => program.start_of_day(moment),
    }
}

/// What is known of the member who asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct OfMember<'a> {
    /// The tier that counts; the lowest, if none is known.
    pub(crate) tier: Option<TierId>,
    /// The member's numbers; purchases and activities read them, nothing else does.
    pub(crate) counters: Option<&'a Counters>,
    /// What is left of budgets.
    pub(crate) left: LeftOf<'a>,
}

impl OfMember<'_> {
    /// A member of a tier, for what reads no numbers.
    pub(crate) fn with(tier: Option<TierId>) -> Self {
        Self {
            tier,
            ..Self::default()
        }
    }
}

/// Checks a command against the programme, and works out what it gives. What a return comes
/// to is for `plan_return`, which is asked once the purchase has been read.
pub(crate) fn plan(
    applied: &ProgramVersion,
    (request_id, metadata): (&RequestId, &Metadata),
    command: &Command,
    mut of_member: OfMember<'_>,
    now: Timestamp,
) -> Result<Request, PlanError> {
    if let Command::Purchase(Purchase {
        tier: Some(tier), ..
    }) = command
    {
        of_member.tier = Some(tier.clone());
    }
    let plan = Plan::by(applied, of_member, now);
    let program = plan.program;
    let mut request = Request {
        request_id: request_id.clone(),
        command: command.clone(),
        metadata: metadata.clone(),
        asked_at: now,
        program_version: plan.version,
        principal: None,
        facts: None,
        grants: Vec::new(),
        counter_moves: Vec::new(),
        forgotten: Vec::new(),
        unmet: Vec::new(),
        activity: Vec::new(),
        refunds: program.refunds,
        term_ends: None,
        original: None,
    };
    match command {
        Command::Purchase(purchase) => plan.purchase(purchase, &mut request)?,
        Command::Activity(activity) => plan.activity(activity, &mut request)?,
        Command::Accrue(accrue) => plan.accrue(accrue, &mut request)?,
        Command::Adjust(adjust) => plan.adjust(adjust, &mut request)?,
        Command::Redeem(redeem) => plan.spend(&redeem.brand, &redeem.currency, &mut request)?,
        Command::Hold(hold) => plan.spend(&hold.brand, &hold.currency, &mut request)?,
        Command::Gift(gift) => {
            plan.currency(&gift.currency)?;
            request.term_ends = program.active_until(&gift.currency, None, now);
        }
        Command::Capture(_)
        | Command::Release(_)
        | Command::ExtendHold(_)
        | Command::Reverse(_)
        | Command::Return(_)
        | Command::Extend(_)
        | Command::Reinstate(_)
        | Command::Activate(_) => {}
    }
    Ok(request)
}

/// What a command is planned by.
struct Plan<'a> {
    program: &'a Program,
    version: u32,
    tier: Option<TierId>,
    counters: Option<&'a Counters>,
    left: LeftOf<'a>,
    now: Timestamp,
}

impl<'a> Plan<'a> {
    /// What is planned by a version for a member at a moment.
    fn by(applied: &'a ProgramVersion, of_member: OfMember<'a>, now: Timestamp) -> Self {
        let program = &*applied.program;
        // Who never changed tier has the lowest.
        let lowest = || program.tiers.as_ref()?.levels.first();
        let tier = of_member.tier;
        Self {
            program,
            version: u32::try_from(applied.version).unwrap_or(u32::MAX),
            tier: tier.or_else(|| lowest().map(|level| level.tier.clone())),
            counters: of_member.counters,
            left: of_member.left,
            now,
        }
    }
}

/// Whether a grant gives points of a currency.
fn earns(grant: &Grant, currency: &CurrencyId) -> bool {
    grant.currency == *currency && !grant.points.is_zero()
}

impl Plan<'_> {
    /// Checks that the programme has a currency.
    fn currency(&self, currency: &CurrencyId) -> Result<(), PlanError> {
        if self.program.currencies.contains_key(currency) {
            return Ok(());
        }
        Err(PlanError::CurrencyNotFound(currency.clone()))
    }

    /// The tier, where it decides when points expire.
    fn tier_for_expiry(&self, currency: &CurrencyId) -> Option<Facts> {
        let tier = self.tier.clone();
        tier.filter(|_| self.program.expires_by_tier(currency))
            .map(Facts::Tier)
    }

    /// Records for which of the programme's currencies the request counts as
    /// activity. Earning points that go with inactivity always counts.
    fn keep_active(&self, request: &mut Request, at: Timestamp, activity: Option<Activity>) {
        let earned = self.active_by(&request.grants, at);
        request.activity.extend(earned);
        if activity.is_none() {
            return;
        }
        for currency in self.program.currencies.keys() {
            if request.grants.iter().any(|grant| earns(grant, currency)) {
                continue;
            }
            let until = self.program.active_until(currency, activity, at);
            let active = until.map(|inactive_at| Active {
                currency: currency.clone(),
                inactive_at,
            });
            request.activity.extend(active);
        }
    }

    /// For which of the programme's currencies it counts as activity to be given points.
    fn active_by(&self, grants: &[Grant], at: Timestamp) -> Vec<Active> {
        let currencies = self.program.currencies.keys();
        let earned =
            currencies.filter(|currency| grants.iter().any(|grant| earns(grant, currency)));
        let active = earned.filter_map(|currency| {
            let inactive_at = self.program.active_until(currency, None, at)?;
            let currency = currency.clone();
            Some(Active {
                currency,
                inactive_at,
            })
        });
        active.collect()
    }
}
