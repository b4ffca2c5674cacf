//! Whatever a request says, it is parsed or refused with the fields named, and
//! what is parsed is planned and executed or refused: nothing panics, and no
//! bucket or amount leaves its range.

use std::{collections::HashMap, sync::Arc};

use fealty_auth::{Caller, Identity};
use fealty_ledger::{Accrue, Activate, Command, Log, MemberBook, SpendKey, Stamp, Stop, execute};
use fealty_program::{Program, ProgramVersion};
use fealty_proto::{points::v1 as wire, r#type::v1::Money as WireMoney};
use fealty_server::Rejection;
use fealty_types::{Ids, LotId, Points, Position, ShardId, Timestamp};
use proptest::prelude::*;
use prost::Message as _;

use super::{
    Call,
    changes::{
        accrue, activate, adjust, capture, extend, gift, hold, redeem, reinstate, release, reverse,
    },
    reads::{balance, balances, list, lots, lots_after, lots_token},
};
use crate::{
    earning::grpc::{purchase, returning},
    ledger::{Change, Which, lots::LotsAfter},
    plan::{OfMember, plan},
};

const IDS: Ids = Ids::new([7; 16]);

fn anybody() -> Caller {
    Caller::new(Arc::new(Identity::anybody()), None)
}

/// Texts at the edges of what ids, names and references may be.
fn text() -> impl Strategy<Value = String> {
    let edges = [
        "",
        "record-club",
        "record-shop",
        "points",
        "anna",
        "request-1",
        "0-1",
        "0-1-0",
        "255-9",
        "256-1",
        "-1--1",
        "0-9223372036854775807",
        "0-140737488355327-65535",
        "0-1-65536",
        "Ä",
        "a\u{0}b",
        "..",
        "9",
        "-",
        "concert evening",
    ];
    prop_oneof![
        6 => proptest::sample::select(edges.to_vec()).prop_map(str::to_owned),
        1 => "[a-z]{60,70}",
        1 => ".{0,20}",
        1 => "[ -~]{120,130}",
    ]
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => proptest::sample::select(vec![
            0, 1, -1, 100, 1_000_000_000_000_000, 1_000_000_000_000_001, -1_000_000_000_000_000,
            i64::MAX, i64::MIN,
        ]),
        2 => any::<i64>(),
        2 => 1_i64..10_000,
    ]
}

fn time() -> impl Strategy<Value = Option<prost_types::Timestamp>> {
    let time = (number(), any::<i32>())
        .prop_map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos });
    prop::option::of(time)
}

fn program_version() -> ProgramVersion {
    let source = format!(
        "{}\nadjustments: {{ approval_above: 5000 }}\n",
        include_str!("../../../../../examples/programs/record-club.yaml")
    );
    Program::parse(&source).expect("valid").numbered(1)
}

