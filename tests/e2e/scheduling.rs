//! Versions that come into force at a moment: on all services, or nowhere, whoever is away and
//! however many buy.

use std::{
    process::Stdio,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use fealty_auth::Role;
use fealty_cli::{
    apply::{How, apply, withdraw},
    demo::{Fleet, PROGRAM},
};
use fealty_client::Channel;
use fealty_proto::{
    operations::v1::SetTimeRequest,
    points::v1::earning_service_client::EarningServiceClient,
    program::v1::{
        ApplyProgramRequest, ApplyProgramResponse, ListVersionsRequest, ListVersionsResponse,
        program_service_client::ProgramServiceClient,
    },
};
use futures::future::join_all;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};
use tonic::{Code, Status};

use crate::{
    earning::{earned, record},
    harness::{CLUB, START_S, ask, club, fealty, purchase, reason, send, set_time, until, verify},
    versions::{another, purchases_in_order},
};

/// When the version begins.
const MOMENT_S: i64 = START_S + 3_600;

fn double() -> String {
    PROGRAM.replacen("points: 10,", "points: 20,", 1)
}

fn at(request_id: &str, source: &str, seconds: i64) -> ApplyProgramRequest {
    ApplyProgramRequest {
        request_id: request_id.to_owned(),
        source: source.to_owned(),
        begin_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        ..ApplyProgramRequest::default()
    }
}

type Programs = ProgramServiceClient<Channel>;

/// Points, tiers, rewards.
fn programs(fleet: &Fleet) -> [Programs; 3] {
    fleet.clients().programs().map(|(_, client)| client)
}

async fn ask_for(
    client: &Programs,
    request: ApplyProgramRequest,
) -> Result<ApplyProgramResponse, Status> {
    ask!(client.clone(), apply_program, request)
}

async fn versions(client: &Programs) -> ListVersionsResponse {
    let request = ListVersionsRequest {
        program: CLUB.to_owned(),
        ..ListVersionsRequest::default()
    };
    ask!(client.clone(), list_versions, request).expect("listed")
}

/// The version in force, and the one to come.
async fn standing(client: &Programs) -> (i64, Option<i64>) {
    let listed = versions(client).await;
    let newest = listed.versions.first().map_or(0, |newest| newest.version);
    (newest, listed.scheduled.map(|scheduled| scheduled.version))
}

