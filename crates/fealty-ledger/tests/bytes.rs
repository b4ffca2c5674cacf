//! The canonical bytes of formats 6 and 7, pinned: logs that are there must stay readable and
//! their chains must hold.

use std::fmt::Write as _;

use fealty_ledger::{
    Account, Accrue, Activation, Activity, Backfilled, BackfilledReturnFacts, BucketName, Buckets,
    BudgetedFacts, Cause, Command, Converted, ConvertedInto, Draw, Due, EarnedFacts, EndOf, Ended,
    Entry, Facts, GivenLot, Inactivity, LeaseMoved, LeaseReceived, LinePart, LotOrigin, LotTerms,
    Notice, Principal, Purchase, PurchaseFacts, PurchaseLine, Received, Return, ReturnFacts,
    ReturnedLine, ReturnedPart, ReturnedPoints, ReversalFacts, Reverse, RuleResult, Said, SlotMove,
    SlotRead, Tender, TierChanged, Transaction, Transfer, WalletAfter, canonical,
};
use fealty_types::{
    AttributeValue, Attributes, LotId, Metadata, Money, OrderScope, Points, Position, ShardId,
    TenderKind, Timestamp, TransactionPlace,
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

fn hex(digest: [u8; 32]) -> String {
    digest.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("to memory");
        hex
    })
}

fn notice(says: Said) -> Entry {
    Entry::Notice(Notice {
        engine: 1,
        shard: ShardId::new(3),
        position: Position::new(8),
        program: id("club"),
        written_at: at(1_700_000_000_000_002),
        nonce: *b"sixteen, random.",
        says,
    })
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
        tier: None,
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
    let (mut hash, mut earlier) = (Sha256::new(), Sha256::new());
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
        earlier.update(in_format_6(&entry));
    }
    let notice = notice(Said::VersionBegins {
        version: 5,
        digest: [9; 32],
    });
    let bytes = canonical::encode(&notice);
    assert_eq!(canonical::decode(&bytes).expect("our own"), notice);
    hash.update(&bytes);
    earlier.update(in_format_6(&notice));
    let pinned = "d4f54f39be11f337d49b9d587379759eaad1a75a1b693f54af18ef36d96d9dbb";
    assert_eq!(
        hex(earlier.finalize().into()),
        pinned,
        "the bytes of format 6"
    );
    let pinned = "9074b06c4de65ba44b47fab0a2492989bb83a0b96dd2778d5caa0d3ce85be467";
    assert_eq!(hex(hash.finalize().into()), pinned, "the bytes of format 7");
}

/// The bytes that an entry had in format 6, which are read as ever.
fn in_format_6(entry: &Entry) -> Vec<u8> {
    let mut bytes = vec![6];
    bytes.extend(canonical::part(entry));
    assert_eq!(
        canonical::decode(&bytes).expect("readable for ever"),
        *entry
    );
    assert!(canonical::is_earlier(&bytes) && !canonical::is_earlier(&canonical::encode(entry)));
    bytes
}

#[test]
fn there_is_one_encoding_of_an_entry() {
    let entry = Entry::Transaction(transaction(Cause::Due(Due::Activate)));
    let bytes = canonical::encode(&entry);
    assert!(bytes.len() < canonical::part(&entry).len(), "it is packed");
    // More zeros behind, a run of words told in two, bytes that are missing.
    let longer = [&*bytes, &[0, 0]].concat();
    let tells_plainly = bytes
        .iter()
        .rposition(|byte| *byte == 0xff)
        .expect("a full word");
    let shorter = &bytes[..tells_plainly];
    for wrong in [&*longer, shorter, &bytes[..bytes.len() - 1]] {
        assert!(canonical::decode(wrong).is_err(), "{wrong:?}");
    }
}

fn line(attributes: Attributes) -> PurchaseLine {
    PurchaseLine {
        sku: None,
        category: Some(id("jazz")),
        brand: None,
        quantity: 1,
        minor_units: 500,
        tax_minor_units: 0,
        attributes,
    }
}

