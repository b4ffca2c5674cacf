//! Wallets in which very much is due: no transaction does all of it.

use fealty_auth::Role;
use fealty_cli::{demo::Fleet, token::grant};
use fealty_proto::points::v1::{
    ApproveAdjustmentRequest, Consistency, GiftRequest, ListBalancesRequest,
    ProposeAdjustmentRequest, RedeemRequest,
};
use sqlx::{Connection as _, Executor as _, PgConnection};

use tokio::sync::Mutex;

use crate::{
    harness::{
        CLUB, POINTS, SHOP, START_S, accrual, accrue, ask, available, balance, club, club_with,
        purchase, reason, set_time, until, verify, without_sweepers,
    },
    tiers::{apply_to, gold_stays},
};

const DAY: i64 = 86_400;

fn at(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

/// 6,500 lots of one wallet are due at once: no batch has them all, whoever spends from it is
/// asked to try again until they are gone, and nobody else waits for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_in_which_very_much_is_due_is_written_in_parts() {
    const LOTS: i64 = 6_500;
    let fleet = club().await;
    // One is made; the others are copies of it, as many purchases would have made them.
    let mut request = accrual("first", "anna", 1);
    request.expiry_time = Some(at(START_S + DAY));
    for number in 0..LOTS {
        let mut request = request.clone();
        request.request_id = format!("gift-{number}");
        if number % 100 != 0 {
            continue;
        }
        accrue(fleet.clients(), request).await.expect("points");
    }
    let calls = (0..LOTS).filter(|number| number % 100 != 0).map(|number| {
        let mut request = request.clone();
        request.request_id = format!("gift-{number}");
        accrue(fleet.clients(), request)
    });
    let calls: Vec<_> = calls.collect();
    let mut calls = futures::stream::iter(calls);
    let calls = futures::StreamExt::buffer_unordered(&mut calls, 256);
    let made: Vec<_> = futures::StreamExt::collect(calls).await;
    for made in made {
        made.expect("points");
    }
    assert_eq!(available(fleet.clients(), "anna").await, LOTS);
    set_time(&fleet, START_S + 2 * DAY).await;
    let redeem = RedeemRequest {
        request_id: "redeem-1".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 1,
        ..RedeemRequest::default()
    };
    let refused = ask!(fleet.clients().ledger(), redeem, redeem).expect_err("all are gone");
    assert_eq!(reason(&refused), "INSUFFICIENT_POINTS");
    accrue(fleet.clients(), accrual("after", "anna", 3))
        .await
        .expect("points");
    assert_eq!(
        balance(fleet.clients(), "anna", Consistency::Strong)
            .await
            .0
            .available,
        3
    );
    verify(&fleet).await.expect("the ledger holds");
    let mut reader = PgConnection::connect(fleet.points_database_url())
        .await
        .expect("it answers");
    let expiries: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM transactions t JOIN members m USING (shard, member_no)
         WHERE m.member = 'anna' AND t.request_key IS NULL",
    )
    .fetch_one(&mut reader)
    .await
    .expect("it runs");
    assert_eq!(expiries, LOTS / 500, "500 lots in each");
    let most = most_at_once(&fleet).await;
    assert!(most < expiries, "{most} of {expiries} at once");
}

/// A club whose lanes remember no wallet, so that what is forged is what they read.
async fn club_that_forgets() -> Fleet {
    club_with(&[("FEALTY_LEDGER_MEMBERS_IN_MEMORY", "0".to_owned())]).await
}

/// Gives Anna's wallet 12,000 lots that are due, as if they had been made.
async fn make_much_due(connection: &mut PgConnection) {
    let forge = "WITH made AS (
            INSERT INTO lots (shard, lot, member_no, currency, brand, amount, remaining, held,
                              earned_at, expires_at, program_version, origin, pending, expired,
                              spendable)
            SELECT l.shard, l.lot + number, l.member_no, l.currency, l.brand, 1, 1, 0,
                   l.earned_at, l.earned_at, l.program_version, l.origin, false, 0, true
            FROM (SELECT l.* FROM lots l JOIN members m USING (shard, member_no)
                  WHERE m.member = 'anna' ORDER BY lot LIMIT 1) l,
                 generate_series(10001, 22000) number
            RETURNING 1
        )
        UPDATE wallets w SET available = available + 12000, next_due = last_at
        FROM members m
        WHERE m.member = 'anna' AND m.shard = w.shard AND m.member_no = w.member_no
          AND (SELECT count(*) FROM made) = 12000";
    let forged = connection.execute(forge).await.expect("it runs");
    assert_eq!(forged.rows_affected(), 1);
}

/// The most that one database transaction wrote of what fell due in Anna's wallet.
async fn most_at_once(fleet: &Fleet) -> i64 {
    let url = fleet.points_database_url();
    let mut connection = PgConnection::connect(url).await.expect("it answers");
    let counted = "SELECT max(written) FROM (
            SELECT count(*) AS written FROM transactions t JOIN members m USING (shard, member_no)
            WHERE m.member = 'anna' AND t.request_key IS NULL GROUP BY t.xmin::text
        ) batches";
    let most = sqlx::query_scalar(counted).fetch_one(&mut connection).await;
    most.expect("it counts")
}

fn gift(from: &str, to: &str, points: i64) -> GiftRequest {
    GiftRequest {
        request_id: "gift".to_owned(),
        program: CLUB.to_owned(),
        member: from.to_owned(),
        recipient: to.to_owned(),
        currency: POINTS.to_owned(),
        points,
        ..GiftRequest::default()
    }
}

