//! What the programme declares personal: the log keeps a hash, the value can be deleted.

use std::collections::HashMap;

use fealty_auth::Role;
use fealty_cli::{
    apply::{How, apply},
    demo::{Fleet, PROGRAM},
    token::grant,
};
use fealty_proto::operations::v1::ListAuditEntriesRequest;
use fealty_proto::points::v1::{
    AccrueRequest, AdjustRequest, ApproveAdjustmentRequest, ErasePersonalDataRequest,
    GetTransactionRequest, GiftRequest, ListTransactionsRequest, ProposeAdjustmentRequest,
    RejectAdjustmentRequest, Transaction, get_transaction_request::By,
};
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::harness::{CLUB, POINTS, SHOP, accrual, accrue, ask, club, polled, reason, verify};

const GUEST: &str = "Anna Blum, room 12";
const NOTE: &str = "Her flight was late, she said";

async fn fleet() -> Fleet {
    let fleet = club().await;
    let program = format!(
        "{PROGRAM}\npersonal: {{ metadata: [guest], notes: true }}\n\
         adjustments: {{ approval_above: 1000 }}\n"
    );
    apply(fleet.clients(), &program, How::Now)
        .await
        .expect("the programme is applied");
    fleet
}

fn with_guest(request_id: &str, guest: &str) -> AccrueRequest {
    AccrueRequest {
        metadata: metadata(guest),
        ..accrual(request_id, "anna", 100)
    }
}

fn gift() -> GiftRequest {
    GiftRequest {
        request_id: "gift".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        recipient: "ben".to_owned(),
        currency: POINTS.to_owned(),
        points: 10,
        metadata: metadata(GUEST),
        ..GiftRequest::default()
    }
}

