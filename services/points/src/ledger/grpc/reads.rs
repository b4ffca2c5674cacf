//! Reads.

use std::{collections::HashSet, time::Duration};

use fealty_auth::{Caller, InReach};
use fealty_ledger::SpendKey;
use fealty_proto::{points::v1 as wire, r#type::v1::FeedStart};
use fealty_server::{Fields, Rejection, Start};
use fealty_types::{
    BrandId, CurrencyId, Ids, LotId, MemberId, OrderScope, Position, ProgramId, Timestamp,
    TransactionPlace,
};

use super::{Call, wire as render};
use crate::{
    feed::Filter,
    ledger::{
        balance::{Moment, Source},
        history::By,
        lots::LotsAfter,
    },
    shard::{ActivityName, OrderName},
};

const BRANDS_MAX: usize = 1_000;
const ENUM_RULE: &str = "must be one of the enum's values";

fn source(fields: &mut Fields<'_>, consistency: i32) -> Option<Source> {
    match wire::Consistency::try_from(consistency) {
        Ok(wire::Consistency::Strong) => Some(Source::Database),
        Ok(wire::Consistency::Unspecified | wire::Consistency::Cached) => Some(Source::Cache),
        Err(_) => {
            fields.add("consistency", ENUM_RULE);
            None
        }
    }
}

/// A wallet asked for.
pub(super) struct BalanceAsked {
    pub(super) program: InReach<ProgramId>,
    pub(super) member: InReach<MemberId>,
    pub(super) currency: CurrencyId,
    pub(super) source: Source,
    pub(super) moment: Moment,
    /// The transaction that the answer must have in it.
    pub(super) min_position: Option<TransactionPlace>,
}

pub(super) fn balance(
    call: Call<'_>,
    request: &wire::GetBalanceRequest,
    now: Timestamp,
) -> Result<BalanceAsked, Rejection> {
    use wire::get_balance_request::Moment as M;
    Fields::read(call.caller, |fields| {
        let program = fields.program("program", &request.program);
        let member = fields.member("member", program.as_ref(), &request.member);
        let currency = fields.parse("currency", &request.currency);
        let source = source(fields, request.consistency);
        let moment = match &request.moment {
            None => Some(Moment::Now),
            Some(M::PastTime(time)) => {
                let at = fields.time("past_time", *time);
                if at.is_some_and(|at| at > now) {
                    let rule = "must not be later than now; `future_time` is for the future";
                    fields.add("past_time", rule);
                }
                at.map(Moment::Past)
            }
            Some(M::AfterTransaction(id)) => {
                let place = call.ids.transaction_place(id);
                fields.check("after_transaction", place).map(Moment::After)
            }
            Some(M::FutureTime(time)) => {
                let at = fields.time("future_time", *time);
                if at.is_some_and(|at| at < now) {
                    let rule = "must not be earlier than now; `past_time` is for the past";
                    fields.add("future_time", rule);
                }
                at.map(Moment::Future)
            }
        };
        let min_position = match request.min_position.as_str() {
            "" => Some(None),
            id => {
                let place = call.ids.transaction_place(id);
                if matches!(moment, Some(Moment::Past(_) | Moment::After(_))) {
                    fields.add(
                        "min_position",
                        "must be empty where a past moment is asked for",
                    );
                }
                fields.check("min_position", place).map(Some)
            }
        };
        Some(BalanceAsked {
            program: program?,
            member: member?,
            currency: currency?,
            source: source?,
            moment: moment?,
            min_position: min_position?,
        })
    })
}

/// A member, all of whose wallets are asked for.
pub(super) fn overview(
    call: Call<'_>,
    request: &wire::ListBalancesRequest,
) -> Result<(InReach<ProgramId>, InReach<MemberId>), Rejection> {
    Fields::read(call.caller, |fields| {
        let program = fields.program("program", &request.program);
        let member = fields.member("member", program.as_ref(), &request.member);
        Some((program?, member?))
    })
}

/// Wallets asked for.
pub(super) struct BalancesAsked {
    pub(super) program: InReach<ProgramId>,
    pub(super) members: Vec<InReach<MemberId>>,
    pub(super) currency: CurrencyId,
    pub(super) source: Source,
}

pub(super) fn balances(
    call: Call<'_>,
    request: &wire::BatchGetBalancesRequest,
) -> Result<BalancesAsked, Rejection> {
    Fields::read(call.caller, |fields| {
        let program = fields.program("program", &request.program);
        let currency = fields.parse("currency", &request.currency);
        let source = source(fields, request.consistency);
        let members = fields.members("members", program.as_ref(), &request.members);
        Some(BalancesAsked {
            program: program?,
            members: members?,
            currency: currency?,
            source: source?,
        })
    })
}

/// A page asked for: whose, from where, how long, of which.
pub(super) struct PageAsked {
    pub(super) program: InReach<ProgramId>,
    pub(super) member: InReach<MemberId>,
    /// Before this one.
    pub(super) before: Position,
    pub(super) limit: usize,
    pub(super) filter: Filter,
}

pub(super) fn list(
    call: Call<'_>,
    request: &wire::ListTransactionsRequest,
) -> Result<PageAsked, Rejection> {
    Fields::read(call.caller, |fields| {
        let program = fields.program("program", &request.program);
        let member = fields.member("member", program.as_ref(), &request.member);
        let limit = fields.page_size("page_size", request.page_size);
        let newest = Position::new(i64::MAX);
        let before = position_token(call.ids, fields, &request.page_token, newest);
        let filter = filter(fields, request.filter.as_ref());
        Some(PageAsked {
            program: program?,
            member: member?,
            before: before?,
            limit: limit?,
            filter,
        })
    })
}

fn filter(fields: &mut Fields<'_>, asked: Option<&wire::TransactionFilter>) -> Filter {
    let mut filter = Filter::default();
    let Some(asked) = asked else {
        return filter;
    };
    let mut time = |field: &str, time: Option<prost_types::Timestamp>| {
        time.and_then(|time| fields.time(field, time))
    };
    filter.start = time("filter.start_time", asked.start_time);
    filter.end = time("filter.end_time", asked.end_time);
    if let (Some(start), Some(end)) = (filter.start, filter.end)
        && start >= end
    {
        fields.add("filter.end_time", "must be later than start_time");
    }
    filter.kinds = kinds(fields, "filter.kinds", &asked.kinds);
    if !asked.brand.is_empty() {
        filter
            .brands
            .extend(fields.any_brand("filter.brand", &asked.brand));
    }
    if !asked.order_number.is_empty() {
        filter.order_number = fields.parse("filter.order_number", &asked.order_number);
    }
    filter
}

fn kinds(fields: &mut Fields<'_>, field: &str, asked: &[i32]) -> HashSet<&'static str> {
    let mut kinds = HashSet::new();
    for (index, kind) in asked.iter().enumerate() {
        match wire::TransactionKind::try_from(*kind)
            .ok()
            .and_then(render::kind_name)
        {
            Some(name) => {
                kinds.insert(name);
            }
            None => fields.add(&format!("{field}[{index}]"), ENUM_RULE),
        }
    }
    kinds
}

pub(super) fn page_token(ids: Ids, next: Option<Position>) -> String {
    next.map(|position| ids.token(position.get()))
        .unwrap_or_default()
}

pub(super) fn hold(
    call: Call<'_>,
    request: &wire::GetHoldRequest,
) -> Result<(InReach<ProgramId>, InReach<MemberId>, TransactionPlace), Rejection> {
    Fields::read(call.caller, |fields| {
        let program = fields.program("program", &request.program);
        let member = fields.member("member", program.as_ref(), &request.member);
        let hold = fields.check("hold", call.ids.hold_place(&request.hold));
        Some((program?, member?, hold?))
    })
}

/// A page of holds asked for.
pub(super) struct HoldsAsked {
    pub(super) program: InReach<ProgramId>,
    pub(super) member: InReach<MemberId>,
    /// After this one.
    pub(super) after: Position,
    pub(super) limit: usize,
}

pub(super) fn holds(
    call: Call<'_>,
    request: &wire::ListHoldsRequest,
) -> Result<HoldsAsked, Rejection> {
    Fields::read(call.caller, |fields| {
        let program = fields.program("program", &request.program);
        let member = fields.member("member", program.as_ref(), &request.member);
        let limit = fields.page_size("page_size", request.page_size);
        let oldest = Position::new(0);
        let after = position_token(call.ids, fields, &request.page_token, oldest);
        Some(HoldsAsked {
            program: program?,
            member: member?,
            after: after?,
            limit: limit?,
        })
    })
}

/// The position at which a page begins: `first` for the first page.
fn position_token(
    ids: Ids,
    fields: &mut Fields<'_>,
    token: &str,
    first: Position,
) -> Option<Position> {
    let number = fields.page_token(token, |token| ids.token_number(token));
    number.map(|number| number.map_or(first, Position::new))
}

/// A page of lots asked for.
pub(super) struct LotsAsked {
    pub(super) program: InReach<ProgramId>,
    pub(super) member: InReach<MemberId>,
    pub(super) currency: CurrencyId,
    pub(super) after: Option<LotsAfter>,
    pub(super) limit: usize,
}

pub(super) fn lots(
    call: Call<'_>,
    request: &wire::ListLotsRequest,
) -> Result<LotsAsked, Rejection> {
    Fields::read(call.caller, |fields| {
        let program = fields.program("program", &request.program);
        let member = fields.member("member", program.as_ref(), &request.member);
        let currency = fields.parse("currency", &request.currency);
        let limit = fields.page_size("page_size", request.page_size);
        let after = fields.page_token(&request.page_token, |token| lots_after(call.ids, token));
        Some(LotsAsked {
            program: program?,
            member: member?,
            currency: currency?,
            after: after?,
            limit: limit?,
        })
    })
}

pub(super) fn lots_after(ids: Ids, token: &str) -> Option<LotsAfter> {
    let (expires_at, lot) = token.split_once('.')?;
    let lot = LotId::from_stored(ids.token_number(lot)?);
    if expires_at.is_empty() {
        return Some(LotsAfter::Other(lot));
    }
    let expires_at = Timestamp::from_micros(ids.token_number(expires_at)?)?;
    Some(LotsAfter::Spendable(SpendKey { expires_at, lot }))
}

pub(super) fn lots_token(ids: Ids, next: Option<LotsAfter>) -> String {
    match next {
        None => String::new(),
        Some(LotsAfter::Other(lot)) => format!(".{}", ids.token(lot.get())),
        Some(LotsAfter::Spendable(key)) => {
            let expires_at = ids.token(key.expires_at.micros());
            format!("{expires_at}.{}", ids.token(key.lot.get()))
        }
    }
}

pub(super) fn get(
    call: Call<'_>,
    request: &wire::GetTransactionRequest,
) -> Result<(InReach<ProgramId>, By), Rejection> {
    use wire::get_transaction_request::By as B;
    Fields::read(call.caller, |fields| {
        let program = fields.program("program", &request.program);
        let by = match &request.by {
            Some(B::Transaction(id)) => {
                let place = call.ids.transaction_place(id);
                fields.check("transaction", place).map(By::Place)
            }
            Some(B::Request(key)) => {
                let member = fields.member("request.member", program.as_ref(), &key.member);
                let request_id = fields.parse("request.request_id", &key.request_id);
                member.zip(request_id).map(|(m, r)| By::Request(m, r))
            }
            Some(B::Order(key)) => {
                let brand = fields.any_brand("order.brand", &key.brand);
                order(fields, brand, key).map(By::Order)
            }
            Some(B::Activity(key)) => {
                let brand = fields.any_brand("activity.brand", &key.brand);
                let of_type = fields.parse("activity.activity", &key.activity);
                let id = fields.parse("activity.activity_id", &key.activity_id);
                let named = brand.zip(of_type).zip(id);
                named
                    .map(|((brand, of_type), id)| By::Activity(ActivityName { brand, of_type, id }))
            }
            None => {
                let rule = "must have `transaction`, `request`, `order` or `activity`";
                fields.add("by", rule);
                None
            }
        };
        Some((program?, by?))
    })
}

/// What names an order of a brand.
pub(super) fn order(
    fields: &mut Fields<'_>,
    brand: Option<BrandId>,
    key: &wire::OrderKey,
) -> Option<OrderName> {
    let order_number = fields.parse("order.order_number", &key.order_number);
    let mut scope = OrderScope::default();
    if !key.store.is_empty() {
        scope.store = Some(fields.parse("order.store", &key.store)?);
    }
    if !key.business_date.is_empty() {
        let date = fields.parse("order.business_date", &key.business_date)?;
        scope.business_date = Some(date);
    }
    Some(OrderName {
        brand: brand?,
        order_number: order_number?,
        scope,
    })
}

pub(super) fn explain(
    call: Call<'_>,
    request: &wire::ExplainTransactionRequest,
) -> Result<(InReach<ProgramId>, TransactionPlace), Rejection> {
    Fields::read(call.caller, |fields| {
        let program = fields.program("program", &request.program);
        let place = call.ids.transaction_place(&request.transaction);
        let place = fields.check("transaction", place);
        Some((program?, place?))
    })
}

/// What is to be heard of the feed, and from where on.
pub(super) fn feed(
    caller: &Caller,
    start: Option<&FeedStart>,
    filter: Option<&wire::FeedFilter>,
    wait: Option<prost_types::Duration>,
) -> Result<(Start, Filter, Duration), Rejection> {
    Fields::read(caller, |fields| {
        let start = fields.feed_start("start", start);
        let wait = fields.feed_wait("wait", wait);
        let filter = feed_filter(fields, caller, filter)?;
        Some((start?, filter, wait?))
    })
}

fn feed_filter(
    fields: &mut Fields<'_>,
    caller: &Caller,
    filter: Option<&wire::FeedFilter>,
) -> Option<Filter> {
    let asked = filter.cloned().unwrap_or_default();
    let programs = fields.program_or_all("filter.program", &asked.program);
    let mut filter = Filter::default();
    if !asked.member.is_empty() {
        if asked.program.is_empty() {
            fields.add("filter.program", "must be set where `member` is");
        }
        let program = programs.as_ref().and_then(|named| named.as_ref()?.first());
        let member = fields.member("filter.member", program, &asked.member);
        filter.member = member.map(InReach::into_inner);
    }
    filter.kinds = kinds(fields, "filter.kinds", &asked.kinds);
    if asked.brands.len() > BRANDS_MAX {
        fields.add("filter.brands", "must have at most 1,000 entries");
    } else {
        for (index, brand) in asked.brands.iter().enumerate() {
            let brand = fields.brand(&format!("filter.brands[{index}]"), brand);
            filter.brands.extend(brand.map(InReach::into_inner));
        }
    }
    // Who speaks for some brands hears of no others.
    if let (true, Some(own)) = (asked.brands.is_empty(), caller.brands()) {
        filter.brands.extend(own.iter().cloned());
    }
    filter.programs = programs?.map(|named| {
        let named = named.into_iter().map(InReach::into_inner);
        named.collect()
    });
    Some(filter)
}