/// Gifts and approved adjustments are written with all or not at all: they wait for the
/// sweeper, and so does who wants to see all of the wallet.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_as_a_whole_waits_until_most_is_swept() {
    let fleet = club_that_forgets().await;
    accrue(fleet.clients(), accrual("first", "anna", 100))
        .await
        .expect("points");
    let [ines, olga] = ["ines", "olga"].map(|name| {
        let caller = fleet.clients_as(&grant(name, &[Role::Operator]));
        caller.expect("a token")
    });
    let propose = ProposeAdjustmentRequest {
        request_id: "propose".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 5,
        reason: "lost-parcel".to_owned(),
        ..ProposeAdjustmentRequest::default()
    };
    let proposed = ask!(ines.adjustments(), propose_adjustment, propose).expect("proposed");
    let approve = ApproveAdjustmentRequest {
        request_id: "approve".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        adjustment: proposed.adjustment.expect("one").id,
    };
    let (gift, back) = (gift("anna", "ben", 40), gift("ben", "anna", 10));
    let overview = ListBalancesRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
    };
    let mut connection = without_sweepers(&fleet).await;
    make_much_due(&mut connection).await;
    accrue(fleet.clients(), accrual("first", "ben", 100))
        .await
        .expect("points");
    let (mut ledger, mut adjustments) = (fleet.clients().ledger(), olga.adjustments());
    for refused in [
        ledger.gift(gift.clone()).await.map(|_| ()),
        ledger.gift(back.clone()).await.map(|_| ()),
        adjustments
            .approve_adjustment(approve.clone())
            .await
            .map(|_| ()),
        ledger.list_balances(overview.clone()).await.map(|_| ()),
    ] {
        assert_eq!(reason(&refused.expect_err("it waits")), "UNAVAILABLE");
    }
    drop(connection);
    // Whoever asks again until it is done has it.
    ask!(ledger.clone(), gift, gift).expect("given");
    ask!(ledger.clone(), gift, back).expect("given back");
    ask!(adjustments, approve_adjustment, approve).expect("approved");
    ask!(ledger, list_balances, overview).expect("all is there");
    assert_eq!(available(fleet.clients(), "anna").await, 100 - 40 + 10 + 5);
    assert_eq!(available(fleet.clients(), "ben").await, 100 + 40 - 10);
    let most = most_at_once(&fleet).await;
    assert!(most <= 5, "{most} expiries of 500 lots at once");
}

/// A tier begins to decide after very much was due.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_due_before_a_tier_is_written_in_parts() {
    let fleet = club_that_forgets().await;
    apply_to(&fleet, &gold_stays()).await;
    accrue(fleet.clients(), accrual("first", "anna", 100))
        .await
        .expect("points");
    let mut connection = without_sweepers(&fleet).await;
    let asked = purchase(1, "anna", 30_000);
    ask!(fleet.clients().earning(), record_purchase, asked).expect("recorded");
    let reader = Mutex::new(&mut connection);
    until("it is known of the tier", || async {
        let noted = "SELECT count(*) FROM tier_changes_due";
        let mut reader = reader.lock().await;
        let noted = sqlx::query_scalar::<_, i64>(noted).fetch_one(&mut **reader);
        noted.await.expect("it counts") == 1
    })
    .await;
    make_much_due(&mut connection).await;
    drop(connection);
    until("gold's points stay", || async {
        let read = balance(fleet.clients(), "anna", Consistency::Strong);
        read.await.0.inactivity_waived
    })
    .await;
    let most = most_at_once(&fleet).await;
    assert!(most <= 3, "{most} expiries of 500 lots at once");
}

/// A thousand wallets of a programme that this instance cannot read are due before all
/// others: the others are swept all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_programme_that_cannot_be_read_keeps_no_other_from_being_swept() {
    let fleet = club().await;
    let mut request = accrual("first", "anna", 100);
    request.expiry_time = Some(at(START_S + DAY));
    accrue(fleet.clients(), request).await.expect("points");
    let mut connection = without_sweepers(&fleet).await;
    let forge = "WITH hers AS (SELECT shard FROM members WHERE member = 'anna'),
        strange AS (
            INSERT INTO members (shard, member_no, program, member)
            SELECT shard, number, 'strange', 'member-' || number
            FROM hers, generate_series(100001, 101500) number
            RETURNING shard, member_no
        )
        INSERT INTO wallets SELECT (w).* FROM (
            SELECT jsonb_populate_record(w, jsonb_build_object(
                'member_no', strange.member_no, 'next_due', w.last_at)) AS w
            FROM wallets w JOIN strange USING (shard)
        ) made";
    let forged = connection.execute(forge).await.expect("it runs");
    assert_eq!(forged.rows_affected(), 1_500);
    drop(connection);
    set_time(&fleet, START_S + 2 * DAY).await;
    let reader = PgConnection::connect(fleet.points_database_url()).await;
    let reader = Mutex::new(reader.expect("it answers"));
    until("hers are gone", || async {
        let left = "SELECT available FROM wallets JOIN members USING (shard, member_no)
            WHERE member = 'anna'";
        let mut reader = reader.lock().await;
        let left = sqlx::query_scalar::<_, i64>(left).fetch_one(&mut *reader);
        left.await.expect("it reads") == 0
    })
    .await;
}
