//! Transactions and wallets on the wire.

use fealty_auth::Caller;
use fealty_ledger::{
    Buckets, Cause, Command, Due, Facts, Lot, LotOrigin, LotTerms, Purchase, PurchaseFacts,
    ReversalFacts, Transaction, Wallet,
};
use fealty_proto::{points::v1 as wire, r#type::v1::Money};
use fealty_server::to_wire_time;
use fealty_types::{LotId, LotName, Points, Position, ShardId, Timestamp, TransactionName};

use crate::audit::grpc::render_account;

pub(super) fn name(shard: ShardId, position: Position) -> String {
    TransactionName { shard, position }.to_string()
}

pub(super) fn lot_name(shard: ShardId, lot: LotId) -> String {
    LotName { shard, lot }.to_string()
}

pub(super) fn balance(
    currency: &str,
    buckets: &Buckets,
    sequence: i64,
    inactive_at: Option<Timestamp>,
) -> wire::Balance {
    wire::Balance {
        currency: currency.to_owned(),
        pending: buckets.pending.get(),
        available: buckets.available.get(),
        held: buckets.held.get(),
        debt: buckets.debt.get(),
        sequence,
        inactive_time: inactive_at.map(to_wire_time),
    }
}

pub(super) fn wallet(currency: &str, wallet: &Wallet) -> wire::Balance {
    balance(
        currency,
        &wallet.buckets,
        wallet.sequence,
        wallet.inactive_at,
    )
}

/// The kinds of transaction, by the name that the ledger has for them.
const KINDS: [(&str, wire::TransactionKind); 16] = [
    ("purchase", wire::TransactionKind::Purchase),
    ("accrue", wire::TransactionKind::Accrue),
    ("redeem", wire::TransactionKind::Redeem),
    ("hold", wire::TransactionKind::Hold),
    ("capture", wire::TransactionKind::Capture),
    ("release", wire::TransactionKind::Release),
    ("activate", wire::TransactionKind::Activate),
    ("hold_timeout", wire::TransactionKind::HoldTimeout),
    ("expire", wire::TransactionKind::Expire),
    ("reverse", wire::TransactionKind::Reverse),
    ("adjust", wire::TransactionKind::Adjust),
    ("transfer_out", wire::TransactionKind::TransferOut),
    ("transfer_in", wire::TransactionKind::TransferIn),
    ("extend", wire::TransactionKind::Extend),
    ("reinstate", wire::TransactionKind::Reinstate),
    ("activate_on_event", wire::TransactionKind::ActivateOnEvent),
];

/// The ledger's name of a kind.
pub(super) fn kind_name(kind: wire::TransactionKind) -> Option<&'static str> {
    KINDS
        .iter()
        .find(|known| known.1 == kind)
        .map(|known| known.0)
}

fn kind(name: &str) -> wire::TransactionKind {
    KINDS
        .iter()
        .find(|known| known.0 == name)
        .map_or(wire::TransactionKind::Unspecified, |known| known.1)
}

fn text(value: &impl ToString) -> String {
    value.to_string()
}

/// What only some kinds of transaction say, filled in.
fn tell(rendered: &mut wire::Transaction, transaction: &Transaction) {
    let shard = transaction.shard;
    let (command, facts) = match &transaction.cause {
        Cause::Due(Due::Activate | Due::Expire) => return,
        Cause::Due(Due::HoldTimeout { hold }) => {
            rendered.hold = name(shard, *hold);
            return;
        }
        Cause::Received(received) => {
            rendered.counterpart = Some(wire::Counterpart {
                member: text(&received.from),
                transaction: text(&received.transfer),
            });
            return;
        }
        Cause::Request { command, facts, .. } => (command, facts),
    };
    rendered.brand = command.brand().map(text).unwrap_or_default();
    let operator = |reason: &fealty_types::Reference, actor: &fealty_types::Reference| {
        Some(wire::OperatorAction {
            reason: text(reason),
            actor: text(actor),
            ..wire::OperatorAction::default()
        })
    };
    match command {
        Command::Purchase(purchase) => {
            if let Some(Facts::Purchase(facts)) = facts {
                rendered.purchase = Some(purchase_of(purchase, facts, rendered.program_version));
            }
        }
        Command::Accrue(accrue) => rendered.reference = text(&accrue.reference),
        Command::Redeem(redeem) => rendered.reference = text(&redeem.reference),
        Command::Hold(hold) => {
            rendered.reference = text(&hold.reference);
            rendered.hold = name(shard, transaction.position);
        }
        Command::Capture(capture) => rendered.hold = name(shard, capture.hold),
        Command::Release(release) => rendered.hold = name(shard, release.hold),
        Command::Reverse(reverse) => {
            rendered.reference = text(&reverse.reference);
            if let Some(Facts::Reversal(facts)) = facts {
                rendered.reversal = Some(reversal(shard, reverse.transaction, facts));
            }
        }
        Command::Adjust(adjust) => {
            rendered.operator_action = Some(wire::OperatorAction {
                reason: text(&adjust.reason),
                actor: text(&adjust.actor),
                approver: adjust.approver.as_ref().map(text).unwrap_or_default(),
                note: text(&adjust.note),
            });
        }
        Command::TransferOut(transfer) => {
            rendered.reference = text(&transfer.reference);
            rendered.counterpart = Some(wire::Counterpart {
                member: text(&transfer.to),
                transaction: String::new(),
            });
        }
        Command::Extend(extend) => {
            rendered.operator_action = operator(&extend.reason, &extend.actor);
        }
        Command::Reinstate(reinstate) => {
            rendered.operator_action = operator(&reinstate.reason, &reinstate.actor);
        }
        Command::Activate(activate) => {
            rendered.reference = text(&activate.reference);
            rendered.activated = name(shard, activate.transaction);
        }
    }
}

