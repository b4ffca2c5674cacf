//! What a log comes to: points that were given and by which rules, what is left of them, and
//! when that goes.

use std::collections::{BTreeMap, HashMap};

use fealty_ledger::{
    Account, BucketName, Buckets, Cause, Facts, Inactivity, LotTerms, Transaction, Transfer,
};
use fealty_program::{Program, ProgramVersion};
use fealty_types::{BrandId, BudgetId, CurrencyId, LotId, MemberId, RuleId, Timestamp};

use crate::plan::held_back;

/// What happened to a currency's points, and what is left of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct OfCurrency {
    /// Points that were given, by whatever.
    pub issued: i64,
    /// The same by month: of the purchase or the activity, else of the entry.
    pub issued_by_month: BTreeMap<String, i64>,
    /// Points that were given and taken back.
    pub taken_back: i64,
    /// Points that were spent, less those that came back.
    pub redeemed: i64,
    /// Points that expired, less those that were reinstated.
    pub expired: i64,
    /// Points that operators gave, less those that they took.
    pub adjusted: i64,
    /// Points in wallets at the end: pending, available and held.
    pub outstanding: i64,
    /// Points that members owe at the end.
    pub owed: i64,
    /// When the outstanding points go, as things stand: a month, or `never`.
    pub going: BTreeMap<String, i64>,
    /// What the outstanding points are worth, in minor units of the programme's money, rounded
    /// down; nothing where the programme says of none what it is worth.
    pub worth: Option<i64>,
    /// The same by when they go.
    pub going_worth: BTreeMap<String, i64>,
}

/// Who gives points, and by what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Giver {
    /// The currency.
    pub currency: CurrencyId,
    /// The brand that issues them, and so bears them.
    pub brand: BrandId,
    /// The rule; none for what callers and operators give.
    pub rule: Option<RuleId>,
}

/// What a giver gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Given {
    /// In how many transactions.
    pub times: u64,
    /// Points.
    pub points: i64,
    /// Points of them that were taken back.
    pub taken_back: i64,
    /// What the rest is worth, in millionths of a minor unit.
    #[serde(skip)]
    pub worth_micros: i128,
}

/// What caps and budgets held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct HeldBack {
    /// At how many purchases and activities.
    pub times: u64,
    /// Points.
    pub points: i64,
}

/// What a log comes to.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) currencies: BTreeMap<CurrencyId, OfCurrency>,
    pub(super) givers: BTreeMap<Giver, Given>,
    pub(super) held_back: BTreeMap<RuleId, HeldBack>,
    /// What budgets gave, less what came back.
    pub(super) budgets: BTreeMap<BudgetId, i64>,
    /// What members were given, less what was taken back.
    pub(super) earned: BTreeMap<(CurrencyId, MemberId), i64>,
}

/// A lot, and what is left of it.
#[derive(Debug)]
struct OpenLot {
    terms: LotTerms,
    member: MemberId,
    rule: Option<RuleId>,
    left: i64,
}

/// A wallet, as it stood last.
#[derive(Debug)]
struct LastWallet {
    buckets: Buckets,
    inactive_at: Option<Timestamp>,
    inactivity: Inactivity,
}

/// Adds up a shard's log.
#[derive(Debug, Default)]
pub(super) struct Tally {
    totals: Totals,
    lots: HashMap<LotId, OpenLot>,
    wallets: HashMap<(MemberId, CurrencyId), LastWallet>,
}

