//! What a simulation says.

use std::collections::{BTreeMap, BTreeSet};

use fealty_program::{Program, ProgramVersion};
use fealty_types::{BudgetId, CurrencyId, MemberId, RuleId, TierId, Timestamp};

use super::{
    missed::Missed,
    tally::{Giver, HeldBack, OfCurrency, Totals, minor_units},
};

/// Members who are named of those that gain or lose most.
const MEMBERS_NAMED: usize = 10;

/// What a simulation says: `before` is what was recorded, `after` what the changed programme
/// would have made of it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// The programme.
    pub program: String,
    /// The version that is in force.
    pub version: i64,
    /// From when on the changed programme was tried, by when entries were written; from the
    /// beginning, if nothing is said.
    pub since: Option<String>,
    /// When the last entry was written.
    pub until: Option<String>,
    /// The ISO 4217 code of the programme's money, and the digits of its minor unit.
    pub money: (String, u8),
    /// What was played.
    pub played: Played,
    /// Whether the changed programme says what all versions in force since then said, and
    /// whether it makes the same log.
    pub reproduced: Option<Reproduced>,
    /// By what members' tiers are known.
    pub tiers: TiersBy,
    /// How budgets were drawn on.
    pub budgets: BudgetsBy,
    /// Points by currency.
    pub currencies: BTreeMap<CurrencyId, Compared<OfCurrency>>,
    /// What each brand's rules give, the largest difference first.
    pub costs: Vec<Cost>,
    /// What caps and budgets held back, by rule.
    pub held_back: BTreeMap<RuleId, Compared<HeldBack>>,
    /// What budgets gave, less what came back, and their sizes.
    pub used: BTreeMap<BudgetId, Used>,
    /// Who gains and who loses, by currency.
    pub members: BTreeMap<CurrencyId, Members>,
    /// Who would have another tier at the end; only where tiers were worked out.
    pub tier_moves: Vec<TierMove>,
    /// What could not be played as it was recorded.
    pub missed: Missed,
}

/// What was played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Played {
    /// Transactions of the programme in the log, all together.
    pub transactions: u64,
    /// Transactions since when the changed programme was tried.
    pub tried: u64,
    /// Purchases among them.
    pub purchases: u64,
    /// Returns among them.
    pub returns: u64,
    /// Activities among them.
    pub activities: u64,
    /// Members.
    pub members: u64,
}

impl Played {
    pub(super) fn add(&mut self, other: Self) {
        self.transactions += other.transactions;
        self.tried += other.tried;
        self.purchases += other.purchases;
        self.returns += other.returns;
        self.activities += other.activities;
        self.members += other.members;
    }
}

/// Whether the same programme makes the same log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Reproduced {
    /// Transactions that were compared, byte for byte.
    pub transactions: u64,
    /// Those that came out otherwise: none, unless `fealty verify` finds something too.
    pub different: u64,
    /// The first of them: its shard and its position.
    pub first: Option<(u16, i64)>,
}

impl Reproduced {
    pub(super) fn add(&mut self, other: Self) {
        self.transactions += other.transactions;
        self.different += other.different;
        self.first = self.first.or(other.first);
    }
}

/// By what members' tiers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TiersBy {
    /// The programme has none.
    None,
    /// As they were told: what tiers go by has not changed.
    Recorded,
    /// They were worked out on both sides, for what they go by has changed.
    Computed,
}

/// How budgets were drawn on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetsBy {
    /// The programme has none.
    None,
    /// As shards had leased them when it was recorded.
    AsLeased,
    /// As if all shards had one purse, in the order of time.
    OnePurse,
}

/// The same of both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Compared<T> {
    /// As it was recorded.
    pub before: T,
    /// As the changed programme has it.
    pub after: T,
}

/// What a rule of a brand gives.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Cost {
    /// The currency.
    pub currency: CurrencyId,
    /// The brand that bears it.
    pub brand: String,
    /// The rule; nothing for what callers and operators give.
    pub rule: Option<RuleId>,
    /// Transactions in which it gave.
    pub times: Compared<u64>,
    /// Points, less those that were taken back.
    pub points: Compared<i64>,
    /// What they are worth, in minor units of the programme's money; nothing where the programme
    /// does not say it.
    pub worth: Compared<Option<i64>>,
}

/// What was used of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Used {
    /// Its size; nothing where the version does not have it.
    pub size: Compared<Option<i64>>,
    /// What it gave, less what came back.
    pub points: Compared<i64>,
}

/// Who gains and who loses points of a currency.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Members {
    /// Members who would have been given more.
    pub gain: u64,
    /// Points that they would have been given more.
    pub gained: i64,
    /// Members who would have been given less.
    pub lose: u64,
    /// Points that they would have been given less.
    pub lost: i64,
    /// Members who would have been given the same.
    pub same: u64,
    /// Who gains most, the most first.
    pub most_gained: Vec<MemberChange>,
    /// Who loses most, the most first.
    pub most_lost: Vec<MemberChange>,
}

/// What a member was given, less what was taken back.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MemberChange {
    /// The member.
    pub member: MemberId,
    /// Points.
    pub points: Compared<i64>,
}

/// Members who would have another tier.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TierMove {
    /// The tier that they have.
    pub before: TierId,
    /// The tier that they would have.
    pub after: TierId,
    /// How many.
    pub members: u64,
}