/// Has a version begin at the moment, as `fealty apply` does.
async fn schedule(fleet: &Fleet, source: &str) {
    for client in programs(fleet).iter().rev() {
        let asked = at("at the moment", source, MOMENT_S);
        let scheduled = ask_for(client, asked).await.expect("scheduled");
        let version = scheduled.version.expect("one");
        assert_eq!(version.version, 2);
        assert_eq!(
            version.effective_time.map(|time| time.seconds),
            Some(MOMENT_S)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_begins_on_all_services_at_its_moment() {
    let fleet = club().await;
    let [points, tiers, rewards] = programs(&fleet);
    schedule(&fleet, &double()).await;
    for client in [&points, &tiers, &rewards] {
        assert_eq!(standing(client).await, (1, Some(2)));
    }
    // The same again is answered as before; another moment under its id is another request.
    let again = at("at the moment", &double(), MOMENT_S);
    assert!(
        ask_for(&points, again.clone())
            .await
            .expect("as before")
            .replayed
    );
    let moved = at("at the moment", &double(), MOMENT_S + 60);
    let refused = ask_for(&points, moved).await.expect_err("another moment");
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    // Nothing else comes before it, not even as a trial.
    let other = PROGRAM.replacen("points: 10,", "points: 30,", 1);
    for request in [
        at("other", &other, MOMENT_S + 60),
        ApplyProgramRequest {
            begin_time: None,
            ..at("now", &other, 0)
        },
        ApplyProgramRequest {
            begin_time: None,
            dry_run: true,
            ..at("trial", &other, 0)
        },
        ApplyProgramRequest {
            begin_time: None,
            ..at("the same now", &double(), 0)
        },
    ] {
        let refused = ask_for(&points, request)
            .await
            .expect_err("one is scheduled");
        assert_eq!(reason(&refused), "PROGRAM_SCHEDULED");
        assert!(refused.message().contains("version 2"), "{refused:?}");
    }
    // Until then the old one counts.
    let bought = record(&fleet, purchase(1, "anna", 1_000)).await;
    assert_eq!(earned(&bought)[0], ("base", 100));
    set_time(&fleet, MOMENT_S - 1).await;
    let bought = record(&fleet, purchase(2, "anna", 1_000)).await;
    assert_eq!(earned(&bought)[0], ("base", 100));
    set_time(&fleet, MOMENT_S).await;
    for client in [&points, &tiers, &rewards] {
        until("it begins", || async {
            standing(client).await == (2, None)
        })
        .await;
        let newest = versions(client).await.versions.swap_remove(0);
        assert_eq!(
            newest.effective_time.map(|time| time.seconds),
            Some(MOMENT_S)
        );
    }
    let bought = record(&fleet, purchase(3, "anna", 1_000)).await;
    assert_eq!(earned(&bought)[0], ("base", 200));
    // And is answered as before for ever.
    assert!(ask_for(&points, again).await.expect("as before").replayed);
    verify(&fleet).await.expect("the ledger holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn moments_that_are_too_soon_are_refused_and_change_nothing() {
    let fleet = club().await;
    let [points, ..] = programs(&fleet);
    let (invalid, passed) = ("INVALID_FIELD", "PROGRAM_MOMENT_PASSED");
    for (moment, why) in [
        (START_S + 5, passed),
        (START_S - 5, passed),
        (-9_000_000_000, invalid),
    ] {
        let refused = ask_for(&points, at("soon", &double(), moment)).await;
        let refused = refused.expect_err("it is too soon");
        assert_eq!(reason(&refused), why, "{refused:?}");
        assert!(refused.message().contains("begin_time"), "{refused:?}");
        assert_ne!(refused.code(), Code::Internal);
    }
    let expecting = ApplyProgramRequest {
        expected_version: Some(7),
        ..at("meant", &double(), MOMENT_S)
    };
    let refused = ask_for(&points, expecting).await.expect_err("it is at 1");
    assert_eq!(reason(&refused), "PROGRAM_VERSION_MOVED");
    let wrong = ask_for(&points, at("wrong", "program: 7", MOMENT_S)).await;
    assert_eq!(reason(&wrong.expect_err("no programme")), "PROGRAM_INVALID");
    assert_eq!(standing(&points).await, (1, None));
    let nothing = withdraw(fleet.clients(), CLUB, 2)
        .await
        .expect("there is none");
    assert!(!nothing);
    let wrong = withdraw(fleet.clients(), CLUB, 0)
        .await
        .expect_err("no version");
    assert!(wrong.to_string().contains("must be 1 or above"), "{wrong}");
    // What says the same as the one in force is that.
    let same = ask_for(&points, at("same", PROGRAM, MOMENT_S))
        .await
        .expect("it is there");
    assert_eq!(same.version.expect("one").version, 1);
    assert_eq!(standing(&points).await, (1, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_points_does_not_have_begins_nowhere() {
    let fleet = club().await;
    let [points, tiers, rewards] = programs(&fleet);
    // Whoever asked went away before points was asked.
    for client in [&rewards, &tiers] {
        ask_for(client, at("half", &double(), MOMENT_S))
            .await
            .expect("scheduled");
    }
    set_time(&fleet, MOMENT_S + 1).await;
    for client in [&tiers, &rewards] {
        until("it is forgotten", || async {
            standing(client).await == (1, None)
        })
        .await;
    }
    // Withdrawn from points, it does not begin elsewhere, and another may.
    let later = MOMENT_S + 3_600;
    for client in [&rewards, &tiers, &points] {
        ask_for(client, at("later", &double(), later))
            .await
            .expect("scheduled");
    }
    let withdrawn = withdraw(fleet.clients(), CLUB, 2).await.expect("withdrawn");
    assert!(withdrawn);
    set_time(&fleet, later + 1).await;
    for client in [&points, &tiers, &rewards] {
        until("it is forgotten", || async {
            standing(client).await == (1, None)
        })
        .await;
    }
    apply(fleet.clients(), &double(), How::Now)
        .await
        .expect("another may");
    assert_eq!(standing(&points).await, (2, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_ask_points_waits_and_catches_up() {
    let fleet = club().await;
    let [points, tiers, rewards] = programs(&fleet);
    schedule(&fleet, &double()).await;
    fleet
        .signal("points", "STOP")
        .await
        .expect("it stands still");
    let clocks = fleet.clients().clocks();
    let set = async |at: usize| {
        let time = Some(prost_types::Timestamp {
            seconds: MOMENT_S + 1,
            nanos: 0,
        });
        let set = send(|| {
            let mut client = clocks[at].clone();
            async move { client.set_time(SetTimeRequest { time }).await }
        });
        set.await.expect("the clock is set");
    };
    set(1).await;
    set(2).await;
    until("tiers has asked in vain", || async {
        let log = fleet.log("tiers").await.expect("a log");
        log.contains("does not begin yet")
    })
    .await;
    assert_eq!(standing(&tiers).await, (1, Some(2)));
    fleet.signal("points", "CONT").await.expect("it goes on");
    set(0).await;
    for client in [&points, &tiers, &rewards] {
        until("it begins", || async {
            standing(client).await == (2, None)
        })
        .await;
    }
}

/// What points has in force the others take over, whether they ever heard of it or not: one was
/// restored, or was told of another file meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn who_lacks_what_points_has_takes_it_over() {
    let fleet = club().await;
    let [points, tiers, rewards] = programs(&fleet);
    // Somebody displaces the version in rewards by another one; tiers is never asked.
    let other = PROGRAM.replacen("points: 10,", "points: 30,", 1);
    ask_for(&rewards, at("mine", &double(), MOMENT_S))
        .await
        .expect("scheduled");
    ask_for(&rewards, at("other", &other, MOMENT_S))
        .await
        .expect("in its place");
    ask_for(&points, at("mine", &double(), MOMENT_S))
        .await
        .expect("scheduled");
    set_time(&fleet, MOMENT_S + 1).await;
    let mut digests = Vec::new();
    for client in [&points, &rewards, &tiers] {
        until("it has begun", || async {
            standing(client).await == (2, None)
        })
        .await;
        digests.push(versions(client).await.versions.swap_remove(0).digest);
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "the same everywhere");
    // What has begun is not taken back.
    let begun = withdraw(fleet.clients(), CLUB, 2)
        .await
        .expect_err("it has begun");
    assert!(begun.to_string().contains("has begun"), "{begun}");
    for client in [&points, &rewards, &tiers] {
        assert_eq!(standing(client).await, (2, None));
    }
}

/// Nothing repairs by itself what two files under one number are: it is told.
#[tokio::test(flavor = "multi_thread")]
async fn another_text_under_the_same_number_is_told_of() {
    let fleet = club().await;
    let [points, _, rewards] = programs(&fleet);
    let other = PROGRAM.replacen("points: 10,", "points: 30,", 1);
    for (client, source) in [(&rewards, other), (&points, double())] {
        let at_once = ApplyProgramRequest {
            begin_time: None,
            ..at("at once", &source, 0)
        };
        ask_for(client, at_once).await.expect("applied");
    }
    until("rewards says so", || async {
        let log = fleet.log("rewards").await.expect("a log");
        log.contains("version 2 has another meaning here")
    })
    .await;
}

/// `fealty apply`, and what it says.
struct Applying {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Applying {
    fn start(fleet: &Fleet, file: &std::path::Path, more: &[&str]) -> Self {
        let endpoints = fleet.endpoints();
        let mut child = Command::new(fealty())
            .args(["apply", "--yes", "-f"])
            .arg(file)
            .args(more)
            .env("FEALTY_POINTS_URL", &endpoints.points)
            .env("FEALTY_TIERS_URL", &endpoints.tiers)
            .env("FEALTY_REWARDS_URL", &endpoints.rewards)
            .env("FEALTY_TOKEN", fleet.token(&[Role::Operator]))
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .expect("it runs");
        let said = child.stdout.take().expect("it is piped");
        Self {
            child,
            said: BufReader::new(said).lines(),
        }
    }

    /// Reads on to a line with some words.
    async fn says(&mut self, words: &str) -> String {
        let reading = async {
            while let Some(line) = self.said.next_line().await.expect("it is read") {
                if line.contains(words) {
                    return line;
                }
            }
            panic!("it never said `{words}`");
        };
        let deadline = std::time::Duration::from_mins(1);
        tokio::time::timeout(deadline, reading)
            .await
            .expect("in time")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tiers_stopped_the_moment_moves_and_the_operator_is_told() {
    let fleet = club().await;
    let [points, tiers, rewards] = programs(&fleet);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("double.yaml");
    std::fs::write(&file, double()).expect("written");
    fleet
        .signal("tiers", "STOP")
        .await
        .expect("it stands still");
    let mut applying = Applying::start(&fleet, &file, &[]);
    applying.says("tiers does not answer").await;
    let moved = applying.says("the moment moves").await;
    assert!(
        moved.starts_with("tiers: ") && moved.contains("nothing begins"),
        "{moved}"
    );
    assert_eq!(standing(&points).await, (1, None));
    fleet.signal("tiers", "CONT").await.expect("it goes on");
    applying.says("version 2 comes into force at ").await;
    set_time(&fleet, MOMENT_S).await;
    applying.says("record-club is at version 2").await;
    assert!(applying.child.wait().await.expect("it ends").success());
    for client in [&points, &tiers, &rewards] {
        assert_eq!(standing(client).await, (2, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_schedules_moves_and_withdraws() {
    let fleet = club().await;
    let [points, tiers, rewards] = programs(&fleet);
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let file = write("double.yaml", &double());
    let other = PROGRAM.replacen("points: 10,", "points: 30,", 1);
    let other = write("other.yaml", &other);
    let run = async |file: &std::path::Path, more: &[&str], words: &str| {
        let mut applying = Applying::start(&fleet, file, more);
        if !words.is_empty() {
            applying.says(words).await;
        }
        applying.child.wait().await.expect("it ends").success()
    };
    let then = ["--at", "1997-01-02T00:00:00Z", "--no-wait"];
    let comes = "version 2 comes into force at 1997-01-02T00:00:00Z";
    assert!(run(&file, &then, comes).await);
    // The same again changes nothing; with another moment it is moved.
    assert!(run(&file, &["--no-wait"], comes).await);
    let later = ["--at", "1997-01-03T00:00:00+00:00", "--no-wait"];
    assert!(
        run(
            &file,
            &later,
            "version 2 comes into force at 1997-01-03T00:00:00Z"
        )
        .await
    );
    // What would come before it is refused, and nothing is left of the trial.
    assert!(!run(&file, &["--now"], "").await);
    assert!(!run(&other, &["--no-wait"], "").await);
    assert!(!run(&file, &["--at", "1996-01-01T00:00:00Z", "--no-wait"], "").await);
    for client in [&points, &tiers, &rewards] {
        assert_eq!(standing(client).await, (1, Some(2)));
        let scheduled = versions(client).await.scheduled.expect("one");
        let moment = scheduled.effective_time.map(|time| time.seconds);
        assert_eq!(moment, Some(START_S + 36 * 3_600), "it stays where it was");
    }
    assert!(withdraw(fleet.clients(), CLUB, 2).await.expect("withdrawn"));
    assert!(run(&other, &["--now"], "record-club is at version 2").await);
}

/// Two instances, the clock of one behind: no log alternates, no purchase is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_begins_while_512_callers_buy_on_two_instances() {
    const CALLERS: usize = 512;
    let fleet = club().await;
    let other = another(&fleet).await;
    let theirs = EarningServiceClient::new(other.channel.clone());
    let ours = fleet.clients().earning();
    schedule(&fleet, &double()).await;
    let (number, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let buy = |earning: EarningServiceClient<Channel>| {
        let (number, done) = (&number, &done);
        async move {
            while !done.load(Ordering::Relaxed) {
                let next = number.fetch_add(1, Ordering::Relaxed);
                let asked = purchase(next, &format!("member-{}", next % 2_000), 1_000);
                ask!(earning.clone(), record_purchase, asked).expect("recorded");
            }
        }
    };
    let buyers = (0..CALLERS).map(|at| {
        let earning = if at % 2 == 0 { &ours } else { &theirs };
        buy(earning.clone())
    });
    let [points, ..] = programs(&fleet);
    let begin = async {
        let more = async |than: usize| {
            let before = number.load(Ordering::Relaxed);
            until("purchases come", || async {
                number.load(Ordering::Relaxed) > before + than
            })
            .await;
        };
        more(CALLERS).await;
        set_time(&fleet, MOMENT_S).await;
        until("it begins", || async {
            standing(&points).await == (2, None)
        })
        .await;
        // The other instance hears of it a moment later; then all shards are written to.
        more(4 * CALLERS).await;
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(join_all(buyers), begin);
    let purchases = purchases_in_order(&fleet, 2).await;
    assert_eq!(purchases, number.load(Ordering::Relaxed));
    let verified = i64::try_from(purchases).expect("few");
    assert_eq!(verify(&fleet).await, Ok(verified));
}
