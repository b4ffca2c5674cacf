//! Importing a history: exact whatever breaks on the way, and what is wrong with a file told
//! line by line.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use fealty_auth::Role;
use fealty_cli::demo::Fleet;
use fealty_proto::points::v1::{
    GetTransactionRequest, ImportPurchasesRequest, ImportPurchasesResponse, ImportedPurchase,
    RecordPurchaseRequest, get_transaction_request::By, import_purchases_response::Outcome,
};
use prost::Message as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio_stream::iter;
use tonic::{Code, Status};

use crate::{
    earning::with_rules,
    harness::{
        CLUB, START_S, ask, available, books, club, club_of, fealty, purchase, reason, set_time,
        until, verify,
    },
};

const DAY: i64 = 86_400;
const ORDERS: usize = 3_000;
const MEMBERS: usize = 120;

/// A base, and what depends on the order of a member's purchases.
const RULES: &str = r#"
counters:
  coffees: { of: line, when: 'line.category == "coffee"', add: line.quantity, over: { every: month } }
earning:
  - rule: base
    on: purchase
    lines: 'line.category != "gift-card"'
    earn: { currency: points, rate: { points: 1, per: "1.00" } }
  - rule: jazz
    on: purchase
    lines: 'line.category == "jazz"'
    when: lines.count > 0
    earn: { currency: points, fixed: 5 }
    caps: [ { per: member, every: month, points: 12 } ]
  - { rule: fifth-coffee, on: purchase, when: counters.coffees.passes(5), earn: { currency: points, fixed: 50 } }
"#;

/// The command, as an operator of a fleet runs it.
fn import(fleet: &Fleet, arguments: &[&str]) -> Command {
    let endpoints = fleet.endpoints();
    let mut command = Command::new(fealty());
    command
        .args(["import", "purchases", "--program", CLUB, "--json"])
        .args(arguments)
        .env("FEALTY_POINTS_URL", &endpoints.points)
        .env("FEALTY_TIERS_URL", &endpoints.tiers)
        .env("FEALTY_REWARDS_URL", &endpoints.rewards)
        .env("FEALTY_TOKEN", fleet.token(&[Role::Operator]))
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn run(fleet: &Fleet, arguments: &[&str]) -> (Value, String, bool) {
    let output = import(fleet, arguments).output().await.expect("it runs");
    let Output { stdout, stderr, .. } = output;
    let said = String::from_utf8(stderr).expect("a text");
    let figures = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
    (figures, said, output.status.success())
}

/// How many rows and orders there were, and what became of the orders.
fn counts(figures: &Value) -> [i64; 5] {
    ["rows", "orders", "recorded", "there_before", "refused"]
        .map(|name| figures[name].as_i64().unwrap_or(-1))
}

/// A file in a folder of its own.
fn file(name: &str, text: &str) -> (TempDir, PathBuf, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, text).expect("written");
    let text = path.display().to_string();
    (folder, path, text)
}

fn refused(path: &Path) -> Option<String> {
    fs::read_to_string(format!("{}.refused.csv", path.display())).ok()
}

