//! What reads refuse.

use super::*;
use fealty_proto::{
    points::v1::{
        AttributeValue, GetCountersRequest, ListBalancesRequest, ListBudgetsRequest,
        PollTransactionsRequest, PreviewPurchaseRequest, Tender,
    },
    tiers::v1::PollTierChangesRequest,
    r#type::v1::{FeedStart, feed_start::At},
};

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table of refusals")]
async fn reads_refuse() {
    let (fleet, before) = with_anna().await;
    let clients = fleet.clients();
    reads_of_points_refuse(clients).await;
    let status = async |program: &str, member: &str| {
        let (program, member) = (program.to_owned(), member.to_owned());
        clients
            .tier()
            .get_status(GetStatusRequest { program, member })
            .await
    };
    refused(status(CLUB, "").await, INVALID, &["member"]);
    refused(status("no-club", "anna").await, NO_PROGRAM, &[]);
    let statuses = async |program: &str, members: &[&str]| {
        let request = BatchGetStatusRequest {
            program: program.to_owned(),
            members: members.iter().map(|member| (*member).to_owned()).collect(),
        };
        clients.tier().batch_get_status(request).await
    };
    refused(statuses(CLUB, &[]).await, INVALID, &["members"]);
    refused(
        statuses(CLUB, &["anna", "anna"]).await,
        INVALID,
        &["members"],
    );
    refused(
        statuses(CLUB, &["anna", "a b"]).await,
        INVALID,
        &["members[1]"],
    );
    refused(statuses("no-club", &["anna"]).await, NO_PROGRAM, &[]);
    let count = async |program: &str| {
        clients
            .tier()
            .count_members(CountMembersRequest {
                program: program.to_owned(),
            })
            .await
    };
    refused(count("").await, INVALID, &["program"]);
    refused(count("no-club").await, NO_PROGRAM, &[]);
    let watch = |cursor: &str| WatchTierChangesRequest {
        start: crate::harness::from(cursor.to_owned()),
    };
    let out_of_range = (Code::OutOfRange, "CURSOR_OUT_OF_RANGE");
    refused(
        clients
            .tier()
            .watch_tier_changes(watch("ffff"))
            .await
            .map(drop),
        out_of_range,
        &[],
    );
    let poll = async |start: At, seconds| {
        let request = PollTierChangesRequest {
            start: Some(FeedStart { at: Some(start) }),
            wait: Some(prost_types::Duration { seconds, nanos: 0 }),
        };
        clients.tier().poll_tier_changes(request).await
    };
    let fields = ["start.now", "wait"];
    refused(poll(At::Now(false), 26).await, INVALID, &fields);
    let beyond = At::Cursor("ffff".to_owned());
    refused(poll(beyond, 0).await, out_of_range, &[]);

    let list = async |program: &str, member: &str, page_size: i32, page_token: &str| {
        let request = ListRewardsRequest {
            program: program.to_owned(),
            member: member.to_owned(),
            page_size,
            page_token: page_token.to_owned(),
        };
        clients.catalog().list_rewards(request).await
    };
    refused(list(CLUB, "", 0, "").await, INVALID, &["member"]);
    refused(
        list(CLUB, "anna", 1_001, "x").await,
        INVALID,
        &["page_size", "page_token"],
    );
    refused(list("no-club", "anna", 0, "").await, NO_PROGRAM, &[]);
    let get = async |program: &str, redemption: &str| {
        let request = GetRedemptionRequest {
            program: program.to_owned(),
            member: "anna".to_owned(),
            redemption: redemption.to_owned(),
        };
        clients.redemption().get_redemption(request).await
    };
    refused(get(CLUB, "mine").await, INVALID, &["redemption"]);
    let nobody = "00000000-0000-0000-0000-000000000000";
    refused(
        get(CLUB, nobody).await,
        (Code::NotFound, "REDEMPTION_NOT_FOUND"),
        &[],
    );
    refused(get("no-club", nobody).await, NO_PROGRAM, &[]);
    assert_eq!(books(&fleet).await, before, "nothing has changed");
}