fn purchase_of(purchase: &Purchase, facts: &PurchaseFacts, program_version: i64) -> wire::Purchase {
    let earned = facts.earned.iter();
    wire::Purchase {
        brand: text(&purchase.brand),
        order_number: text(&purchase.order_number),
        amount: Some(Money {
            currency_code: text(&purchase.amount.currency()),
            minor_units: purchase.amount.minor_units(),
        }),
        purchase_time: Some(to_wire_time(facts.purchased_at)),
        tier: facts.tier.as_ref().map(text).unwrap_or_default(),
        program_version,
        earned_points: earned
            .map(|earned| wire::EarnedPoints {
                rule: text(&earned.rule),
                currency: text(&earned.currency),
                points: earned.points.get(),
                bonus: earned.bonus,
            })
            .collect(),
    }
}

/// What a reversal came to.
fn reversal(shard: ShardId, of: Position, facts: &ReversalFacts) -> wire::ReversalOutcome {
    wire::ReversalOutcome {
        transaction: name(shard, of),
        points: facts.parts.iter().map(|part| part.points.get()).sum(),
        expired: facts.expired.get(),
        borne: facts.borne.get(),
    }
}

fn lot(shard: ShardId, terms: &LotTerms) -> wire::Lot {
    let on_event = terms.activates_at == Some(LotTerms::ON_EVENT);
    let with_inactivity = terms.expires_at == Some(LotTerms::WITH_ACTIVITY);
    wire::Lot {
        name: lot_name(shard, terms.lot),
        currency: text(&terms.currency),
        brand: text(&terms.brand),
        amount: terms.amount.get(),
        earned_time: Some(to_wire_time(terms.earned_at)),
        activation_time: terms.activates_at.filter(|_| !on_event).map(to_wire_time),
        expiry_time: terms
            .expires_at
            .filter(|_| !with_inactivity)
            .map(to_wire_time),
        origin: match terms.origin {
            LotOrigin::Purchase => wire::LotOrigin::Purchase.into(),
            LotOrigin::Promotion => wire::LotOrigin::Promotion.into(),
            LotOrigin::Adjustment => wire::LotOrigin::Adjustment.into(),
        },
        activates_on_event: on_event,
        expires_with_inactivity: with_inactivity,
        unit_value_micros: terms.unit_value_micros.unwrap_or_default(),
    }
}

pub(super) fn open_lot(shard: ShardId, read: &Lot) -> wire::OpenLot {
    let left = |pending: bool| {
        if read.pending == pending {
            read.remaining.get()
        } else {
            Points::ZERO.get()
        }
    };
    wire::OpenLot {
        lot: Some(lot(shard, &read.terms)),
        pending: left(true),
        available: left(false),
        held: read.held.get(),
    }
}

/// A transaction as a caller is told of it.
pub(crate) fn transaction(
    caller: &Caller,
    transaction: &Transaction,
    chain: &[u8],
) -> wire::Transaction {
    let shard = transaction.shard;
    let program_version = match &transaction.cause {
        Cause::Request {
            program_version, ..
        } => i64::from(*program_version),
        Cause::Due(_) | Cause::Received(_) => 0,
    };
    let mut rendered = wire::Transaction {
        name: name(shard, transaction.position),
        shard: i32::from(shard.get()),
        position: transaction.position.get(),
        program: text(&transaction.program),
        member: text(&transaction.member),
        request_id: transaction.request_id().map(text).unwrap_or_default(),
        kind: kind(transaction.kind()).into(),
        effective_time: Some(to_wire_time(transaction.effective_at)),
        program_version,
        transfers: transaction
            .transfers
            .iter()
            .map(|transfer| wire::Transfer {
                debit: Some(render_account(&transfer.debit)),
                credit: Some(render_account(&transfer.credit)),
                amount: transfer.amount.get(),
                currency: text(&transfer.currency),
                lot: lot_name(shard, transfer.lot),
                rule: transfer.rule.as_ref().map(text).unwrap_or_default(),
                issuer: text(transfer.issuer()),
            })
            .collect(),
        lots: transaction
            .lots
            .iter()
            .map(|terms| lot(shard, terms))
            .collect(),
        expiry_changes: transaction
            .expiry_changes
            .iter()
            .map(|change| wire::ExpiryChange {
                lot: lot_name(shard, change.lot),
                expiry_time: Some(to_wire_time(change.expires_at)),
            })
            .collect(),
        balances: transaction
            .wallets
            .iter()
            .map(|after| {
                let currency = after.currency.as_str();
                balance(currency, &after.buckets, after.sequence, after.inactive_at)
            })
            .collect(),
        chain: chain.to_vec(),
        ..wire::Transaction::default()
    };
    tell(&mut rendered, transaction);
    rendered.caller = transaction
        .principal
        .as_ref()
        .map(|principal| wire::Caller {
            subject: text(&principal.subject),
            acting_for: principal.acting_for.as_ref().map(text).unwrap_or_default(),
        });
    // Who was at the till, or in the office, is not the member's business.
    if caller.identity().member.is_some() {
        rendered.caller = None;
        if let Some(action) = &mut rendered.operator_action {
            action.actor.clear();
            action.approver.clear();
        }
    }
    rendered
}
