//! The rows that a batch sends and receives, as Postgres's types of the same
//! names. Each is a row of its table without the shard, which is the same for all.
//! The files of the tables turn them into values of the engine.

use fealty_ledger::{
    AccountTotals, Debt, Hold, Inactivity, Lot, LotOrigin, LotTerms, Returned, Reversal, Wallet,
};
use fealty_postgres::{PgTime, to_pg};
use fealty_types::{CurrencyId, MemberId, Position, ProgramId};
use uuid::Uuid;

/// A new member.
#[derive(Debug, sqlx::Type)]
#[sqlx(type_name = "member_row")]
pub(crate) struct MemberRow {
    member_no: i64,
    program: String,
    member: String,
}

impl MemberRow {
    /// A member and its number.
    #[must_use]
    pub(crate) fn new(member_no: i64, program: &ProgramId, member: &MemberId) -> Self {
        Self {
            member_no,
            program: program.to_string(),
            member: member.to_string(),
        }
    }
}

/// A new entry of the log.
#[derive(Debug, sqlx::Type)]
#[sqlx(type_name = "transaction_row")]
pub(crate) struct TransactionRow {
    /// Its place in the log.
    pub(crate) position: i64,
    /// Number of its member; none for a notice.
    pub(crate) member_no: Option<i64>,
    /// Key of its request; none for what nobody asked for.
    pub(crate) request_key: Option<Uuid>,
    /// Its canonical bytes.
    pub(crate) body: Vec<u8>,
    /// The chain after it.
    pub(crate) chain: Vec<u8>,
    /// A bit for each currency whose wallet it touched.
    pub(crate) currencies: i16,
}

/// Debits and credits to add to an account.
#[derive(Debug, sqlx::Type)]
#[sqlx(type_name = "account_row")]
pub(crate) struct AccountRow {
    program: String,
    currency: String,
    kind: String,
    brand: String,
    issuer: String,
    debits: String,
    credits: String,
}

impl AccountRow {
    /// The rows of some totals.
    #[must_use]
    pub(crate) fn of(totals: &AccountTotals) -> Vec<Self> {
        let rows = totals.rows().map(|(key, sums)| Self {
            program: key.program.to_string(),
            currency: key.currency.to_string(),
            kind: key.account.kind().to_owned(),
            brand: key
                .account
                .brand()
                .map(ToString::to_string)
                .unwrap_or_default(),
            issuer: key.issuer.to_string(),
            debits: sums.debits.to_string(),
            credits: sums.credits.to_string(),
        });
        rows.collect()
    }
}

/// A wallet, new or known.
#[derive(Debug, sqlx::Type)]
#[sqlx(type_name = "wallet_row")]
pub(crate) struct WalletRow {
    pub(super) member_no: i64,
    pub(super) currency: String,
    pub(super) pending: i64,
    pub(super) available: i64,
    pub(super) held: i64,
    pub(super) debt: i64,
    pub(super) sequence: i64,
    pub(super) last_position: i64,
    pub(super) last_at: PgTime,
    pub(super) next_due: Option<PgTime>,
    pub(super) inactive_at: Option<PgTime>,
    pub(super) debt_kinds: Option<Vec<String>>,
    pub(super) debt_brands: Option<Vec<String>>,
    pub(super) debt_points: Option<Vec<i64>>,
    pub(super) earned: i64,
    pub(super) redeemed: i64,
    pub(super) inactivity: i16,
}

