//! Points that wait for an event.

use fealty_cli::{apply::request_id, demo::PROGRAM};
use fealty_proto::{
    points::v1::{
        ActivatePointsRequest, Activation, Consistency, OrderKey, activate_points_request::Of,
        activation::When,
    },
    program::v1::ApplyProgramRequest,
};

use crate::harness::{CLUB, SHOP, accrual, accrue, ask, balance, club, purchase, reason, verify};

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "step by step")]
async fn points_become_available_by_the_order_and_the_event() {
    let fleet = club().await;
    let waits = PROGRAM.replacen(
        "{ decimals: 0,",
        "{ activates: { on: shipped }, decimals: 0,",
        1,
    );
    let (_, client) = fleet.clients().programs()[0].clone();
    let request = ApplyProgramRequest {
        request_id: request_id(),
        source: waits,
        ..ApplyProgramRequest::default()
    };
    ask!(client, apply_program, request).expect("applied");
    let clients = fleet.clients();
    let bought = ask!(
        clients.earning(),
        record_purchase,
        purchase(1, "anna", 5_000)
    );
    let bought = bought.expect("recorded").transaction.expect("one");
    assert_eq!(bought.lots[0].activation_event, "shipped");
    let wallet = async |member: &str| {
        let (read, _) = balance(clients, member, Consistency::Strong).await;
        (read.pending, read.available)
    };
    let (pending, none) = wallet("anna").await;
    assert!(pending > 0 && none == 0);
    let mut gift = accrual("gift", "anna", 7);
    gift.activation = Some(Activation {
        when: Some(When::Event("delivered".to_owned())),
    });
    accrue(clients, gift).await.expect("given");
    let activate = |member: &str, event: &str, order: &str| ActivatePointsRequest {
        request_id: format!("{event}-{order}"),
        program: CLUB.to_owned(),
        member: member.to_owned(),
        event: event.to_owned(),
        of: Some(Of::Order(OrderKey {
            brand: SHOP.to_owned(),
            order_number: order.to_owned(),
            ..OrderKey::default()
        })),
        ..ActivatePointsRequest::default()
    };
    for (member, event, order, expected) in [
        ("anna", "delivered", "order-1", "NOTHING_PENDING"),
        ("anna", "shipped", "order-9", "TRANSACTION_NOT_FOUND"),
        ("ben", "shipped", "order-1", "TRANSACTION_NOT_FOUND"),
        ("anna", "Shipped!", "order-1", "INVALID_FIELD"),
    ] {
        let refused = ask!(
            clients.ledger(),
            activate_points,
            activate(member, event, order)
        );
        assert_eq!(
            reason(&refused.expect_err("refused")),
            expected,
            "{event} {order}"
        );
    }
    let shipped = activate("anna", "shipped", "order-1");
    let done = ask!(clients.ledger(), activate_points, shipped.clone()).expect("activated");
    assert_eq!(done.transaction.expect("one").activated, bought.id);
    assert_eq!(wallet("anna").await, (7, pending));
    assert!(
        ask!(clients.ledger(), activate_points, shipped)
            .expect("again")
            .replayed
    );
    verify(&fleet).await.expect("the ledger verifies");
}