impl Tally {
    /// Adds a transaction that a version of the programme made. What it gave and took counts
    /// only where `counts`; what is left of it does always.
    pub(super) fn add(
        &mut self,
        transaction: &Transaction,
        applied: Option<&ProgramVersion>,
        counts: bool,
    ) {
        for lot in &transaction.lots {
            let mut given = transaction.transfers.iter();
            let given = given.find(|transfer| transfer.lot == lot.lot);
            let lot_of = OpenLot {
                terms: lot.clone(),
                member: transaction.member.clone(),
                rule: given.and_then(|transfer| transfer.rule.clone()),
                left: 0,
            };
            self.lots.insert(lot.lot, lot_of);
        }
        for change in &transaction.expiry_changes {
            if let Some(lot) = self.lots.get_mut(&change.lot) {
                lot.terms.expires_at = Some(change.expires_at);
            }
        }
        let mut earned = Vec::new();
        for transfer in &transaction.transfers {
            if let Some(lot) = self.lots.get_mut(&transfer.lot) {
                let points = transfer.amount.get();
                lot.left += points * (holds(&transfer.credit) - holds(&transfer.debit));
            }
            if counts {
                self.flow(transaction, transfer, &mut earned);
            }
        }
        for after in &transaction.wallets {
            let wallet = (transaction.member.clone(), after.currency.clone());
            let last = LastWallet {
                buckets: after.buckets,
                inactive_at: after.inactive_at,
                inactivity: after.inactivity,
            };
            self.wallets.insert(wallet, last);
        }
        for draw in transaction.draws() {
            *self.totals.budgets.entry(draw.budget.clone()).or_default() += draw.points;
        }
        if !counts {
            return;
        }
        self.add_month(transaction, applied, &earned);
        if let Some(applied) = applied.filter(|applied| applied.program.earning.rules.has_limits())
        {
            self.add_held_back(transaction, applied);
        }
    }

    /// Adds what a movement means for its currency, and for whom it was given by.
    fn flow(
        &mut self,
        transaction: &Transaction,
        transfer: &Transfer,
        earned: &mut Vec<(CurrencyId, i64)>,
    ) {
        let points = transfer.amount.get();
        let known = self.totals.currencies.entry(transfer.currency.clone());
        let of_currency = known.or_default();
        for (account, sign) in [(&transfer.credit, 1), (&transfer.debit, -1)] {
            match account {
                Account::Redeemed(_) => of_currency.redeemed += sign * points,
                Account::Expired(_) => of_currency.expired += sign * points,
                Account::Adjusted(_) => of_currency.adjusted -= sign * points,
                Account::Wallet(_) | Account::Issued(_) | Account::Gift => {}
            }
        }
        let (brand, gives) = match (&transfer.debit, &transfer.credit) {
            (Account::Issued(brand), Account::Wallet(_)) => (brand, true),
            (Account::Wallet(_), Account::Issued(brand)) => (brand, false),
            _ => return,
        };
        let lot = self.lots.get(&transfer.lot);
        let giver = Giver {
            currency: transfer.currency.clone(),
            brand: brand.clone(),
            rule: match &transfer.rule {
                Some(rule) => Some(rule.clone()),
                None => lot.and_then(|lot| lot.rule.clone()),
            },
        };
        let given = self.totals.givers.entry(giver).or_default();
        let worth = lot.and_then(|lot| lot.terms.unit_value_micros).unwrap_or(0);
        let worth = i128::from(worth) * i128::from(points);
        if gives {
            of_currency.issued += points;
            given.times += 1;
            given.points += points;
            given.worth_micros += worth;
            earned.push((transfer.currency.clone(), points));
        } else {
            of_currency.taken_back += points;
            given.taken_back += points;
            given.worth_micros -= worth;
        }
        let member = (transfer.currency.clone(), transaction.member.clone());
        let net = self.totals.earned.entry(member).or_default();
        *net += if gives { points } else { -points };
    }

    fn add_month(
        &mut self,
        transaction: &Transaction,
        applied: Option<&ProgramVersion>,
        earned: &[(CurrencyId, i64)],
    ) {
        let Some(applied) = applied.filter(|_| !earned.is_empty()) else {
            return;
        };
        let at = transaction.happened_at();
        let month = month(&applied.program, at.unwrap_or(transaction.effective_at));
        for (currency, points) in earned {
            if let Some(of_currency) = self.totals.currencies.get_mut(currency) {
                let by_month = &mut of_currency.issued_by_month;
                *by_month.entry(month.clone()).or_default() += points;
            }
        }
    }

    /// Adds what caps and budgets held back.
    fn add_held_back(&mut self, transaction: &Transaction, applied: &ProgramVersion) {
        let Cause::Request {
            command,
            facts: Some(facts),
            asked_at,
            ..
        } = &transaction.cause
        else {
            return;
        };
        let Some(earned) = Facts::earned(facts) else {
            return;
        };
        let recorded_at = asked_at.unwrap_or(transaction.effective_at);
        for (rule, points) in held_back(applied, (command, earned), recorded_at) {
            let known = self.totals.held_back.entry(rule).or_default();
            known.times += 1;
            known.points += points;
        }
    }

