//! Redemptions whose process died at each step, or was slow, and their recovery.

use std::time::Duration;

use fealty_cli::demo::Fleet;
use fealty_program::Reward;
use fealty_proto::rewards::v1::{
    GetRedemptionRequest, ListRewardsRequest, RedeemRequest as RedeemRewardRequest, RedemptionState,
};
use fealty_rewards::{
    config::Config,
    redemption::{Begun, RedeemError, Redemption, Redemptions, State},
};
use fealty_server::config::{Source, load};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::Instant;

use crate::harness::{CLUB, accrual, accrue, ask, available, club, send, until, verify};

/// A rewards service in this process, without recovery at work, over a fleet's
/// database.
async fn rewards_app(fleet: &Fleet) -> Redemptions {
    rewards_app_of(fleet, "rewards", &fleet.endpoints().points).await
}

/// The same, over a database, with a points service.
async fn rewards_app_of(fleet: &Fleet, database: &str, points: &str) -> Redemptions {
    let url = fleet.stack.read().await.postgres.url(database);
    let file = tempfile(&format!(
        "[server]\nlisten = \"127.0.0.1:0\"\ntest_clock = true\n[database]\nurl = \"{url}\"\n\
         [points]\nurl = \"{points}\"\n[credentials]\ntoken_file = \"{}\"\n[vouchers]\nkey = \"{}\"\n",
        fleet
            .keys()
            .service_token_file("test")
            .expect("a token")
            .display(),
        "00112233445566778899aabbccddeeff".repeat(2),
    ));
    let source = Source {
        file: Some(&file),
        table: None,
        prefix: "NO_SUCH_VARIABLE_",
    };
    let config: Config = load(source).expect("valid").config;
    fealty_rewards::migrate(&config).await.expect("its tables");
    let app = fealty_rewards::open(&config).await.expect("it opens");
    std::fs::remove_file(file).expect("the file is there");
    app
}

/// A request for a reward, as it is stored first.
fn asked_for(member: &str, request_id: &str, reward: &str, terms: &Reward) -> Redemption {
    Redemption {
        id: uuid::Uuid::now_v7(),
        program: CLUB.parse().expect("an id"),
        member: member.parse().expect("an id"),
        request_id: request_id.parse().expect("an id"),
        reward: reward.parse().expect("an id"),
        currency: terms.currency.clone(),
        points: terms.points,
        brand: terms.accepted_by.clone(),
        state: State::Requested,
        hold: None,
        reason: None,
        voucher_sealed: None,
        requested_at: fealty_types::Timestamp::EPOCH,
        issued_at: None,
        attempt: 1,
        asked_by: None,
        leased_by: Some(uuid::Uuid::now_v7()),
    }
}

/// What the programme says of a reward.
fn terms_of(app: &Redemptions, reward: &str) -> Reward {
    let program = CLUB.parse().expect("an id");
    let reward = reward.parse().expect("an id");
    let applied = app.programs.newest(&program).expect("applied");
    applied.program.rewards[&reward].clone()
}

/// Asks for it, and leaves it there.
async fn begin(app: &Redemptions, asked: Redemption, terms: &Reward) -> Redemption {
    match app.begin(asked, terms, None).await.expect("step 1") {
        Begun::Leased(redemption) => redemption,
        Begun::Issued(redemption) => panic!("{redemption:?}"),
    }
}

/// The leases in a database, to be looked at and changed.
async fn leases(fleet: &Fleet, database: &str) -> PgConnection {
    let url = fleet.stack.read().await.postgres.url(database);
    let connected = PgConnection::connect(&url).await;
    connected.expect("the database answers")
}

fn tempfile(text: &str) -> std::path::PathBuf {
    let name = format!("fealty-test-{}.toml", uuid::Uuid::now_v7());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).expect("a temporary file");
    path
}