/// A purchase with attributes, and one that has none.
fn purchases() -> (Purchase, Purchase) {
    let text = AttributeValue::Text(id("business"));
    let plain = Purchase {
        brand: id("shop"),
        order_number: id("order-1"),
        amount: Money::new(id("EUR"), 1_000).expect("in range"),
        purchased_at: None,
        channel: None,
        store: None,
        terminal: None,
        lines: vec![line(Attributes::new()); 2],
        tenders: Vec::new(),
        tier: None,
        attributes: Attributes::new(),
    };
    let with = Purchase {
        lines: vec![
            line(Attributes::new()),
            line(Attributes::from([(id("cabin"), text)])),
        ],
        attributes: Attributes::from([
            (id("own_cup"), AttributeValue::Bool(true)),
            (id("nights"), AttributeValue::Number(-2)),
        ]),
        ..plain.clone()
    };
    (plain, with)
}

#[test]
fn attributes_follow_a_purchase_and_without_them_its_bytes_are_as_before() {
    let (plain, with) = purchases();
    let facts = Facts::Earned(EarnedFacts {
        purchased_at: at(1_699_999_000_000_000),
        order_scope: OrderScope::default(),
        tier: Some(id("gold")),
        read: vec![SlotRead {
            slot: 3,
            before: 7,
            with_any: Some(8),
        }],
        moves: vec![SlotMove {
            slot: 3,
            bucket: -1,
            by: 1,
        }],
    });
    let cause = request(Command::Purchase(with.clone()), Some(facts));
    let entry = Entry::Transaction(transaction(cause));
    let bytes = canonical::encode(&entry);
    assert_eq!(canonical::decode(&bytes).expect("our own"), entry);
    let hex = hex(Sha256::digest(in_format_6(&entry)).into());
    assert_eq!(
        hex, "3ba033e75f2f8705190967f57644e87a6cb5b909c53ec804ac912c0186571453",
        "the bytes of attributes"
    );
    // The command's bytes begin with its tag; the plain one's are those of ever.
    let (plain, with) = (Command::Purchase(plain), Command::Purchase(with));
    assert_eq!(
        (canonical::part(&plain)[0], canonical::part(&with)[0]),
        (0, 13)
    );
    assert_eq!(plain.first_difference(&with), Some("lines"));
}

#[test]
fn a_tier_that_was_said_follows_a_purchase_and_its_attributes() {
    let (plain, with) = purchases();
    let tags = [plain, with].map(|purchase| {
        let said = Command::Purchase(Purchase {
            tier: Some(id("gold")),
            ..purchase.clone()
        });
        let cause = request(said.clone(), None);
        let entry = Entry::Transaction(transaction(cause));
        let bytes = canonical::encode(&entry);
        assert_eq!(canonical::decode(&bytes).expect("our own"), entry);
        let unsaid = Command::Purchase(purchase);
        assert_eq!(said.first_difference(&unsaid), Some("tier"));
        let (said, unsaid) = (canonical::part(&said), canonical::part(&unsaid));
        assert!(said.ends_with(b"\x04\0\0\0gold"), "{said:?}");
        (said[0], unsaid[0])
    });
    assert_eq!(tags, [(15, 0), (15, 13)]);
}

#[test]
fn the_bytes_of_a_return_stay_what_they_are() {
    let asked = Return {
        transaction: Position::new(5),
        lines: vec![ReturnedLine {
            line: 1,
            quantity: Some(2),
            minor_units: None,
        }],
        amount: None,
        reference: id("credit-1"),
    };
    let facts = Facts::Return(ReturnFacts {
        brand: id("shop"),
        purchased_at: at(1_699_999_000_000_000),
        part: ReturnedPart {
            minor_units: 333,
            lines: vec![LinePart {
                line: 1,
                quantity: 2,
                minor_units: 333,
            }],
        },
        left: Money::new(id("EUR"), 667).expect("in range"),
        earns: vec![RuleResult {
            rule: id("base"),
            currency: id("points"),
            points: points(6),
            bonus: false,
        }],
        moves: vec![SlotMove {
            slot: 3,
            bucket: -1,
            by: -2,
        }],
        counts: true,
        draws: vec![Draw {
            budget: id("spring"),
            lot: Some(LotId::from_stored(7 * 65_536 + 1)),
            points: -2,
        }],
        reversal: ReversalFacts::default(),
        points: vec![ReturnedPoints {
            currency: id("points"),
            taken: points(4),
            restored: points(0),
        }],
    });
    let command = Command::Return(asked);
    assert_eq!(canonical::part(&command)[0], 14);
    let entry = Entry::Transaction(transaction(request(command, Some(facts))));
    let bytes = canonical::encode(&entry);
    assert_eq!(canonical::decode(&bytes).expect("our own"), entry);
    let hex = hex(Sha256::digest(in_format_6(&entry)).into());
    assert_eq!(
        hex, "7e450f943257593daf344bb328c9a7cd397efcae5586996ea2b8f14bafe73a8a",
        "the bytes of a return"
    );
}