    /// What it comes to, by the calendar and the money of a programme.
    pub(super) fn finish(mut self, program: &Program) -> Totals {
        for ((_, currency), last) in &self.wallets {
            let known = self.totals.currencies.entry(currency.clone());
            let of_currency = known.or_default();
            let Buckets {
                pending,
                available,
                held,
                debt,
            } = last.buckets;
            of_currency.outstanding += pending.get() + available.get() + held.get();
            of_currency.owed += debt.get();
        }
        let mut worth: BTreeMap<(CurrencyId, String), i128> = BTreeMap::new();
        for lot in self.lots.into_values().filter(|lot| lot.left > 0) {
            let currency = lot.terms.currency.clone();
            let wallet = self.wallets.get(&(lot.member, currency.clone()));
            let goes = match goes_at(&lot.terms, wallet) {
                Some(at) => month(program, at),
                None => NEVER.to_owned(),
            };
            if let Some(micros) = lot.terms.unit_value_micros {
                let name = (currency.clone(), goes.clone());
                *worth.entry(name).or_default() += i128::from(micros) * i128::from(lot.left);
            }
            let known = self.totals.currencies.entry(currency).or_default();
            *known.going.entry(goes).or_default() += lot.left;
        }
        for ((currency, goes), micros) in worth {
            let minor_units = minor_units(program, micros);
            let known = self.totals.currencies.entry(currency).or_default();
            known.going_worth.insert(goes, minor_units);
            known.worth = Some(known.worth.unwrap_or(0) + minor_units);
        }
        self.totals
    }
}

/// What is said of points that do not go.
const NEVER: &str = "never";

/// Whether an account's points are a member's to have: 1, or 0.
fn holds(account: &Account) -> i64 {
    let has = matches!(
        account,
        Account::Wallet(BucketName::Pending | BucketName::Available | BucketName::Held)
    );
    i64::from(has)
}

/// When a lot's points go, as things stand.
fn goes_at(terms: &LotTerms, wallet: Option<&LastWallet>) -> Option<Timestamp> {
    if !terms.goes_with_inactivity() {
        return terms.expires_at;
    }
    let wallet = wallet.filter(|wallet| wallet.inactivity != Inactivity::Waived)?;
    wallet.inactive_at.max(terms.not_before())
}

/// The month of a moment, as `2026-11`.
fn month(program: &Program, at: Timestamp) -> String {
    let date = program.calendar.date_of(at);
    format!("{:04}-{:02}", date.year(), date.month())
}

/// Money in minor units, rounded down, of millionths of a unit.
pub(super) fn minor_units(program: &Program, micros: i128) -> i64 {
    let per_unit = 10_i128.pow(u32::from(program.money.decimals));
    i64::try_from((micros * per_unit).div_euclid(1_000_000)).unwrap_or(i64::MAX)
}

impl Totals {
    /// Adds what another shard's log comes to.
    pub(super) fn merge(&mut self, other: Self) {
        for (currency, of_currency) in other.currencies {
            self.currencies
                .entry(currency)
                .or_default()
                .add(of_currency);
        }
        for (giver, given) in other.givers {
            let known = self.givers.entry(giver).or_default();
            known.times += given.times;
            known.points += given.points;
            known.taken_back += given.taken_back;
            known.worth_micros += given.worth_micros;
        }
        for (rule, held_back) in other.held_back {
            let known = self.held_back.entry(rule).or_default();
            known.times += held_back.times;
            known.points += held_back.points;
        }
        sum(&mut self.budgets, other.budgets);
        sum(&mut self.earned, other.earned);
    }
}

impl OfCurrency {
    fn add(&mut self, other: Self) {
        self.issued += other.issued;
        self.taken_back += other.taken_back;
        self.redeemed += other.redeemed;
        self.expired += other.expired;
        self.adjusted += other.adjusted;
        self.outstanding += other.outstanding;
        self.owed += other.owed;
        sum(&mut self.issued_by_month, other.issued_by_month);
        sum(&mut self.going, other.going);
        sum(&mut self.going_worth, other.going_worth);
        self.worth = match (self.worth, other.worth) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(0) + other.unwrap_or(0)),
        };
    }
}

fn sum<K: Ord>(into: &mut BTreeMap<K, i64>, other: BTreeMap<K, i64>) {
    for (key, more) in other {
        *into.entry(key).or_default() += more;
    }
}
