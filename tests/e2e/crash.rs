//! Two instances on one database, 128 callers, and somebody who kills: an
//! instance by SIGKILL about every second, Postgres once, Redis twice.
//!
//! Every caller sends one request after another, and one that got no answer
//! again, to the other instance, until it is answered. Afterwards the log is
//! compared with what the callers were told: what was acknowledged is there
//! exactly once and under the name that was told, what was refused is not, and
//! nothing else is. `FEALTY_CRASH_SECONDS` says how long it goes on.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use fealty_client::Channel;
use fealty_points::audit::verify::{Options, verify};
use fealty_postgres::Database;
use fealty_proto::{
    points::v1::{
        CaptureRequest, Consistency, GetBalanceRequest, GiftRequest, HoldRequest, RedeemRequest,
        ReverseRequest, Transaction, WatchTransactionsRequest,
        earning_service_client::EarningServiceClient, ledger_service_client::LedgerServiceClient,
    },
    program::v1::{ApplyProgramRequest, program_service_client::ProgramServiceClient},
};
use tokio::{sync::Mutex, time::Instant};
use tonic::Status;

use crate::{
    harness::{CLUB, POINTS, SHOP, accrual, ask, purchase, stack},
    instance::{DISTRIBUTED, Instance},
};

const CALLERS: usize = 128;
const MEMBERS: u64 = 60;
const SECONDS: u64 = 10;

/// What a caller was told of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Done(String),
    Refused,
}

/// Whether the service has answered: a refusal has a reason, a lost
/// connection has none, and some reasons say that it is to be sent again.
fn is_answer(status: &Status) -> bool {
    match fealty_client::reason(status).as_deref() {
        // An instance that has just started may not know the programme yet.
        None
        | Some(
            "UNAVAILABLE" | "OVERLOADED" | "INTERNAL" | "DEADLINE_EXCEEDED" | "PROGRAM_NOT_FOUND",
        ) => false,
        Some(_) => true,
    }
}

struct Callers {
    instances: [Arc<Instance>; 2],
    told: Mutex<HashMap<(String, String), Told>>,
    /// Requests of which an earlier sending was never answered.
    sent_again: Mutex<HashSet<(String, String)>>,
    unanswered: AtomicU64,
    ending: AtomicBool,
}

