//! Transactions and wallets on the wire.

use fealty_ledger::{Account, BucketName, Buckets, Cause, Command, Due, LotOrigin, Transaction};
use fealty_proto::{points::v1 as wire, r#type::v1::Money};
use fealty_server::to_wire_time;
use fealty_types::{LotId, Position, ShardId, TransactionName};

pub(super) fn name(shard: ShardId, position: Position) -> String {
    TransactionName { shard, position }.to_string()
}

fn lot_name(shard: ShardId, lot: LotId) -> String {
    format!("{shard}-{}-{}", lot.position(), lot.number())
}

pub(super) fn account(account: &Account) -> wire::Account {
    let kind = match account {
        Account::Wallet(BucketName::Pending) => wire::AccountKind::Pending,
        Account::Wallet(BucketName::Available) => wire::AccountKind::Available,
        Account::Wallet(BucketName::Held) => wire::AccountKind::Held,
        Account::Wallet(BucketName::Debt) => wire::AccountKind::Debt,
        Account::Issued(_) => wire::AccountKind::Issued,
        Account::Redeemed(_) => wire::AccountKind::Redeemed,
        Account::Expired(_) => wire::AccountKind::Expired,
    };
    wire::Account {
        kind: kind.into(),
        brand: account.brand().map(ToString::to_string).unwrap_or_default(),
    }
}

pub(super) fn balance(currency: &str, buckets: &Buckets, sequence: i64) -> wire::Balance {
    wire::Balance {
        currency: currency.to_owned(),
        pending: buckets.pending.get(),
        available: buckets.available.get(),
        held: buckets.held.get(),
        debt: buckets.debt.get(),
        sequence,
    }
}

/// The kind of a transaction, its brand, reference, purchase and hold.
struct Told {
    kind: wire::TransactionKind,
    brand: String,
    reference: String,
    purchase: Option<wire::Purchase>,
    hold: Option<Position>,
}

impl Told {
    fn of(transaction: &Transaction) -> Self {
        let plain = |kind| Self {
            kind,
            brand: String::new(),
            reference: String::new(),
            purchase: None,
            hold: None,
        };
        let (command, facts) = match &transaction.cause {
            Cause::Request { command, facts, .. } => (command, facts),
            Cause::Due(Due::Activate) => return plain(wire::TransactionKind::Activate),
            Cause::Due(Due::Expire) => return plain(wire::TransactionKind::Expire),
            Cause::Due(Due::HoldTimeout { hold }) => {
                return Self {
                    hold: Some(*hold),
                    ..plain(wire::TransactionKind::HoldTimeout)
                };
            }
        };
        match command {
            Command::Purchase(purchase) => Self {
                brand: purchase.brand.to_string(),
                purchase: facts.as_ref().map(|facts| wire::Purchase {
                    brand: purchase.brand.to_string(),
                    order_number: purchase.order_number.to_string(),
                    amount: Some(Money {
                        currency_code: purchase.amount.currency().to_string(),
                        minor_units: purchase.amount.minor_units(),
                    }),
                    purchase_time: Some(to_wire_time(facts.purchased_at)),
                    tier: facts
                        .tier
                        .as_ref()
                        .map(ToString::to_string)
                        .unwrap_or_default(),
                    program_version: facts.program_version,
                    earned_points: facts
                        .earned
                        .iter()
                        .map(|earned| wire::EarnedPoints {
                            rule: earned.rule.to_string(),
                            currency: earned.currency.to_string(),
                            points: earned.points.get(),
                            bonus: earned.bonus,
                        })
                        .collect(),
                }),
                ..plain(wire::TransactionKind::Purchase)
            },
            Command::Accrue(accrue) => Self {
                brand: accrue.brand.to_string(),
                reference: accrue.reference.to_string(),
                ..plain(wire::TransactionKind::Accrue)
            },
            Command::Redeem(redeem) => Self {
                brand: redeem.brand.to_string(),
                reference: redeem.reference.to_string(),
                ..plain(wire::TransactionKind::Redeem)
            },
            Command::Hold(hold) => Self {
                brand: hold.brand.to_string(),
                reference: hold.reference.to_string(),
                hold: Some(transaction.position),
                ..plain(wire::TransactionKind::Hold)
            },
            Command::Capture(capture) => Self {
                hold: Some(capture.hold),
                ..plain(wire::TransactionKind::Capture)
            },
            Command::Release(release) => Self {
                hold: Some(release.hold),
                ..plain(wire::TransactionKind::Release)
            },
        }
    }
}

pub(super) fn transaction(transaction: &Transaction, chain: &[u8]) -> wire::Transaction {
    let shard = transaction.shard;
    let told = Told::of(transaction);
    wire::Transaction {
        name: name(shard, transaction.position),
        shard: i32::from(shard.get()),
        position: transaction.position.get(),
        program: transaction.program.to_string(),
        member: transaction.member.to_string(),
        request_id: transaction
            .request_id()
            .map(ToString::to_string)
            .unwrap_or_default(),
        kind: told.kind.into(),
        effective_time: Some(to_wire_time(transaction.effective_at)),
        brand: told.brand,
        reference: told.reference,
        purchase: told.purchase,
        transfers: transaction
            .transfers
            .iter()
            .map(|transfer| wire::Transfer {
                debit: Some(account(&transfer.debit)),
                credit: Some(account(&transfer.credit)),
                amount: transfer.amount.get(),
                currency: transfer.currency.to_string(),
                lot: lot_name(shard, transfer.lot),
                rule: transfer
                    .rule
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            })
            .collect(),
        lots: transaction
            .lots
            .iter()
            .map(|lot| wire::Lot {
                name: lot_name(shard, lot.lot),
                currency: lot.currency.to_string(),
                brand: lot.brand.to_string(),
                amount: lot.amount.get(),
                earned_time: Some(to_wire_time(lot.earned_at)),
                activation_time: lot.activates_at.map(to_wire_time),
                expiry_time: lot.expires_at.map(to_wire_time),
                origin: match lot.origin {
                    LotOrigin::Purchase => wire::LotOrigin::Purchase.into(),
                    LotOrigin::Promotion => wire::LotOrigin::Promotion.into(),
                },
            })
            .collect(),
        balances: transaction
            .wallets
            .iter()
            .map(|after| balance(after.currency.as_str(), &after.buckets, after.sequence))
            .collect(),
        hold: told.hold.map(|hold| name(shard, hold)).unwrap_or_default(),
        chain: chain.to_vec(),
        canonical_bytes: Vec::new(),
    }
}
