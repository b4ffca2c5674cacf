//! What the ledger's other commands and reads refuse.

use fealty_proto::points::v1::{
    Account, AccountKind, ActivatePointsRequest, AdjustRequest, BatchGetBalancesRequest,
    ExplainTransactionRequest, ExtendLotRequest, FeedFilter, GetAccountBalanceRequest,
    GetBalanceRequest, GetPositionsRequest, GetTransactionRequest, GetTrialBalanceRequest,
    GiftRequest, ListLotsRequest, ListTransactionsRequest, ReinstateLotRequest, ReverseRequest,
    TransactionFilter, WatchTransactionsRequest, get_balance_request::Moment,
};
use fealty_types::{LotId, LotPlace};
use tonic::Code;

use super::{INVALID, NO_BRAND, NO_CURRENCY, NO_PROGRAM, refused, with_anna};
use crate::harness::{CLUB, NOWHERE, POINTS, SHOP, START_S, books, ids};

const NO_TRANSACTION: (Code, &str) = (Code::NotFound, "TRANSACTION_NOT_FOUND");
const NO_LOT: (Code, &str) = (Code::NotFound, "LOT_NOT_FOUND");
const OUT_OF_RANGE: (Code, &str) = (Code::OutOfRange, "CURSOR_OUT_OF_RANGE");

#[expect(clippy::unnecessary_wraps, reason = "as the messages have it")]
fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

