//! Attributes that the programme declares personal: rules never read them, the log has hashes.

use std::collections::HashMap;

use fealty_proto::points::v1::{
    AttributeValue, ErasePersonalDataRequest, GetTransactionRequest, PurchaseLine,
    RecordActivityRequest, RecordPurchaseRequest, Transaction, attribute_value::Value,
    get_transaction_request::By,
};
use tonic_types::StatusExt as _;

use super::personal::tables_with;
use crate::{
    earning::{bought, earned, line, record, with_rules},
    harness::{CLUB, SHOP, ask, club_of, polled, reason, verify},
};

const GUEST: &str = "Anna Blum, room 12";
const NAME: &str = "To Ben, with love";
const ROOM: &str = "The blue room";

const RULES: &str = r#"
attributes:
  purchase: { guest: { type: string, personal: true }, own-cup: bool }
  line: { engraving: { type: string, personal: true } }
activities:
  visit: { attributes: { room: { type: string, personal: true } } }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - { rule: cup, on: purchase, when: 'purchase.attributes["own-cup"]', earn: { currency: points, fixed: 5 } }
  - { rule: named, on: purchase, when: 'has(purchase.attributes.guest)', earn: { currency: points, fixed: 7 } }
  - { rule: visit, on: activity.visit, earn: { currency: points, fixed: 3 } }
"#;

fn text(name: &str, text: &str) -> (String, AttributeValue) {
    let value = Some(Value::Text(text.to_owned()));
    (name.to_owned(), AttributeValue { value })
}

fn engraved(lines: usize) -> Vec<PurchaseLine> {
    let one = PurchaseLine {
        attributes: [text("engraving", NAME)].into(),
        ..line("ring", 100, 1)
    };
    vec![one; lines]
}

fn purchase(number: usize, lines: usize) -> RecordPurchaseRequest {
    let cup = Some(Value::Boolean(true));
    let cup = ("own-cup".to_owned(), AttributeValue { value: cup });
    RecordPurchaseRequest {
        attributes: [text("guest", GUEST), cup].into(),
        ..bought(number, "anna", &engraved(lines))
    }
}

fn visit() -> RecordActivityRequest {
    RecordActivityRequest {
        request_id: "visit".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        activity: "visit".to_owned(),
        activity_id: "v-1".to_owned(),
        attributes: [text("room", ROOM)].into(),
        ..RecordActivityRequest::default()
    }
}

/// The text attributes of a transaction: of the purchase, of its first line, of the activity.
fn texts(of: &Transaction) -> Vec<String> {
    let of_purchase = of.purchase.iter().flat_map(|purchase| {
        let lines = purchase.lines.iter().take(1);
        let lines = lines.map(|line| &line.attributes);
        std::iter::once(&purchase.attributes).chain(lines)
    });
    let of_activity = of.activity.iter().map(|activity| &activity.attributes);
    let given: Vec<&HashMap<String, AttributeValue>> = of_purchase.chain(of_activity).collect();
    let values = given.into_iter().flat_map(HashMap::values);
    let texts = values.filter_map(|given| match &given.value {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    });
    texts.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn personal_attributes_stand_beside_the_log_and_can_be_erased() {
    let fleet = club_of(&with_rules(RULES), &[]).await;
    let clients = fleet.clients();
    let done = record(&fleet, purchase(1, 2)).await;
    assert_eq!(earned(&done), [("base", 2), ("cup", 5), ("named", 7)]);
    let bought = done.transaction.expect("a transaction");
    assert_eq!(texts(&bought), [GUEST, NAME], "who writes it knows it");
    let again = record(&fleet, purchase(1, 2)).await;
    assert!(again.replayed);
    assert_eq!(texts(&again.transaction.expect("it")), [GUEST, NAME]);
    let mut other = purchase(1, 2);
    other.attributes.extend([text("guest", "Ben Blum")]);
    let other = ask!(clients.earning(), record_purchase, other).expect_err("another");
    assert_eq!(reason(&other), "REQUEST_ID_REUSED");
    let visited = ask!(clients.earning(), record_activity, visit()).expect("recorded");
    let visited = visited.transaction.expect("a transaction");
    assert_eq!(texts(&visited), [ROOM]);

    // Who reads sees it, who follows the log sees hashes.
    let read = async |id: &str| {
        let by = Some(By::Transaction(id.to_owned()));
        let program = CLUB.to_owned();
        let asked = GetTransactionRequest { program, by };
        let read = ask!(clients.ledger(), get_transaction, asked).expect("read");
        texts(&read.transaction.expect("a transaction"))
    };
    assert_eq!(read(&bought.id).await, [GUEST, NAME]);
    let (told, _) = polled(&fleet, String::new()).await;
    let hashes: Vec<String> = told.iter().flat_map(texts).collect();
    assert_eq!(hashes.len(), 3);
    assert!(
        hashes
            .iter()
            .all(|hash| hash.starts_with("sha256:") && hash.len() == 71),
        "{hashes:?}"
    );
    for personal in [GUEST, NAME, ROOM] {
        assert_eq!(tables_with(&fleet, personal).await, ["personal_values"]);
    }

    let erase = ErasePersonalDataRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
    };
    let erased = ask!(clients.personal_data(), erase_personal_data, erase).expect("erased");
    assert_eq!(erased.values, 4);
    for personal in [GUEST, NAME, ROOM] {
        assert_eq!(tables_with(&fleet, personal).await, [""; 0]);
    }
    assert_eq!(read(&visited.id).await, hashes[2..]);
    verify(&fleet).await.expect("the ledger is sound");
}

/// Each has a hash in the log, whose transactions have an end.
#[tokio::test(flavor = "multi_thread")]
async fn so_many_of_lines_and_no_more() {
    let fleet = club_of(&with_rules(RULES), &[]).await;
    let most = record(&fleet, purchase(1, 200)).await;
    assert_eq!(earned(&most)[0], ("base", 200));
    let refused = ask!(fleet.clients().earning(), record_purchase, purchase(2, 201));
    let refused = refused.expect_err("too many");
    assert_eq!(reason(&refused), "INVALID_FIELD");
    let details = refused.get_error_details();
    let fields = details.bad_request().expect("fields");
    assert_eq!(fields.field_violations[0].field, "lines");
    verify(&fleet).await.expect("the ledger is sound");
}