#[test]
fn the_bytes_of_budgets_stay_what_they_are() {
    let notice = |says| {
        Entry::Notice(Notice {
            engine: 1,
            shard: ShardId::new(3),
            position: Position::new(8),
            program: id("club"),
            written_at: at(1_700_000_000_000_002),
            nonce: *b"sixteen, random.",
            says,
        })
    };
    let facts = Facts::Budgeted(BudgetedFacts {
        earned: EarnedFacts {
            purchased_at: at(1_699_999_000_000_000),
            order_scope: OrderScope::default(),
            tier: None,
            read: Vec::new(),
            moves: Vec::new(),
        },
        draws: vec![Draw {
            budget: id("spring"),
            lot: None,
            points: 7,
        }],
    });
    let (plain, _) = purchases();
    let bought = request(Command::Purchase(plain), Some(facts));
    let mut hash = Sha256::new();
    for entry in [
        Entry::Transaction(transaction(bought)),
        notice(Said::LeaseMoved(LeaseMoved {
            budget: id("spring"),
            shard: ShardId::new(1),
            points: -5,
            limit: 100,
            version: 4,
            confirms: true,
        })),
        notice(Said::LeaseReceived(LeaseReceived {
            budget: id("spring"),
            points: -5,
            version: 4,
            home: TransactionPlace {
                shard: ShardId::new(3),
                position: Position::new(8),
            },
        })),
        notice(Said::BudgetWarned {
            budget: id("spring"),
            used: 80,
            limit: 100,
        }),
    ] {
        let bytes = canonical::encode(&entry);
        assert_eq!(canonical::decode(&bytes).expect("our own"), entry);
        hash.update(in_format_6(&entry));
    }
    let hex = hex(hash.finalize().into());
    assert_eq!(
        hex, "1bc8189f62e78592cde7698bf9d347b63cd7260e7f3caa59e873e2ede1976aee",
        "the bytes of budgets"
    );
}

#[test]
fn the_bytes_of_ends_stay_what_they_are() {
    let ends_at = at(1_699_999_200_000_000);
    let kinds = [
        EndOf::Day,
        EndOf::Week,
        EndOf::Month,
        EndOf::Quarter,
        EndOf::Year,
    ];
    let mut hash = Sha256::new();
    for (number, of) in (0_u16..).zip(kinds) {
        let ended = Ended {
            of,
            ends_at,
            program_version: 4,
            number,
            again: number > 0,
            facts: EarnedFacts {
                purchased_at: at(1_699_999_199_999_999),
                order_scope: OrderScope::default(),
                tier: Some(id("gold")),
                read: vec![SlotRead {
                    slot: 2,
                    before: 600,
                    with_any: None,
                }],
                moves: vec![SlotMove {
                    slot: 5,
                    bucket: 19_600,
                    by: 300,
                }],
            },
            converted: vec![Converted {
                rule: id("vouchers"),
                currency: id("points"),
                points: points(150),
                brand: id("shop"),
                into: ConvertedInto::Voucher,
                minor_units: 150,
            }],
            taken_back: ReversalFacts::default(),
        };
        let entry = Entry::Transaction(transaction(Cause::Ended(ended)));
        let bytes = canonical::encode(&entry);
        assert_eq!(canonical::decode(&bytes).expect("our own"), entry);
        hash.update(in_format_6(&entry));
    }
    let notice = notice(Said::EndsWritten { through: ends_at });
    let bytes = canonical::encode(&notice);
    assert_eq!(canonical::decode(&bytes).expect("our own"), notice);
    hash.update(in_format_6(&notice));
    let hex = hex(hash.finalize().into());
    assert_eq!(
        hex, "8098ac7bc770d0ecdbc0f4d601c972c6cfa111e399a15ccac2c8c54aa15a4422",
        "the bytes of ends of periods"
    );
}