/// Sends a request until it is answered, to one instance and the other in turn.
macro_rules! until_answered {
    ($callers:expr, $turn:expr, $client:ident, $method:ident, $request:expr) => {{
        let deadline = Instant::now() + Duration::from_secs(90);
        let mut turn: usize = $turn;
        loop {
            assert!(Instant::now() < deadline, "no answer: {:?}", $request);
            let channel = $callers.instances[turn % 2].channel.clone();
            turn += 1;
            let call = tokio::time::timeout(Duration::from_secs(5), async {
                $client::new(channel).$method($request.clone()).await
            });
            match call.await {
                Ok(Ok(answer)) => break Ok(answer.into_inner()),
                Ok(Err(status)) if is_answer(&status) => break Err(status),
                Ok(Err(_)) | Err(_) => {
                    let key = ($request.member.clone(), $request.request_id.clone());
                    $callers.sent_again.lock().await.insert(key);
                    $callers.unanswered.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }};
}

impl Callers {
    async fn note(
        &self,
        member: &str,
        request_id: &str,
        answer: Result<Option<Transaction>, Status>,
    ) -> Option<Transaction> {
        let told = match &answer {
            Ok(transaction) => Told::Done(transaction.as_ref().expect("a transaction").id.clone()),
            Err(_) => Told::Refused,
        };
        let key = (member.to_owned(), request_id.to_owned());
        let before = self.told.lock().await.insert(key, told.clone());
        assert!(
            before.is_none_or(|before| before == told),
            "told otherwise before"
        );
        answer.ok().flatten()
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each kind of call")]
    async fn call(self: Arc<Self>, caller: usize) {
        let mut last: Option<Transaction> = None;
        for number in 0_u64.. {
            if self.ending.load(Ordering::Relaxed) {
                return;
            }
            let turn = caller + usize::try_from(number).expect("small");
            let seed =
                (caller as u64 * 1_000_003 + number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
            let member = format!("member-{}", seed % MEMBERS);
            let request_id = format!("{caller}-{number}");
            let points = i64::try_from(seed % 37).expect("small") + 1;
            match seed / MEMBERS % 8 {
                0..=2 => {
                    let request = accrual(&request_id, &member, 3 * points);
                    let done = until_answered!(self, turn, LedgerServiceClient, accrue, request);
                    let done = done.map(|done| done.transaction);
                    last = self.note(&member, &request_id, done).await;
                }
                3 => {
                    let mut request = purchase(0, &member, 100 * points);
                    request.request_id.clone_from(&request_id);
                    request.order_number.clone_from(&request_id);
                    let done =
                        until_answered!(self, turn, EarningServiceClient, record_purchase, request);
                    let done = done.map(|done| done.transaction);
                    last = self.note(&member, &request_id, done).await;
                }
                4 => {
                    let request = RedeemRequest {
                        request_id: request_id.clone(),
                        program: CLUB.to_owned(),
                        member: member.clone(),
                        brand: SHOP.to_owned(),
                        currency: POINTS.to_owned(),
                        points,
                        reference: String::new(),
                        ..RedeemRequest::default()
                    };
                    let done = until_answered!(self, turn, LedgerServiceClient, redeem, request);
                    let done = done.map(|done| done.transaction);
                    last = self.note(&member, &request_id, done).await.or(last);
                    if number % 5 == 0 {
                        // Sent again: the same answer, or a refusal that may by
                        // now be an answer of its own.
                        let again =
                            until_answered!(self, turn + 1, LedgerServiceClient, redeem, request);
                        let known = (member.clone(), request_id.clone());
                        let mut told = self.told.lock().await;
                        match (again, told.get(&known).cloned()) {
                            (Ok(again), Some(Told::Done(name))) => {
                                assert_eq!(again.transaction.expect("one").id, name);
                            }
                            (Ok(again), _) => {
                                let name = again.transaction.expect("one").id;
                                told.insert(known, Told::Done(name));
                            }
                            (Err(status), Some(Told::Done(_))) => panic!("{status}"),
                            (Err(_), _) => {}
                        }
                    }
                }
                5 => {
                    self.hold_and_capture(turn, &member, &request_id, points)
                        .await;
                }
                6 => {
                    let recipient = format!("member-{}", (seed / 7 + 1) % MEMBERS);
                    if recipient == member {
                        continue;
                    }
                    let request = GiftRequest {
                        request_id: request_id.clone(),
                        program: CLUB.to_owned(),
                        member: member.clone(),
                        recipient,
                        currency: POINTS.to_owned(),
                        points,
                        reference: String::new(),
                        ..GiftRequest::default()
                    };
                    let done = until_answered!(self, turn, LedgerServiceClient, gift, request);
                    let done = done.map(|done| done.transaction);
                    self.note(&member, &request_id, done).await;
                }
                _ => {
                    let Some(original) = last.take() else {
                        continue;
                    };
                    let request = ReverseRequest {
                        request_id: request_id.clone(),
                        program: CLUB.to_owned(),
                        member: original.member.clone(),
                        transaction: original.id,
                        points: Some(i64::from(number % 2 != 0)),
                        ..ReverseRequest::default()
                    };
                    let done = until_answered!(self, turn, LedgerServiceClient, reverse, request);
                    let done = done.map(|done| done.transaction);
                    self.note(&original.member, &request_id, done).await;
                }
            }
        }
    }

    async fn hold_and_capture(&self, turn: usize, member: &str, request_id: &str, points: i64) {
        let request = HoldRequest {
            request_id: request_id.to_owned(),
            program: CLUB.to_owned(),
            member: member.to_owned(),
            brand: SHOP.to_owned(),
            currency: POINTS.to_owned(),
            points,
            timeout: None,
            reference: String::new(),
            ..HoldRequest::default()
        };
        let held = until_answered!(self, turn, LedgerServiceClient, hold, request);
        let hold = held
            .as_ref()
            .map(|held| held.hold.clone())
            .unwrap_or_default();
        let held = held.map(|held| held.transaction);
        if self.note(member, request_id, held).await.is_none() {
            return;
        }
        let capture_id = format!("{request_id}-capture");
        let request = CaptureRequest {
            request_id: capture_id.clone(),
            program: CLUB.to_owned(),
            member: member.to_owned(),
            hold,
            points: Some((points / 2).max(1)),
            keep_rest: false,
            ..CaptureRequest::default()
        };
        let done = until_answered!(self, turn + 1, LedgerServiceClient, capture, request);
        let done = done.map(|done| done.transaction);
        self.note(member, &capture_id, done).await;
    }
}

/// The whole log, by member and request id.
async fn log(channel: Channel) -> HashMap<(String, String), Vec<String>> {
    // The instance may have been killed a moment ago.
    let client = LedgerServiceClient::new(channel);
    let request = WatchTransactionsRequest::default();
    let mut feed = ask!(client, watch_transactions, request).expect("it stands");
    let mut log: HashMap<(String, String), Vec<String>> = HashMap::new();
    loop {
        let some = feed.message().await.expect("it holds").expect("it goes on");
        for transaction in some.transactions {
            if !transaction.request_id.is_empty() {
                let key = (transaction.member, transaction.request_id);
                log.entry(key).or_default().push(transaction.id);
            }
        }
        if some.behind == 0 {
            return log;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_what_was_answered_holds() {
    kill_now_this_now_that(&[]).await;
}

/// As over several nodes: orders are claimed, batches are written in turn.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_claims_and_all_what_was_answered_holds() {
    kill_now_this_now_that(&[DISTRIBUTED]).await;
}

#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
async fn kill_now_this_now_that(variables: &[(&str, &str)]) {
    let seconds = std::env::var("FEALTY_CRASH_SECONDS").ok();
    let seconds = seconds.map_or(SECONDS, |seconds| seconds.parse().expect("a number"));
    let mut stack = stack().await;
    stack
        .postgres
        .create_database("points")
        .expect("a database");
    let database = stack.postgres.url("points");
    let instances = [0, 1].map(|_| {
        let redis = stack.redis.url();
        Arc::new(Instance::with(&database, &redis, false, variables))
    });
    let program = ApplyProgramRequest {
        source: format!(
            "{}\nrefunds: {{ policy: debt }}\n",
            fealty_cli::demo::PROGRAM
        ),
        request_id: fealty_cli::apply::request_id(),
        ..ApplyProgramRequest::default()
    };
    let client = ProgramServiceClient::new(instances[0].operator.clone());
    ask!(client, apply_program, program).expect("applied");
    let callers = Arc::new(Callers {
        instances: instances.clone(),
        told: Mutex::default(),
        sent_again: Mutex::default(),
        unanswered: AtomicU64::new(0),
        ending: AtomicBool::new(false),
    });
    let tasks: Vec<_> = (0..CALLERS)
        .map(|caller| tokio::spawn(Arc::clone(&callers).call(caller)))
        .collect();
    for second in 1..=seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if second == seconds / 2 {
            stack.postgres.crash().expect("it recovers");
        } else {
            instances[usize::try_from(second % 2).expect("small")]
                .kill()
                .await;
        }
        if second == seconds / 3 || second == seconds * 2 / 3 {
            stack.redis.interrupt();
            stack.redis.resume().expect("Redis starts");
        }
    }
    callers.ending.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("every request is answered in the end");
    }
    let told = callers.told.lock().await;
    let sent_again = callers.sent_again.lock().await;
    let mut late = 0;
    let unanswered = callers.unanswered.load(Ordering::Relaxed);
    assert!(unanswered > 0, "nobody was disturbed");
    let log = log(instances[0].channel.clone()).await;
    for (request, names) in &log {
        assert_eq!(names.len(), 1, "{request:?} is in the log more than once");
        match told.get(request) {
            // An earlier sending that nobody answered may have been done after
            // a later one was refused.
            Some(Told::Refused) if sent_again.contains(request) => late += 1,
            known => assert_eq!(
                known,
                Some(&Told::Done(names[0].clone())),
                "{request:?} is in the log"
            ),
        }
    }
    let done = told
        .values()
        .filter(|told| matches!(told, Told::Done(_)))
        .count();
    assert_eq!(done + late, log.len(), "all that was acknowledged is there");
    assert!(done > CALLERS, "only {done} requests were done");
    let verified = Database::open_within(&database, 1, fealty_postgres::Limits::LONG_READ)
        .await
        .expect("a URL");
    let verified = verify(&verified, &Options::default(), |_, _| {}).await;
    assert!(verified.expect("the ledger verifies").debits_equal_credits);
    // Both instances tell the same of every member, from wherever.
    for number in 0..MEMBERS {
        let mut read = Vec::new();
        for instance in &instances {
            for consistency in [Consistency::Cached, Consistency::Strong] {
                let request = GetBalanceRequest {
                    program: CLUB.to_owned(),
                    member: format!("member-{number}"),
                    currency: POINTS.to_owned(),
                    consistency: consistency.into(),
                    moment: None,
                    ..GetBalanceRequest::default()
                };
                let client = LedgerServiceClient::new(instance.channel.clone());
                let balance = ask!(client, get_balance, request).expect("read").balance;
                read.push(balance);
            }
        }
        assert!(read.windows(2).all(|pair| pair[0] == pair[1]), "{read:?}");
    }
}
