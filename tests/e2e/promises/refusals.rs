//! Refusals that machines can read, whoever made them.

use std::collections::HashMap;

use bytes::Bytes;
use fealty_auth::Role;
use fealty_cli::demo::PROGRAM;
use fealty_proto::{
    points::v1::{
        BatchAccrueRequest, BatchGetBalancesRequest, PollTransactionsRequest,
        batch_accrue_response::Outcome,
    },
    program::v1::ApplyProgramRequest,
    r#type::v1::{FeedStart, feed_start::At},
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    callers::Server,
    harness::{CLUB, POINTS, accrual, club, club_with},
};

/// The code, the reason and the id of a refusal.
fn told(refused: &tonic::Status) -> (Code, String) {
    let info = refused
        .get_details_error_info()
        .unwrap_or_else(|| panic!("{refused:?}"));
    assert_eq!(info.domain, "fealty.dev");
    let id = refused
        .get_details_request_info()
        .unwrap_or_else(|| panic!("{refused:?}"));
    assert_eq!(id.request_id.len(), 32, "{refused:?}");
    (refused.code(), info.reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_one_that_machines_can_read() {
    let fleet = club().await;
    let token = fleet.token(&[Role::Checkout, Role::Service]);
    let server = Server::at(&fleet.endpoints().points);
    let call = async |path: &str, message: &'static [u8]| {
        let answer = server
            .call(path, Some(&token), Bytes::from_static(message))
            .await;
        told(&answer.expect_err("it is refused"))
    };
    let unknown = call("/fealty.points.v1.LedgerService/Steal", b"").await;
    assert_eq!(
        unknown,
        (Code::Unimplemented, "METHOD_NOT_FOUND".to_owned())
    );
    let unknown = call("/fealty.points.v1.NoService/Steal", b"").await;
    assert_eq!(
        unknown,
        (Code::Unimplemented, "METHOD_NOT_FOUND".to_owned())
    );
    let malformed = call(
        "/fealty.points.v1.LedgerService/GetBalance",
        b"\xff\xff\xff",
    )
    .await;
    assert_eq!(
        malformed,
        (Code::InvalidArgument, "MALFORMED_REQUEST".to_owned())
    );
    // In a stream, an accrual that cannot be read ends it, and says why.
    let mut ledger = fleet.clients().ledger();
    let one = BatchAccrueRequest {
        sequence: 1,
        accrual: None,
    };
    let mut answers = ledger
        .batch_accrue(tokio_stream::iter([one]))
        .await
        .expect("the stream stands")
        .into_inner();
    let answer = answers
        .message()
        .await
        .expect("it holds")
        .expect("an answer");
    let Some(Outcome::Refusal(whole)) = answer.outcome else {
        panic!("{answer:?}");
    };
    assert_eq!(whole.code, i32::from(Code::InvalidArgument));
    assert!(
        whole
            .details
            .iter()
            .any(|detail| detail.type_url.ends_with("google.rpc.ErrorInfo"))
    );
    assert!(
        whole
            .details
            .iter()
            .any(|detail| detail.type_url.ends_with("google.rpc.BadRequest"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn however_much_is_wrong_the_refusal_arrives() {
    let fleet = club().await;
    let clients = fleet.clients();
    let invalid = (Code::InvalidArgument, "INVALID_FIELD".to_owned());
    let request = BatchGetBalancesRequest {
        program: CLUB.to_owned(),
        members: vec!["no member".to_owned(); 1_000],
        currency: POINTS.to_owned(),
        ..BatchGetBalancesRequest::default()
    };
    let refused = clients.ledger().batch_get_balances(request).await;
    assert_eq!(told(&refused.expect_err("no members")), invalid);
    let mut long = accrual("long", "anna", 1);
    long.metadata = HashMap::from([("x".repeat(30_000), "x".to_owned())]);
    let refused = clients.ledger().accrue(long).await;
    assert_eq!(told(&refused.expect_err("no key")), invalid);
    let long = format!("{}: 1\n{PROGRAM}", "x".repeat(30_000));
    let (_, mut client) = clients.programs()[0].clone();
    let request = ApplyProgramRequest {
        request_id: "long".to_owned(),
        source: long,
        ..ApplyProgramRequest::default()
    };
    let refused = client.apply_program(request).await.expect_err("no file");
    let invalid = (Code::InvalidArgument, "PROGRAM_INVALID".to_owned());
    assert_eq!(told(&refused), invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_too_long_is_told_so() {
    let short = ("FEALTY_SERVER_REQUEST_TIMEOUT_MS", "700".to_owned());
    let fleet = club_with(&[short]).await;
    let request = PollTransactionsRequest {
        start: Some(FeedStart {
            at: Some(At::Now(true)),
        }),
        wait: Some(prost_types::Duration {
            seconds: 20,
            nanos: 0,
        }),
        ..PollTransactionsRequest::default()
    };
    let refused = fleet.clients().ledger().poll_transactions(request).await;
    let expected = (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned());
    assert_eq!(told(&refused.expect_err("late")), expected);
}