fn metadata(guest: &str) -> HashMap<String, String> {
    let facts = [("guest", guest), ("till", "7")];
    facts
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

async fn read(fleet: &Fleet, transaction: &str) -> Transaction {
    let asked = GetTransactionRequest {
        program: CLUB.to_owned(),
        by: Some(By::Transaction(transaction.to_owned())),
    };
    let read = ask!(fleet.clients().ledger(), get_transaction, asked).expect("read");
    read.transaction.expect("a transaction")
}

/// Tables of the points database that have a text somewhere in them.
pub(super) async fn tables_with(fleet: &Fleet, text: &str) -> Vec<String> {
    let url = fleet.points_database_url();
    let mut connection = PgConnection::connect(url).await.expect("it answers");
    let tables = "SELECT table_name FROM information_schema.tables
                  WHERE table_schema = 'public' AND table_type = 'BASE TABLE'";
    let tables = sqlx::query(tables).fetch_all(&mut connection).await;
    let mut found = Vec::new();
    for table in tables.expect("there are tables") {
        let table: String = table.get(0);
        // As text, or in the bytes of a column.
        let asked = format!(
            "SELECT count(*) FROM \"{table}\" t
             WHERE t::text LIKE '%{text}%' 
                OR t::text LIKE '%' || encode(convert_to('{text}', 'UTF8'), 'hex') || '%'"
        );
        let count = sqlx::query(sqlx::AssertSqlSafe(asked)).fetch_one(&mut connection);
        let count: i64 = count.await.expect("counted").get(0);
        if count > 0 {
            found.push(table);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "step by step")]
async fn what_is_personal_stands_beside_the_log_and_can_be_erased() {
    let fleet = fleet().await;
    let clients = fleet.clients();
    let given = accrue(clients, with_guest("one", GUEST))
        .await
        .expect("given");
    let given = given.transaction.expect("a transaction");
    assert_eq!(given.metadata, metadata(GUEST), "who writes it knows it");
    let again = accrue(clients, with_guest("one", GUEST))
        .await
        .expect("again");
    assert!(again.replayed);
    assert_eq!(again.transaction.expect("it").metadata, metadata(GUEST));
    let other = accrue(clients, with_guest("one", "Ben Blum")).await;
    assert_eq!(reason(&other.expect_err("another")), "REQUEST_ID_REUSED");
    let adjust = AdjustRequest {
        request_id: "late".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 50,
        reason: "late-delivery".to_owned(),
        note: NOTE.to_owned(),
        actor: "ines".to_owned(),
        ..AdjustRequest::default()
    };
    let adjusted = ask!(clients.ledger(), adjust, adjust).expect("adjusted");
    let adjusted = adjusted.transaction.expect("a transaction");
    let gift = ask!(clients.ledger(), gift, gift())
        .expect("given")
        .transaction;
    assert_eq!(gift.expect("a transaction").metadata, metadata(GUEST));

    // Who reads sees it, who follows the log sees a hash.
    assert_eq!(read(&fleet, &given.id).await.metadata, metadata(GUEST));
    let note = |read: Transaction| read.operator_action.expect("who").note;
    assert_eq!(note(read(&fleet, &adjusted.id).await), NOTE);
    let list = ListTransactionsRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        ..ListTransactionsRequest::default()
    };
    let list = ask!(clients.ledger(), list_transactions, list).expect("listed");
    let guests = list
        .transactions
        .iter()
        .filter(|one| one.metadata == metadata(GUEST));
    assert_eq!(guests.count(), 2);
    let (told, _) = polled(&fleet, String::new()).await;
    let hashed = told.iter().filter(|one| {
        let guest = one.metadata.get("guest");
        guest.is_some_and(|guest| guest.starts_with("sha256:") && guest.len() == 71)
    });
    assert_eq!(hashed.count(), 2);
    let two: Vec<_> = told
        .iter()
        .filter_map(|one| one.metadata.get("guest"))
        .collect();
    assert_ne!(two[0], two[1], "each with a salt of its own");
    for personal in [GUEST, NOTE] {
        let holds = |one: &Transaction| {
            let mut bytes = one.canonical_bytes.windows(personal.len());
            bytes.any(|window| window == personal.as_bytes())
        };
        assert!(!told.iter().any(holds), "it is in the log");
        assert_eq!(tables_with(&fleet, personal).await, ["personal_values"]);
    }

    // Erased: nowhere any more, and the log is what it was.
    let erase = ErasePersonalDataRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
    };
    let erased = ask!(clients.personal_data(), erase_personal_data, erase.clone());
    assert_eq!(erased.expect("erased").values, 3);
    for personal in [GUEST, NOTE] {
        assert_eq!(tables_with(&fleet, personal).await, [""; 0]);
    }
    let erased = ask!(clients.personal_data(), erase_personal_data, erase);
    assert_eq!(erased.expect("there is nothing").values, 0);
    let after = read(&fleet, &given.id).await;
    assert_eq!(after.metadata["till"], "7");
    assert!(after.metadata["guest"].starts_with("sha256:"));
    assert!(note(read(&fleet, &adjusted.id).await).starts_with("sha256:"));
    let bytes = |feed: Vec<Transaction>| -> Vec<Vec<u8>> {
        feed.into_iter().map(|one| one.canonical_bytes).collect()
    };
    assert_eq!(bytes(polled(&fleet, String::new()).await.0), bytes(told));
    let entries = ListAuditEntriesRequest {
        program: CLUB.to_owned(),
        ..ListAuditEntriesRequest::default()
    };
    let [(_, points), ..] = clients.audit_logs();
    let entries = ask!(points, list_audit_entries, entries)
        .expect("listed")
        .entries;
    let erasures = entries
        .iter()
        .filter(|entry| entry.after.contains("erased_values"));
    assert_eq!(erasures.count(), 2, "who erases is known");
    // What comes later is kept as before.
    let later = accrue(clients, with_guest("two", GUEST))
        .await
        .expect("given");
    let later = later.transaction.expect("a transaction").id;
    assert_eq!(read(&fleet, &later).await.metadata, metadata(GUEST));
    verify(&fleet).await.expect("the ledger is sound");
}

