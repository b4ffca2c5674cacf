//! The refund matrix: a purchase of 100.00 earned 100 points, and 40 of them
//! are to be taken back. Each test is a row: what has become of the points,
//! and for each policy what happens then.

use std::collections::BTreeMap;

use fealty_cli::demo::Fleet;
use fealty_proto::points::v1::{
    AccrueRequest, Activation, AdjustRequest, Balance, CaptureRequest, Consistency,
    GetPositionsRequest, GetTransactionRequest, HoldRequest, ListTransactionsRequest,
    RecordPurchaseRequest, RedeemRequest, ReinstateLotRequest, ReverseRequest, ReverseResponse,
    activation::When, get_transaction_request::By,
};
use fealty_proto::r#type::v1::Money;
use tonic::Status;

use crate::harness::{
    CLUB, POINTS, SHOP, START_S, accrual, accrue, ask, balance, club, reason, send, set_time,
    verify,
};

const DAY_S: i64 = 86_400;

/// A purchase of 100.00 gives 100 points, that live for 30 days.
fn program(policy: &str, grace: &str, activates: &str) -> String {
    format!(
        "program: record-club
time_zone: UTC
money: {{ currency: USD, decimals: 2 }}
currencies:
  points: {{ expires: {{ after: 30 days }}{activates} }}
brands:
  record-shop: {{ issues: [points], accepts: [points] }}
  record-cafe: {{ issues: [points], accepts: [points] }}
earning:
  - rule: base
    on: purchase
    earn: {{ currency: points, rate: {{ points: 1, per: \"1.00\" }}, round: floor }}
refunds: {{ policy: {policy}, restore_grace: {grace} }}
"
    )
}

/// A fleet whose clock stands; each policy is applied in turn.
struct Till {
    fleet: Fleet,
    now: i64,
    requests: usize,
}

impl Till {
    async fn open() -> Self {
        Self {
            fleet: club().await,
            now: START_S,
            requests: 0,
        }
    }

    async fn policy(&self, policy: &str) {
        self.terms(policy, "10 days", "").await;
    }

    async fn terms(&self, policy: &str, grace: &str, activates: &str) {
        let source = program(policy, grace, activates);
        // The club's own programme is in force: only points is asked here.
        let mut client = self.fleet.clients().programs()[0].1.clone();
        let request = fealty_proto::program::v1::ApplyProgramRequest {
            source,
            request_id: fealty_cli::apply::request_id(),
            ..Default::default()
        };
        client.apply_program(request).await.expect("applied");
    }

    async fn days_pass(&mut self, days: i64) {
        self.now += days * DAY_S;
        set_time(&self.fleet, self.now).await;
    }

    fn request_id(&mut self) -> String {
        self.requests += 1;
        format!("request-{}", self.requests)
    }

    /// A purchase of 100.00: its transaction.
    async fn purchase(&mut self, member: &str) -> String {
        let request_id = self.request_id();
        let request = RecordPurchaseRequest {
            order_number: request_id.clone(),
            request_id,
            program: CLUB.to_owned(),
            member: member.to_owned(),
            brand: SHOP.to_owned(),
            amount: Some(Money {
                currency_code: "USD".to_owned(),
                minor_units: 10_000,
            }),
            purchase_time: None,
            ..RecordPurchaseRequest::default()
        };
        let clients = self.fleet.clients();
        let recorded = send(|| {
            let (mut client, request) = (clients.earning(), request.clone());
            async move { client.record_purchase(request).await }
        });
        let transaction = recorded.await.expect("recorded").transaction;
        transaction.expect("a transaction").id
    }

    /// The lot that a transaction made.
    async fn lot_of(&self, transaction: &str) -> String {
        let request = GetTransactionRequest {
            program: CLUB.to_owned(),
            by: Some(By::Transaction(transaction.to_owned())),
        };
        let mut client = self.fleet.clients().ledger();
        let read = client
            .get_transaction(request)
            .await
            .expect("read")
            .into_inner();
        read.transaction.expect("one").lots[0].id.clone()
    }

    /// The member's last transaction.
    async fn newest(&self, member: &str) -> String {
        let request = ListTransactionsRequest {
            program: CLUB.to_owned(),
            member: member.to_owned(),
            page_size: 1,
            ..ListTransactionsRequest::default()
        };
        let mut client = self.fleet.clients().ledger();
        let read = client
            .list_transactions(request)
            .await
            .expect("read")
            .into_inner();
        read.transactions[0].id.clone()
    }

    /// Other points of the member, which expire earlier.
    async fn other_points(&mut self, member: &str, points: i64) {
        let mut request = accrual(&self.request_id(), member, points);
        request.expiry_time = Some(prost_types::Timestamp {
            seconds: self.now + 5 * DAY_S,
            nanos: 0,
        });
        accrue(self.fleet.clients(), request).await.expect("points");
    }

    async fn redeem(&mut self, member: &str, points: i64) -> String {
        let request = RedeemRequest {
            request_id: self.request_id(),
            program: CLUB.to_owned(),
            member: member.to_owned(),
            brand: SHOP.to_owned(),
            currency: POINTS.to_owned(),
            points,
            reference: String::new(),
            ..RedeemRequest::default()
        };
        let clients = self.fleet.clients();
        let redeemed = send(|| {
            let (mut client, request) = (clients.ledger(), request.clone());
            async move { client.redeem(request).await }
        });
        let transaction = redeemed.await.expect("redeemed").transaction;
        transaction.expect("a transaction").id
    }

    async fn hold(&mut self, member: &str, points: i64) -> String {
        let request = HoldRequest {
            request_id: self.request_id(),
            program: CLUB.to_owned(),
            member: member.to_owned(),
            brand: SHOP.to_owned(),
            currency: POINTS.to_owned(),
            points,
            timeout: None,
            reference: String::new(),
            ..HoldRequest::default()
        };
        let clients = self.fleet.clients();
        let held = send(|| {
            let (mut client, request) = (clients.ledger(), request.clone());
            async move { client.hold(request).await }
        });
        held.await.expect("held").hold
    }

    async fn reverse(
        &mut self,
        member: &str,
        transaction: &str,
        points: i64,
    ) -> Result<ReverseResponse, Status> {
        let request = ReverseRequest {
            request_id: self.request_id(),
            program: CLUB.to_owned(),
            member: member.to_owned(),
            transaction: transaction.to_owned(),
            points: (points > 0).then_some(points),
            ..ReverseRequest::default()
        };
        let clients = self.fleet.clients();
        send(|| {
            let (mut client, request) = (clients.ledger(), request.clone());
            async move { client.reverse(request).await }
        })
        .await
    }

    /// Reverses, and says what was taken from nowhere: expired, and borne.
    async fn reversed(&mut self, member: &str, transaction: &str, points: i64) -> (i64, i64) {
        let reversed = self.reverse(member, transaction, points).await;
        let outcome = reversed.expect("reversed").outcome.expect("an outcome");
        assert_eq!(outcome.transaction, transaction);
        (outcome.expired, outcome.borne)
    }

    /// Pending, available, held, owed.
    async fn wallet(&self, member: &str) -> [i64; 4] {
        let clients = self.fleet.clients();
        let (read, _) = balance(clients, member, Consistency::Strong).await;
        let Balance {
            pending,
            available,
            held,
            debt,
            ..
        } = read;
        [pending, available, held, debt]
    }

    async fn close(self) {
        verify(&self.fleet).await.expect("the ledger verifies");
    }
}

const POLICIES: [&str; 3] = ["lot_only", "balance", "debt"];

#[tokio::test(flavor = "multi_thread")]
async fn still_pending_taken_from_pending() {
    let mut till = Till::open().await;
    for policy in POLICIES {
        till.terms(policy, "10 days", ", activates: { after: 14 days }")
            .await;
        let purchase = till.purchase(policy).await;
        assert_eq!(till.wallet(policy).await, [100, 0, 0, 0]);
        assert_eq!(till.reversed(policy, &purchase, 40).await, (0, 0));
        assert_eq!(till.wallet(policy).await, [60, 0, 0, 0]);
    }
    till.days_pass(14).await;
    for policy in POLICIES {
        assert_eq!(till.wallet(policy).await, [0, 60, 0, 0]);
    }
    till.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn available_and_unspent_taken_from_the_same_lot() {
    let mut till = Till::open().await;
    for policy in POLICIES {
        till.policy(policy).await;
        let purchase = till.purchase(policy).await;
        till.other_points(policy, 70).await;
        let reversed = till.reverse(policy, &purchase, 40).await;
        let transaction = reversed.expect("reversed").transaction.expect("one");
        assert_eq!(transaction.transfers.len(), 1, "one lot, one movement");
        let lot = &transaction.transfers[0].lot;
        assert_eq!(*lot, till.lot_of(&purchase).await, "the purchase's");
        assert_eq!(till.wallet(policy).await, [0, 130, 0, 0]);
    }
    till.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partly_spent_same_lot_first_then_by_policy() {
    let mut till = Till::open().await;
    // 80 of 100 are spent; 40 are to come back, 20 of them are still there.
    for (policy, left, borne) in [
        ("lot_only", [0, 0, 0, 0], 20),
        ("balance", [0, 0, 0, 0], 20),
        ("debt", [0, 0, 0, 20], 0),
    ] {
        till.policy(policy).await;
        let purchase = till.purchase(policy).await;
        till.redeem(policy, 80).await;
        let told = till.reversed(policy, &purchase, 40).await;
        assert_eq!(told, (0, borne), "{policy}");
        assert_eq!(till.wallet(policy).await, left, "{policy}");
    }
    till.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wholly_spent_with_other_points_by_policy() {
    let mut till = Till::open().await;
    // All 100 are spent, 25 other points are there.
    for (policy, left, borne) in [
        ("lot_only", [0, 25, 0, 0], 40),
        ("balance", [0, 0, 0, 0], 15),
        ("debt", [0, 0, 0, 15], 0),
    ] {
        till.policy(policy).await;
        let purchase = till.purchase(policy).await;
        till.redeem(policy, 100).await;
        till.other_points(policy, 25).await;
        let told = till.reversed(policy, &purchase, 40).await;
        assert_eq!(told, (0, borne), "{policy}");
        assert_eq!(till.wallet(policy).await, left, "{policy}");
    }
    till.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn held_points_stay_held_and_the_policy_decides() {
    let mut till = Till::open().await;
    for (policy, left, borne) in [
        ("lot_only", [0, 30, 70, 0], 10),
        ("balance", [0, 20, 70, 0], 0),
        ("debt", [0, 20, 70, 0], 0),
    ] {
        till.policy(policy).await;
        let purchase = till.purchase(policy).await;
        let hold = till.hold(policy, 70).await;
        till.other_points(policy, 30).await;
        let told = till.reversed(policy, &purchase, 40).await;
        assert_eq!(told, (0, borne), "{policy}");
        assert_eq!(till.wallet(policy).await, left, "{policy}");
        let request = CaptureRequest {
            request_id: till.request_id(),
            program: CLUB.to_owned(),
            member: policy.to_owned(),
            hold,
            points: None,
            keep_rest: false,
            ..CaptureRequest::default()
        };
        let mut client = till.fleet.clients().ledger();
        client.capture(request).await.expect("what is held is held");
    }
    till.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expired_is_never_taken_again_from_elsewhere() {
    let mut till = Till::open().await;
    for policy in POLICIES {
        till.policy(policy).await;
        let purchase = till.purchase(policy).await;
        till.redeem(policy, 50).await;
        till.days_pass(31).await;
        assert_eq!(till.wallet(policy).await, [0, 0, 0, 0], "50 have expired");
        till.other_points(policy, 200).await;
        // 40 of the 50 that expired: nothing is taken for them.
        assert_eq!(till.reversed(policy, &purchase, 40).await, (40, 0));
        assert_eq!(till.wallet(policy).await, [0, 200, 0, 0], "{policy}");
        // The other 60: 10 that expired, and 50 that were spent.
        let (borne, left) = match policy {
            "lot_only" => (50, 200),
            _ => (0, 150),
        };
        assert_eq!(till.reversed(policy, &purchase, 0).await, (10, borne));
        assert_eq!(till.wallet(policy).await, [0, left, 0, 0], "{policy}");
    }
    till.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sum_of_reversals_never_exceeds_what_was_given() {
    let mut till = Till::open().await;
    till.policy("debt").await;
    let purchase = till.purchase("anna").await;
    till.reversed("anna", &purchase, 40).await;
    let refused = till.reverse("anna", &purchase, 61).await;
    let refused = refused.expect_err("60 are left");
    assert_eq!(reason(&refused), "REVERSAL_EXCEEDED");
    till.reversed("anna", &purchase, 0).await;
    let refused = till.reverse("anna", &purchase, 0).await;
    assert_eq!(reason(&refused.expect_err("none")), "REVERSAL_EXCEEDED");
    assert_eq!(till.wallet("anna").await, [0, 0, 0, 0]);
    till.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn debt_is_repaid_by_the_next_points() {
    let mut till = Till::open().await;
    till.policy("debt").await;
    let purchase = till.purchase("anna").await;
    till.redeem("anna", 100).await;
    till.reversed("anna", &purchase, 0).await;
    assert_eq!(till.wallet("anna").await, [0, 0, 0, 100]);
    till.other_points("anna", 30).await;
    assert_eq!(till.wallet("anna").await, [0, 0, 0, 70]);
    // Pending points repay when they become available.
    let mut request: AccrueRequest = accrual(&till.request_id(), "anna", 50);
    request.activation = Some(Activation {
        when: Some(When::Time(prost_types::Timestamp {
            seconds: till.now + DAY_S,
            nanos: 0,
        })),
    });
    accrue(till.fleet.clients(), request).await.expect("points");
    assert_eq!(till.wallet("anna").await, [50, 0, 0, 70]);
    till.days_pass(1).await;
    assert_eq!(till.wallet("anna").await, [0, 0, 0, 20]);
    let request = AdjustRequest {
        request_id: till.request_id(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 45,
        reason: "goodwill".to_owned(),
        actor: "ines".to_owned(),
        ..AdjustRequest::default()
    };
    let mut client = till.fleet.clients().ledger();
    client.adjust(request).await.expect("adjusted");
    assert_eq!(till.wallet("anna").await, [0, 25, 0, 0]);
    till.close().await;
}

/// The shop took 100 points back that were spent. What the café gives next repays the
/// shop, and the café pays for it: as if it had given its points before.
#[tokio::test(flavor = "multi_thread")]
async fn debt_is_owed_to_a_brand_and_repaid_to_it() {
    const CAFE: &str = "record-cafe";
    let mut till = Till::open().await;
    till.policy("debt").await;
    let purchase = till.purchase("anna").await;
    till.redeem("anna", 100).await;
    till.reversed("anna", &purchase, 0).await;
    for source in [Consistency::Strong, Consistency::Cached] {
        let (owing, _) = balance(till.fleet.clients(), "anna", source).await;
        let owed = &owing.debts[..];
        assert_eq!(
            (owed.len(), &*owed[0].brand, owed[0].points),
            (1, SHOP, 100)
        );
    }
    let mut given = accrual(&till.request_id(), "anna", 130);
    given.brand = CAFE.to_owned();
    let given = accrue(till.fleet.clients(), given).await.expect("points");
    let given = given.transaction.expect("a transaction");
    assert_eq!(till.wallet("anna").await, [0, 30, 0, 0]);
    let (free, _) = balance(till.fleet.clients(), "anna", Consistency::Strong).await;
    assert!(free.debts.is_empty());
    let request = GetPositionsRequest {
        program: CLUB.to_owned(),
        ..GetPositionsRequest::default()
    };
    let clients = till.fleet.clients();
    let read = ask!(clients.settlement(), get_positions, request).expect("read");
    let rows = read.positions.into_iter().map(|row| {
        let moved = [row.issued, row.redeemed, row.taken_back];
        ((row.issuer, row.acceptor), moved)
    });
    let between = |issuer: &str, acceptor: &str| (issuer.to_owned(), acceptor.to_owned());
    let expected = [
        (between(SHOP, SHOP), [100, 100, 0]),
        (between(CAFE, CAFE), [130, 0, 0]),
        (between(CAFE, SHOP), [0, 0, 100]),
    ];
    assert_eq!(rows.collect::<BTreeMap<_, _>>(), BTreeMap::from(expected));
    adjusted_points_are_owed_as_others(&mut till).await;
    // What the café gave comes back too: of its 130 points 30 are there, 100 are owed
    // to it now.
    till.reversed("anna", &given.id, 0).await;
    let (owing, _) = balance(till.fleet.clients(), "anna", Consistency::Strong).await;
    assert_eq!((owing.available, owing.debt), (0, 100));
    assert_eq!(owing.debts[0].brand, CAFE);
    till.close().await;
}

/// The shop takes back what an operator gave in its name, and what was spent: the café's
/// next points repay that too.
async fn adjusted_points_are_owed_as_others(till: &mut Till) {
    let request = AdjustRequest {
        request_id: till.request_id(),
        program: CLUB.to_owned(),
        member: "ben".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 20,
        reason: "goodwill".to_owned(),
        actor: "ines".to_owned(),
        ..AdjustRequest::default()
    };
    let mut client = till.fleet.clients().ledger();
    let given = client.adjust(request).await.expect("adjusted").into_inner();
    till.redeem("ben", 20).await;
    let given = given.transaction.expect("a transaction").id;
    till.reversed("ben", &given, 0).await;
    let given = AccrueRequest {
        brand: "record-cafe".to_owned(),
        ..accrual(&till.request_id(), "ben", 20)
    };
    accrue(till.fleet.clients(), given).await.expect("points");
    assert_eq!(till.wallet("ben").await, [0, 0, 0, 0]);
    let request = GetPositionsRequest {
        program: CLUB.to_owned(),
        ..GetPositionsRequest::default()
    };
    let clients = till.fleet.clients();
    let read = ask!(clients.settlement(), get_positions, request).expect("read");
    let mut between = read.positions.into_iter();
    let between = between.find(|row| row.issuer == "record-cafe" && row.acceptor == SHOP);
    let between = between.expect("a position");
    assert_eq!((between.taken_back, between.adjusted), (120, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redemption_reversed_restores_its_lots_last_consumed_first() {
    let mut till = Till::open().await;
    till.policy("balance").await;
    till.other_points("anna", 30).await;
    let purchase = till.purchase("anna").await;
    let lot = till.lot_of(&purchase).await;
    // 30 of the lot that expires first, then 50 of the purchase's.
    let redemption = till.redeem("anna", 80).await;
    let restored = till.reverse("anna", &redemption, 60).await;
    let transaction = restored.expect("restored").transaction.expect("one");
    let moved: Vec<(i64, bool)> = transaction
        .transfers
        .iter()
        .map(|transfer| (transfer.amount, transfer.lot == lot))
        .collect();
    assert_eq!(moved, [(50, true), (10, false)]);
    assert_eq!(till.wallet("anna").await, [0, 110, 0, 0]);
    till.reversed("anna", &redemption, 0).await;
    assert_eq!(till.wallet("anna").await, [0, 130, 0, 0]);
    till.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lot_that_expired_meanwhile_comes_back_for_the_grace_or_not_at_all() {
    let mut till = Till::open().await;
    for (grace, back) in [("10 days", 80), ("none", 0)] {
        till.terms("balance", grace, "").await;
        let member = grace.replace(' ', "-");
        till.purchase(&member).await;
        let redemption = till.redeem(&member, 80).await;
        till.days_pass(40).await;
        let told = till.reversed(&member, &redemption, 0).await;
        assert_eq!(told, (80 - back, 0));
        assert_eq!(till.wallet(&member).await, [0, back, 0, 0], "{grace}");
        till.days_pass(10).await;
        assert_eq!(till.wallet(&member).await, [0, 0, 0, 0], "{grace}");
    }
    till.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_undone_otherwise_is_not_reversed() {
    let mut till = Till::open().await;
    till.policy("balance").await;
    let purchase = till.purchase("anna").await;
    till.hold("anna", 10).await;
    let hold = till.newest("anna").await;
    let refused = till.reverse("anna", &hold, 0).await;
    assert_eq!(reason(&refused.expect_err("a hold")), "NOT_REVERSIBLE");
    let refused = till.reverse("berta", &purchase, 0).await;
    let refused = refused.expect_err("another member's");
    assert_eq!(reason(&refused), "TRANSACTION_NOT_FOUND");
    // An expiry is undone by ReinstateLot.
    till.days_pass(31).await;
    let request = ReinstateLotRequest {
        request_id: till.request_id(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        lot: till.lot_of(&purchase).await,
        points: Some(30),
        expiry_time: Some(prost_types::Timestamp {
            seconds: till.now + DAY_S,
            nanos: 0,
        }),
        reason: "goodwill".to_owned(),
        actor: "ines".to_owned(),
        ..ReinstateLotRequest::default()
    };
    let mut client = till.fleet.clients().ledger();
    client.reinstate_lot(request).await.expect("reinstated");
    let [_, available, ..] = till.wallet("anna").await;
    // The hold had timed out, and its points expired with the others.
    assert_eq!(available, 30);
    till.close().await;
}
