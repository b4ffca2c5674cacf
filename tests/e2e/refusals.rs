//! What every RPC refuses: with which reason, naming which field, and that it
//! changes nothing.

mod ledger;

use fealty_cli::{demo::Fleet, endpoints::Clients};
use fealty_proto::{
    operations::v1::{AdvanceTimeRequest, SetTimeRequest},
    points::v1::{
        CaptureRequest, GetBalanceRequest, GetTrialBalanceRequest, HoldRequest,
        ListTransactionsRequest, RedeemRequest, ReleaseRequest, WatchTransactionsRequest,
    },
    program::v1::{ApplyProgramRequest, GetProgramRequest},
    rewards::v1::{GetRedemptionRequest, ListRewardsRequest, RedeemRewardRequest},
    tiers::v1::{CountMembersRequest, GetStatusRequest, WatchTierChangesRequest},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{
    CLUB, POINTS, SHOP, START_S, accrual, accrue, available, books, club, purchase, reason,
};

/// Checks a refusal: its code, its reason, and the fields it names.
fn refused<T: std::fmt::Debug>(
    answer: Result<T, Status>,
    (code, expected): (Code, &str),
    fields: &[&str],
) {
    let status = answer.expect_err("it is refused");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (code, expected),
        "{status:?}"
    );
    let named = status
        .get_details_bad_request()
        .map(|bad| bad.field_violations);
    let named: Vec<String> = named
        .unwrap_or_default()
        .into_iter()
        .map(|violation| violation.field)
        .collect();
    assert_eq!(named, fields, "{status:?}");
    assert_eq!(
        status.get_details_error_info().expect("ErrorInfo").domain,
        "fealty"
    );
}

const INVALID: (Code, &str) = (Code::InvalidArgument, "INVALID_FIELD");
const NO_PROGRAM: (Code, &str) = (Code::NotFound, "PROGRAM_NOT_FOUND");
const NO_BRAND: (Code, &str) = (Code::NotFound, "BRAND_NOT_FOUND");
const NO_CURRENCY: (Code, &str) = (Code::NotFound, "CURRENCY_NOT_FOUND");
const REUSED: (Code, &str) = (Code::AlreadyExists, "REQUEST_ID_REUSED");

/// A fleet in which anna has 500 points, and what its books say.
async fn with_anna() -> (Fleet, (i64, String)) {
    let fleet = club().await;
    accrue(fleet.clients(), accrual("gift", "anna", 500))
        .await
        .expect("points");
    let before = books(&fleet).await;
    (fleet, before)
}

fn redeem() -> RedeemRequest {
    RedeemRequest {
        request_id: "redeem".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 10,
        reference: String::new(),
    }
}

