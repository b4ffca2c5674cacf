//! The audit log: who applied, adjusted and changed what, and whom support looked
//! at; and that nobody can change it.

use std::process::Command;

use fealty_auth::{Grant, Role};
use fealty_cli::{
    apply::{How, apply},
    demo::Fleet,
    token::grant,
};
use fealty_proto::{
    operations::v1::ListAuditEntriesRequest,
    points::v1::{
        AdjustRequest, Consistency, ExtendLotRequest, GetTransactionRequest, ListLotsRequest,
        get_transaction_request::By,
    },
    rewards::v1::RedeemRequest as RedeemRewardRequest,
};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::harness::{
    CLUB, NOWHERE, POINTS, SHOP, accrual, accrue, ask, balance, club, fealty, ids, purchase, send,
    verify,
};

/// What `fealty audit` prints, oldest first.
fn audit(fleet: &Fleet, arguments: &[&str]) -> Vec<Value> {
    let endpoints = fleet.endpoints();
    let output = Command::new(fealty())
        .args(["audit", "--json"])
        .args(["--points", &endpoints.points, "--tiers", &endpoints.tiers])
        .args(["--rewards", &endpoints.rewards])
        .args(arguments)
        .env("FEALTY_TOKEN", fleet.token(&[Role::Auditor]))
        .output()
        .expect("the command runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let entries = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let mut entries: Vec<Value> = entries.collect();
    entries.reverse();
    entries
}

fn methods(entries: &[Value]) -> Vec<&str> {
    let methods = entries.iter().map(|entry| {
        let method = entry["method"].as_str().expect("a method");
        method.rsplit('/').next().expect("a name")
    });
    methods.collect()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
async fn what_people_do_is_told_with_before_and_after() {
    let fleet = club().await;
    let ines = fleet
        .clients_as(&grant("ines", &[Role::Operator]))
        .expect("a token");
    // A till's doings are in the log, not here.
    let till = Grant {
        brands: vec![SHOP.to_owned()],
        ..grant("till-7", &[Role::Checkout])
    };
    let till = fleet.clients_as(&till).expect("a token");
    let bought = ask!(till.earning(), record_purchase, purchase(1, "anna", 50_000));
    let bought = bought
        .expect("recorded")
        .transaction
        .expect("a transaction");
    let by = bought.caller.expect("who asked");
    assert_eq!((&*by.subject, &*by.acting_for), ("till-7", ""));

    let changed = fealty_cli::demo::PROGRAM.replacen("stock: 300", "stock: 301", 1);
    apply(&ines, &changed, How::Now).await.expect("applied");
    let adjustment = AdjustRequest {
        request_id: "adjust".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: -20,
        reason: "goodwill".to_owned(),
        note: "as agreed".to_owned(),
        ..AdjustRequest::default()
    };
    let (before, _) = balance(&ines, "anna", Consistency::Strong).await;
    for _ in 0..2 {
        // The second is a replay, and no second change.
        ask!(ines.ledger(), adjust, adjustment.clone()).expect("adjusted");
    }
    let lots = ListLotsRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        currency: POINTS.to_owned(),
        ..ListLotsRequest::default()
    };
    let lots = ask!(ines.ledger(), list_lots, lots).expect("listed").lots;
    let lot = lots[0].lot.clone().expect("a lot");
    let extension = ExtendLotRequest {
        request_id: "extend".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        lot: lot.id.clone(),
        expiry_time: Some(prost_types::Timestamp {
            seconds: 1_800_000_000,
            nanos: 0,
        }),
        reason: "illness".to_owned(),
        actor: String::new(),
        ..ExtendLotRequest::default()
    };
    ask!(ines.ledger(), extend_lot, extension).expect("extended");
    accrue(&ines, accrual("gift", "ben", 2_000))
        .await
        .expect("given");
    let reward = RedeemRewardRequest {
        request_id: "reward".to_owned(),
        program: CLUB.to_owned(),
        member: "ben".to_owned(),
        reward: "ten-off".to_owned(),
    };
    ask!(ines.redemption(), redeem, reward).expect("redeemed");

    let entries = audit(&fleet, &["--program", CLUB, "--subject", "ines"]);
    let expected = [
        "ApplyProgram",
        "ApplyProgram",
        "ApplyProgram",
        "Adjust",
        "ExtendLot",
        "Accrue",
        "Redeem",
    ];
    assert_eq!(methods(&entries), expected);
    let applied = &entries[2];
    assert_eq!(
        (&applied["before"]["version"], &applied["after"]["version"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(
        applied["after"]["changes"]
            .as_array()
            .expect("changes")
            .len(),
        1
    );
    let adjusted = &entries[3];
    assert_eq!(adjusted["reason"], "goodwill: as agreed");
    assert_eq!(adjusted["member"], "anna");
    assert_eq!(
        adjusted["before"]["wallets"][POINTS]["available"],
        before.available
    );
    assert_eq!(
        adjusted["after"]["wallets"][POINTS]["available"],
        before.available - 20
    );
    let extended = &entries[4];
    assert_eq!(extended["before"]["lot"]["id"], lot.id);
    assert_ne!(extended["before"]["lot"], extended["after"]["lot"]);
    let entry = extended["after"]["lot"]["expiry_time"]
        .as_str()
        .expect("a time");
    assert_eq!(entry, "2027-01-15T08:00:00Z");
    // The ledger's own log has the same, and is whole.
    let name = adjusted["transaction"].as_str().expect("a name").to_owned();
    let request = GetTransactionRequest {
        program: CLUB.to_owned(),
        by: Some(By::Transaction(name)),
    };
    let read = ask!(ines.ledger(), get_transaction, request).expect("it is there");
    let read = read.transaction.expect("a transaction");
    assert_eq!(read.operator_action.expect("an action").actor, "ines");
    assert_eq!(read.caller.expect("who asked").subject, "ines");
    verify(&fleet).await.expect("the ledger verifies");
    // Another role beside does not silence it.
    let both = grant("ruth", &[Role::Operator, Role::Checkout]);
    let both = fleet.clients_as(&both).expect("a token");
    accrue(&both, accrual("both", "ben", 1))
        .await
        .expect("given");
    assert_eq!(methods(&audit(&fleet, &["--subject", "ruth"])), ["Accrue"]);
    // The reward's points were held by the service, for whoever asked.
    let anybody = audit(&fleet, &["--subject", "rewards"]);
    assert_eq!(
        methods(&anybody),
        Vec::<&str>::new(),
        "a service is no person"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_support_reads_is_told_and_what_others_read_is_not() {
    let fleet = club().await;
    accrue(fleet.clients(), accrual("gift", "anna", 100))
        .await
        .expect("given");
    let olga = fleet
        .clients_as(&grant("olga", &[Role::Support]))
        .expect("a token");
    let auditor = fleet
        .clients_as(&grant("aude", &[Role::Auditor]))
        .expect("a token");
    balance(&olga, "anna", Consistency::Cached).await;
    balance(&auditor, "anna", Consistency::Cached).await;
    let name = send(|| {
        let mut client = olga.ledger();
        let request = fealty_proto::points::v1::ListTransactionsRequest {
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            ..Default::default()
        };
        async move { client.list_transactions(request).await }
    });
    let name = name.await.expect("listed").transactions[0].id.clone();
    let request = GetTransactionRequest {
        program: CLUB.to_owned(),
        by: Some(By::Transaction(name)),
    };
    ask!(olga.ledger(), get_transaction, request).expect("read");
    let missing = GetTransactionRequest {
        program: CLUB.to_owned(),
        by: Some(By::Transaction(ids(&fleet).await.transaction(NOWHERE))),
    };
    ask!(olga.ledger(), get_transaction, missing).expect_err("it is not there");
    // A refusal that has figures tells of the member too.
    let gift = fealty_proto::points::v1::GiftRequest {
        request_id: "gift-to-ben".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        recipient: "ben".to_owned(),
        currency: POINTS.to_owned(),
        points: 1_000_000,
        reference: String::new(),
        ..fealty_proto::points::v1::GiftRequest::default()
    };
    ask!(olga.ledger(), gift, gift.clone()).expect_err("she has not so many");
    // A change has its own entry; its replay is a read.
    let gift = fealty_proto::points::v1::GiftRequest { points: 1, ..gift };
    for _ in 0..2 {
        ask!(olga.ledger(), gift, gift.clone()).expect("given");
    }
    let entries = audit(&fleet, &["--program", CLUB, "--member", "anna"]);
    let expected = [
        "GetBalance",
        "ListTransactions",
        "GetTransaction",
        "Gift",
        "Gift",
        "Gift",
    ];
    assert_eq!(methods(&entries), expected);
    assert_eq!(entries[4]["after"]["wallets"][POINTS]["available"], 99);
    let entries = [&entries[..4], &entries[5..]].concat();
    for entry in &entries {
        assert_eq!(entry["subject"], "olga", "{entry}");
        assert_eq!(
            (&entry["before"], &entry["after"]),
            (&Value::Null, &Value::Null)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_only_grows_and_is_read_page_by_page() {
    let fleet = club().await;
    let ines = fleet
        .clients_as(&grant("ines", &[Role::Operator]))
        .expect("a token");
    for number in 0..7 {
        let given = accrue(&ines, accrual(&format!("gift-{number}"), "anna", 10)).await;
        given.expect("given");
    }
    let auditor = fleet
        .clients_as(&grant("aude", &[Role::Auditor]))
        .expect("a token");
    let [(_, points), ..] = auditor.audit_logs();
    let mut request = ListAuditEntriesRequest {
        program: CLUB.to_owned(),
        subject: "ines".to_owned(),
        page_size: 3,
        ..ListAuditEntriesRequest::default()
    };
    let mut pages = Vec::new();
    loop {
        let page = ask!(points.clone(), list_audit_entries, request.clone()).expect("listed");
        pages.push(page.entries.len());
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, [3, 3, 1]);
    // Neither the service's role nor the owner of the tables can change it.
    for url in [fleet.service_database_url(), fleet.owner_database_url()] {
        let mut connection = PgConnection::connect(url).await.expect("it answers");
        for statement in [
            "UPDATE audit_log SET subject = 'nobody'",
            "DELETE FROM audit_log",
            "TRUNCATE audit_log",
        ] {
            let refused = connection.execute(statement).await.expect_err("refused");
            let refused = refused.to_string();
            assert!(
                refused.contains("permission denied"),
                "{statement}: {refused}"
            );
        }
    }
}
