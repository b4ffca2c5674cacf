//! Reads.

use std::collections::HashSet;

use fealty_ledger::SpendKey;
use fealty_proto::points::v1 as wire;
use fealty_server::{Rejection, Violations, from_wire_time};
use fealty_types::{
    BrandId, CurrencyId, LotId, MemberId, Position, ProgramId, Timestamp, TransactionName,
};

use super::wire as render;
use crate::{
    feed::Filter,
    ledger::{
        balance::{Moment, Source},
        history::By,
        lots::LotsAfter,
    },
};

const PAGE_SIZE_DEFAULT: i32 = 50;
const PAGE_SIZE_MAX: i32 = 1_000;
const MEMBERS_MAX: usize = 1_000;
const BRANDS_MAX: usize = 1_000;
const ENUM_RULE: &str = "must be one of the enum's values";

fn source(violations: &mut Violations, consistency: i32) -> Option<Source> {
    match wire::Consistency::try_from(consistency) {
        Ok(wire::Consistency::Strong) => Some(Source::Database),
        Ok(wire::Consistency::Unspecified | wire::Consistency::Cached) => Some(Source::Cache),
        Err(_) => {
            violations.add("consistency", ENUM_RULE);
            None
        }
    }
}

/// A wallet asked for.
pub(super) struct BalanceAsked {
    pub(super) program: ProgramId,
    pub(super) member: MemberId,
    pub(super) currency: CurrencyId,
    pub(super) source: Source,
    pub(super) moment: Moment,
}

pub(super) fn balance(
    request: &wire::GetBalanceRequest,
    now: Timestamp,
) -> Result<BalanceAsked, Rejection> {
    use wire::get_balance_request::Moment as M;
    Violations::gather(|violations| {
        let program = violations.parse("program", &request.program);
        let member = violations.parse("member", &request.member);
        let currency = violations.parse("currency", &request.currency);
        let source = source(violations, request.consistency);
        let moment = match &request.moment {
            None => Some(Moment::Now),
            Some(M::AsOf(time)) => {
                let at = violations.check("as_of", from_wire_time(*time));
                if at.is_some_and(|at| at > now) {
                    violations.add(
                        "as_of",
                        "must not be later than now; `at` is for the future",
                    );
                }
                at.map(Moment::AsOf)
            }
            Some(M::AfterTransaction(name)) => violations
                .parse("after_transaction", name)
                .map(Moment::After),
            Some(M::At(time)) => {
                let at = violations.check("at", from_wire_time(*time));
                if at.is_some_and(|at| at < now) {
                    violations.add(
                        "at",
                        "must not be earlier than now; `as_of` is for the past",
                    );
                }
                at.map(Moment::At)
            }
        };
        Some(BalanceAsked {
            program: program?,
            member: member?,
            currency: currency?,
            source: source?,
            moment: moment?,
        })
    })
}

/// Wallets asked for.
pub(super) struct BalancesAsked {
    pub(super) program: ProgramId,
    pub(super) members: Vec<MemberId>,
    pub(super) currency: CurrencyId,
    pub(super) source: Source,
}

pub(super) fn balances(
    request: &wire::BatchGetBalancesRequest,
) -> Result<BalancesAsked, Rejection> {
    Violations::gather(|violations| {
        let program = violations.parse("program", &request.program);
        let currency = violations.parse("currency", &request.currency);
        let source = source(violations, request.consistency);
        let mut members = Vec::new();
        if request.members.is_empty() || request.members.len() > MEMBERS_MAX {
            violations.add("members", "must have 1 to 1,000 entries");
        } else {
            for (index, member) in request.members.iter().enumerate() {
                members.extend(violations.parse(&format!("members[{index}]"), member));
            }
            let mut seen = HashSet::new();
            if !request.members.iter().all(|member| seen.insert(member)) {
                violations.add("members", "must not name a member twice");
            }
        }
        Some(BalancesAsked {
            program: program?,
            members,
            currency: currency?,
            source: source?,
        })
    })
}

fn page_size(violations: &mut Violations, size: i32) -> Option<usize> {
    let size = match size {
        0 => PAGE_SIZE_DEFAULT,
        size @ 1..=PAGE_SIZE_MAX => size,
        _ => {
            violations.add("page_size", "must be 0 to 1,000");
            return None;
        }
    };
    usize::try_from(size).ok()
}

const TOKEN_RULE: &str = "must be a token as the service gave it";

/// A page asked for: whose, from where, how long, of which.
pub(super) struct PageAsked {
    pub(super) program: ProgramId,
    pub(super) member: MemberId,
    pub(super) before: Option<Position>,
    pub(super) limit: usize,
    pub(super) filter: Filter,
}

pub(super) fn list(request: &wire::ListTransactionsRequest) -> Result<PageAsked, Rejection> {
    Violations::gather(|violations| {
        let program = violations.parse("program", &request.program);
        let member = violations.parse("member", &request.member);
        let limit = page_size(violations, request.page_size);
        let before = if request.page_token.is_empty() {
            Some(None)
        } else {
            let token = i64::from_str_radix(&request.page_token, 16)
                .ok()
                .filter(|token| *token > 0);
            if token.is_none() {
                violations.add("page_token", TOKEN_RULE);
            }
            token.map(|token| Some(Position::new(token)))
        };
        let filter = filter(violations, request.filter.as_ref());
        Some(PageAsked {
            program: program?,
            member: member?,
            before: before?,
            limit: limit?,
            filter,
        })
    })
}