/// A process that dies after each step of a redemption: recovery finishes it,
/// once, with one voucher, and the points are taken once.
#[tokio::test(flavor = "multi_thread")]
async fn a_redemption_that_died_at_any_step_is_finished() {
    let fleet = club().await;
    let clients = fleet.clients();
    let app = rewards_app(&fleet).await;
    let terms = terms_of(&app, "ten-off");
    for steps in 1..=3 {
        let member = format!("member-{steps}");
        accrue(clients, accrual("gift", &member, 1_500))
            .await
            .expect("points");
        let asked = asked_for(&member, "died", "ten-off", &terms);
        let mut redemption = begin(&app, asked, &terms).await;
        if steps >= 2 {
            app.hold(&mut redemption).await.expect("step 2");
        }
        if steps >= 3 {
            app.capture(&redemption).await.expect("step 3");
        }
        // The process is gone; its lease runs out.
        let mut leases = leases(&fleet, "rewards").await;
        let ended = leases.execute("UPDATE redemptions SET leased_until = now()");
        ended.await.expect("the lease is there");
        let request = GetRedemptionRequest {
            program: CLUB.to_owned(),
            member: member.clone(),
            redemption: redemption.id.to_string(),
        };
        until("recovery finishes it", || async {
            let read = send(|| {
                let (mut client, request) = (clients.redemption(), request.clone());
                async move { client.get_redemption(request).await }
            });
            let read = read
                .await
                .expect("it is read")
                .redemption
                .expect("a redemption");
            assert_eq!(
                read.state() == RedemptionState::Issued,
                !read.voucher_code.is_empty(),
                "a voucher is shown when it is issued, and not before"
            );
            read.state() == RedemptionState::Issued
        })
        .await;
        assert_eq!(
            available(clients, &member).await,
            500,
            "taken once, after {steps} steps"
        );
        let again = RedeemRewardRequest {
            request_id: "died".to_owned(),
            program: CLUB.to_owned(),
            member: member.clone(),
            reward: "ten-off".to_owned(),
        };
        let again = send(|| {
            let (mut client, request) = (clients.redemption(), again.clone());
            async move { client.redeem(request).await }
        });
        assert!(again.await.expect("answered").replayed);
        assert_eq!(available(clients, &member).await, 500);
    }
    verify(&fleet).await.expect("the ledger verifies");
}

/// A hold that timed out before its capture: points and stock are back, and no
/// voucher was ever shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_redemption_whose_hold_timed_out_is_undone() {
    let fleet = club().await;
    let clients = fleet.clients();
    let app = rewards_app(&fleet).await;
    accrue(clients, accrual("gift", "anna", 5_000))
        .await
        .expect("points");
    let terms = terms_of(&app, "concert-evening");
    let asked = asked_for("anna", "late", "concert-evening", &terms);
    let mut redemption = begin(&app, asked, &terms).await;
    app.hold(&mut redemption).await.expect("step 2");
    crate::harness::set_time(&fleet, crate::harness::START_S + 3_600).await;
    assert_eq!(available(clients, "anna").await, 5_000, "the hold is over");
    app.finish(redemption).await.expect_err("the hold is over");
    let listed = send(|| {
        let mut client = clients.catalog();
        let request = ListRewardsRequest {
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            ..Default::default()
        };
        async move { client.list_rewards(request).await }
    });
    let listed = listed.await.expect("listed").rewards;
    let concert = listed
        .iter()
        .find(|offer| offer.id == "concert-evening")
        .expect("listed");
    assert_eq!(concert.stock_left, Some(300), "the seat is back");
    verify(&fleet).await.expect("the ledger verifies");
}