#[expect(clippy::too_many_lines, reason = "a row for each refusal")]
#[tokio::test(flavor = "multi_thread")]
async fn the_other_commands_refuse() {
    let (fleet, before) = with_anna().await;
    let mut ledger = fleet.clients().ledger();
    let ids = ids(&fleet).await;
    let empty = ["request_id", "program", "member"];
    let all = |more: &[&'static str]| [&empty[..], more].concat();

    refused(
        ledger.reverse(ReverseRequest::default()).await,
        INVALID,
        &all(&["transaction"]),
    );
    let reverse = ReverseRequest {
        request_id: "new".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        transaction: ids.transaction(NOWHERE),
        ..ReverseRequest::default()
    };
    refused(ledger.reverse(reverse.clone()).await, NO_TRANSACTION, &[]);
    let negative = ReverseRequest {
        points: Some(-1),
        currency: "Points".to_owned(),
        ..reverse.clone()
    };
    let fields = ["currency", "points"];
    refused(ledger.reverse(negative).await, INVALID, &fields);
    let nowhere = ReverseRequest {
        program: "no-club".to_owned(),
        ..reverse
    };
    refused(ledger.reverse(nowhere).await, NO_PROGRAM, &[]);

    let adjust = AdjustRequest {
        request_id: "new".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 5,
        reason: "goodwill".to_owned(),
        actor: "ines".to_owned(),
        ..AdjustRequest::default()
    };
    for (points, reason, actor, fields) in [
        (0, "goodwill", "ines", &["points"][..]),
        (i64::MIN, "goodwill", "ines", &["points"]),
        (1, "", "", &["reason"]),
    ] {
        let request = AdjustRequest {
            points,
            reason: reason.to_owned(),
            actor: actor.to_owned(),
            ..adjust.clone()
        };
        refused(ledger.adjust(request).await, INVALID, fields);
    }
    let no_brand = AdjustRequest {
        brand: "no-brand".to_owned(),
        ..adjust.clone()
    };
    refused(ledger.adjust(no_brand).await, NO_BRAND, &[]);
    let no_currency = AdjustRequest {
        currency: "stars".to_owned(),
        ..adjust
    };
    refused(ledger.adjust(no_currency).await, NO_CURRENCY, &[]);

    let transfer = GiftRequest {
        request_id: "new".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        recipient: "anna".to_owned(),
        currency: POINTS.to_owned(),
        points: 5,
        reference: String::new(),
        ..GiftRequest::default()
    };
    refused(ledger.gift(transfer.clone()).await, INVALID, &["recipient"]);
    let no_currency = GiftRequest {
        recipient: "berta".to_owned(),
        currency: "stars".to_owned(),
        ..transfer
    };
    refused(ledger.gift(no_currency).await, NO_CURRENCY, &[]);

    refused(
        ledger.extend_lot(ExtendLotRequest::default()).await,
        INVALID,
        &all(&["lot", "expiry_time", "reason"]),
    );
    let extend = ExtendLotRequest {
        request_id: "new".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        lot: ids.lot(LotPlace {
            shard: NOWHERE.shard,
            lot: LotId::new(NOWHERE.position, 0),
        }),
        expiry_time: at(START_S + 9_999_999),
        reason: "goodwill".to_owned(),
        actor: "ines".to_owned(),
        ..ExtendLotRequest::default()
    };
    refused(ledger.extend_lot(extend).await, NO_LOT, &[]);
    refused(
        ledger.reinstate_lot(ReinstateLotRequest::default()).await,
        INVALID,
        &all(&["lot", "expiry_time", "reason"]),
    );
    refused(
        ledger
            .activate_points(ActivatePointsRequest::default())
            .await,
        INVALID,
        &all(&["of"]),
    );
    assert_eq!(books(&fleet).await, before, "nothing has changed");
}

#[expect(clippy::too_many_lines, reason = "a row for each refusal")]
#[tokio::test(flavor = "multi_thread")]
async fn the_other_reads_refuse() {
    let (fleet, before) = with_anna().await;
    let clients = fleet.clients();
    let mut ledger = clients.ledger();
    let balance = |moment| GetBalanceRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        currency: POINTS.to_owned(),
        consistency: 0,
        moment: Some(moment),
        ..GetBalanceRequest::default()
    };
    let future = Moment::PastTime(at(START_S + 1).expect("a time"));
    refused(
        ledger.get_balance(balance(future)).await,
        INVALID,
        &["past_time"],
    );
    let past = Moment::FutureTime(at(START_S - 1).expect("a time"));
    refused(
        ledger.get_balance(balance(past)).await,
        INVALID,
        &["future_time"],
    );
    let no_name = Moment::AfterTransaction("first".to_owned());
    let fields = ["after_transaction"];
    refused(ledger.get_balance(balance(no_name)).await, INVALID, &fields);

    let balances = |members: &[&str]| BatchGetBalancesRequest {
        program: CLUB.to_owned(),
        members: members.iter().map(|member| (*member).to_owned()).collect(),
        currency: POINTS.to_owned(),
        consistency: 0,
    };
    for (members, fields) in [
        (&[][..], &["members"][..]),
        (&["anna", "anna"], &["members"]),
        (&["anna", "no member"], &["members[1]"]),
        (&["x"; 1_001], &["members"]),
    ] {
        refused(
            ledger.batch_get_balances(balances(members)).await,
            INVALID,
            fields,
        );
    }
    let lots = |page_size: i32, page_token: &str, currency: &str| ListLotsRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        currency: currency.to_owned(),
        page_size,
        page_token: page_token.to_owned(),
    };
    refused(
        ledger.list_lots(lots(-1, "", POINTS)).await,
        INVALID,
        &["page_size"],
    );
    refused(
        ledger.list_lots(lots(1, "7", POINTS)).await,
        INVALID,
        &["page_token"],
    );
    refused(
        ledger.list_lots(lots(1, "", "stars")).await,
        NO_CURRENCY,
        &[],
    );
    let request = ListTransactionsRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        filter: Some(TransactionFilter {
            start_time: at(START_S),
            end_time: at(START_S),
            kinds: vec![0, 99],
            ..TransactionFilter::default()
        }),
        ..ListTransactionsRequest::default()
    };
    let fields = ["filter.end_time", "filter.kinds[0]", "filter.kinds[1]"];
    refused(ledger.list_transactions(request).await, INVALID, &fields);
    let request = GetTransactionRequest {
        program: CLUB.to_owned(),
        by: None,
    };
    refused(ledger.get_transaction(request).await, INVALID, &["by"]);
    let nowhere = ids(&fleet).await.transaction(NOWHERE);
    let explain = |program: &str, name: &str| ExplainTransactionRequest {
        program: program.to_owned(),
        transaction: name.to_owned(),
    };
    refused(
        ledger.explain_transaction(explain(CLUB, "?")).await,
        INVALID,
        &["transaction"],
    );
    refused(
        ledger.explain_transaction(explain(CLUB, &nowhere)).await,
        NO_TRANSACTION,
        &[],
    );
    refused(
        ledger
            .explain_transaction(explain("no-club", &nowhere))
            .await,
        NO_PROGRAM,
        &[],
    );
    let request = WatchTransactionsRequest {
        filter: Some(FeedFilter {
            brands: vec!["A".to_owned()],
            kinds: vec![77],
            ..FeedFilter::default()
        }),
        ..WatchTransactionsRequest::default()
    };
    let watched = ledger.watch_transactions(request).await.map(drop);
    refused(watched, INVALID, &["filter.kinds[0]", "filter.brands[0]"]);

    let mut audit = clients.audit();
    let totals = |cursor: &str| GetTrialBalanceRequest {
        program: CLUB.to_owned(),
        cursor: cursor.to_owned(),
        ..GetTrialBalanceRequest::default()
    };
    refused(
        audit.get_trial_balance(totals("a.b")).await,
        OUT_OF_RANGE,
        &[],
    );
    let beyond = "ff.ff.ff.ff.ff.ff.ff.ff";
    refused(
        audit.get_trial_balance(totals(beyond)).await,
        OUT_OF_RANGE,
        &[],
    );
    let account = |currency: &str, kind: AccountKind, brand: &str| GetAccountBalanceRequest {
        program: CLUB.to_owned(),
        currency: currency.to_owned(),
        account: Some(Account {
            kind: kind.into(),
            brand: brand.to_owned(),
        }),
    };
    for (currency, kind, brand, code, fields) in [
        (
            POINTS,
            AccountKind::Unspecified,
            SHOP,
            INVALID,
            &["account.kind"][..],
        ),
        (
            POINTS,
            AccountKind::Available,
            SHOP,
            INVALID,
            &["account.brand"],
        ),
        (POINTS, AccountKind::Issued, "", INVALID, &["account.brand"]),
        (POINTS, AccountKind::Issued, "no-brand", NO_BRAND, &[]),
        ("stars", AccountKind::Issued, SHOP, NO_CURRENCY, &[]),
    ] {
        let asked = account(currency, kind, brand);
        refused(audit.get_account_balance(asked).await, code, fields);
    }
    let positions = |program: &str, start: &str, end: &str| GetPositionsRequest {
        program: program.to_owned(),
        start_cursor: start.to_owned(),
        end_cursor: end.to_owned(),
        ..GetPositionsRequest::default()
    };
    let mut settlement = clients.settlement();
    let answer = settlement.get_positions(positions("no-club", "", "")).await;
    refused(answer, NO_PROGRAM, &[]);
    let answer = settlement.get_positions(positions(CLUB, beyond, "")).await;
    refused(answer, OUT_OF_RANGE, &[]);
    let answer = settlement
        .get_positions(positions(CLUB, "", &"0.".repeat(9_000)))
        .await;
    refused(answer, INVALID, &["end_cursor"]);
    assert_eq!(books(&fleet).await, before, "nothing has changed");
}