/// Both sides.
pub(super) struct Sides<'a> {
    pub(super) before: (&'a ProgramVersion, Totals),
    pub(super) after: (&'a ProgramVersion, Totals),
}

/// What was done, and how.
pub(super) struct Circumstances {
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) played: Played,
    pub(super) reproduced: Option<Reproduced>,
    pub(super) tiers: TiersBy,
    pub(super) budgets: BudgetsBy,
    pub(super) tier_moves: BTreeMap<(TierId, TierId), u64>,
    pub(super) missed: Missed,
}

impl Report {
    /// Compares the sides.
    pub(super) fn of(sides: Sides<'_>, run: Circumstances) -> Self {
        let (was, before) = sides.before;
        let (is, after) = sides.after;
        let money = &is.program.money;
        let moves = run.tier_moves.into_iter();
        let moves = moves.map(|((before, after), members)| TierMove {
            before,
            after,
            members,
        });
        Self {
            program: is.program.id.to_string(),
            version: was.version,
            since: run.since.map(|at| at.to_string()),
            until: run.until.map(|at| at.to_string()),
            money: (money.currency.to_string(), money.decimals),
            played: run.played,
            reproduced: run.reproduced,
            tiers: run.tiers,
            budgets: run.budgets,
            costs: costs((&before, &after), &is.program),
            used: used((was, &before), (is, &after)),
            members: members(&before.earned, &after.earned),
            currencies: compared(before.currencies, after.currencies),
            held_back: compared(before.held_back, after.held_back),
            tier_moves: moves.collect(),
            missed: run.missed,
        }
    }
}

fn keys<K: Ord + Clone, A, B>(one: &BTreeMap<K, A>, other: &BTreeMap<K, B>) -> BTreeSet<K> {
    one.keys().chain(other.keys()).cloned().collect()
}

fn compared<K: Ord + Clone, T: Default>(
    mut before: BTreeMap<K, T>,
    mut after: BTreeMap<K, T>,
) -> BTreeMap<K, Compared<T>> {
    let both = keys(&before, &after).into_iter().map(|key| {
        let compared = Compared {
            before: before.remove(&key).unwrap_or_default(),
            after: after.remove(&key).unwrap_or_default(),
        };
        (key, compared)
    });
    both.collect()
}

/// What each brand's rules give, the largest difference first.
fn costs((before, after): (&Totals, &Totals), program: &Program) -> Vec<Cost> {
    let cost = |giver: Giver| {
        let of = |totals: &Totals| totals.givers.get(&giver).copied().unwrap_or_default();
        let (before, after) = (of(before), of(after));
        let worth = |micros: i128| (micros != 0).then(|| minor_units(program, micros));
        Cost {
            times: Compared {
                before: before.times,
                after: after.times,
            },
            points: Compared {
                before: before.points - before.taken_back,
                after: after.points - after.taken_back,
            },
            worth: Compared {
                before: worth(before.worth_micros),
                after: worth(after.worth_micros),
            },
            currency: giver.currency,
            brand: giver.brand.to_string(),
            rule: giver.rule,
        }
    };
    let givers = keys(&before.givers, &after.givers).into_iter();
    let mut costs: Vec<Cost> = givers.map(cost).collect();
    let by = |cost: &Cost| {
        let Compared { before, after } = cost.points;
        (-(after - before).abs(), -after.max(before))
    };
    costs.sort_by_key(by);
    costs
}

fn used(
    (was, before): (&ProgramVersion, &Totals),
    (is, after): (&ProgramVersion, &Totals),
) -> BTreeMap<BudgetId, Used> {
    let mut used: BTreeMap<BudgetId, Used> = BTreeMap::new();
    for budget in was.program.earning.rules.budgets() {
        let of = used.entry(budget.id.clone()).or_default();
        of.size.before = Some(budget.points);
    }
    for budget in is.program.earning.rules.budgets() {
        let of = used.entry(budget.id.clone()).or_default();
        of.size.after = Some(budget.points);
    }
    for (budget, points) in &before.budgets {
        used.entry(budget.clone()).or_default().points.before = *points;
    }
    for (budget, points) in &after.budgets {
        used.entry(budget.clone()).or_default().points.after = *points;
    }
    used
}

/// What members were given of each currency.
type Earned = BTreeMap<(CurrencyId, MemberId), i64>;

/// Who gains and who loses.
fn members(before: &Earned, after: &Earned) -> BTreeMap<CurrencyId, Members> {
    let mut members: BTreeMap<CurrencyId, Members> = BTreeMap::new();
    for name in keys(before, after) {
        let points = Compared {
            before: before.get(&name).copied().unwrap_or_default(),
            after: after.get(&name).copied().unwrap_or_default(),
        };
        let (currency, member) = name;
        let known = members.entry(currency).or_default();
        let more = points.after - points.before;
        let change = MemberChange { member, points };
        match more {
            0 => known.same += 1,
            1.. => {
                known.gain += 1;
                known.gained += more;
                known.most_gained.push(change);
            }
            _ => {
                known.lose += 1;
                known.lost -= more;
                known.most_lost.push(change);
            }
        }
        for most in [&mut known.most_gained, &mut known.most_lost] {
            if most.len() > 8 * MEMBERS_NAMED {
                keep_most(most);
            }
        }
    }
    for known in members.values_mut() {
        keep_most(&mut known.most_gained);
        keep_most(&mut known.most_lost);
    }
    members
}

fn keep_most(most: &mut Vec<MemberChange>) {
    most.sort_by_key(|change| -(change.points.after - change.points.before).abs());
    most.truncate(MEMBERS_NAMED);
}
