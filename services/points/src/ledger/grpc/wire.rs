//! Transactions and wallets on the wire.

mod overview;
mod purchase;

use std::time::Duration;

use fealty_ledger::{
    Buckets, Cause, Command, ConvertedInto, Due, EndOf, Ended, Entry, Facts, Inactivity, Lot,
    LotOrigin, LotTerms, Notice, ReversalFacts, Said, Transaction, Wallet,
};
use fealty_proto::points::v1 as wire;
use fealty_server::to_wire_time;
use fealty_types::{Ids, LotPlace, Metadata, Points, ShardId, Timestamp, TransactionPlace};

pub(crate) use self::purchase::earned_points;
use self::purchase::{activity_of, purchase_of, purchase_return};
use super::Call;
use crate::{audit::grpc::render_account, ledger::holds::HoldRead, shard::Logged};

pub(super) fn balance(
    currency: &str,
    buckets: &Buckets,
    sequence: i64,
    (inactivity, inactive_at): (Inactivity, Option<Timestamp>),
) -> wire::Balance {
    let waived = inactivity == Inactivity::Waived;
    wire::Balance {
        currency: currency.to_owned(),
        pending: buckets.pending.get(),
        available: buckets.available.get(),
        held: buckets.held.get(),
        debt: buckets.debt.get(),
        sequence,
        inactive_time: inactive_at.filter(|_| !waived).map(to_wire_time),
        debts: Vec::new(),
        inactivity_waived: waived,
    }
}

pub(super) fn wallet(currency: &str, wallet: &Wallet) -> wire::Balance {
    let debts = wallet.debts.iter().map(|debt| wire::Debt {
        brand: debt.account.brand().map(text).unwrap_or_default(),
        points: debt.points.get(),
    });
    wire::Balance {
        debts: debts.collect(),
        ..balance(
            currency,
            &wallet.buckets,
            wallet.sequence,
            (wallet.inactivity, wallet.inactive_at),
        )
    }
}

