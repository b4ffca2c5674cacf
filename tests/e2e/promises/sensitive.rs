//! What is sensitive goes to the tiers service only: nothing of it is in a table, a feed or a
//! log line of points, in no log line of tiers either, and it can be deleted.

use fealty_cli::{
    apply::{How, apply},
    demo::Fleet,
};
use fealty_proto::{
    operations::v1::ListAuditEntriesRequest,
    points::v1::{self as points, AttributeValue, attribute_value::Value},
    tiers::v1::{
        EraseActivitiesRequest, ListActivitiesRequest, RecordActivityRequest, SensitiveActivity,
    },
};
use prost::Message as _;
use sqlx::{Connection as _, PgConnection};
use tonic::Code;

use super::{at, personal::tables_with};
use crate::{
    earning::with_rules,
    harness::{CLUB, SHOP, ask, club_of, polled, purchase, reason, verify},
    instance::DISTRIBUTED,
};

/// What is searched for: a type, a fact, an id, and a time as text and in the log's bytes.
const LOSS: &str = "loss-of-kin";
const LETTER: &str = "letter-from-notary";
const ID: &str = "case-4711-kin";
/// 1996-11-17T05:06:07Z, in seconds.
const LOST_S: i64 = 848_207_167;

const RULES: &str = r#"
activities:
  loss-of-kin: { sensitive: true, attributes: { source: string } }
  review: {}
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
"#;

fn source() -> std::collections::HashMap<String, AttributeValue> {
    let value = Some(Value::Text(LETTER.to_owned()));
    [("source".to_owned(), AttributeValue { value })].into()
}

fn loss(number: usize) -> RecordActivityRequest {
    RecordActivityRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        activity: LOSS.to_owned(),
        activity_id: format!("{ID}-{number}"),
        activity_time: at(LOST_S),
        attributes: source(),
    }
}

async fn listed(fleet: &Fleet, page_size: i32, page_token: &str) -> (Vec<String>, String) {
    let request = ListActivitiesRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        page_size,
        page_token: page_token.to_owned(),
    };
    let client = fleet.clients().sensitive_activities();
    let page = ask!(client, list_activities, request).expect("listed");
    let ids = page.activities.into_iter();
    let ids = ids.map(|activity| activity.activity_id);
    (ids.collect(), page.next_page_token)
}

fn erasure(number: Option<usize>) -> EraseActivitiesRequest {
    EraseActivitiesRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        activity: number.map_or(String::new(), |_| LOSS.to_owned()),
        activity_id: number.map_or(String::new(), |number| format!("{ID}-{number}")),
    }
}

