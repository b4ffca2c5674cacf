//! Hostile callers: thousands of silent connections, headers that never end, floods
//! of tokens that are none and of metadata that is too long. Others are served
//! meanwhile, about as fast. The figures are printed (`--nocapture`); what is
//! asserted leaves room for a machine that does the attack, and other tests, as well.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fealty_auth::Role;
use fealty_cli::token::{Keys, grant};
use fealty_client::Channel;
use fealty_proto::points::v1::{GetBalanceRequest, ledger_service_client::LedgerServiceClient};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tonic::{Code, Request};

use crate::{
    callers::{Lone, bad_tokens},
    harness::{accrual, send},
};

const MEASURED: Duration = Duration::from_secs(4);
const CALLERS: usize = 8;
const IDLE: usize = 10_000;
const SLOW: usize = 200;
const TOKENS_A_SECOND: u32 = 1_000;
const LONG_A_SECOND: u32 = 50;

/// The slowest of a hundred calls of callers who each make two hundred a second.
async fn p99(channels: &[Channel], run: &str) -> Duration {
    let end = Instant::now() + MEASURED;
    let callers = channels.iter().enumerate().map(|(caller, channel)| {
        let (mut ledger, run) = (LedgerServiceClient::new(channel.clone()), run.to_owned());
        tokio::spawn(async move {
            let mut pace = interval(Duration::from_millis(5));
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut times, mut number) = (Vec::new(), 0);
            while Instant::now() < end {
                pace.tick().await;
                number += 1;
                let request = accrual(&format!("{run}-{number}"), &format!("m-{caller}"), 1);
                let begun = Instant::now();
                ledger.accrue(request).await.expect("it is served");
                times.push(begun.elapsed());
            }
            times
        })
    });
    let mut times = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        times.extend(caller.await.expect("no panic"));
    }
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// Opens a stream of HTTP/2 whose headers never end, and adds a byte now and then.
async fn endless_headers(address: String, ending: Arc<AtomicBool>) {
    let Ok(mut stream) = TcpStream::connect(&address).await else {
        return;
    };
    // Preface, settings, then HEADERS of 16,000 bytes on stream 1 without END_HEADERS.
    let mut begun = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    begun.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    begun.extend([0, 62, 128, 1, 0, 0, 0, 0, 1]);
    let mut sent = stream.write_all(&begun).await;
    while sent.is_ok() && !ending.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        sent = stream.write_all(&[0x40]).await;
    }
}