impl WalletRow {
    /// A wallet's row; one that no transaction has touched is not stored.
    #[must_use]
    pub(crate) fn new(member_no: i64, currency: &CurrencyId, wallet: &Wallet) -> Option<Self> {
        let debts = Some(&wallet.debts).filter(|debts| !debts.is_empty());
        let kind = |debt: &Debt| debt.account.kind().to_owned();
        let brand = |debt: &Debt| {
            let creditor = debt.account.brand();
            creditor.map(ToString::to_string).unwrap_or_default()
        };
        Some(Self {
            member_no,
            currency: currency.to_string(),
            pending: wallet.buckets.pending.get(),
            available: wallet.buckets.available.get(),
            held: wallet.buckets.held.get(),
            debt: wallet.buckets.debt.get(),
            sequence: wallet.sequence,
            last_position: wallet.last_position?.get(),
            last_at: to_pg(wallet.last_at?),
            next_due: wallet.next_due.map(to_pg),
            inactive_at: wallet.inactive_at.map(to_pg),
            debt_kinds: debts.map(|debts| debts.iter().map(kind).collect()),
            debt_brands: debts.map(|debts| debts.iter().map(brand).collect()),
            debt_points: debts.map(|debts| debts.iter().map(|debt| debt.points.get()).collect()),
            earned: wallet.earned,
            redeemed: wallet.redeemed,
            inactivity: match wallet.inactivity {
                Inactivity::Counts => 0,
                Inactivity::Waived => 1,
            },
        })
    }
}

/// A member's numbers, packed.
#[derive(Debug, sqlx::Type)]
#[sqlx(type_name = "counters_row")]
pub(crate) struct CountersRow {
    pub(crate) member_no: i64,
    pub(crate) body: Vec<u8>,
}

/// A lot, new or known.
#[derive(Debug, sqlx::Type)]
#[sqlx(type_name = "lot_row")]
pub(crate) struct LotRow {
    pub(super) member_no: i64,
    pub(super) lot: i64,
    pub(super) currency: String,
    pub(super) brand: String,
    pub(super) amount: i64,
    pub(super) remaining: i64,
    pub(super) held: i64,
    pub(super) expired: i64,
    pub(super) earned_at: PgTime,
    pub(super) activates_at: Option<PgTime>,
    pub(super) expires_at: PgTime,
    pub(super) unit_value_micros: Option<i64>,
    pub(super) program_version: i32,
    pub(super) origin: i16,
    pub(super) pending: bool,
    pub(super) spendable: bool,
    pub(super) activates_on: Option<String>,
}

impl LotRow {
    /// A member's lot.
    #[must_use]
    pub(crate) fn new(member_no: i64, lot: &Lot) -> Self {
        let terms = &lot.terms;
        Self {
            member_no,
            lot: terms.lot.get(),
            currency: terms.currency.to_string(),
            brand: terms.brand.to_string(),
            amount: terms.amount.get(),
            remaining: lot.remaining.get(),
            held: lot.held.get(),
            expired: lot.expired.get(),
            earned_at: to_pg(terms.earned_at),
            activates_at: terms.activates_at.map(to_pg),
            expires_at: to_pg(terms.expires_at.unwrap_or(LotTerms::NEVER)),
            unit_value_micros: terms.unit_value_micros,
            program_version: i32::try_from(terms.program_version).unwrap_or(i32::MAX),
            origin: match terms.origin {
                LotOrigin::Purchase => 1,
                LotOrigin::Promotion => 2,
                LotOrigin::Adjustment => 3,
            },
            pending: lot.pending,
            spendable: !lot.pending && !lot.remaining.is_zero(),
            activates_on: terms.activates_on.as_ref().map(ToString::to_string),
        }
    }
}

/// A hold, new or known.
#[derive(Debug, sqlx::Type)]
#[sqlx(type_name = "hold_row")]
pub(crate) struct HoldRow {
    pub(super) hold: i64,
    pub(super) member_no: i64,
    pub(super) currency: String,
    pub(super) brand: String,
    pub(super) expires_at: PgTime,
    pub(super) lots: Vec<i64>,
    pub(super) points: Vec<i64>,
    pub(super) open: bool,
}

impl HoldRow {
    /// A hold in a member's wallet.
    #[must_use]
    pub(crate) fn new(member_no: i64, currency: &CurrencyId, hold: &Hold) -> Self {
        Self {
            hold: hold.position.get(),
            member_no,
            currency: currency.to_string(),
            brand: hold.brand.to_string(),
            expires_at: to_pg(hold.expires_at),
            lots: hold.lots.iter().map(|part| part.lot.get()).collect(),
            points: hold.lots.iter().map(|part| part.points.get()).collect(),
            open: !hold.lots.is_empty(),
        }
    }
}