fn filter(violations: &mut Violations, asked: Option<&wire::TransactionFilter>) -> Filter {
    let mut filter = Filter::default();
    let Some(asked) = asked else {
        return filter;
    };
    let mut time = |field: &str, time: Option<prost_types::Timestamp>| {
        time.and_then(|time| violations.check(field, from_wire_time(time)))
    };
    filter.start = time("filter.start_time", asked.start_time);
    filter.end = time("filter.end_time", asked.end_time);
    if let (Some(start), Some(end)) = (filter.start, filter.end)
        && start >= end
    {
        violations.add("filter.end_time", "must be later than start_time");
    }
    filter.kinds = kinds(violations, "filter.kinds", &asked.kinds);
    if !asked.brand.is_empty() {
        filter
            .brands
            .extend(violations.parse("filter.brand", &asked.brand));
    }
    if !asked.order_number.is_empty() {
        filter.order_number = violations.parse("filter.order_number", &asked.order_number);
    }
    filter
}

fn kinds(violations: &mut Violations, field: &str, asked: &[i32]) -> HashSet<&'static str> {
    let mut kinds = HashSet::new();
    for (index, kind) in asked.iter().enumerate() {
        match wire::TransactionKind::try_from(*kind)
            .ok()
            .and_then(render::kind_name)
        {
            Some(name) => {
                kinds.insert(name);
            }
            None => violations.add(&format!("{field}[{index}]"), ENUM_RULE),
        }
    }
    kinds
}

pub(super) fn page_token(next: Option<Position>) -> String {
    next.map(|position| format!("{:x}", position.get()))
        .unwrap_or_default()
}

/// A page of lots asked for.
pub(super) struct LotsAsked {
    pub(super) program: ProgramId,
    pub(super) member: MemberId,
    pub(super) currency: CurrencyId,
    pub(super) after: Option<LotsAfter>,
    pub(super) limit: usize,
}

pub(super) fn lots(request: &wire::ListLotsRequest) -> Result<LotsAsked, Rejection> {
    Violations::gather(|violations| {
        let program = violations.parse("program", &request.program);
        let member = violations.parse("member", &request.member);
        let currency = violations.parse("currency", &request.currency);
        let limit = page_size(violations, request.page_size);
        let after = if request.page_token.is_empty() {
            Some(None)
        } else {
            let after = lots_after(&request.page_token);
            if after.is_none() {
                violations.add("page_token", TOKEN_RULE);
            }
            after.map(Some)
        };
        Some(LotsAsked {
            program: program?,
            member: member?,
            currency: currency?,
            after: after?,
            limit: limit?,
        })
    })
}

pub(super) fn lots_after(token: &str) -> Option<LotsAfter> {
    let number = |text: &str| i64::from_str_radix(text, 16).ok().filter(|n| *n >= 0);
    match token.split_once('.')? {
        ("", lot) => Some(LotsAfter::Other(LotId::from_stored(number(lot)?))),
        (micros, lot) => Some(LotsAfter::Spendable(SpendKey {
            expires_at: Timestamp::from_micros(i64::from_str_radix(micros, 16).ok()?)?,
            lot: LotId::from_stored(number(lot)?),
        })),
    }
}

pub(super) fn lots_token(next: Option<LotsAfter>) -> String {
    match next {
        None => String::new(),
        Some(LotsAfter::Other(lot)) => format!(".{:x}", lot.get()),
        Some(LotsAfter::Spendable(key)) => {
            let micros = key.expires_at.micros();
            let sign = if micros < 0 { "-" } else { "" };
            format!("{sign}{:x}.{:x}", micros.unsigned_abs(), key.lot.get())
        }
    }
}

pub(super) fn get(request: &wire::GetTransactionRequest) -> Result<(ProgramId, By), Rejection> {
    use wire::get_transaction_request::By as B;
    Violations::gather(|violations| {
        let program = violations.parse("program", &request.program);
        let by = match &request.by {
            Some(B::Name(name)) => violations.parse("name", name).map(By::Name),
            Some(B::Request(key)) => {
                let member = violations.parse("request.member", &key.member);
                let request_id = violations.parse("request.request_id", &key.request_id);
                member.zip(request_id).map(|(m, r)| By::Request(m, r))
            }
            Some(B::Order(key)) => {
                let brand: Option<BrandId> = violations.parse("order.brand", &key.brand);
                let order_number = violations.parse("order.order_number", &key.order_number);
                brand.zip(order_number).map(|(b, o)| By::Order(b, o))
            }
            None => {
                violations.add("by", "must have `name`, `request` or `order`");
                None
            }
        };
        Some((program?, by?))
    })
}

pub(super) fn explain(
    request: &wire::ExplainTransactionRequest,
) -> Result<(ProgramId, TransactionName), Rejection> {
    Violations::gather(|violations| {
        let program = violations.parse("program", &request.program);
        let name = violations.parse("name", &request.name);
        Some((program?, name?))
    })
}

pub(super) fn feed_filter(request: &wire::WatchTransactionsRequest) -> Result<Filter, Rejection> {
    Violations::gather(|violations| {
        if request.cursor.len() > 8 * 1024 {
            violations.add("cursor", "must be a cursor as the service gave it");
        }
        let mut filter = Filter::default();
        if let Some(asked) = &request.filter {
            if !asked.program.is_empty() {
                filter.program = violations.parse("filter.program", &asked.program);
            }
            if !asked.member.is_empty() {
                filter.member = violations.parse("filter.member", &asked.member);
                if asked.program.is_empty() {
                    violations.add("filter.program", "must be set where `member` is");
                }
            }
            filter.kinds = kinds(violations, "filter.kinds", &asked.kinds);
            if asked.brands.len() > BRANDS_MAX {
                violations.add("filter.brands", "must have at most 1,000 entries");
            } else {
                for (index, brand) in asked.brands.iter().enumerate() {
                    let field = format!("filter.brands[{index}]");
                    filter.brands.extend(violations.parse(&field, brand));
                }
            }
        }
        Some(filter)
    })
}