/// Calls so many times a second, each with another request; all must be refused so.
async fn flood(
    channels: Vec<Channel>,
    a_second: u32,
    refused_by: &'static [Code],
    request: impl Fn(u64) -> Request<GetBalanceRequest>,
    ending: Arc<AtomicBool>,
) -> u64 {
    let mut calls = JoinSet::new();
    let mut pace = interval(Duration::from_secs(1) / a_second);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut number = 0;
    while !ending.load(Ordering::Relaxed) {
        pace.tick().await;
        let channel = &channels[usize::try_from(number).expect("small") % channels.len()];
        let mut ledger = LedgerServiceClient::new(channel.clone());
        let request = request(number);
        number += 1;
        calls.spawn(async move {
            let status = ledger.get_balance(request).await.expect_err("refused");
            assert!(refused_by.contains(&status.code()), "{status:?}");
        });
    }
    // A call that was not refused is a panic here.
    u64::try_from(calls.join_all().await.len()).expect("few")
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::too_many_lines,
    clippy::print_stderr,
    reason = "one story, told in its order, with its figures"
)]
async fn hostile_callers_neither_stop_nor_slow_others() {
    let lone = Lone::start(|folder| {
        let keys = Keys::make(&folder.join("keys")).expect("a key");
        let variables = keys.variables().into_iter();
        variables
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    })
    .await;
    lone.until_it_answers().await;
    let keys = Keys::open(&lone.folder.path().join("keys")).expect("the key");
    let caller = grant("till", &[Role::Operator, Role::Checkout]);
    let token = keys.sign(&caller).expect("signed");
    let programs = fealty_proto::program::v1::program_service_client::ProgramServiceClient::new(
        lone.channel(&token),
    );
    send(|| {
        let mut programs = programs.clone();
        let request = fealty_proto::program::v1::ApplyProgramRequest {
            source: fealty_cli::demo::PROGRAM.to_owned(),
            request_id: fealty_cli::apply::request_id(),
            ..Default::default()
        };
        async move { programs.apply_program(request).await }
    })
    .await
    .expect("applied");
    // Tokens of a till alone: what people do is slower, for it is recorded.
    let till = keys
        .sign(&grant("till", &[Role::Checkout]))
        .expect("signed");
    let channels: Vec<Channel> = (0..CALLERS).map(|_| lone.channel(&till)).collect();
    p99(&channels, "warm").await;
    let quiet = p99(&channels, "quiet").await;

    let files = rlimit::increase_nofile_limit(u64::MAX).expect("a limit");
    let room = usize::try_from(files)
        .unwrap_or(usize::MAX)
        .saturating_sub(1_000);
    let idle = IDLE.min(room);
    let address = format!("127.0.0.1:{}", lone.port);
    let ending = Arc::new(AtomicBool::new(false));
    let mut silent = Vec::with_capacity(idle);
    for _ in 0..idle {
        silent.push(TcpStream::connect(&address).await.expect("it is taken"));
    }
    let slow: Vec<_> = (0..SLOW)
        .map(|_| tokio::spawn(endless_headers(address.clone(), Arc::clone(&ending))))
        .collect();
    let wrong: Vec<String> = bad_tokens(&keys, &caller).into_iter().flatten().collect();
    let hostile = || (0..4).map(|_| lone.bare_channel()).collect::<Vec<_>>();
    let with_wrong_token = move |number: u64| {
        let mut request = Request::new(GetBalanceRequest::default());
        let index = usize::try_from(number).expect("small") % wrong.len();
        let value = format!("Bearer {}", wrong[index]).parse().expect("ASCII");
        request.metadata_mut().insert("authorization", value);
        request
    };
    let with_long_metadata = |_| {
        let mut request = Request::new(GetBalanceRequest::default());
        let value = "x".repeat(64 * 1_024).parse().expect("ASCII");
        request.metadata_mut().insert("x-long", value);
        request
    };
    let unauthenticated: &[Code] = &[Code::Unauthenticated];
    // How each client reads HTTP's own refusal is its affair.
    let too_long: &[Code] = &[
        Code::Unknown,
        Code::Internal,
        Code::Cancelled,
        Code::ResourceExhausted,
    ];
    let tokens = flood(
        hostile(),
        TOKENS_A_SECOND,
        unauthenticated,
        with_wrong_token,
        Arc::clone(&ending),
    );
    let long = flood(
        hostile(),
        LONG_A_SECOND,
        too_long,
        with_long_metadata,
        Arc::clone(&ending),
    );
    let (tokens, long) = (tokio::spawn(tokens), tokio::spawn(long));
    sleep_until(Instant::now() + Duration::from_millis(500)).await;
    let begun = Instant::now();
    let attacked = p99(&channels, "attacked").await;
    let lasted = begun.elapsed();
    // A new caller gets in as well.
    let mut ledger = LedgerServiceClient::new(lone.channel(&till));
    let given = ledger.accrue(accrual("new", "newcomer", 1));
    let given = timeout(Duration::from_secs(5), given).await;
    given.expect("in time").expect("it is served");
    ending.store(true, Ordering::Relaxed);
    let (tokens, long) = (
        tokens.await.expect("no panic"),
        long.await.expect("no panic"),
    );
    for task in slow {
        task.await.expect("no panic");
    }
    drop(silent);
    eprintln!(
        "p99 {quiet:?} alone, {attacked:?} beside {idle} silent connections, {SLOW} endless \
         headers, {tokens} wrong tokens and {long} long metadata in about {lasted:?}"
    );
    let at_least = |a_second: u32| u64::from(a_second) * lasted.as_secs() / 2;
    assert!(tokens >= at_least(TOKENS_A_SECOND), "only {tokens} tokens");
    assert!(long >= at_least(LONG_A_SECOND), "only {long} long ones");
    // Who is held up waits for seconds; other tests run beside this one.
    let bound = quiet * 4 + Duration::from_millis(250);
    assert!(attacked <= bound, "p99 {attacked:?}, alone {quiet:?}");
}
