//! What rewards, programmes and clocks refuse.

use super::*;
use fealty_proto::{
    operations::v1::ListAuditEntriesRequest, points::v1::ErasePersonalDataRequest,
    program::v1::WithdrawProgramRequest,
};

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
        fleet.clients().redemption().redeem(request).await
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
#[expect(clippy::too_many_lines, reason = "a table of refusals")]
async fn programmes_and_clocks_refuse() {
    let (fleet, before) = with_anna().await;
    let clients = fleet.clients();
    let good = fealty_cli::demo::PROGRAM;
    let invalid = (Code::InvalidArgument, "PROGRAM_INVALID");
    let conflict = (Code::FailedPrecondition, "PROGRAM_CONFLICT");
    for (_, mut client) in clients.programs() {
        let service = client.clone();
        let mut apply = async |source: String| {
            client
                .apply_program(ApplyProgramRequest {
                    source,
                    request_id: fealty_cli::apply::request_id(),
                    ..ApplyProgramRequest::default()
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
        let known = async |source: &str, expected_version, note: &str, request_id: &str| {
            let request = ApplyProgramRequest {
                request_id: request_id.to_owned(),
                source: source.to_owned(),
                expected_version,
                note: note.to_owned(),
                ..ApplyProgramRequest::default()
            };
            service.clone().apply_program(request).await
        };
        let fields = ["request_id", "note", "expected_version"];
        let long = "x".repeat(257);
        refused(known(good, Some(-1), &long, "").await, INVALID, &fields);
        let moved = (Code::FailedPrecondition, "PROGRAM_VERSION_MOVED");
        let other = good.replacen("points: 10,", "points: 20,", 1);
        refused(known(&other, Some(7), "", "moved").await, moved, &[]);
        let withdraw = async |program: &str, version| {
            let request = WithdrawProgramRequest {
                program: program.to_owned(),
                version,
            };
            service.clone().withdraw_program(request).await
        };
        let fields = ["program", "version"];
        refused(withdraw("No", 0).await, INVALID, &fields);
        refused(withdraw("elsewhere", 1).await, NO_PROGRAM, &[]);
        let versions = async |program: &str, page_size, page_token: &str| {
            let request = ListVersionsRequest {
                program: program.to_owned(),
                page_size,
                page_token: page_token.to_owned(),
            };
            service.clone().list_versions(request).await
        };
        let fields = ["page_size", "page_token"];
        refused(versions(CLUB, 1_001, "x").await, INVALID, &fields);
        refused(versions("no-club", 0, "").await, NO_PROGRAM, &[]);
        let outline = async |program: &str| {
            let program = program.to_owned();
            let request = GetProgramOutlineRequest { program };
            service.clone().get_program_outline(request).await
        };
        refused(outline("").await, INVALID, &["program"]);
        refused(outline("no-club").await, NO_PROGRAM, &[]);
        refused(get("", Some(-1)).await, INVALID, &["program", "version"]);
        refused(get(CLUB, Some(99)).await, NO_PROGRAM, &[]);
        let known = get(CLUB, None).await.expect("it is there").into_inner();
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

#[tokio::test(flavor = "multi_thread")]
async fn reading_the_audit_log_refuses() {
    let (fleet, before) = with_anna().await;
    for (_, mut client) in fleet.clients().audit_logs() {
        let bad = ListAuditEntriesRequest {
            program: "No".to_owned(),
            subject: "Ä".to_owned(),
            start_time: Some(prost_types::Timestamp {
                seconds: i64::MAX,
                nanos: 0,
            }),
            page_size: 1_001,
            page_token: "no".to_owned(),
            ..ListAuditEntriesRequest::default()
        };
        let fields = [
            "program",
            "subject",
            "start_time",
            "page_size",
            "page_token",
        ];
        refused(client.list_audit_entries(bad).await, INVALID, &fields);
        let whose = ListAuditEntriesRequest {
            member: "anna".to_owned(),
            ..ListAuditEntriesRequest::default()
        };
        refused(
            client.list_audit_entries(whose).await,
            INVALID,
            &["program"],
        );
    }
    assert_eq!(books(&fleet).await, before, "nothing has changed");
}

/// Without `--test-clock` nobody sets a service's clock.
#[tokio::test(flavor = "multi_thread")]
async fn the_machines_clock_is_not_set() {
    use fealty_auth::Role;
    use fealty_cli::token::{ISSUER, Keys, grant};
    use fealty_client::Credentials;
    use fealty_proto::operations::v1::{
        GetTimeRequest, test_clock_service_client::TestClockServiceClient,
    };
    let stack = crate::harness::stack().await;
    stack
        .postgres
        .create_database("points")
        .expect("a database");
    let folder = tempfile::tempdir().expect("a folder");
    let keys = Keys::make(folder.path()).expect("a key");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[database]\nurl = \"{}\"\n\
         [auth]\nissuer = \"{ISSUER}\"\njwks_file = \"{}\"\n",
        stack.postgres.url("points"),
        keys.jwks_file().display(),
    );
    let file = std::env::temp_dir().join(format!("fealty-test-{}.toml", uuid::Uuid::now_v7()));
    std::fs::write(&file, text).expect("a temporary file");
    let source = fealty_server::config::Source {
        file: Some(&file),
        table: None,
        prefix: "NO_SUCH_VARIABLE_",
    };
    let config = fealty_server::config::load(source).expect("valid").config;
    std::fs::remove_file(&file).expect("the file is there");
    let shutdown = tokio_util::sync::CancellationToken::new();
    let served = fealty_points::start(config, shutdown.clone())
        .await
        .expect("it starts");
    let token = keys.sign(&grant("test", &[Role::Operator]));
    let credentials = Credentials::token(token.expect("a token"));
    let url = format!("http://{}", served.address);
    let channel = fealty_client::connect(&url, &credentials).expect("a URL");
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

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table of refusals")]
async fn adjustments_by_two_persons_refuse() {
    let (fleet, before) = with_anna().await;
    let mut client = fleet.clients().adjustments();
    let propose = ProposeAdjustmentRequest {
        request_id: "propose".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 5,
        reason: "goodwill".to_owned(),
        ..ProposeAdjustmentRequest::default()
    };
    let nothing = ProposeAdjustmentRequest {
        points: 0,
        reason: String::new(),
        ..propose.clone()
    };
    let fields = ["points", "reason"];
    refused(client.propose_adjustment(nothing).await, INVALID, &fields);
    let no_brand = ProposeAdjustmentRequest {
        brand: "no-brand".to_owned(),
        ..propose.clone()
    };
    refused(client.propose_adjustment(no_brand).await, NO_BRAND, &[]);
    let proposed = client.propose_adjustment(propose.clone()).await;
    let proposed = proposed
        .expect("proposed")
        .into_inner()
        .adjustment
        .expect("one");
    let other = ProposeAdjustmentRequest {
        points: 6,
        ..propose
    };
    refused(client.propose_adjustment(other).await, REUSED, &[]);
    let missing = (Code::NotFound, "ADJUSTMENT_NOT_FOUND");
    let nobody = "00000000-0000-0000-0000-000000000000";
    for (member, id, expected, fields) in [
        ("anna", "7", INVALID, &["adjustment"][..]),
        ("anna", nobody, missing, &[]),
        ("ben", proposed.id.as_str(), missing, &[]),
    ] {
        let approve = ApproveAdjustmentRequest {
            request_id: "approve".to_owned(),
            program: CLUB.to_owned(),
            member: member.to_owned(),
            adjustment: id.to_owned(),
        };
        refused(client.approve_adjustment(approve).await, expected, fields);
        let reject = RejectAdjustmentRequest {
            request_id: "reject".to_owned(),
            program: CLUB.to_owned(),
            member: member.to_owned(),
            adjustment: id.to_owned(),
            note: String::new(),
        };
        refused(client.reject_adjustment(reject).await, expected, fields);
    }
    let list = ListAdjustmentsRequest {
        program: CLUB.to_owned(),
        states: vec![0],
        page_size: -1,
        page_token: "x".to_owned(),
        ..ListAdjustmentsRequest::default()
    };
    let fields = ["states[0]", "page_size", "page_token"];
    refused(client.list_adjustments(list).await, INVALID, &fields);
    let list = ListAdjustmentsRequest {
        program: "no-club".to_owned(),
        ..ListAdjustmentsRequest::default()
    };
    refused(client.list_adjustments(list).await, NO_PROGRAM, &[]);
    assert_eq!(books(&fleet).await, before, "nothing has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn erasing_personal_data_refuses() {
    let (fleet, before) = with_anna().await;
    let erase = async |program: &str, member: &str| {
        let request = ErasePersonalDataRequest {
            program: program.to_owned(),
            member: member.to_owned(),
        };
        let mut client = fleet.clients().personal_data();
        client.erase_personal_data(request).await
    };
    refused(erase("", "").await, INVALID, &["program", "member"]);
    refused(erase(CLUB, "a b").await, INVALID, &["member"]);
    refused(erase("no-club", "anna").await, NO_PROGRAM, &[]);
    assert_eq!(books(&fleet).await, before, "nothing has changed");
}