fn hold() -> HoldRequest {
    HoldRequest {
        request_id: "hold".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 100,
        timeout: None,
        reference: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a row for each refusal")]
async fn accrue_and_redeem_refuse() {
    let (fleet, before) = with_anna().await;
    let clients = fleet.clients();
    let accrue = async |change: &dyn Fn(&mut fealty_proto::points::v1::AccrueRequest)| {
        let mut request = accrual("new", "anna", 10);
        change(&mut request);
        clients.ledger().accrue(request).await
    };
    let long = "x".repeat(300);
    refused(accrue(&|r| r.points = -5).await, INVALID, &["points"]);
    refused(accrue(&|r| r.points = 0).await, INVALID, &["points"]);
    refused(
        accrue(&|r| r.points = 1_000_000_000_000_001).await,
        INVALID,
        &["points"],
    );
    refused(accrue(&|r| r.points = i64::MAX).await, INVALID, &["points"]);
    refused(
        accrue(&|r| r.member = String::new()).await,
        INVALID,
        &["member"],
    );
    refused(
        accrue(&|r| r.request_id = String::new()).await,
        INVALID,
        &["request_id"],
    );
    refused(
        accrue(&|r| r.request_id = "x".repeat(129)).await,
        INVALID,
        &["request_id"],
    );
    refused(
        accrue(&|r| r.reference.clone_from(&long)).await,
        INVALID,
        &["reference"],
    );
    refused(
        accrue(&|r| r.brand = "Record Shop".to_owned()).await,
        INVALID,
        &["brand"],
    );
    refused(
        accrue(&|r| (r.program, r.points) = (String::new(), -1)).await,
        INVALID,
        &["program", "points"],
    );
    refused(
        accrue(&|r| r.program = "no-club".to_owned()).await,
        NO_PROGRAM,
        &[],
    );
    refused(
        accrue(&|r| r.brand = "no-shop".to_owned()).await,
        NO_BRAND,
        &[],
    );
    refused(
        accrue(&|r| r.currency = "stars".to_owned()).await,
        NO_CURRENCY,
        &[],
    );
    refused(
        accrue(&|r| r.points = 1_000_000_000_000_000).await,
        (Code::FailedPrecondition, "AMOUNT_LIMIT"),
        &[],
    );
    refused(
        accrue(&|r| (r.request_id, r.points) = ("gift".to_owned(), 501)).await,
        REUSED,
        &[],
    );

    let redeem = async |change: &dyn Fn(&mut RedeemRequest)| {
        let mut request = redeem();
        change(&mut request);
        clients.ledger().redeem(request).await
    };
    refused(redeem(&|r| r.points = -1).await, INVALID, &["points"]);
    refused(
        redeem(&|r| r.member = "a b".to_owned()).await,
        INVALID,
        &["member"],
    );
    refused(
        redeem(&|r| r.program = "no-club".to_owned()).await,
        NO_PROGRAM,
        &[],
    );
    refused(
        redeem(&|r| r.currency = "stars".to_owned()).await,
        NO_CURRENCY,
        &[],
    );
    refused(
        redeem(&|r| r.brand = "no-shop".to_owned()).await,
        NO_BRAND,
        &[],
    );
    let poor = (Code::FailedPrecondition, "INSUFFICIENT_POINTS");
    refused(redeem(&|r| r.points = 501).await, poor, &[]);
    refused(redeem(&|r| r.member = "nobody".to_owned()).await, poor, &[]);
    let reused = redeem(&|r| r.request_id = "gift".to_owned()).await;
    let field = reused
        .as_ref()
        .expect_err("refused")
        .get_details_error_info()
        .expect("ErrorInfo");
    assert_eq!(field.metadata["field"], "method");
    refused(reused, REUSED, &[]);
    assert_eq!(books(&fleet).await, before, "nothing has changed");

    // A refused request id can be used again.
    clients
        .ledger()
        .redeem(RedeemRequest {
            points: 500,
            ..self::redeem()
        })
        .await
        .expect("redeemed");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a row for each refusal")]
async fn hold_capture_and_release_refuse() {
    let (fleet, _) = with_anna().await;
    let clients = fleet.clients();
    let held = clients
        .ledger()
        .hold(hold())
        .await
        .expect("held")
        .into_inner()
        .hold;
    let before = books(&fleet).await;
    let timeout = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let hold = async |change: &dyn Fn(&mut HoldRequest)| {
        let mut request = HoldRequest {
            request_id: "other".to_owned(),
            ..hold()
        };
        change(&mut request);
        clients.ledger().hold(request).await
    };
    refused(
        hold(&|r| r.timeout = timeout(0)).await,
        INVALID,
        &["timeout"],
    );
    refused(
        hold(&|r| r.timeout = timeout(-1)).await,
        INVALID,
        &["timeout"],
    );
    refused(
        hold(&|r| r.timeout = timeout(400 * 86_400)).await,
        INVALID,
        &["timeout"],
    );
    refused(hold(&|r| r.points = 0).await, INVALID, &["points"]);
    refused(
        hold(&|r| r.program = "no-club".to_owned()).await,
        NO_PROGRAM,
        &[],
    );
    refused(
        hold(&|r| r.brand = "no-shop".to_owned()).await,
        NO_BRAND,
        &[],
    );
    refused(
        hold(&|r| r.points = 401).await,
        (Code::FailedPrecondition, "INSUFFICIENT_POINTS"),
        &[],
    );
    refused(
        hold(&|r| (r.request_id, r.points) = ("hold".to_owned(), 99)).await,
        REUSED,
        &[],
    );

    let capture = async |change: &dyn Fn(&mut CaptureRequest)| {
        let mut request = CaptureRequest {
            request_id: "capture".to_owned(),
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            hold: held.clone(),
            points: 0,
            r#final: false,
        };
        change(&mut request);
        clients.ledger().capture(request).await
    };
    let no_hold = (Code::NotFound, "HOLD_NOT_FOUND");
    let exhausted = (Code::FailedPrecondition, "HOLD_EXHAUSTED");
    refused(capture(&|r| r.points = -1).await, INVALID, &["points"]);
    refused(
        capture(&|r| r.hold = "first".to_owned()).await,
        INVALID,
        &["hold"],
    );
    refused(
        capture(&|r| r.hold = String::new()).await,
        INVALID,
        &["hold"],
    );
    refused(
        capture(&|r| r.hold = "0-99999".to_owned()).await,
        no_hold,
        &[],
    );
    refused(
        capture(&|r| r.member = "nobody".to_owned()).await,
        no_hold,
        &[],
    );
    refused(
        capture(&|r| r.program = "no-club".to_owned()).await,
        NO_PROGRAM,
        &[],
    );
    refused(capture(&|r| r.points = 101).await, exhausted, &[]);
    let release = async |request_id: &str, hold: &str, member: &str| {
        let request = ReleaseRequest {
            request_id: request_id.to_owned(),
            program: CLUB.to_owned(),
            member: member.to_owned(),
            hold: hold.to_owned(),
        };
        clients.ledger().release(request).await
    };
    refused(release("", &held, "anna").await, INVALID, &["request_id"]);
    refused(release("release", "x", "anna").await, INVALID, &["hold"]);
    refused(release("release", &held, "nobody").await, no_hold, &[]);
    refused(release("hold", &held, "anna").await, REUSED, &[]);
    assert_eq!(books(&fleet).await, before, "nothing has changed");

    // A part, then the rest; an ended hold has nothing left.
    capture(&|r| (r.request_id, r.points) = ("part".to_owned(), 40))
        .await
        .expect("captured");
    release("release", &held, "anna").await.expect("released");
    assert_eq!(available(clients, "anna").await, 460);
    refused(capture(&|r| r.points = 1).await, exhausted, &[]);
    refused(release("again", &held, "anna").await, exhausted, &[]);
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table of refusals")]
async fn record_purchase_refuses() {
    let (fleet, _) = with_anna().await;
    let clients = fleet.clients();
    clients
        .earning()
        .record_purchase(purchase(1, "anna", 100))
        .await
        .expect("recorded");
    let before = books(&fleet).await;
    let record = async |change: &dyn Fn(&mut fealty_proto::points::v1::RecordPurchaseRequest)| {
        let mut request = purchase(2, "anna", 1_000);
        change(&mut request);
        clients.earning().record_purchase(request).await
    };
    let amount = |code: &str, minor_units| {
        Some(fealty_proto::r#type::v1::Money {
            currency_code: code.to_owned(),
            minor_units,
        })
    };
    refused(record(&|r| r.amount = None).await, INVALID, &["amount"]);
    refused(
        record(&|r| r.amount = amount("USD", -1)).await,
        INVALID,
        &["amount.minor_units"],
    );
    refused(
        record(&|r| r.amount = amount("USD", i64::MAX)).await,
        INVALID,
        &["amount.minor_units"],
    );
    refused(
        record(&|r| r.amount = amount("usd", 1)).await,
        INVALID,
        &["amount.currency_code"],
    );
    refused(
        record(&|r| r.amount = amount("EUR", 1)).await,
        (Code::FailedPrecondition, "WRONG_MONEY_CURRENCY"),
        &[],
    );
    refused(
        record(&|r| r.order_number = String::new()).await,
        INVALID,
        &["order_number"],
    );
    refused(
        record(&|r| r.order_number = "x".repeat(129)).await,
        INVALID,
        &["order_number"],
    );
    refused(
        record(&|r| r.member = "x".repeat(65)).await,
        INVALID,
        &["member"],
    );
    refused(
        record(&|r| r.program = "no-club".to_owned()).await,
        NO_PROGRAM,
        &[],
    );
    refused(
        record(&|r| r.brand = "no-shop".to_owned()).await,
        NO_BRAND,
        &[],
    );
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    refused(
        record(&|r| r.purchase_time = time(START_S + 3_700)).await,
        INVALID,
        &["purchase_time"],
    );
    refused(
        record(&|r| r.purchase_time = time(i64::MAX)).await,
        INVALID,
        &["purchase_time"],
    );
    refused(
        record(&|r| (r.order_number, r.member) = ("order-1".to_owned(), "berta".to_owned())).await,
        (Code::AlreadyExists, "ORDER_ALREADY_RECORDED"),
        &[],
    );
    refused(
        record(&|r| r.request_id = "purchase-1".to_owned()).await,
        REUSED,
        &[],
    );
    assert_eq!(books(&fleet).await, before, "nothing has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_refuse() {
    let (fleet, before) = with_anna().await;
    let clients = fleet.clients();
    reads_of_points_refuse(clients).await;
    let status = async |program: &str, member: &str| {
        let (program, member) = (program.to_owned(), member.to_owned());
        clients
            .tier()
            .get_status(GetStatusRequest { program, member })
            .await
    };
    refused(status(CLUB, "").await, INVALID, &["member"]);
    refused(status("no-club", "anna").await, NO_PROGRAM, &[]);
    let count = async |program: &str| {
        clients
            .tier()
            .count_members(CountMembersRequest {
                program: program.to_owned(),
            })
            .await
    };
    refused(count("").await, INVALID, &["program"]);
    refused(count("no-club").await, NO_PROGRAM, &[]);
    let watch = |cursor: &str| WatchTierChangesRequest {
        cursor: cursor.to_owned(),
    };
    let out_of_range = (Code::OutOfRange, "CURSOR_OUT_OF_RANGE");
    refused(
        clients
            .tier()
            .watch_tier_changes(watch("ffff"))
            .await
            .map(drop),
        out_of_range,
        &[],
    );

    let list = async |program: &str, member: &str, page_size: i32, page_token: &str| {
        let request = ListRewardsRequest {
            program: program.to_owned(),
            member: member.to_owned(),
            page_size,
            page_token: page_token.to_owned(),
        };
        clients.catalog().list_rewards(request).await
    };
    refused(list(CLUB, "", 0, "").await, INVALID, &["member"]);
    refused(
        list(CLUB, "anna", 1_001, "x").await,
        INVALID,
        &["page_size", "page_token"],
    );
    refused(list("no-club", "anna", 0, "").await, NO_PROGRAM, &[]);
    let get = async |program: &str, redemption: &str| {
        let request = GetRedemptionRequest {
            program: program.to_owned(),
            member: "anna".to_owned(),
            redemption: redemption.to_owned(),
        };
        clients.redemption().get_redemption(request).await
    };
    refused(get(CLUB, "mine").await, INVALID, &["redemption"]);
    let nobody = "00000000-0000-0000-0000-000000000000";
    refused(
        get(CLUB, nobody).await,
        (Code::NotFound, "REDEMPTION_NOT_FOUND"),
        &[],
    );
    refused(get("no-club", nobody).await, NO_PROGRAM, &[]);
    assert_eq!(books(&fleet).await, before, "nothing has changed");
}

async fn reads_of_points_refuse(clients: &Clients) {
    let balance = async |program: &str, member: &str, currency: &str, consistency: i32| {
        let request = GetBalanceRequest {
            program: program.to_owned(),
            member: member.to_owned(),
            currency: currency.to_owned(),
            consistency,
            moment: None,
        };
        clients.ledger().get_balance(request).await
    };
    refused(
        balance(CLUB, "", "", 0).await,
        INVALID,
        &["member", "currency"],
    );
    refused(
        balance(CLUB, "anna", POINTS, 9).await,
        INVALID,
        &["consistency"],
    );
    refused(balance("no-club", "anna", POINTS, 0).await, NO_PROGRAM, &[]);
    refused(balance(CLUB, "anna", "stars", 0).await, NO_CURRENCY, &[]);
    let list = async |program: &str, page_size: i32, page_token: &str| {
        let request = ListTransactionsRequest {
            program: program.to_owned(),
            member: "anna".to_owned(),
            page_size,
            page_token: page_token.to_owned(),
            filter: None,
        };
        clients.ledger().list_transactions(request).await
    };
    refused(list(CLUB, -1, "").await, INVALID, &["page_size"]);
    refused(list(CLUB, 1_001, "").await, INVALID, &["page_size"]);
    refused(list(CLUB, 1, "?").await, INVALID, &["page_token"]);
    refused(list("no-club", 1, "").await, NO_PROGRAM, &[]);
    let watch = async |cursor: &str| {
        let request = WatchTransactionsRequest {
            cursor: cursor.to_owned(),
            include_canonical_bytes: false,
            filter: None,
        };
        clients.ledger().watch_transactions(request).await.map(drop)
    };
    let out_of_range = (Code::OutOfRange, "CURSOR_OUT_OF_RANGE");
    refused(watch("1").await, out_of_range, &[]);
    refused(watch("a.a.a.a.a.a.a.a").await, out_of_range, &[]);
    refused(watch(&"0.".repeat(9_000)).await, INVALID, &["cursor"]);
    let totals = async |program: &str| {
        let request = GetTrialBalanceRequest {
            program: program.to_owned(),
            cursor: String::new(),
        };
        clients.audit().get_trial_balance(request).await
    };
    refused(totals("").await, INVALID, &["program"]);
    refused(totals("no-club").await, NO_PROGRAM, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn redeem_reward_refuses() {
    let (fleet, before) = with_anna().await;
    let redeem = async |request_id: &str, program: &str, member: &str, reward: &str| {
        let request = RedeemRewardRequest {
            request_id: request_id.to_owned(),
            program: program.to_owned(),
            member: member.to_owned(),
            reward: reward.to_owned(),
        };
        fleet.clients().redemption().redeem_reward(request).await
    };
    refused(
        redeem("", CLUB, "", "").await,
        INVALID,
        &["request_id", "member", "reward"],
    );
    refused(
        redeem("r", "no-club", "anna", "ten-off").await,
        NO_PROGRAM,
        &[],
    );
    refused(
        redeem("r", CLUB, "anna", "yacht").await,
        (Code::NotFound, "REWARD_NOT_FOUND"),
        &[],
    );
    let poor = (Code::FailedPrecondition, "INSUFFICIENT_POINTS");
    refused(redeem("r", CLUB, "anna", "ten-off").await, poor, &[]);
    assert_eq!(books(&fleet).await, before, "nothing has changed");
    // The refused request may be sent again, and succeeds once there are points.
    accrue(fleet.clients(), accrual("more", "anna", 500))
        .await
        .expect("points");
    redeem("r", CLUB, "anna", "ten-off")
        .await
        .expect("redeemed");
    refused(
        redeem("r", CLUB, "anna", "concert-evening").await,
        REUSED,
        &[],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn programmes_and_clocks_refuse() {
    let (fleet, before) = with_anna().await;
    let clients = fleet.clients();
    let good = fealty_cli::demo::PROGRAM;
    let invalid = (Code::InvalidArgument, "PROGRAM_INVALID");
    let conflict = (Code::FailedPrecondition, "PROGRAM_CONFLICT");
    for (_, mut client) in clients.programs() {
        let mut apply = async |source: String| {
            client
                .apply_program(ApplyProgramRequest {
                    source,
                    validate_only: false,
                })
                .await
        };
        refused(apply(String::new()).await, invalid, &["file"]);
        refused(apply("{".to_owned()).await, invalid, &["file"]);
        refused(apply("x".repeat(300_000)).await, invalid, &["file"]);
        let sunrise = good.replacen("on: purchase", "on: sunrise", 1);
        refused(apply(sunrise).await, invalid, &["file"]);
        // All that is wrong is said at once.
        let nothing = good.replace("multiply: base", "multiply: nothing");
        let nothing = nothing.replace("time_zone: UTC", "time_zone: Moon");
        let places = ["time_zone", "earning.tier-bonus.earn.multiply"];
        refused(apply(nothing).await, invalid, &places);
        let other_money = good.replace("currency: USD", "currency: EUR");
        refused(apply(other_money).await, conflict, &[]);
        let mut get = async |program: &str, version| {
            client
                .get_program(GetProgramRequest {
                    program: program.to_owned(),
                    version,
                })
                .await
        };
        refused(get("", -1).await, INVALID, &["program", "version"]);
        refused(get(CLUB, 99).await, NO_PROGRAM, &[]);
        let known = get(CLUB, 0).await.expect("it is there").into_inner();
        assert_eq!(
            known.version.expect("a version").version,
            1,
            "nothing has been applied"
        );
    }
    for mut client in clients.clocks() {
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let back = client
            .set_time(SetTimeRequest {
                time: time(START_S - 1),
            })
            .await;
        refused(back, (Code::FailedPrecondition, "CLOCK_BACKWARDS"), &[]);
        refused(
            client.set_time(SetTimeRequest { time: None }).await,
            INVALID,
            &["time"],
        );
        let duration = Some(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        });
        let back = client.advance_time(AdvanceTimeRequest { duration }).await;
        refused(back, INVALID, &["duration"]);
    }
    assert_eq!(books(&fleet).await, before, "nothing has changed");
}

/// Without `--test-clock` nobody sets a service's clock.
#[tokio::test(flavor = "multi_thread")]
async fn the_machines_clock_is_not_set() {
    use fealty_proto::operations::v1::{
        GetTimeRequest, test_clock_service_client::TestClockServiceClient,
    };
    let stack = crate::harness::stack().await;
    stack
        .postgres
        .create_database("points")
        .expect("a database");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[database]\nurl = \"{}\"\n",
        stack.postgres.url("points")
    );
    let file = std::env::temp_dir().join(format!("fealty-test-{}.toml", uuid::Uuid::now_v7()));
    std::fs::write(&file, text).expect("a temporary file");
    let source = fealty_server::config::Source {
        file: Some(&file),
        table: None,
        prefix: "NO_SUCH_VARIABLE_",
    };
    let config = fealty_server::config::load(source).expect("valid");
    std::fs::remove_file(&file).expect("the file is there");
    let shutdown = tokio_util::sync::CancellationToken::new();
    let served = fealty_points::start(config, shutdown.clone())
        .await
        .expect("it starts");
    let channel = fealty_client::connect(&format!("http://{}", served.address)).expect("a URL");
    let mut clock = TestClockServiceClient::new(channel);
    let disabled = (Code::Unimplemented, "TEST_CLOCK_DISABLED");
    refused(clock.get_time(GetTimeRequest {}).await, disabled, &[]);
    let time = Some(prost_types::Timestamp {
        seconds: START_S,
        nanos: 0,
    });
    refused(clock.set_time(SetTimeRequest { time }).await, disabled, &[]);
    refused(
        clock
            .advance_time(AdvanceTimeRequest { duration: None })
            .await,
        disabled,
        &[],
    );
    shutdown.cancel();
    served
        .task
        .await
        .expect("the task ends")
        .expect("it ends in order");
}