/// A history as CSV, how many rows it has, and what each member gets of it, by a loop that
/// shares nothing with the rules' evaluation.
fn history() -> (String, usize, BTreeMap<String, i64>) {
    let mut csv =
        "member,order,occurred_at,brand,channel,sku,category,quantity,amount\n".to_owned();
    let (mut rows, mut points) = (0, BTreeMap::<String, i64>::new());
    let (mut coffees, mut jazz) = (HashMap::new(), HashMap::new());
    for order in 0..ORDERS {
        let member = format!("member-{}", order * 7_919 % MEMBERS);
        // Forty orders a day, from 1 February on.
        let (month, day) = match order / 40 {
            day @ 0..28 => (2, day + 1),
            day @ 28..59 => (3, day - 27),
            day => (4, day - 58),
        };
        let (mut cents, mut cups, mut records) = (0, 0_i64, 0);
        for row in 0..=order % 3 {
            let (category, quantity, amount) = match (order + row) % 4 {
                0 => ("gift-card", 1, 2_000),
                1 | 2 => ("coffee", 1 + i64::try_from(order % 2).expect("small"), 175),
                _ => ("jazz", 1, 1_025),
            };
            cents += if category == "gift-card" { 0 } else { amount };
            cups += if category == "coffee" { quantity } else { 0 };
            records += i64::from(category == "jazz");
            let (whole, rest) = (amount / 100, amount % 100);
            writeln!(
                csv,
                "{member},o-{order},1997-{month:02}-{day:02}T12:30,record-shop,web,sku-{row},\
                 {category},{quantity},{whole}.{rest:02}"
            )
            .expect("a text");
            rows += 1;
        }
        let of_month = (member.clone(), month);
        let drunk: &mut i64 = coffees.entry(of_month.clone()).or_default();
        let fifth = *drunk < 5 && *drunk + cups >= 5;
        *drunk += cups;
        let given: &mut i64 = jazz.entry(of_month).or_default();
        let of_jazz = if records > 0 { 5.min(12 - *given) } else { 0 };
        *given += of_jazz;
        *points.entry(member).or_default() += cents / 100 + of_jazz + i64::from(fifth) * 50;
    }
    (csv, rows, points)
}

async fn entries(fleet: &Fleet) -> i64 {
    books(fleet).await.0
}

/// The command is killed, then the service under it; then it is started a last time.
#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_recorded_once_whatever_breaks() {
    let fleet = club_of(&with_rules(RULES), &[]).await;
    set_time(&fleet, START_S + 300 * DAY).await;
    let (csv, rows, points) = history();
    let (_folder, path, name) = file("history.csv", &csv);
    let arguments = [&*name, "--tier", "member"];
    let mut first = import(&fleet, &arguments).spawn().expect("it runs");
    until("some are recorded", async || entries(&fleet).await > 100).await;
    first.kill().await.expect("it is killed");
    let after_kill = entries(&fleet).await;
    assert!(after_kill < 3_000, "it was done before it was killed");

    let second = import(&fleet, &arguments).spawn().expect("it runs");
    until("more are recorded", async || {
        entries(&fleet).await > after_kill + 100
    })
    .await;
    fleet.signal("points", "KILL").await.expect("it is killed");
    fleet.restart("points").await.expect("it starts again");
    let second = second.wait_with_output().await.expect("it ends");
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(second.status.success(), "{said}");
    let figures: Value = serde_json::from_slice(&second.stdout).expect("figures");
    let [read, orders, recorded, before, not] = counts(&figures);
    let all = i64::try_from(ORDERS).expect("small");
    assert_eq!(
        (read, orders, not),
        (i64::try_from(rows).expect("small"), all, 0)
    );
    assert_eq!(recorded + before, all);
    assert!(before > 0 && recorded > 0, "{figures}");
    for (member, expected) in &points {
        assert_eq!(
            available(fleet.clients(), member).await,
            *expected,
            "{member}"
        );
    }

    let books_before = books(&fleet).await;
    let (figures, said, right) = run(&fleet, &arguments).await;
    assert!(right, "{said}");
    assert_eq!(counts(&figures)[2..], [0, all, 0]);
    assert_eq!(books(&fleet).await, books_before);
    assert_eq!(refused(&path), None);
    verify(&fleet).await.expect("the ledger holds");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table of refusals")]