/// Nothing of it is anywhere but where it belongs.
async fn is_nowhere_else(fleet: &Fleet) {
    let micros = (LOST_S * 1_000_000).to_le_bytes();
    let micros = data_encoding::HEXLOWER.encode(&micros);
    for text in [LETTER, ID, "1996-11-17", &micros] {
        assert_eq!(tables_with(fleet, text).await, [""; 0], "{text}");
    }
    // Its type is declared in the programme's text, which the audit log has too, and stands
    // nowhere else.
    assert_eq!(tables_with(fleet, LOSS).await, ["programs", "audit_log"]);
    let url = fleet.points_database_url();
    let mut connection = PgConnection::connect(url).await.expect("it answers");
    let of_members = "SELECT count(*) FROM audit_log t
                      WHERE member IS NOT NULL AND t::text LIKE '%loss-of-kin%'";
    let of_members: i64 = sqlx::query_scalar(of_members)
        .fetch_one(&mut connection)
        .await
        .expect("counted");
    assert_eq!(of_members, 0);
    let (feed, _) = polled(fleet, String::new()).await;
    assert!(!feed.is_empty());
    for entry in &feed {
        let bytes = entry.encode_to_vec();
        let told = String::from_utf8_lossy(&bytes);
        for text in [LOSS, LETTER, ID] {
            assert!(!told.contains(text), "{entry:?}");
        }
    }
    for service in ["points", "tiers", "rewards"] {
        let log = fleet.log(service).await.expect("a log");
        assert!(!log.is_empty());
        for text in [LOSS, LETTER, ID, "1996-11-17"] {
            assert!(!log.contains(text), "{service}: {log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sensitive_is_in_tiers_alone_and_can_be_deleted() {
    for knobs in [&[][..], &[DISTRIBUTED][..]] {
        let knobs = knobs
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let fleet = club_of(&with_rules(RULES), &knobs.collect::<Vec<_>>()).await;
        let clients = fleet.clients();
        ask!(clients.earning(), record_purchase, purchase(1, "anna", 500)).expect("recorded");
        let request = points::RecordActivityRequest {
            request_id: "told-to-the-wrong-one".to_owned(),
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            brand: SHOP.to_owned(),
            activity: LOSS.to_owned(),
            activity_id: format!("{ID}-1"),
            activity_time: at(LOST_S),
            attributes: source(),
            ..points::RecordActivityRequest::default()
        };
        let refused = clients.earning().record_activity(request).await;
        let refused = refused.expect_err("refused");
        assert_eq!(reason(&refused), "ACTIVITY_SENSITIVE");
        for number in 1..4 {
            let client = clients.sensitive_activities();
            let answer = ask!(client, record_activity, loss(number)).expect("recorded");
            assert!(!answer.replayed);
        }
        is_nowhere_else(&fleet).await;
        verify(&fleet).await.expect("the ledger holds");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "step by step")]
async fn what_is_sensitive_is_recorded_once_listed_and_deleted() {
    let fleet = club_of(&with_rules(RULES), &[]).await;
    let client = || fleet.clients().sensitive_activities();
    let mut last = SensitiveActivity::default();
    for number in 1..4 {
        let answer = ask!(client(), record_activity, loss(number)).expect("recorded");
        last = answer.activity.expect("one");
    }
    assert_eq!(
        (&*last.activity, last.activity_time, &last.attributes),
        (LOSS, at(LOST_S), &source())
    );
    // Sent again it is there; without a time, it is the same; another one is refused.
    let again = ask!(client(), record_activity, loss(3)).expect("there");
    assert!(again.replayed);
    assert_eq!(again.activity, Some(last));
    let untimed = RecordActivityRequest {
        activity_time: None,
        ..loss(3)
    };
    assert!(
        ask!(client(), record_activity, untimed)
            .expect("there")
            .replayed
    );
    let others: [&dyn Fn(&mut RecordActivityRequest); 3] = [
        &|r| r.member = "berta".to_owned(),
        &|r| r.attributes.clear(),
        &|r| r.activity_time = at(LOST_S + 1),
    ];
    for change in others {
        let mut other = loss(3);
        change(&mut other);
        let refused = client().record_activity(other).await.expect_err("other");
        assert_eq!(refused.code(), Code::AlreadyExists);
        assert_eq!(reason(&refused), "ACTIVITY_ALREADY_RECORDED");
    }

    let ids = |numbers: &[usize]| -> Vec<String> {
        let ids = numbers.iter().map(|number| format!("{ID}-{number}"));
        ids.collect()
    };
    let (first, token) = listed(&fleet, 2, "").await;
    assert_eq!(first, ids(&[3, 2]));
    assert_eq!(listed(&fleet, 2, &token).await, (ids(&[1]), String::new()));
    let erased = ask!(client(), erase_activities, erasure(Some(2))).expect("erased");
    assert_eq!(erased.activities, 1);
    assert_eq!(listed(&fleet, 0, "").await.0, ids(&[3, 1]));
    let erased = ask!(client(), erase_activities, erasure(None)).expect("erased");
    assert_eq!(erased.activities, 2);
    let erased = ask!(client(), erase_activities, erasure(None)).expect("nothing");
    assert_eq!(erased.activities, 0);
    assert_eq!(listed(&fleet, 0, "").await.0, ids(&[]));

    // The audit log says who did it and for whom, and nothing else.
    let entries = ListAuditEntriesRequest {
        program: CLUB.to_owned(),
        ..ListAuditEntriesRequest::default()
    };
    let [_, (_, tiers), _] = fleet.clients().audit_logs();
    let entries = ask!(tiers, list_audit_entries, entries)
        .expect("listed")
        .entries;
    let told: Vec<_> = entries
        .iter()
        .filter(|entry| entry.member == "anna")
        .map(|entry| entry.after.as_str())
        .collect();
    let mut expected = vec![r#"{"read_activities": 0}"#, r#"{"erased_activities": 0}"#];
    expected.extend([r#"{"erased_activities": 2}"#, r#"{"read_activities": 2}"#]);
    expected.extend([r#"{"erased_activities": 1}"#, r#"{"read_activities": 1}"#]);
    // Recorded three times; asked for again twice, and with something else twice.
    expected.extend([r#"{"read_activities": 2}"#, "", "", "", "", "", "", ""]);
    assert_eq!(told, expected);
    // But for the one that applied the programme, which declares the type.
    for entry in entries.iter().filter(|entry| !entry.member.is_empty()) {
        let entry = format!("{entry:?}");
        assert!(!entry.contains(ID) && !entry.contains(LOSS) && !entry.contains(LETTER));
    }
}

/// What a programme declared sensitive stays so.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sensitive_stays_so() {
    let fleet = club_of(&with_rules(RULES), &[]).await;
    let declared = "  loss-of-kin: { sensitive: true, attributes: { source: string } }\n";
    let careless = with_rules(RULES).replace("sensitive: true, ", "");
    let gone = with_rules(RULES).replace(declared, "");
    for program in [careless, gone] {
        let refused = apply(fleet.clients(), &program, How::Now).await;
        let refused = format!("{:#}", refused.expect_err("refused"));
        assert!(refused.contains("activities.loss-of-kin"), "{refused}");
    }
}
