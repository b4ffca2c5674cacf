//! What every RPC refuses: with which reason, naming which field, and that it
//! changes nothing.

mod activities;
mod coverage;
mod ledger;
mod others;
mod purchases;
mod reads;
mod referrals;

use fealty_cli::{demo::Fleet, endpoints::Clients};
use fealty_proto::{
    operations::v1::{AdvanceTimeRequest, SetTimeRequest},
    points::v1::{
        ApproveAdjustmentRequest, CaptureRequest, ExtendHoldRequest, GetBalanceRequest,
        GetHoldRequest, GetTrialBalanceRequest, HoldRequest, ListAdjustmentsRequest,
        ListHoldsRequest, ListTransactionsRequest, ProposeAdjustmentRequest, RedeemRequest,
        RejectAdjustmentRequest, ReleaseRequest, WatchTransactionsRequest,
    },
    program::v1::{
        ApplyProgramRequest, GetProgramOutlineRequest, GetProgramRequest, ListVersionsRequest,
    },
    rewards::v1::{GetRedemptionRequest, ListRewardsRequest, RedeemRequest as RedeemRewardRequest},
    tiers::v1::{
        BatchGetStatusRequest, CountMembersRequest, GetStatusRequest, WatchTierChangesRequest,
    },
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{
    CLUB, NOWHERE, POINTS, SHOP, START_S, accrual, accrue, available, books, club, ids, reason,
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
        "fealty.dev"
    );
    let id = status.get_details_request_info().expect("RequestInfo");
    assert!(!id.request_id.is_empty(), "{status:?}");
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
        ..RedeemRequest::default()
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
        ..HoldRequest::default()
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
            points: None,
            keep_rest: true,
            ..CaptureRequest::default()
        };
        change(&mut request);
        clients.ledger().capture(request).await
    };
    let nowhere = ids(&fleet).await.hold(NOWHERE);
    let no_hold = (Code::NotFound, "HOLD_NOT_FOUND");
    let exhausted = (Code::FailedPrecondition, "HOLD_EXHAUSTED");
    for points in [-1, 0] {
        let asked = capture(&|r| r.points = Some(points)).await;
        refused(asked, INVALID, &["points"]);
    }
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
        capture(&|r| r.hold.clone_from(&nowhere)).await,
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
    refused(capture(&|r| r.points = Some(101)).await, exhausted, &[]);
    let release = async |request_id: &str, hold: &str, member: &str| {
        let request = ReleaseRequest {
            request_id: request_id.to_owned(),
            program: CLUB.to_owned(),
            member: member.to_owned(),
            hold: hold.to_owned(),
            ..ReleaseRequest::default()
        };
        clients.ledger().release(request).await
    };
    refused(release("", &held, "anna").await, INVALID, &["request_id"]);
    refused(release("release", "x", "anna").await, INVALID, &["hold"]);
    refused(release("release", &held, "nobody").await, no_hold, &[]);
    refused(release("hold", &held, "anna").await, REUSED, &[]);
    let extend = async |change: &dyn Fn(&mut ExtendHoldRequest)| {
        let mut request = ExtendHoldRequest {
            request_id: "extend".to_owned(),
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            hold: held.clone(),
            timeout: timeout(86_400),
            ..ExtendHoldRequest::default()
        };
        change(&mut request);
        clients.ledger().extend_hold(request).await
    };
    let not_later = (Code::FailedPrecondition, "EXPIRY_NOT_LATER");
    refused(
        extend(&|r| r.timeout = timeout(0)).await,
        INVALID,
        &["timeout"],
    );
    refused(extend(&|r| r.timeout = timeout(1)).await, not_later, &[]);
    refused(extend(&|r| r.hold.clone_from(&nowhere)).await, no_hold, &[]);
    refused(
        extend(&|r| r.member = "nobody".to_owned()).await,
        no_hold,
        &[],
    );
    refused(
        extend(&|r| r.hold = "x".to_owned()).await,
        INVALID,
        &["hold"],
    );
    let get = async |member: &str, hold: &str| {
        let request = GetHoldRequest {
            program: CLUB.to_owned(),
            member: member.to_owned(),
            hold: hold.to_owned(),
        };
        clients.ledger().get_hold(request).await
    };
    refused(get("anna", "first").await, INVALID, &["hold"]);
    refused(get("anna", &nowhere).await, no_hold, &[]);
    refused(get("ben", &held).await, no_hold, &[]);
    let list = async |program: &str, page_size: i32, page_token: &str| {
        let request = ListHoldsRequest {
            program: program.to_owned(),
            member: "anna".to_owned(),
            page_size,
            page_token: page_token.to_owned(),
        };
        clients.ledger().list_holds(request).await
    };
    refused(
        list(CLUB, -1, "x").await,
        INVALID,
        &["page_size", "page_token"],
    );
    refused(list("no-club", 1, "").await, NO_PROGRAM, &[]);
    assert_eq!(books(&fleet).await, before, "nothing has changed");

    // A part, then the rest; an ended hold has nothing left.
    capture(&|r| (r.request_id, r.points) = ("part".to_owned(), Some(40)))
        .await
        .expect("captured");
    release("release", &held, "anna").await.expect("released");
    assert_eq!(available(clients, "anna").await, 460);
    refused(capture(&|r| r.points = Some(1)).await, exhausted, &[]);
    refused(release("again", &held, "anna").await, exhausted, &[]);
}