async fn what_is_wrong_with_a_file_is_told_by_line() {
    let fleet = club().await;
    set_time(&fleet, START_S + 300 * DAY).await;
    let long = "x".repeat(65);
    let csv = format!(
        "order,member,occurred_at,brand,sku,category,quantity,amount,tier\n\
         1,anna,1997-03-01,record-shop,a,jazz,1,10.00,gold\n\
         1,anna,1997-03-01,record-shop,b,jazz,1,5.00,gold\n\
         2,anna,1997-03-02,record-shop,a,jazz,two,1.005,\n\
         3,anna,1997-03-03,record-shop,a,jazz,1,1.00,\n\
         3,ben,1997-03-03,record-shop,a,jazz,1,1.00,\n\
         4,anna,1997-03-04,record-shop,a,jazz,1\n\
         5,anna,soon,record-shop,a,jazz,1,-1.00,\n\
         6,anna,1997-03-06,nowhere,a,jazz,1,1.00,\n\
         7,anna,1997-03-07,record-shop,a,jazz,1,1.00,\n\
         7,anna,1997-03-07,record-shop,a,{long},1,1.00,\n\
         1,anna,1997-03-08,record-shop,a,jazz,1,10.00,\n\
         8,anna,1997-03-08,record-shop,a,jazz,1,2.00,tin\n\
         9,anna,1997-03-09,record-shop,,,,2.00,\n"
    );
    let (_folder, path, name) = file("history.csv", &csv);
    let before = books(&fleet).await;
    // Only read, and by nobody's tier.
    let (figures, said, right) = run(&fleet, &[&name, "--dry-run"]).await;
    assert!(
        !right && said.contains("of 9 orders were refused"),
        "{said}"
    );
    assert_eq!(counts(&figures)[..2], [13, 9]);
    assert!(refused(&path).expect("a list").contains("--known-tier"));
    assert_eq!(books(&fleet).await, before);

    let (figures, said, right) = run(&fleet, &[&name, "--tier", "member"]).await;
    assert!(
        !right && said.contains("8 of 9 orders were refused"),
        "{said}"
    );
    assert_eq!(counts(&figures), [13, 9, 1, 0, 8]);
    let list = refused(&path).expect("a list");
    let mut told: Vec<&str> = list.lines().skip(1).collect();
    // Those of the service come when it answers.
    told.sort_by_key(|row| {
        let (line, _) = row.split_once(',').expect("a line");
        line.parse::<u64>().expect("a number")
    });
    let expected = [
        "2,record-shop,1,INVALID_ROW,the order stands elsewhere as well: its rows must stand \
         together",
        "4,record-shop,2,INVALID_ROW,`quantity`: `two` must be a whole number",
        "6,record-shop,3,INVALID_ROW,\"`member`: `ben` must be `anna`, as in the order's first row\"",
        "7,record-shop,3,INVALID_ROW,the row has 7 columns of 9",
        "8,record-shop,5,INVALID_ROW,\"`occurred_at`: `soon` must be a date such as 2026-11-30, or \
         a local time such as 2026-11-30T18:00, or a time such as 2026-11-30T18:00:00Z\"",
        "8,record-shop,5,INVALID_ROW,`amount`: `-1.00` must be an amount of USD with at \
         most 2 digits after the point",
        "9,nowhere,6,BRAND_NOT_FOUND,the programme has no brand `nowhere`",
        "11,record-shop,7,INVALID_FIELD,\"`lines[1].category` must be 1 to 64 characters, none of \
         them a control character\"",
        "12,record-shop,1,INVALID_ROW,the order stands elsewhere as well: its rows must stand \
         together",
        "13,record-shop,8,INVALID_ROW,`tier`: must be a tier of the programme",
    ];
    assert_eq!(told, expected);
    assert_eq!(available(fleet.clients(), "anna").await, 20);

    let (_, said, right) = run(&fleet, &[&name, "--version", "7"]).await;
    assert!(
        !right && said.contains("version 1 of the programme is in force, not 7"),
        "{said}"
    );

    let row = "anna,big,1997-03-01,record-shop,1.00\n";
    let big = format!(
        "member,order,occurred_at,brand,amount\n{}ben,small,1997-03-01,record-shop,1.00\n",
        row.repeat(501)
    );
    let (_folder, path, name) = file("big.csv", &big);
    let (figures, ..) = run(&fleet, &[&name, "--tier", "member"]).await;
    assert_eq!(counts(&figures), [502, 2, 1, 0, 1]);
    let list = refused(&path).expect("a list");
    assert!(list.contains("502,record-shop,big,INVALID_ROW,an order has at most 500 rows"));

    let (_folder, _, name) = file("other.csv", "member,ordre,occurred_at,brand,amount\n");
    let (_, said, right) = run(&fleet, &[&name]).await;
    assert!(
        !right && said.contains("there is no column `ordre`, did you mean `order`?"),
        "{said}"
    );
    let (_folder, _, name) = file("other.csv", "member,order,brand,amount\n");
    let (_, said, _) = run(&fleet, &[&name]).await;
    assert!(
        said.contains("the column `occurred_at` is missing"),
        "{said}"
    );
    let (_folder, _, name) = file("other.txt", "");
    let (_, said, _) = run(&fleet, &[&name]).await;
    assert!(said.contains("--format csv or --format ndjson"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_of_a_line_of_json_has_all_that_a_till_says() {
    let fleet = club().await;
    set_time(&fleet, START_S + 300 * DAY).await;
    let json = r#"{"member": "anna", "order": "1", "occurred_at": "1997-03-01T10:00:00+02:00", "brand": "record-shop", "channel": "store", "store": "17", "terminal": "17-2", "lines": [{"sku": "lp", "category": "jazz", "brand": "blue", "quantity": 2, "amount": "25.00", "tax": "5.00"}, {"amount": 5}], "tenders": [{"kind": "card", "amount": "20.00"}, {"kind": "voucher", "amount": "10"}], "metadata": {"till": "7"}}

{"member": "anna", "order": "2", "occurred_at": "1997-03-02", "brand": "record-shop", "amount": 12.5}
{"member": "anna", "order": "3", "occurred_at": "1997-03-03", "brand": "record-shop"}
{"member": "anna", "order": "4",
"#;
    let (_folder, path, name) = file("history.ndjson", json);
    let (figures, _, right) = run(&fleet, &[&name, "--known-tier"]).await;
    assert!(!right);
    assert_eq!(counts(&figures), [4, 4, 1, 0, 3]);
    assert_eq!(
        refused(&path).expect("a list"),
        "line,brand,order,reason,message\n\
         3,,,INVALID_ROW,\"column 100: invalid type: floating point `12.5`, expected an amount in \
         quotes, such as \"\"12.50\"\", or a whole number\"\n\
         4,record-shop,3,INVALID_ROW,\"`amount` must be set, or `lines`\"\n\
         5,,,INVALID_ROW,column 32: EOF while parsing a value\n"
    );
    let request = fealty_proto::points::v1::ListTransactionsRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        ..Default::default()
    };
    let listed = ask!(fleet.clients().ledger(), list_transactions, request).expect("listed");
    let made = listed.transactions[0].purchase.clone().expect("a purchase");
    assert_eq!(made.purchase_time.expect("a time").seconds, 857_203_200);
    assert_eq!((&*made.store, &*made.terminal), ("17", "17-2"));
    let lines: Vec<_> = made
        .lines
        .iter()
        .map(|line| {
            (
                &*line.sku,
                &*line.brand,
                line.quantity,
                line.amount_minor_units,
            )
        })
        .collect();
    assert_eq!(
        lines,
        [("lp", "blue", Some(2), 2_500), ("", "", Some(1), 500)]
    );
    assert_eq!(made.lines[0].tax_minor_units, 500);
    assert_eq!(made.tenders[1].amount_minor_units, 1_000);
    assert_eq!(listed.transactions[0].metadata["till"], "7");
    // What the voucher paid earns nothing; the tier is the one that is known.
    assert_eq!(available(fleet.clients(), "anna").await, 200);
    assert!(!made.tier_said);
}

/// A purchase of the past in a stream.
fn past(sequence: i64, number: usize, tier: &str) -> ImportPurchasesRequest {
    ImportPurchasesRequest {
        sequence,
        purchase: Some(RecordPurchaseRequest {
            purchase_time: Some(prost_types::Timestamp {
                seconds: START_S - DAY,
                nanos: 0,
            }),
            ..purchase(number, "anna", 1_000)
        }),
        program_version: None,
        tier: tier.to_owned(),
    }
}

/// What became of each, in the order of their numbers.
async fn streamed(
    fleet: &Fleet,
    requests: Vec<ImportPurchasesRequest>,
) -> Vec<Result<ImportedPurchase, Status>> {
    let mut client = fleet.clients().earning();
    let answers = client.import_purchases(iter(requests)).await;
    let mut answers = answers.expect("the stream stands").into_inner();
    let mut came: Vec<ImportPurchasesResponse> = Vec::new();
    while let Some(answer) = answers.message().await.expect("the stream holds") {
        came.push(answer);
    }
    came.sort_by_key(|answer| answer.sequence);
    let outcome = |answer: ImportPurchasesResponse| match answer.outcome.expect("an outcome") {
        Outcome::Imported(imported) => Ok(imported),
        Outcome::Refusal(refusal) => Err(Status::with_details(
            Code::from_i32(refusal.code),
            refusal.message.clone(),
            refusal.encode_to_vec().into(),
        )),
    };
    came.into_iter().map(outcome).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one of each kind")]
async fn a_stream_answers_each_purchase_once_and_a_refused_one_does_not_end_it() {
    let fleet = club().await;
    let [timeless, versioned, nothing] = [2, 3, 4].map(|number| past(number, 20, "gold"));
    let timeless = ImportPurchasesRequest {
        purchase: timeless.purchase.map(|asked| RecordPurchaseRequest {
            purchase_time: None,
            ..asked
        }),
        tier: "not a tier".to_owned(),
        ..timeless
    };
    let versioned = ImportPurchasesRequest {
        program_version: Some(7),
        ..versioned
    };
    let nothing = ImportPurchasesRequest {
        purchase: None,
        ..nothing
    };
    let current = ImportPurchasesRequest {
        program_version: Some(1),
        ..past(7, 1, "")
    };
    let requests = vec![
        past(0, 0, "gold"),
        past(1, 0, "gold"),
        timeless,
        versioned,
        nothing,
        past(5, 0, "silver"),
        past(6, 5, "tin"),
        current,
    ];
    let came = streamed(&fleet, requests).await;
    let refused = |index: usize| {
        let status = came[index].as_ref().expect_err("it is refused");
        let fields = fealty_client::violations(status);
        let fields: Vec<String> = fields.into_iter().map(|(field, _)| field).collect();
        (reason(status), fields.join(" "))
    };
    let told = |reason: &str, fields: &str| (reason.to_owned(), fields.to_owned());
    assert_eq!(came.len(), 8);
    let first = came[0].as_ref().expect("recorded");
    let again = came[1].as_ref().expect("recorded");
    assert!(!first.replayed && again.replayed);
    assert_eq!(first.transaction, again.transaction);
    let given: i64 = first
        .earned_points
        .iter()
        .map(|of_rule| of_rule.points)
        .sum();
    assert_eq!(given, 150, "by gold");
    assert_eq!(refused(2), told("INVALID_FIELD", "purchase_time tier"));
    assert_eq!(refused(3), told("PROGRAM_VERSION_MOVED", ""));
    assert_eq!(refused(4).0, "INVALID_FIELD");
    // The same request by another tier is another request.
    assert_eq!(refused(5), told("REQUEST_ID_REUSED", ""));
    assert_eq!(refused(6), told("INVALID_FIELD", "tier"));
    let other = came[7].as_ref().expect("recorded");
    let given: i64 = other
        .earned_points
        .iter()
        .map(|of_rule| of_rule.points)
        .sum();
    assert_eq!(given, 100, "by the tier that is known");

    let request = GetTransactionRequest {
        program: CLUB.to_owned(),
        by: Some(By::Transaction(first.transaction.clone())),
    };
    let read = ask!(fleet.clients().ledger(), get_transaction, request).expect("read");
    let made = read.transaction.and_then(|read| read.purchase);
    let made = made.expect("a purchase");
    assert_eq!((&*made.tier, made.tier_said), ("gold", true));
    // Nobody was told that she has it, and the log says why it counted.
    verify(&fleet).await.expect("the ledger holds");
}
