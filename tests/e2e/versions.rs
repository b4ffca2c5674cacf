//! Versions of programmes in the logs, with several instances: where they begin, and what
//! an instance does that has another one at hand.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use fealty_cli::{
    apply::{How, apply, request_id},
    demo::{Fleet, PROGRAM},
};
use fealty_client::Channel;
use fealty_proto::{
    points::v1::{
        TransactionKind, earning_service_client::EarningServiceClient,
        ledger_service_client::LedgerServiceClient,
    },
    program::v1::{ApplyProgramRequest, program_service_client::ProgramServiceClient},
};
use futures::future::join_all;
use sqlx::{Connection as _, PgConnection};
use tonic::Code;

use crate::{
    harness::{CLUB, accrual, ask, club, polled, purchase, until, verify},
    instance::Instance,
};

/// Another points service on a fleet's database.
pub(crate) async fn another(fleet: &Fleet) -> Instance {
    let redis = fleet.stack.read().await.redis.url();
    Instance::new(fleet.points_database_url(), &redis, true)
}

/// Two instances, and a programme that changes again and again through one of them
/// while purchases come to both: each shard's log says where a version begins, and what
/// follows is planned by no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_never_goes_back_to_an_earlier_version() {
    const VERSIONS: usize = 6;
    let fleet = club().await;
    let ours = fleet.clients().earning();
    let other = another(&fleet).await;
    let theirs = EarningServiceClient::new(other.channel.clone());
    let number = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    let buy = |earning: EarningServiceClient<Channel>| {
        let (number, done) = (&number, &done);
        async move {
            while !done.load(Ordering::Relaxed) {
                let next = number.fetch_add(1, Ordering::Relaxed);
                let asked = purchase(next, &format!("member-{}", next % 50), 1_000);
                ask!(earning.clone(), record_purchase, asked).expect("recorded");
            }
        }
    };
    let change = async {
        for version in 2..=VERSIONS {
            let rate = format!("points: {},", 10 * version);
            let program = PROGRAM.replacen("points: 10,", &rate, 1);
            apply(fleet.clients(), &program, How::Now)
                .await
                .expect("the programme is applied");
            let before = number.load(Ordering::Relaxed);
            until("purchases come", || async {
                number.load(Ordering::Relaxed) > before + 200
            })
            .await;
        }
        done.store(true, Ordering::Relaxed);
    };
    let buyers = (0..8).map(|at| {
        buy(if at % 2 == 0 {
            ours.clone()
        } else {
            theirs.clone()
        })
    });
    tokio::join!(join_all(buyers), change);
    let purchases = purchases_in_order(&fleet, 6).await;
    assert_eq!(purchases, number.load(Ordering::Relaxed));
    assert_eq!(
        verify(&fleet).await,
        Ok(i64::try_from(purchases).expect("few"))
    );
}

/// Reads the whole feed: how many purchases there are, each planned by the version that
/// began last in its shard, which in the end is `newest` everywhere.
pub(crate) async fn purchases_in_order(fleet: &Fleet, newest: i64) -> usize {
    let mut in_force: BTreeMap<i32, i64> = BTreeMap::new();
    let mut purchases = 0;
    for entry in polled(fleet, String::new()).await.0 {
        let shard = entry.shard.expect("the feed tells the shard");
        if entry.kind() == TransactionKind::ProgramVersion {
            assert!(entry.member.is_empty() && !entry.chain.is_empty());
            let before = in_force.insert(shard, entry.program_version);
            assert!(before.unwrap_or(0) < entry.program_version, "shard {shard}");
        } else {
            purchases += 1;
            let version = Some(&entry.program_version);
            assert_eq!(in_force.get(&shard), version, "position {}", entry.position);
        }
    }
    assert!(
        in_force.values().all(|version| *version == newest),
        "{in_force:?}"
    );
    purchases
}

/// A second instance is sent the same programme in another text, before it has heard of
/// the version. What it writes into the logs is the text that is stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_begins_with_the_text_that_is_stored() {
    let fleet = club().await;
    let other = another(&fleet).await;
    let theirs = ProgramServiceClient::new(other.operator.clone());
    let earning = EarningServiceClient::new(other.channel.clone());
    // It answers, so it has read what was stored until then.
    ask!(earning.clone(), record_purchase, purchase(0, "first", 100)).expect("recorded");
    let text = |rate: usize, comment: &str| {
        let program = PROGRAM.replacen("points: 10,", &format!("points: {rate},"), 1);
        format!("{program}\n# {comment}\n")
    };
    let asked = |source: String| ApplyProgramRequest {
        source,
        request_id: request_id(),
        ..ApplyProgramRequest::default()
    };
    // Again and again, for it hears of others' versions by itself twice a second.
    for rate in 20..30 {
        let ours = fleet.clients().programs()[0].1.clone();
        ask!(ours, apply_program, asked(text(rate, "ours"))).expect("applied");
        ask!(theirs.clone(), apply_program, asked(text(rate, "theirs"))).expect("the same");
        for member in 0..8 {
            let number = rate * 10 + member;
            let bought = purchase(number, &format!("member-{member}"), 1_000);
            ask!(earning.clone(), record_purchase, bought).expect("recorded");
        }
    }
    assert_eq!(verify(&fleet).await, Ok(81));
}

/// A shard has a version that this instance cannot get hold of: requests of that programme
/// may be tried elsewhere, those of others go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_not_to_be_had_holds_up_its_programme_alone() {
    let fleet = club().await;
    let other_club = PROGRAM.replacen("program: record-club", "program: other-club", 1);
    apply(fleet.clients(), &other_club, How::Now)
        .await
        .expect("applied");
    let ledger = fleet.clients().ledger();
    let give = |number: usize, program: &str| {
        let mut request = accrual(&format!("give-{number}"), &format!("member-{number}"), 10);
        request.program = program.to_owned();
        let mut ledger: LedgerServiceClient<_> = ledger.clone();
        async move { ledger.accrue(request).await }
    };
    for number in 0..40 {
        give(number, CLUB).await.expect("given");
    }
    let mut connection = PgConnection::connect(fleet.points_database_url())
        .await
        .expect("the database answers");
    let passed = sqlx::query("UPDATE begun_versions SET version = 99 WHERE program = $1");
    let passed = passed.bind(CLUB).execute(&mut connection).await;
    assert!(passed.expect("it runs").rows_affected() > 1);
    // All at once, so that they share batches.
    let club_and_others = (40..120).map(|number| {
        let program = if number % 2 == 0 { CLUB } else { "other-club" };
        give(number, program)
    });
    let answers = join_all(club_and_others).await;
    for (number, answer) in (40..).zip(answers) {
        if number % 2 == 0 {
            let refused = answer.expect_err("it cannot be planned");
            assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        } else {
            answer.expect("others go on");
        }
    }
}