#[expect(clippy::too_many_lines, reason = "a table of refusals")]
async fn reads_of_points_refuse(clients: &Clients) {
    let balance = async |program: &str, member: &str, currency: &str, consistency: i32| {
        let request = GetBalanceRequest {
            program: program.to_owned(),
            member: member.to_owned(),
            currency: currency.to_owned(),
            consistency,
            moment: None,
            ..GetBalanceRequest::default()
        };
        clients.ledger().get_balance(request).await
    };
    refused(
        balance(CLUB, "", "", 0).await,
        INVALID,
        &["member", "currency"],
    );
    refused(
        balance(CLUB, "anna", POINTS, 9).await,
        INVALID,
        &["consistency"],
    );
    refused(balance("no-club", "anna", POINTS, 0).await, NO_PROGRAM, &[]);
    refused(balance(CLUB, "anna", "stars", 0).await, NO_CURRENCY, &[]);
    let preview = async |change: &dyn Fn(&mut PreviewPurchaseRequest)| {
        let bought = crate::harness::purchase(1, "anna", 1_000);
        let mut request = PreviewPurchaseRequest {
            program: bought.program,
            member: bought.member,
            brand: bought.brand,
            amount: bought.amount,
            ..PreviewPurchaseRequest::default()
        };
        change(&mut request);
        clients.earning().preview_purchase(request).await
    };
    let fields = ["program", "member", "amount"];
    let nothing = preview(&|r| *r = PreviewPurchaseRequest::default()).await;
    refused(nothing, INVALID, &["program", "member", "brand", "amount"]);
    let nobody = preview(&|r| (r.program, r.member, r.amount) = Default::default()).await;
    refused(nobody, INVALID, &fields);
    refused(
        preview(&|r| "no-club".clone_into(&mut r.program)).await,
        NO_PROGRAM,
        &[],
    );
    refused(
        preview(&|r| "no-shop".clone_into(&mut r.brand)).await,
        NO_BRAND,
        &[],
    );
    refused(
        preview(&|r| r.tenders = vec![Tender::default()]).await,
        INVALID,
        &["tenders[0].kind"],
    );
    refused(
        preview(&|r| {
            let name = "own_cup".to_owned();
            r.attributes.insert(name, AttributeValue::default());
        })
        .await,
        INVALID,
        &["attributes[own_cup]"],
    );
    let counters = async |program: &str, member: &str| {
        let request = GetCountersRequest {
            program: program.to_owned(),
            member: member.to_owned(),
        };
        clients.earning().get_counters(request).await
    };
    refused(counters(CLUB, "a b").await, INVALID, &["member"]);
    refused(counters("no-club", "anna").await, NO_PROGRAM, &[]);
    let budgets = async |program: &str| {
        let request = ListBudgetsRequest {
            program: program.to_owned(),
        };
        clients.earning().list_budgets(request).await
    };
    refused(budgets("a b").await, INVALID, &["program"]);
    refused(budgets("no-club").await, NO_PROGRAM, &[]);
    let all = async |program: &str, member: &str| {
        let request = ListBalancesRequest {
            program: program.to_owned(),
            member: member.to_owned(),
        };
        clients.ledger().list_balances(request).await
    };
    refused(all(CLUB, "a b").await, INVALID, &["member"]);
    refused(all("no-club", "anna").await, NO_PROGRAM, &[]);
    let list = async |program: &str, page_size: i32, page_token: &str| {
        let request = ListTransactionsRequest {
            program: program.to_owned(),
            member: "anna".to_owned(),
            page_size,
            page_token: page_token.to_owned(),
            filter: None,
        };
        clients.ledger().list_transactions(request).await
    };
    refused(list(CLUB, -1, "").await, INVALID, &["page_size"]);
    refused(list(CLUB, 1_001, "").await, INVALID, &["page_size"]);
    refused(list(CLUB, 1, "?").await, INVALID, &["page_token"]);
    refused(list("no-club", 1, "").await, NO_PROGRAM, &[]);
    let watch = async |cursor: &str| {
        let request = WatchTransactionsRequest {
            start: crate::harness::from(cursor.to_owned()),
            include_canonical_bytes: false,
            filter: None,
        };
        clients.ledger().watch_transactions(request).await.map(drop)
    };
    let out_of_range = (Code::OutOfRange, "CURSOR_OUT_OF_RANGE");
    let poll = async |start: At, seconds| {
        let request = PollTransactionsRequest {
            start: Some(FeedStart { at: Some(start) }),
            wait: Some(prost_types::Duration { seconds, nanos: 0 }),
            ..PollTransactionsRequest::default()
        };
        clients.ledger().poll_transactions(request).await
    };
    let fields = ["start.now", "wait"];
    refused(poll(At::Now(false), 26).await, INVALID, &fields);
    refused(poll(At::Now(true), -1).await, INVALID, &["wait"]);
    let beyond = At::Cursor("a.a.a.a.a.a.a.a".to_owned());
    refused(poll(beyond, 0).await, out_of_range, &[]);
    refused(watch("1").await, out_of_range, &[]);
    refused(watch("a.a.a.a.a.a.a.a").await, out_of_range, &[]);
    refused(watch(&"0.".repeat(9_000)).await, INVALID, &["start.cursor"]);
    let totals = async |program: &str| {
        let request = GetTrialBalanceRequest {
            program: program.to_owned(),
            cursor: String::new(),
            ..GetTrialBalanceRequest::default()
        };
        clients.audit().get_trial_balance(request).await
    };
    refused(totals("").await, INVALID, &["program"]);
    refused(totals("no-club").await, NO_PROGRAM, &[]);
}
