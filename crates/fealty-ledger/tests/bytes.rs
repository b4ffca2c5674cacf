//! The canonical bytes of format 6, pinned: logs that are there must stay readable and
//! their chains must hold.

use std::fmt::Write as _;

use fealty_ledger::{
    Account, Accrue, Activation, Attributes, BucketName, Buckets, Cause, Command, Due, Entry,
    Facts, GivenLot, Inactivity, LotOrigin, LotTerms, Notice, Principal, Purchase, PurchaseFacts,
    PurchaseLine, Received, ReversalFacts, Reverse, RuleResult, Said, Tender, TierChanged,
    Transaction, Transfer, WalletAfter, canonical,
};
use fealty_types::{
    LotId, Metadata, Money, OrderScope, Points, Position, ShardId, TenderKind, Timestamp,
    TransactionPlace,
};
use sha2::{Digest as _, Sha256};

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("valid")
}

fn points(points: i64) -> Points {
    Points::new(points).expect("in range")
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).expect("in range")
}

fn transaction(cause: Cause) -> Transaction {
    let lot = LotId::from_stored(7 * 65_536 + 1);
    Transaction {
        engine: 1,
        shard: ShardId::new(3),
        position: Position::new(7),
        program: id("club"),
        member: id("anna"),
        effective_at: at(1_700_000_000_000_000),
        written_at: at(1_700_000_000_000_001),
        nonce: *b"sixteen, random.",
        cause,
        transfers: vec![Transfer {
            currency: id("points"),
            debit: Account::Issued(id("shop")),
            credit: Account::Wallet(BucketName::Available),
            amount: points(120),
            lot,
            other_issuer: None,
            rule: Some(id("base")),
        }],
        lots: vec![LotTerms {
            lot,
            currency: id("points"),
            brand: id("shop"),
            amount: points(120),
            earned_at: at(1_700_000_000_000_000),
            activates_at: None,
            activates_on: None,
            expires_at: Some(LotTerms::WITH_ACTIVITY),
            origin: LotOrigin::Purchase,
            unit_value_micros: Some(10_000),
            program_version: 4,
        }],
        expiry_changes: Vec::new(),
        wallets: vec![WalletAfter {
            currency: id("points"),
            buckets: Buckets {
                pending: points(0),
                available: points(120),
                held: points(5),
                debt: points(0),
            },
            sequence: 9,
            inactive_at: Some(at(1_800_000_000_000_000)),
            inactivity: Inactivity::Waived,
        }],
        principal: None,
    }
}

fn request(command: Command, facts: Option<Facts>) -> Cause {
    Cause::Request {
        request_id: id("request-1"),
        command,
        metadata: Metadata::new([(id("till"), id("7"))].into()).expect("few"),
        asked_at: None,
        program_version: 4,
        facts,
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one of each, spelled out")]
fn the_bytes_of_a_log_stay_what_they_are() {
    let purchase = Command::Purchase(Purchase {
        brand: id("shop"),
        order_number: id("order-1"),
        amount: Money::new(id("EUR"), 4_995).expect("in range"),
        purchased_at: Some(at(1_699_999_000_000_000)),
        channel: Some(id("web")),
        store: None,
        terminal: Some(id("7")),
        lines: vec![PurchaseLine {
            sku: Some(id("lp-1")),
            category: Some(id("jazz")),
            brand: None,
            quantity: 2,
            minor_units: 4_995,
            tax_minor_units: 797,
            attributes: Attributes::new(),
        }],
        tenders: vec![Tender {
            kind: TenderKind::Points,
            minor_units: 4_995,
            hold: Some(Position::new(4)),
        }],
        attributes: Attributes::new(),
    });
    let facts = Facts::Purchase(PurchaseFacts {
        purchased_at: at(1_699_999_000_000_000),
        order_scope: OrderScope {
            store: Some(id("s-1")),
            business_date: Some(id("2023-11-14")),
        },
        tier: Some(id("gold")),
        earned: vec![RuleResult {
            rule: id("base"),
            currency: id("points"),
            points: points(120),
            bonus: false,
        }],
    });
    let accrue = Command::Accrue(Accrue {
        brand: id("shop"),
        currency: id("points"),
        points: points(120),
        earned_at: Some(at(1_600_000_000_000_000)),
        activation: Some(Activation::OnEvent(id("shipped"))),
        expires_at: None,
        reference: id("a gift"),
    });
    let reverse = Command::Reverse(Reverse {
        transaction: Position::new(5),
        currency: None,
        points: None,
        reference: id(""),
    });
    let reversed = Facts::Reversal(ReversalFacts {
        parts: Vec::new(),
        expired: points(1),
        borne: points(2),
    });
    let received = Cause::Received(Received {
        from: id("ben"),
        gift: TransactionPlace {
            shard: ShardId::new(1),
            position: Position::new(2),
        },
        currency: id("points"),
        lots: vec![GivenLot {
            points: points(120),
            brand: id("shop"),
            earned_at: at(1_600_000_000_000_000),
            expires_at: None,
            origin: LotOrigin::Promotion,
            unit_value_micros: None,
            program_version: 3,
        }],
    });
    let timeout = Cause::Due(Due::HoldTimeout {
        hold: Position::new(6),
    });
    let tier = Cause::TierChanged(TierChanged {
        tier: id("gold"),
        since: at(1_650_000_000_000_000),
        program_version: 4,
    });
    let mut hash = Sha256::new();
    for cause in [
        request(purchase, Some(facts)),
        request(accrue, None),
        request(reverse, Some(reversed)),
        received,
        timeout,
        Cause::Due(Due::ExpireInactive),
        tier,
    ] {
        let mut transaction = transaction(cause);
        transaction.principal = Some(Principal {
            subject: id("rewards"),
            acting_for: Some(id("anna")),
            roles: 1 << 8,
        });
        let entry = Entry::Transaction(transaction);
        let bytes = canonical::encode(&entry);
        assert_eq!(canonical::decode(&bytes).expect("our own"), entry);
        hash.update(&bytes);
        // A log is searched by the bytes of a currency's name.
        for after in &entry.transaction().expect("it is one").wallets {
            let name = canonical::part(&after.currency);
            assert!(bytes.windows(name.len()).any(|part| part == name));
        }
    }
    let notice = Entry::Notice(Notice {
        engine: 1,
        shard: ShardId::new(3),
        position: Position::new(8),
        program: id("club"),
        written_at: at(1_700_000_000_000_002),
        nonce: *b"sixteen, random.",
        says: Said::VersionBegins {
            version: 5,
            digest: [9; 32],
        },
    });
    let bytes = canonical::encode(&notice);
    assert_eq!(canonical::decode(&bytes).expect("our own"), notice);
    hash.update(&bytes);
    let hex = |hash: Sha256| {
        hash.finalize().iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("to memory");
            hex
        })
    };
    let pinned = "d4f54f39be11f337d49b9d587379759eaad1a75a1b693f54af18ef36d96d9dbb";
    assert_eq!(hex(hash), pinned, "the bytes of format 6");
}
