//! Who asked for a change: in the log for every one, and in the audit log, with
//! how it was before and after, for what people do.

use fealty_auth::Caller;
use fealty_ledger::{Buckets, Command, Lot, Named, Principal, Transaction};
use fealty_postgres::{DatabaseError, PgConnection, audit_log::NewAuditEntry};
use fealty_server::audit_entry;
use fealty_types::{Ids, LotPlace, MemberId, ProgramId, ShardId, Timestamp};
use serde_json::{Map, Value, json};

use crate::shard::store;

/// A caller, as the log keeps it.
pub(crate) fn principal(caller: &Caller) -> Principal {
    Principal {
        subject: caller.subject().clone(),
        acting_for: caller.whom().cloned(),
        roles: caller.identity().roles.bits(),
    }
}

/// Whether the audit log tells of a change: of all that people do, and of what
/// puts wallets right, whoever does it.
pub(crate) fn is_recorded(caller: &Caller, command: &Command) -> bool {
    let puts_right = matches!(
        command,
        Command::Adjust(_) | Command::Extend(_) | Command::Reinstate(_)
    );
    puts_right || caller.is_person()
}

/// The lot that a command names, as it is before.
pub(crate) async fn lot_before(
    connection: &mut PgConnection,
    shard: ShardId,
    (program, member): (&ProgramId, &MemberId),
    command: &Command,
) -> Result<Option<Lot>, DatabaseError> {
    let Some(Named::Lot(lot)) = command.names() else {
        return Ok(None);
    };
    let number = store::members::number(&mut *connection, shard, program, member).await?;
    let Some(number) = number else {
        return Ok(None);
    };
    let named = store::lots::named(connection, shard, number, &[lot.get()]).await?;
    Ok(named.into_iter().next())
}

/// What the audit log says of a change.
pub(crate) fn entry(
    caller: &Caller,
    ids: Ids,
    transaction: &Transaction,
    lot_before: Option<&Lot>,
) -> NewAuditEntry {
    let (mut wallets_before, mut wallets_after) = (Map::new(), Map::new());
    for wallet in &transaction.wallets {
        let currency = wallet.currency.to_string();
        let then = buckets(&transaction.buckets_before(wallet));
        wallets_before.insert(currency.clone(), then);
        wallets_after.insert(currency, buckets(&wallet.buckets));
    }
    let mut before = json!({ "wallets": wallets_before });
    let mut after = json!({ "wallets": wallets_after });
    if let Some(lot) = lot_before {
        let id = ids.lot(LotPlace {
            shard: transaction.shard,
            lot: lot.terms.lot,
        });
        let as_told = |expiry: Option<Timestamp>| {
            let expiry = expiry.map(|at| at.to_string());
            json!({ "id": id, "expiry_time": expiry })
        };
        let mut moved = transaction.expiry_changes.iter();
        let moved = moved.find(|change| change.lot == lot.terms.lot);
        before["lot"] = as_told(lot.terms.expires_at);
        after["lot"] = as_told(moved.map(|moved| moved.expires_at).or(lot.terms.expires_at));
    }
    NewAuditEntry {
        program: Some(transaction.program.clone()),
        member: Some(transaction.member.clone()),
        reason: transaction.command().and_then(reason),
        before: Some(before.to_string()),
        after: Some(after.to_string()),
        transaction: Some(ids.transaction(transaction.place())),
        ..audit_entry(caller)
    }
}

/// Why, in the words of whoever asked.
fn reason(command: &Command) -> Option<String> {
    let said = match command {
        Command::Adjust(adjust) if adjust.note.as_str().is_empty() => adjust.reason.to_string(),
        Command::Adjust(adjust) => format!("{}: {}", adjust.reason, adjust.note),
        Command::Extend(extend) => extend.reason.to_string(),
        Command::Reinstate(reinstate) => reinstate.reason.to_string(),
        Command::Reverse(reverse) => reverse.reference.to_string(),
        Command::Return(asked) => asked.reference.to_string(),
        Command::Accrue(accrue) => accrue.reference.to_string(),
        Command::Redeem(redeem) => redeem.reference.to_string(),
        Command::Hold(hold) => hold.reference.to_string(),
        Command::Gift(gift) => gift.reference.to_string(),
        Command::Activate(activate) => activate.reference.to_string(),
        Command::Purchase(purchase) => purchase.order_number.to_string(),
        Command::Activity(activity) => activity.id.to_string(),
        Command::Capture(_) | Command::Release(_) | Command::ExtendHold(_) => String::new(),
    };
    (!said.is_empty()).then_some(said)
}

fn buckets(buckets: &Buckets) -> Value {
    json!({
        "pending": buckets.pending.get(),
        "available": buckets.available.get(),
        "held": buckets.held.get(),
        "debt": buckets.debt.get(),
    })
}