/// Plans and executes what was parsed, on a member with 1,000 points.
fn carry_out(parsed: Result<Change, Rejection>) {
    let Ok(Change {
        request_id,
        metadata,
        program,
        member,
        command,
        ..
    }) = parsed
    else {
        return;
    };
    let now = Timestamp::from_micros(1_800_000_000_000_000).expect("in range");
    let applied = program_version();
    let mut book = MemberBook::new(program.into_inner(), member.into_inner());
    let stamp = Stamp {
        written_at: now,
        seed: [7; 32],
    };
    let mut log = Log::new(ShardId::new(0), Position::FIRST, stamp);
    let first = Command::Accrue(Accrue {
        brand: "record-shop".parse().expect("an id"),
        currency: "points".parse().expect("an id"),
        points: Points::amount(1_000).expect("in range"),
        activation: None,
        expires_at: None,
        earned_at: None,
        reference: "".parse().expect("a reference"),
    });
    for command in [first, command] {
        let asked = (&request_id, &metadata);
        let Ok(mut request) = plan(&applied, asked, &command, OfMember::default(), now) else {
            continue;
        };
        request.original = log.transactions().next().cloned().map(Box::new);
        match execute(&mut book, &request, now, &mut log) {
            Ok(()) | Err(Stop::Refused(_)) => {}
            Err(Stop::LotsNeeded { .. } | Stop::MoreIsDue) => panic!("all lots are known"),
        }
        for transaction in log.transactions() {
            for wallet in &transaction.wallets {
                assert!(wallet.buckets.total() <= Points::MAX);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn changes_are_parsed_or_refused(
        texts in prop::collection::vec(text(), 12),
        numbers in prop::collection::vec(number(), 4),
        times in prop::collection::vec(time(), 2),
        flag in any::<bool>(),
    ) {
        let anybody = anybody();
        let call = Call { caller: &anybody, ids: IDS };
        let t = |index: usize| texts[index].clone();
        let metadata = HashMap::from([(t(9), t(10)), ("till".to_owned(), t(11))]);
        carry_out(accrue(call, &wire::AccrueRequest {
            request_id: t(0), program: t(1), member: t(2), brand: t(3), currency: t(4),
            points: numbers[0], reference: t(5), expiry_time: times[0],
            activation: flag.then(|| wire::Activation {
                when: times[1].map(wire::activation::When::Time),
            }),
            earned_time: times[1], metadata: metadata.clone(),
        }));
        carry_out(redeem(call, &wire::RedeemRequest {
            request_id: t(0), program: t(1), member: t(2), brand: t(3), currency: t(4),
            points: numbers[0], reference: t(5), ..wire::RedeemRequest::default() }));
        carry_out(hold(call, &wire::HoldRequest {
            request_id: t(0), program: t(1), member: t(2), brand: t(3), currency: t(4),
            points: numbers[0], reference: t(5),
            timeout: times[0].map(|time| prost_types::Duration {
                seconds: time.seconds,
                nanos: time.nanos,
            }), ..wire::HoldRequest::default() }));
        carry_out(capture(call, &wire::CaptureRequest {
            request_id: t(0), program: t(1), member: t(2), hold: t(3),
            points: flag.then_some(numbers[0]), keep_rest: flag, metadata: metadata.clone(),
        }));
        carry_out(release(call, &wire::ReleaseRequest {
            request_id: t(0), program: t(1), member: t(2), hold: t(3), ..wire::ReleaseRequest::default() }));
        carry_out(reverse(call, &wire::ReverseRequest {
            request_id: t(0), program: t(1), member: t(2), transaction: t(3), currency: t(4),
            points: flag.then_some(numbers[0]), reference: t(5), ..wire::ReverseRequest::default() }));
        carry_out(adjust(call, &wire::AdjustRequest {
            request_id: t(0), program: t(1), member: t(2), brand: t(3), currency: t(4),
            points: numbers[0], reason: t(5), actor: t(6), note: t(8), ..wire::AdjustRequest::default() }));
        carry_out(gift(call, &wire::GiftRequest {
            request_id: t(0), program: t(1), member: t(2), recipient: t(3), currency: t(4),
            points: numbers[0], reference: t(5), metadata: metadata.clone(),
        }).map(|asked| asked.map(Command::Gift)));
        carry_out(extend(call, &wire::ExtendLotRequest {
            request_id: t(0), program: t(1), member: t(2), lot: t(3), expiry_time: times[0],
            reason: t(4), actor: t(5), ..wire::ExtendLotRequest::default() }));
        carry_out(reinstate(call, &wire::ReinstateLotRequest {
            request_id: t(0), program: t(1), member: t(2), lot: t(3), points: flag.then_some(numbers[0]),
            expiry_time: times[0], reason: t(4), actor: t(5), ..wire::ReinstateLotRequest::default() }));
        let of = wire::activate_points_request::Of::Transaction(t(3));
        let asked = activate(call, &wire::ActivatePointsRequest {
            request_id: t(0), program: t(1), member: t(2), of: Some(of), event: t(4),
            reference: t(5), metadata: metadata.clone(),
        });
        if let Ok(asked) = asked {
            let Which::At(transaction) = asked.command.gave else {
                panic!("a transaction was named");
            };
            carry_out(Ok(asked.map(|asked| Command::Activate(Activate {
                transaction,
                event: asked.event,
                reference: asked.reference,
            }))));
        }
        let line = |number: i64| wire::ReturnedLine {
            line: i32::try_from(number % 3).unwrap_or(0),
            quantity: flag.then(|| i32::try_from(number).unwrap_or(i32::MIN)),
            amount_minor_units: (!flag).then_some(numbers[3]),
        };
        let of = wire::return_purchase_request::Of::Transaction(t(3));
        let _ = returning(call, &wire::ReturnPurchaseRequest {
            request_id: t(0), program: t(1), member: t(2), of: Some(of), reference: t(5),
            lines: numbers[..2].iter().map(|number| line(*number)).collect(),
            metadata: metadata.clone(),
            amount: times[0].map(|_| WireMoney { currency_code: t(6), minor_units: numbers[2] }),
        });
        carry_out(purchase(call, &wire::RecordPurchaseRequest {
            request_id: t(0), program: t(1), member: t(2), brand: t(3), order_number: t(4),
            amount: flag.then(|| WireMoney {
                currency_code: if numbers[1] > 0 { "USD".to_owned() } else { t(5) },
                minor_units: numbers[2],
            }),
            purchase_time: times[0], ..wire::RecordPurchaseRequest::default() }));
    }

    #[test]
    fn reads_are_parsed_or_refused(
        texts in prop::collection::vec(text(), 6),
        numbers in prop::collection::vec(number(), 3),
        small in any::<i32>(),
        times in prop::collection::vec(time(), 2),
    ) {
        let anybody = anybody();
        let call = Call { caller: &anybody, ids: IDS };
        let t = |index: usize| texts[index].clone();
        let _ = lots(call, &wire::ListLotsRequest {
            program: t(0), member: t(1), currency: t(2), page_size: small,
            page_token: format!("{:x}.{:x}", numbers[0], numbers[1]),
        });
        let _ = list(call, &wire::ListTransactionsRequest {
            program: t(0), member: t(1), page_size: small, page_token: t(2),
            filter: Some(wire::TransactionFilter {
                start_time: times[0], end_time: times[1], kinds: vec![small, 3], brand: t(3),
                order_number: t(4),
            }),
        });
        let _ = balances(call, &wire::BatchGetBalancesRequest {
            program: t(0), members: texts.clone(), currency: t(1), consistency: small,
        });
        let _ = balance(call, &wire::GetBalanceRequest {
            program: t(0), member: t(1), currency: t(2), consistency: small,
            moment: times[0].map(wire::get_balance_request::Moment::PastTime), ..wire::GetBalanceRequest::default() }, Timestamp::EPOCH);
    }

    /// Bytes that are no request at all, or a request of another kind.
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let anybody = anybody();
        let call = Call { caller: &anybody, ids: IDS };
        if let Ok(request) = wire::AccrueRequest::decode(&*bytes) {
            carry_out(accrue(call, &request));
        }
        if let Ok(request) = wire::RecordPurchaseRequest::decode(&*bytes) {
            carry_out(purchase(call, &request));
        }
    }

    #[test]
    fn a_token_of_lots_is_read_as_it_was_written(micros in -60_000_000_000_000_000_i64..250_000_000_000_000_000, lot in 0_i64..i64::MAX) {
        let lot = LotId::from_stored(lot);
        let key = SpendKey { expires_at: Timestamp::from_micros(micros).expect("in range"), lot };
        for after in [LotsAfter::Spendable(key), LotsAfter::Other(lot)] {
            let read = lots_after(IDS, &lots_token(IDS, Some(after)));
            prop_assert_eq!(format!("{read:?}"), format!("{:?}", Some(after)));
        }
    }
}