/// What has been reversed of a transaction.
#[derive(Debug, sqlx::Type)]
#[sqlx(type_name = "reversal_row")]
pub(crate) struct ReversalRow {
    position: i64,
    member_no: i64,
    lots: Vec<i64>,
    points: Vec<i64>,
}

impl ReversalRow {
    /// What has been reversed of a member's transaction.
    #[must_use]
    pub(crate) fn new(member_no: i64, transaction: Position, reversal: &Reversal) -> Self {
        Self {
            position: transaction.get(),
            member_no,
            lots: reversal.parts.iter().map(|part| part.lot.get()).collect(),
            points: reversal
                .parts
                .iter()
                .map(|part| part.points.get())
                .collect(),
        }
    }
}

/// What a shard has of a budget.
#[derive(Clone, Debug, sqlx::Type)]
#[sqlx(type_name = "lease_row")]
pub(crate) struct LeaseRow {
    pub(crate) program: String,
    pub(crate) budget: String,
    pub(crate) lying: i64,
    pub(crate) used: i64,
    pub(crate) confirmed: i32,
    pub(crate) leased: i64,
    pub(crate) version: i32,
    pub(crate) warned: i64,
}

/// What has come back of a purchase.
#[derive(Debug)]
pub(crate) struct ReturnRow {
    pub(crate) position: i64,
    pub(crate) member_no: i64,
    /// A `Returned`, in borsh.
    pub(crate) body: Vec<u8>,
}

impl ReturnRow {
    /// What has come back of a member's purchase.
    #[must_use]
    pub(crate) fn new(member_no: i64, transaction: Position, returned: &Returned) -> Self {
        Self {
            position: transaction.get(),
            member_no,
            body: borsh::to_vec(returned).expect("writing to memory does not fail"),
        }
    }
}

/// An order that a batch records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(type_name = "order_row")]
pub(crate) struct OrderRow {
    /// The shard that its key lies in.
    pub(crate) shard: i16,
    /// Its key.
    pub(crate) order_key: Uuid,
    /// Key of the request that records it.
    pub(crate) request_key: Uuid,
}

/// The version of a programme that a shard's requests are planned by.
#[derive(Clone, Debug, sqlx::Type)]
#[sqlx(type_name = "version_row")]
pub(crate) struct VersionRow {
    /// The programme.
    pub(crate) program: String,
    /// The version.
    pub(crate) version: i32,
    /// Where it began.
    pub(crate) position: i64,
    /// When.
    pub(crate) begun_at: PgTime,
    /// Up to which version counters are worked out for all; it does not change with the others.
    pub(crate) backfilled: i32,
}

/// Up to when the ends of a programme's periods are written.
#[derive(Clone, Debug, sqlx::Type)]
#[sqlx(type_name = "period_ends_row")]
pub(crate) struct PeriodEndsRow {
    /// The programme.
    pub(crate) program: String,
    /// Up to when.
    pub(crate) through: PgTime,
}

/// A member that was asked for, by its place among those asked for, from 1.
#[derive(Debug, sqlx::Type)]
#[sqlx(type_name = "member_number")]
pub(crate) struct MemberNumber {
    pub(super) index: i64,
    pub(super) member_no: i64,
}

/// A transaction that a request made before.
#[derive(Clone, Debug, sqlx::Type)]
#[sqlx(type_name = "seen_row")]
pub(crate) struct SeenRow {
    pub(super) request_key: Uuid,
    pub(super) body: Vec<u8>,
    pub(super) chain: Vec<u8>,
}

/// A member's tier, by its place among those asked for, from 1.
#[derive(Debug, sqlx::Type)]
#[sqlx(type_name = "tier_row")]
pub(crate) struct TierRow {
    pub(super) index: i64,
    pub(super) tier: String,
}

/// A wallet of which lots are wanted.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "asked_wallet")]
pub(crate) struct AskedWallet {
    /// Number of its member.
    pub(crate) member_no: i64,
    /// Its currency.
    pub(crate) currency: String,
    /// Lots in the order of spending until they have so many points.
    pub(crate) points: i64,
    /// But no more lots than this.
    pub(crate) lots_max: i32,
    /// Also what is pending, and what is held, for something is due.
    pub(crate) due: bool,
    /// Also its open holds.
    pub(crate) holds: bool,
}