/// A process that was slow lost its redemption to recovery, which was refused for want of
/// points; the member, who has some now, asked again and has a voucher. What the slow one
/// holds now nobody will use: it is released at once, not when it times out.
#[tokio::test(flavor = "multi_thread")]
async fn the_hold_of_an_attempt_that_is_over_is_released() {
    let fleet = club().await;
    let clients = fleet.clients();
    let app = rewards_app(&fleet).await;
    let terms = terms_of(&app, "ten-off");
    let asked = asked_for("anna", "slow", "ten-off", &terms);
    let mut slow = begin(&app, asked, &terms).await;
    let mut leases = leases(&fleet, "rewards").await;
    let ended = leases.execute("UPDATE redemptions SET leased_until = now()");
    ended.await.expect("the lease is there");
    until("recovery was refused", || async {
        let request = GetRedemptionRequest {
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            redemption: slow.id.to_string(),
        };
        let read = ask!(clients.redemption(), get_redemption, request).expect("it is read");
        read.redemption.expect("a redemption").state() == RedemptionState::Refused
    })
    .await;
    accrue(clients, accrual("gift", "anna", 2_500))
        .await
        .expect("points");
    let again = RedeemRewardRequest {
        request_id: "slow".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        reward: "ten-off".to_owned(),
    };
    ask!(clients.redemption(), redeem, again).expect("issued");
    assert_eq!(available(clients, "anna").await, 1_500);
    let late = app.hold(&mut slow).await.expect_err("another has it");
    assert!(matches!(late, RedeemError::InProgress), "{late}");
    assert_eq!(available(clients, "anna").await, 1_500, "nothing is held");
    // Nor does it issue or undo what the other did.
    app.issue(&mut slow).await.expect_err("another has it");
    verify(&fleet).await.expect("the ledger verifies");
}

/// A points service that takes calls and answers none.
async fn silence() -> (tokio::net::TcpListener, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    (listener, url)
}

/// Who was slow, and has nothing to say for the points service does not answer, does not
/// end the lease that another has since.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_given_up_by_its_owner_alone() {
    let fleet = club().await;
    let (_listener, url) = silence().await;
    let app = rewards_app_of(&fleet, "rewards", &url).await;
    let terms = terms_of(&app, "ten-off");
    let mut leases = leases(&fleet, "rewards").await;
    for (request_id, taken) in [("mine", false), ("anothers", true)] {
        let asked = asked_for("anna", request_id, "ten-off", &terms);
        let redemption = begin(&app, asked, &terms).await;
        let owner = if taken {
            "gen_random_uuid()"
        } else {
            "leased_by"
        };
        let lease = format!(
            "UPDATE redemptions SET leased_until = now() + interval '1 hour', leased_by = {owner}"
        );
        let leased = sqlx::query(sqlx::AssertSqlSafe(lease)).execute(&mut leases);
        leased.await.expect("it runs");
        app.finish(redemption).await.expect_err("nobody answers");
        let kept = "SELECT count(*) FROM redemptions
                    WHERE request_id = $1 AND leased_until > now() + interval '30 minutes'";
        let kept = sqlx::query_scalar(kept)
            .bind(request_id)
            .fetch_one(&mut leases);
        let kept: i64 = kept.await.expect("it runs");
        assert_eq!(kept, i64::from(taken), "{request_id}");
    }
}

/// Recovery works through what it took at once: with a points service that does not
/// answer, the leases do not run out while the first are tried.
#[tokio::test(flavor = "multi_thread")]
async fn recovery_is_done_with_what_it_took_before_the_leases_end() {
    let fleet = club().await;
    let terms = terms_of(&rewards_app(&fleet).await, "ten-off");
    let stack = fleet.stack.read().await;
    stack.postgres.create_database("alone").expect("a database");
    drop(stack);
    let (_listener, url) = silence().await;
    let app = rewards_app_of(&fleet, "alone", &url).await;
    let mut leases = leases(&fleet, "alone").await;
    let stock = "INSERT INTO reward_stock (program, reward) VALUES ('record-club', 'ten-off')";
    leases.execute(stock).await.expect("there is a table");
    for number in 0..20 {
        let asked = asked_for(&format!("member-{number}"), "died", "ten-off", &terms);
        begin(&app, asked, &terms).await;
    }
    let ended = leases.execute("UPDATE redemptions SET leased_until = now()");
    ended.await.expect("the leases are there");
    let began = Instant::now();
    assert_eq!(app.recover().await.expect("it recovers"), 20);
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    // Each is given up, for the next to try.
    let free = "SELECT count(*) FROM redemptions
                WHERE state = 'requested' AND leased_until <= clock_timestamp()";
    let free: i64 = sqlx::query_scalar(free)
        .fetch_one(&mut leases)
        .await
        .expect("it runs");
    assert_eq!(free, 20);
}