/// Proposals keep what they say until it is erased, undecided ones too; what is approved
/// is sealed.
#[tokio::test(flavor = "multi_thread")]
async fn proposals_are_sealed_when_approved_and_erased_with_the_rest() {
    let fleet = fleet().await;
    let person = |name: &str| {
        let caller = fleet.clients_as(&grant(name, &[Role::Operator]));
        caller.expect("a token").adjustments()
    };
    let (ines, olga) = (person("ines"), person("olga"));
    let propose = async |request_id: &str| {
        let request = ProposeAdjustmentRequest {
            request_id: request_id.to_owned(),
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            brand: SHOP.to_owned(),
            currency: POINTS.to_owned(),
            points: 5_000,
            reason: "lost-parcel".to_owned(),
            note: NOTE.to_owned(),
            metadata: metadata(GUEST),
        };
        let proposed = ask!(ines.clone(), propose_adjustment, request).expect("proposed");
        proposed.adjustment.expect("one").id
    };
    let approve = async |adjustment: &str| {
        let request = ApproveAdjustmentRequest {
            request_id: format!("approve-{adjustment}"),
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            adjustment: adjustment.to_owned(),
        };
        let approved = ask!(olga.clone(), approve_adjustment, request).expect("approved");
        (approved.replayed, approved.transaction.expect("made"))
    };
    let note = |made: &Transaction| made.operator_action.as_ref().expect("who").note.clone();
    let (made, open, rejected) = (propose("1").await, propose("2").await, propose("3").await);
    for replayed in [false, true] {
        let approved = approve(&made).await;
        assert_eq!(
            (approved.0, &approved.1.metadata),
            (replayed, &metadata(GUEST))
        );
        assert_eq!(note(&approved.1), NOTE);
    }
    let reject = RejectAdjustmentRequest {
        request_id: "reject".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        adjustment: rejected,
        note: NOTE.to_owned(),
    };
    ask!(olga.clone(), reject_adjustment, reject).expect("rejected");
    // Neither in the log nor in the audit log, of the proposals in their own table.
    for personal in [GUEST, NOTE] {
        let mut found = tables_with(&fleet, personal).await;
        found.sort();
        assert_eq!(found, ["adjustments", "personal_values"], "{personal}");
    }
    let erase = ErasePersonalDataRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
    };
    let erased = ask!(fleet.clients().personal_data(), erase_personal_data, erase);
    // Of each proposal the note and the guest, the note of the rejection, and what the
    // approved one left beside the log.
    assert_eq!(erased.expect("erased").values, 3 * 2 + 1 + 2);
    for personal in [GUEST, NOTE] {
        assert_eq!(tables_with(&fleet, personal).await, [""; 0]);
    }
    // What is undecided can still be approved, with what is not personal.
    let (_, later) = approve(&open).await;
    assert_eq!(note(&later), "");
    assert_eq!(
        later.metadata,
        HashMap::from([("till".to_owned(), "7".to_owned())])
    );
    verify(&fleet).await.expect("the ledger is sound");
}

/// A request that is sent again after another version declares other things personal is
/// the same request.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_one_whatever_was_declared_meanwhile() {
    let fleet = club().await;
    let clients = fleet.clients();
    let send = async |request_id: &str, guest: &str| {
        let done = accrue(clients, with_guest(request_id, guest)).await;
        done.map(|done| (done.replayed, done.transaction.expect("one").metadata))
    };
    assert_eq!(
        send("plain", GUEST).await.expect("given"),
        (false, metadata(GUEST))
    );
    let program = format!("{PROGRAM}\npersonal: {{ metadata: [guest] }}\n");
    let declared = apply(clients, &program, How::Now).await;
    declared.expect("the programme is applied");
    assert_eq!(
        send("plain", GUEST).await.expect("again"),
        (true, metadata(GUEST))
    );
    let other = send("plain", "Ben Blum").await.expect_err("another");
    assert_eq!(reason(&other), "REQUEST_ID_REUSED");
    assert_eq!(
        send("sealed", GUEST).await.expect("given"),
        (false, metadata(GUEST))
    );
    let undeclared = apply(clients, PROGRAM, How::Now).await;
    undeclared.expect("the programme is applied");
    assert_eq!(
        send("sealed", GUEST).await.expect("again"),
        (true, metadata(GUEST))
    );
    let other = send("sealed", "Ben Blum").await.expect_err("another");
    assert_eq!(reason(&other), "REQUEST_ID_REUSED");
    verify(&fleet).await.expect("the ledger is sound");
}

/// A refused request leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_keeps_nothing() {
    let fleet = fleet().await;
    let refused = ask!(fleet.clients().ledger(), gift, gift()).expect_err("anna has nothing");
    assert_eq!(reason(&refused), "INSUFFICIENT_POINTS");
    let mut unknown = with_guest("one", GUEST);
    unknown.brand = "no-brand".to_owned();
    accrue(fleet.clients(), unknown)
        .await
        .expect_err("no brand");
    assert_eq!(tables_with(&fleet, GUEST).await, [""; 0]);
}
