//! Connections: limits that hold, browsers, and services without a token.

use std::time::Duration;

use fealty_auth::{Grant, Role};
use fealty_cli::token::{Keys, grant};
use fealty_client::{Deadline, call, reason, retry_after};
use fealty_proto::{
    operations::v1::{GetFeedStatusRequest, feed_service_client::FeedServiceClient},
    points::v1::{Consistency, ledger_service_client::LedgerServiceClient},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;

use crate::{
    callers::{Lone, status},
    harness::{CLUB, accrual, accrue, balance, club_with, knobs, until},
};

/// A points service that takes the tokens of keys in its folder.
async fn lone(pairs: &[(&str, &str)]) -> (Lone, Keys) {
    let lone = Lone::start(|folder| {
        let keys = Keys::make(&folder.join("keys")).expect("a key");
        let mut all = knobs(pairs);
        all.extend(keys.variables().map(|(key, value)| (key.to_owned(), value)));
        all
    })
    .await;
    lone.until_it_answers().await;
    let keys = Keys::open(&lone.folder.path().join("keys")).expect("the key");
    (lone, keys)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_makes_so_many_calls_a_second_and_others_are_not_held_up() {
    let fleet = club_with(&[("FEALTY_LIMITS_MEMBER_CALLS_PER_SECOND", "5".to_owned())]).await;
    let member = |name: &str| {
        let caller = Grant {
            member: Some(name.to_owned()),
            ..grant(name, &[Role::Member])
        };
        fleet.clients_as(&caller).expect("a token")
    };
    let (anna, ben) = (member("anna"), member("ben"));
    let ask_once = |clients: fealty_cli::endpoints::Clients, name: &'static str| async move {
        let request = fealty_proto::points::v1::GetBalanceRequest {
            program: CLUB.to_owned(),
            member: name.to_owned(),
            currency: "points".to_owned(),
            ..Default::default()
        };
        clients.ledger().get_balance(request).await.map(drop)
    };
    let mut refused = Vec::new();
    for _ in 0..30 {
        refused.extend(ask_once(anna.clone(), "anna").await.err());
    }
    assert!(refused.len() > 10, "{} of 30 were refused", refused.len());
    for status in &refused {
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(reason(status).as_deref(), Some("RATE_LIMITED"));
        assert!(retry_after(status).is_some_and(|wait| wait < Duration::from_secs(1)));
    }
    ask_once(ben, "ben").await.expect("another caller");
    // Whoever waits as it is told is answered.
    balance(&anna, "anna", Consistency::Cached).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_is_refused_and_harms_nobody() {
    let (lone, keys) = lone(&[]).await;
    let token = keys.sign(&grant("aude", &[Role::Auditor])).expect("signed");
    let mut client = LedgerServiceClient::new(lone.channel(&token));
    // A message above a mebibyte.
    let long = fealty_proto::points::v1::BatchGetBalancesRequest {
        members: vec!["m".repeat(64); 20_000],
        ..Default::default()
    };
    let refused = client.batch_get_balances(long).await.expect_err("too long");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert_eq!(reason(&refused).as_deref(), Some("MESSAGE_TOO_LONG"));
    // Metadata of 64 KiB.
    let mut request = tonic::Request::new(fealty_proto::points::v1::GetBalanceRequest::default());
    let value = "x".repeat(64 * 1_024).parse().expect("ASCII");
    request.metadata_mut().insert("x-long", value);
    let refused = client.get_balance(request).await.expect_err("too long");
    assert_ne!(refused.code(), Code::Unavailable, "{refused:?}");
    status(lone.channel(&token))
        .await
        .expect("others are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_opens_connections_loses_them_and_callers_do_not() {
    let most = 50;
    let (lone, keys) = lone(&[("FEALTY_LIMITS_CONNECTIONS_MAX", "50")]).await;
    let token = keys.sign(&grant("aude", &[Role::Auditor])).expect("signed");
    let caller = lone.channel(&token);
    status(caller.clone()).await.expect("it is served");
    let address = format!("127.0.0.1:{}", lone.port);
    let mut silent = Vec::new();
    for _ in 0..3 * most {
        silent.push(TcpStream::connect(&address).await.expect("it is taken"));
        if silent.len().is_multiple_of(most) {
            status(caller.clone()).await.expect("it is served on");
            status(lone.channel(&token))
                .await
                .expect("and so is a new one");
        }
    }
    // The first are closed, without a word of theirs.
    let mut first = silent.swap_remove(0);
    let mut greeting = Vec::new();
    let ended = first.read_to_end(&mut greeting);
    let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
    // With an end or a reset, long before the minute that a silent one has.
    drop(ended.expect("it ends"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_caller_ends_and_an_old_one_is_made_anew() {
    let (lone, keys) = lone(&[
        ("FEALTY_LIMITS_FIRST_CALL_S", "1"),
        ("FEALTY_LIMITS_CONNECTION_AGE_S", "1"),
        ("FEALTY_LIMITS_CONNECTION_AGE_GRACE_S", "1"),
    ])
    .await;
    let address = format!("127.0.0.1:{}", lone.port);
    let mut silent = TcpStream::connect(&address).await.expect("it is taken");
    let mut read = Vec::new();
    let ended = silent.read_to_end(&mut read);
    let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
    // With an end or a reset: in any case without a word of ours.
    drop(ended.expect("it ends"));
    // Calls go on over connections that grow old under them, and a stream ends.
    let token = keys.sign(&grant("aude", &[Role::Auditor])).expect("signed");
    let channel = lone.channel(&token);
    let mut client = LedgerServiceClient::new(channel.clone());
    let watch = fealty_proto::points::v1::WatchTransactionsRequest::default();
    let feed = client.watch_transactions(watch).await.expect("it is open");
    let mut feed = feed.into_inner();
    let ends = async {
        loop {
            match feed.message().await {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    };
    let calls = async {
        let end = tokio::time::Instant::now() + Duration::from_secs(4);
        while tokio::time::Instant::now() < end {
            // One that meets the end of a connection is sent again, as by any client.
            let asked = call(Deadline::within(Duration::from_secs(5)), || {
                let mut client = FeedServiceClient::new(channel.clone());
                async move { client.get_feed_status(GetFeedStatusRequest {}).await }
            });
            asked.await.expect("asked to connect anew, none is lost");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(15), async { tokio::join!(ends, calls) });
    ended.await.expect("the stream ends with its connection");
}

/// Sends an HTTP/1.1 request and answers with the head of the answer.
async fn http1(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("it connects");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 4_096];
    let mut len = 0;
    while !answer[..len].windows(4).any(|window| window == b"\r\n\r\n") {
        let read = stream.read(&mut answer[len..]).await.expect("an answer");
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer[..len]));
        len += read;
    }
    String::from_utf8_lossy(&answer[..len]).to_lowercase()
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_call_from_the_pages_that_may_and_need_a_token_too() {
    let origin = "https://app.example.com";
    let (lone, keys) = lone(&[
        ("FEALTY_SERVER_GRPC_WEB", "true"),
        ("FEALTY_SERVER_CORS_ORIGINS", origin),
    ])
    .await;
    let path = "/fealty.points.v1.LedgerService/GetBalance";
    let asks = |origin: &str| {
        format!(
            "OPTIONS {path} HTTP/1.1\r\nhost: localhost\r\norigin: {origin}\r\n\
             access-control-request-method: POST\r\n\
             access-control-request-headers: authorization,content-type,x-grpc-web\r\n\r\n"
        )
    };
    let allowed = http1(lone.port, &asks(origin)).await;
    assert!(
        allowed.contains(&format!("access-control-allow-origin: {origin}")),
        "{allowed}"
    );
    assert!(allowed.contains("authorization"), "{allowed}");
    let other = http1(lone.port, &asks("https://evil.example.com")).await;
    assert!(!other.contains("access-control-allow-origin"), "{other}");
    let call = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\norigin: {origin}\r\n\
         content-type: application/grpc-web+proto\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0"
    );
    let refused = http1(lone.port, &call).await;
    assert!(refused.contains("grpc-status: 16"), "{refused}");
    let till = keys
        .sign(&grant("till", &[Role::Checkout]))
        .expect("signed");
    let bearer = format!("authorization: Bearer {till}\r\ncontent-type");
    let known = http1(lone.port, &call.replacen("content-type", &bearer, 1)).await;
    // An empty request, by somebody who may: its fields are what is wrong.
    assert!(known.contains("grpc-status: 3"), "{known}");
    assert!(
        refused.contains(&format!("access-control-allow-origin: {origin}")),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_a_token_reaches_no_other() {
    let fleet = club_with(&[("FEALTY_CREDENTIALS_TOKEN_FILE", "/dev/null".to_owned())]).await;
    accrue(fleet.clients(), accrual("gift", "anna", 2_000))
        .await
        .expect("given");
    let reward = fealty_proto::rewards::v1::RedeemRequest {
        request_id: "reward".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        reward: "ten-off".to_owned(),
    };
    let refused = fleet.clients().redemption().redeem(reward).await;
    let refused = refused.expect_err("rewards may not hold points");
    assert_eq!(reason(&refused).as_deref(), Some("UNAVAILABLE"));
    let log = fleet.log("rewards").await.expect("a log");
    assert!(log.contains("not a JWT"), "points told it why: {log}");
    until("tiers says that its feed is refused", || async {
        let log = fleet.log("tiers").await.expect("a log");
        log.contains("the feed is refused")
    })
    .await;
}