#[test]
fn the_bytes_of_counters_from_the_log_stay_what_they_are() {
    let moves = vec![SlotMove {
        slot: 3,
        bucket: 19_600,
        by: 4_750,
    }];
    let backfilled = Cause::Backfilled(Backfilled {
        program_version: 2,
        moves: moves.clone(),
    });
    let asked = Return {
        transaction: Position::new(5),
        lines: Vec::new(),
        amount: None,
        reference: id("credit-2"),
    };
    let facts = Facts::BackfilledReturn(BackfilledReturnFacts {
        facts: ReturnFacts {
            brand: id("shop"),
            purchased_at: at(1_699_999_000_000_000),
            part: ReturnedPart {
                minor_units: 4_750,
                lines: Vec::new(),
            },
            left: Money::new(id("EUR"), 0).expect("in range"),
            earns: Vec::new(),
            moves: Vec::new(),
            counts: true,
            draws: Vec::new(),
            reversal: ReversalFacts::default(),
            points: Vec::new(),
        },
        backfilled: moves,
    });
    let notice = notice(Said::CountersBackfilled { version: 2 });
    let mut hash = Sha256::new();
    for entry in [
        Entry::Transaction(transaction(backfilled)),
        Entry::Transaction(transaction(request(Command::Return(asked), Some(facts)))),
        notice,
    ] {
        let bytes = canonical::encode(&entry);
        assert_eq!(canonical::decode(&bytes).expect("our own"), entry);
        hash.update(in_format_6(&entry));
    }
    let hex = hex(hash.finalize().into());
    assert_eq!(
        hex, "3511030caef5a7e4cc086ca380abf3204dbbbc0c8d556c2843fae9e8ef780fe7",
        "the bytes of counters from the log"
    );
}

/// There is one encoding for a purchase: what would be another of the same is refused.
#[test]
fn a_purchase_has_one_encoding() {
    let (plain, with) = purchases();
    let read = |bytes: &[u8]| borsh::from_slice::<Command>(bytes);
    let part = |purchase: &Purchase| canonical::part(&Command::Purchase(purchase.clone()));
    let bytes = part(&with);
    assert!(read(&bytes).is_ok());
    // Attributes that are announced and none.
    let mut announced = part(&plain);
    announced[0] = 13;
    announced.extend([0; 8]);
    assert!(read(&announced).is_err());
    // A line's that is not there, and the same line's twice.
    let of_lines = canonical::part(&vec![(1_u16, with.lines[1].attributes.clone())]);
    let head = &bytes[..bytes.len() - of_lines.len()];
    for places in [vec![2_u16], vec![1, 1], vec![1, 0]] {
        let attributes = &with.lines[1].attributes;
        let wrong: Vec<_> = places
            .into_iter()
            .map(|at| (at, attributes.clone()))
            .collect();
        let forged = [head, &canonical::part(&wrong)].concat();
        assert!(read(&forged).is_err());
    }
    let empty = [head, &canonical::part(&vec![(1_u16, Attributes::new())])].concat();
    assert!(read(&empty).is_err());
}

#[test]
fn the_bytes_of_activities_stay_what_they_are() {
    let review = Activity {
        brand: id("shop"),
        of_type: id("review"),
        id: id("r-7"),
        occurred_at: Some(at(1_699_999_000_000_000)),
        attributes: Attributes::from([(id("stars"), AttributeValue::Number(5))]),
    };
    let facts = Facts::Earned(EarnedFacts {
        purchased_at: at(1_699_999_000_000_000),
        order_scope: OrderScope::default(),
        tier: Some(id("gold")),
        read: Vec::new(),
        moves: Vec::new(),
    });
    let command = Command::Activity(review.clone());
    assert_eq!(canonical::part(&command)[0], 16);
    let entry = Entry::Transaction(transaction(request(command.clone(), Some(facts))));
    let bytes = canonical::encode(&entry);
    assert_eq!(canonical::decode(&bytes).expect("our own"), entry);
    let hex = hex(Sha256::digest(in_format_6(&entry)).into());
    assert_eq!(
        hex, "b1f8cea13902a2ce2a6084c6bec70f5b75483b3b90f3b8478390bad03f04883b",
        "the bytes of activities"
    );
    let other = Activity {
        attributes: Attributes::new(),
        ..review
    };
    let other = Command::Activity(other);
    assert_eq!(command.first_difference(&other), Some("attributes"));
}
