//! The canonical bytes of formats 2 and 3, pinned: logs that are there must stay readable
//! and their chains must hold.

use std::fmt::Write as _;

use fealty_ledger::{
    Account, Accrue, Activation, BucketName, Buckets, Cause, Command, Due, Facts, GivenLot,
    LotOrigin, LotTerms, Principal, Purchase, PurchaseFacts, Received, ReversalFacts, Reverse,
    RuleResult, Transaction, Transfer, WalletAfter, canonical,
};
use fealty_types::{LotId, Money, Points, Position, ShardId, Timestamp, TransactionName};
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
        shard: ShardId::new(3),
        position: Position::new(7),
        program: id("club"),
        member: id("anna"),
        effective_at: at(1_700_000_000_000_000),
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
        }],
        principal: None,
    }
}

fn request(command: Command, facts: Option<Facts>) -> Cause {
    Cause::Request {
        request_id: id("request-1"),
        command,
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
    });
    let facts = Facts::Purchase(PurchaseFacts {
        purchased_at: at(1_699_999_000_000_000),
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
        activation: Some(Activation::OnEvent),
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
        transfer: TransactionName {
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
    let mut hash = Sha256::new();
    let mut without_principal = Sha256::new();
    for cause in [
        request(purchase, Some(facts)),
        request(accrue, None),
        request(reverse, Some(reversed)),
        received,
        timeout,
    ] {
        let mut transaction = transaction(cause);
        // As format 2 has it: one byte of another number, none at the end.
        let bytes = canonical::encode(&transaction);
        let mut before = bytes[..bytes.len() - 1].to_vec();
        before[0] = 2;
        assert_eq!(
            canonical::decode(&before).expect("readable for ever"),
            transaction
        );
        without_principal.update(&before);
        transaction.principal = Some(Principal {
            subject: id("rewards"),
            acting_for: Some(id("anna")),
        });
        let bytes = canonical::encode(&transaction);
        assert_eq!(canonical::decode(&bytes).expect("our own"), transaction);
        hash.update(&bytes);
    }
    let hex = |hash: Sha256| {
        hash.finalize().iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("to memory");
            hex
        })
    };
    let pinned = "fae24cb7265778519265787087892cb8fd09103d1f3699890b6fbc7f49a55a63";
    assert_eq!(hex(without_principal), pinned, "the bytes of format 2");
    let pinned = "a68da4fe8428d36a4e6c45dc51ff51afeea5cba311c8b6de046474529aecef7b";
    assert_eq!(hex(hash), pinned, "the bytes of format 3");
}