/// The kinds of transaction, by the name that the ledger has for them.
const KINDS: [(&str, wire::TransactionKind); 27] = [
    ("purchase", wire::TransactionKind::Purchase),
    ("activity", wire::TransactionKind::Activity),
    ("accrue", wire::TransactionKind::Accrue),
    ("redeem", wire::TransactionKind::Redeem),
    ("hold", wire::TransactionKind::Hold),
    ("capture", wire::TransactionKind::Capture),
    ("release", wire::TransactionKind::Release),
    ("activate", wire::TransactionKind::Activate),
    ("hold_timeout", wire::TransactionKind::HoldTimeout),
    ("expire", wire::TransactionKind::Expire),
    ("reverse", wire::TransactionKind::Reverse),
    ("return", wire::TransactionKind::Return),
    ("adjust", wire::TransactionKind::Adjust),
    ("gift_sent", wire::TransactionKind::GiftSent),
    ("gift_received", wire::TransactionKind::GiftReceived),
    ("extend", wire::TransactionKind::Extend),
    ("reinstate", wire::TransactionKind::Reinstate),
    ("extend_hold", wire::TransactionKind::ExtendHold),
    ("program_version", wire::TransactionKind::ProgramVersion),
    ("tier_changed", wire::TransactionKind::TierChanged),
    ("budget_lease", wire::TransactionKind::BudgetLease),
    ("budget_warning", wire::TransactionKind::BudgetWarning),
    ("period_ended", wire::TransactionKind::PeriodEnded),
    ("periods_ended", wire::TransactionKind::PeriodsEnded),
    (
        "counters_backfilled",
        wire::TransactionKind::CountersBackfilled,
    ),
    (
        "all_counters_backfilled",
        wire::TransactionKind::AllCountersBackfilled,
    ),
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
fn tell(rendered: &mut wire::Transaction, ids: Ids, transaction: &Transaction) {
    let of_shard = |position| TransactionPlace {
        shard: transaction.shard,
        position,
    };
    let (command, facts) = match &transaction.cause {
        // What counters come to, `GetCounters` says.
        Cause::Due(Due::Activate | Due::Expire | Due::ExpireInactive) | Cause::Backfilled(_) => {
            return;
        }
        Cause::Due(Due::HoldTimeout { hold }) => {
            rendered.hold = ids.hold(of_shard(*hold));
            return;
        }
        Cause::Received(received) => {
            rendered.counterpart = Some(wire::Counterpart {
                member: text(&received.from),
                transaction: ids.transaction(received.gift),
            });
            return;
        }
        Cause::TierChanged(change) => {
            rendered.member_tier = Some(wire::MemberTier {
                tier: text(&change.tier),
                since_time: Some(to_wire_time(change.since)),
            });
            return;
        }
        Cause::Ended(ended) => {
            rendered.period_end = Some(period_end(ended));
            return;
        }
        Cause::Request { command, facts, .. } => (command, facts),
    };
    rendered.brand = command.brand().map(text).unwrap_or_default();
    tell_command(rendered, ids, transaction, command, facts.as_ref());
}

/// What was asked for.
fn tell_command(
    rendered: &mut wire::Transaction,
    ids: Ids,
    transaction: &Transaction,
    command: &Command,
    facts: Option<&Facts>,
) {
    let of_shard = |position| TransactionPlace {
        shard: transaction.shard,
        position,
    };
    let of_transaction = |position| ids.transaction(of_shard(position));
    let operator = |reason: &fealty_types::Reference, actor: &fealty_types::Reference| {
        Some(wire::OperatorAction {
            reason: text(reason),
            actor: text(actor),
            ..wire::OperatorAction::default()
        })
    };
    match command {
        Command::Purchase(purchase) => {
            let told = facts.and_then(Facts::of_purchase);
            let hold = |hold| ids.hold(of_shard(hold));
            rendered.purchase = told.map(|of| purchase_of(purchase, of, (transaction, &hold)));
        }
        Command::Activity(activity) => {
            let told = facts.and_then(Facts::of_purchase);
            rendered.activity = told.map(|of| activity_of(activity, of, transaction));
        }
        Command::Accrue(accrue) => rendered.reference = text(&accrue.reference),
        Command::Redeem(redeem) => rendered.reference = text(&redeem.reference),
        Command::Hold(hold) => {
            rendered.reference = text(&hold.reference);
            rendered.hold = ids.hold(transaction.place());
            rendered.hold_expiry_time = times_out(transaction, hold.timeout());
        }
        Command::Capture(capture) => rendered.hold = ids.hold(of_shard(capture.hold)),
        Command::ExtendHold(extend) => {
            rendered.hold = ids.hold(of_shard(extend.hold));
            rendered.hold_expiry_time = times_out(transaction, extend.timeout());
        }
        Command::Release(release) => rendered.hold = ids.hold(of_shard(release.hold)),
        Command::Reverse(reverse) => {
            rendered.reference = text(&reverse.reference);
            tell_undone(rendered, of_transaction(reverse.transaction), facts);
        }
        Command::Return(asked) => {
            rendered.reference = text(&asked.reference);
            tell_undone(rendered, of_transaction(asked.transaction), facts);
        }
        Command::Adjust(adjust) => {
            rendered.operator_action = Some(wire::OperatorAction {
                reason: text(&adjust.reason),
                actor: text(&adjust.actor),
                approver: adjust.approver.as_ref().map(text).unwrap_or_default(),
                note: text(&adjust.note),
            });
        }
        Command::Gift(gift) => {
            rendered.reference = text(&gift.reference);
            rendered.counterpart = Some(wire::Counterpart {
                member: text(&gift.to),
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
            rendered.activated = of_transaction(activate.transaction);
        }
    }
}

/// What the end of a period came to.
fn period_end(ended: &Ended) -> wire::PeriodEnd {
    let converted = ended.converted.iter().map(|converted| wire::Conversion {
        rule: text(&converted.rule),
        currency: text(&converted.currency),
        points: converted.points.get(),
        brand: text(&converted.brand),
        into: match converted.into {
            ConvertedInto::Voucher => wire::ConversionInto::Voucher.into(),
        },
        value_minor_units: converted.minor_units,
    });
    wire::PeriodEnd {
        period: match ended.of {
            EndOf::Day => wire::Period::Day,
            EndOf::Week => wire::Period::Week,
            EndOf::Month => wire::Period::Month,
            EndOf::Quarter => wire::Period::Quarter,
            EndOf::Year => wire::Period::Year,
        }
        .into(),
        end_time: Some(to_wire_time(ended.ends_at)),
        number: i32::from(ended.number),
        tier: ended.facts.tier.as_ref().map(text).unwrap_or_default(),
        converted: converted.collect(),
        taken_back: ended
            .taken_back
            .parts
            .iter()
            .map(|part| part.points.get())
            .sum(),
        expired: ended.taken_back.expired.get(),
        borne: ended.taken_back.borne.get(),
    }
}

/// When the hold that a transaction makes or extends comes back.
fn times_out(transaction: &Transaction, timeout: Duration) -> Option<prost_types::Timestamp> {
    let at = transaction.effective_at.checked_add(timeout);
    at.map(to_wire_time)
}

/// What became of the transaction that was undone, or of a part of it.
fn tell_undone(rendered: &mut wire::Transaction, of: String, facts: Option<&Facts>) {
    match facts {
        Some(Facts::Reversal(facts)) => rendered.reversal = Some(reversal(of, facts)),
        Some(facts) => {
            if let Some(facts) = facts.of_return() {
                rendered.brand = text(&facts.brand);
                rendered.purchase_return = Some(purchase_return(of, facts));
            }
        }
        None => {}
    }
}

/// What a reversal came to.
fn reversal(of: String, facts: &ReversalFacts) -> wire::ReversalOutcome {
    wire::ReversalOutcome {
        transaction: of,
        points: facts.parts.iter().map(|part| part.points.get()).sum(),
        expired: facts.expired.get(),
        borne: facts.borne.get(),
    }
}

fn lot(ids: Ids, shard: ShardId, terms: &LotTerms) -> wire::Lot {
    let on_event = terms.activates_at == Some(LotTerms::ON_EVENT);
    let with_inactivity = terms.goes_with_inactivity();
    let expires_at = if with_inactivity {
        terms.not_before()
    } else {
        terms.expires_at
    };
    wire::Lot {
        id: ids.lot(LotPlace {
            shard,
            lot: terms.lot,
        }),
        currency: text(&terms.currency),
        brand: text(&terms.brand),
        amount: terms.amount.get(),
        earned_time: Some(to_wire_time(terms.earned_at)),
        activation_time: terms.activates_at.filter(|_| !on_event).map(to_wire_time),
        expiry_time: expires_at.map(to_wire_time),
        origin: match terms.origin {
            LotOrigin::Purchase => wire::LotOrigin::Purchase.into(),
            LotOrigin::Promotion => wire::LotOrigin::Promotion.into(),
            LotOrigin::Adjustment => wire::LotOrigin::Adjustment.into(),
        },
        activation_event: terms.activates_on.as_ref().map(text).unwrap_or_default(),
        expires_with_inactivity: with_inactivity,
        unit_value_micros: terms.unit_value_micros.unwrap_or_default(),
    }
}

pub(super) fn open_lot(ids: Ids, shard: ShardId, read: &Lot) -> wire::OpenLot {
    let left = |pending: bool| {
        if read.pending == pending {
            read.remaining.get()
        } else {
            Points::ZERO.get()
        }
    };
    wire::OpenLot {
        lot: Some(lot(ids, shard, &read.terms)),
        pending: left(true),
        available: left(false),
        held: read.held.get(),
    }
}

/// The version of the programme that was applied; 0 where none was.
fn program_version(cause: &Cause) -> i64 {
    match cause {
        Cause::Request {
            program_version, ..
        } => i64::from(*program_version),
        Cause::TierChanged(change) => i64::from(change.program_version),
        Cause::Ended(ended) => i64::from(ended.program_version),
        Cause::Backfilled(backfilled) => i64::from(backfilled.program_version),
        Cause::Due(_) | Cause::Received(_) => 0,
    }
}

impl Call<'_> {
    /// A transaction as the caller is told of it.
    pub(crate) fn transaction(self, transaction: &Transaction) -> wire::Transaction {
        let (ids, shard) = (self.ids, transaction.shard);
        let transfers = transaction.transfers.iter();
        let lots = transaction.lots.iter();
        let expiry_changes = transaction.expiry_changes.iter();
        let wallets = transaction.wallets.iter();
        let of_lot = |lot| ids.lot(LotPlace { shard, lot });
        let mut rendered = wire::Transaction {
            id: ids.transaction(transaction.place()),
            program: text(&transaction.program),
            member: text(&transaction.member),
            request_id: transaction.request_id().map(text).unwrap_or_default(),
            kind: kind(transaction.kind()).into(),
            effective_time: Some(to_wire_time(transaction.effective_at)),
            written_time: Some(to_wire_time(transaction.written_at)),
            engine: i32::from(transaction.engine),
            program_version: program_version(&transaction.cause),
            transfers: transfers
                .map(|transfer| wire::Transfer {
                    debit: Some(render_account(&transfer.debit)),
                    credit: Some(render_account(&transfer.credit)),
                    amount: transfer.amount.get(),
                    currency: text(&transfer.currency),
                    lot: of_lot(transfer.lot),
                    rule: transfer.rule.as_ref().map(text).unwrap_or_default(),
                    issuer: text(transfer.issuer()),
                })
                .collect(),
            lots: lots.map(|terms| lot(ids, shard, terms)).collect(),
            expiry_changes: expiry_changes
                .map(|change| wire::ExpiryChange {
                    lot: of_lot(change.lot),
                    expiry_time: Some(to_wire_time(change.expires_at)),
                })
                .collect(),
            balances: wallets
                .map(|after| {
                    let currency = after.currency.as_str();
                    let inactivity = (after.inactivity, after.inactive_at);
                    balance(currency, &after.buckets, after.sequence, inactivity)
                })
                .collect(),
            ..wire::Transaction::default()
        };
        tell(&mut rendered, ids, transaction);
        // Who was at the till, or in the office, is not the member's business, nor what
        // they wrote to each other.
        if self.caller.identity().member.is_some() {
            if let Some(action) = &mut rendered.operator_action {
                action.actor.clear();
                action.approver.clear();
                action.note.clear();
            }
            return rendered;
        }
        let principal = transaction.principal.as_ref();
        rendered.caller = principal.map(|principal| wire::Caller {
            subject: text(&principal.subject),
            acting_for: principal.acting_for.as_ref().map(text).unwrap_or_default(),
            roles: roles(principal.roles),
        });
        let metadata = transaction.metadata().into_iter().flat_map(Metadata::iter);
        rendered.metadata = metadata
            .map(|(key, value)| (text(key), text(value)))
            .collect();
        rendered
    }

    /// A transaction as whoever follows the log is told of it: with its place, and what
    /// the chain is checked by.
    pub(crate) fn logged(self, logged: &Logged) -> wire::Transaction {
        let rendered = match &logged.entry {
            Entry::Transaction(transaction) => self.transaction(transaction),
            Entry::Notice(notice) => self.notice(notice),
        };
        wire::Transaction {
            shard: Some(i32::from(logged.entry.shard().get())),
            position: logged.entry.position().get(),
            chain: logged.chain.clone(),
            ..rendered
        }
    }

    /// A notice, as whoever follows the log is told of it.
    fn notice(self, notice: &Notice) -> wire::Transaction {
        let (shard, position) = (notice.shard, notice.position);
        let written_time = Some(to_wire_time(notice.written_at));
        let mut rendered = wire::Transaction {
            id: self.ids.transaction(TransactionPlace { shard, position }),
            program: text(&notice.program),
            kind: kind(notice.kind()).into(),
            effective_time: written_time,
            written_time,
            engine: i32::from(notice.engine),
            ..wire::Transaction::default()
        };
        match &notice.says {
            Said::VersionBegins { version, .. } | Said::CountersBackfilled { version } => {
                rendered.program_version = (*version).into();
            }
            Said::EndsWritten { through } => {
                rendered.period_end = Some(wire::PeriodEnd {
                    end_time: Some(to_wire_time(*through)),
                    ..wire::PeriodEnd::default()
                });
            }
            said => rendered.budget = budget_entry(said),
        }
        rendered
    }
}

/// What an entry says of a budget.
fn budget_entry(said: &Said) -> Option<wire::BudgetEntry> {
    let (budget, points, size) = match said {
        Said::VersionBegins { .. } | Said::EndsWritten { .. } | Said::CountersBackfilled { .. } => {
            return None;
        }
        Said::LeaseMoved(moved) => (&moved.budget, moved.points, moved.limit),
        Said::LeaseReceived(received) => (&received.budget, received.points, 0),
        Said::BudgetWarned {
            budget,
            used,
            limit,
        } => (budget, *used, *limit),
    };
    Some(wire::BudgetEntry {
        budget: text(budget),
        points,
        size,
        shard: match said {
            Said::LeaseMoved(moved) => Some(moved.shard.get().into()),
            _ => None,
        },
    })
}

impl Call<'_> {
    /// A hold as the caller is told of it.
    pub(super) fn hold(self, shard: ShardId, read: &HoldRead) -> wire::Hold {
        let made = &read.made;
        let Some(Command::Hold(asked)) = made.command() else {
            return wire::Hold::default();
        };
        let rendered = self.transaction(made);
        let state = if read.is_open {
            wire::HoldState::Open
        } else {
            wire::HoldState::Ended
        };
        let position = read.hold.position;
        wire::Hold {
            id: self.ids.hold(TransactionPlace { shard, position }),
            brand: text(&read.hold.brand),
            currency: text(&asked.currency),
            points: asked.points.get(),
            remaining: if read.is_open {
                read.hold.remaining().get()
            } else {
                0
            },
            state: state.into(),
            create_time: rendered.effective_time,
            expiry_time: Some(to_wire_time(read.hold.expires_at)),
            reference: rendered.reference,
            metadata: rendered.metadata,
        }
    }
}

/// The roles that a caller had, by number.
fn roles(bits: u16) -> Vec<i32> {
    let numbers = 0..u16::BITS;
    numbers
        .filter(|number| bits & (1 << number) != 0)
        .filter_map(|number| i32::try_from(number).ok())
        .collect()
}
