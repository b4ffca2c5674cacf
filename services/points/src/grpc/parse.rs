//! Requests into commands, with every broken rule named.

use std::collections::HashSet;

use fealty_ledger::{
    Accrue, Activate, Activation, Adjust, Capture, Command, Extend, HOLD_TIMEOUT_MAX, HoldCommand,
    Purchase, Redeem, Reinstate, Release, Reverse, SpendKey, TransferOut,
};
use fealty_proto::{points::v1 as wire, r#type::v1::Money as WireMoney};
use fealty_server::{Rejection, Violations, from_wire_time};
use fealty_types::{
    BrandId, CurrencyId, InvalidValue, LotId, LotName, MemberId, Money, MoneyCurrency, Points,
    Position, ProgramId, Reference, RequestId, ShardId, Timestamp, TransactionName,
};

use super::render;
use crate::app::{By, Filter, LotsAfter, Moment};

const HOLD_TIMEOUT_DEFAULT_S: i64 = 15 * 60;
const PAGE_SIZE_DEFAULT: i32 = 50;
const PAGE_SIZE_MAX: i32 = 1_000;
const MEMBERS_MAX: usize = 1_000;
const BRANDS_MAX: usize = 1_000;
const ENUM_RULE: &str = "must be one of the enum's values";

/// Whose wallet a change is for, and under which request id.
pub(super) struct Target {
    pub(super) request_id: RequestId,
    pub(super) program: ProgramId,
    pub(super) member: MemberId,
    /// The shard of the hold, transaction or lot that it names.
    pub(super) named_shard: Option<ShardId>,
}

/// A change on its way from the wire.
struct Change {
    violations: Violations,
    target: Option<Target>,
}

/// The fields that every change has.
macro_rules! change {
    ($request:expr) => {
        Change::new(&$request.request_id, &$request.program, &$request.member)
    };
}

impl Change {
    fn new(request_id: &str, program: &str, member: &str) -> Self {
        let mut violations = Violations::new();
        let request_id = violations.parse("request_id", request_id);
        let program = violations.parse("program", program);
        let member = violations.parse("member", member);
        let target = (|| {
            Some(Target {
                request_id: request_id?,
                program: program?,
                member: member?,
                named_shard: None,
            })
        })();
        Self { violations, target }
    }

    fn parse<T: std::str::FromStr<Err = InvalidValue>>(
        &mut self,
        field: &str,
        text: &str,
    ) -> Option<T> {
        self.violations.parse(field, text)
    }

    fn points(&mut self, points: i64) -> Option<Points> {
        self.violations.check("points", Points::amount(points))
    }

    /// Points where 0 stands for all; `None` for all, or with a violation noted.
    fn points_or_all(&mut self, points: i64) -> Option<Points> {
        let points = self.violations.check("points", Points::new(points))?;
        (!points.is_zero()).then_some(points)
    }

    /// A text that may not be empty.
    fn said(&mut self, field: &str, text: &str) -> Option<Reference> {
        if text.is_empty() {
            self.violations.add(field, "must not be empty");
            return None;
        }
        self.parse(field, text)
    }

    fn time(&mut self, field: &str, time: Option<prost_types::Timestamp>) -> Option<Timestamp> {
        let Some(time) = time else {
            self.violations.add(field, "must be set");
            return None;
        };
        self.violations.check(field, from_wire_time(time))
    }

    /// The transaction, or the hold, of that name.
    fn transaction(&mut self, field: &str, name: &str) -> Option<Position> {
        let name: TransactionName = self.parse(field, name)?;
        self.names(name.shard);
        Some(name.position)
    }

    fn lot(&mut self, name: &str) -> Option<LotId> {
        let name: LotName = self.parse("lot", name)?;
        self.names(name.shard);
        Some(name.lot)
    }

    fn names(&mut self, shard: ShardId) {
        if let Some(target) = &mut self.target {
            target.named_shard = Some(shard);
        }
    }

    fn finish(self, command: Option<Command>) -> Result<(Target, Command), Rejection> {
        let parsed = (|| Some((self.target?, command?)))();
        self.violations.finish(parsed)
    }
}

pub(super) fn accrue(request: &wire::AccrueRequest) -> Result<(Target, Command), Rejection> {
    let mut change = change!(request);
    let brand = change.parse("brand", &request.brand);
    let currency = change.parse("currency", &request.currency);
    let points = change.points(request.points);
    let reference = change.parse("reference", &request.reference);
    let activation = activation(&mut change, request.activation.as_ref());
    let expires_at = match request.expiry_time {
        None => Some(None),
        time => change.time("expiry_time", time).map(Some),
    };
    let command = (|| {
        Some(Command::Accrue(Accrue {
            brand: brand?,
            currency: currency?,
            points: points?,
            activation,
            expires_at: expires_at?,
            reference: reference?,
        }))
    })();
    change.finish(command)
}

/// When points become available, if the caller says; `None` also with a
/// violation noted.
fn activation(change: &mut Change, activation: Option<&wire::Activation>) -> Option<Activation> {
    use wire::activation::When;
    match activation?.when {
        Some(When::Time(time)) => change
            .time("activation.time", Some(time))
            .map(Activation::At),
        Some(When::OnEvent(true)) => Some(Activation::OnEvent),
        Some(When::OnEvent(false)) => {
            change.violations.add("activation.on_event", "must be true");
            None
        }
        None => {
            let rule = "must have `time` or `on_event`";
            change.violations.add("activation", rule);
            None
        }
    }
}

pub(super) fn redeem(request: &wire::RedeemRequest) -> Result<(Target, Command), Rejection> {
    let mut change = change!(request);
    let brand = change.parse("brand", &request.brand);
    let currency = change.parse("currency", &request.currency);
    let points = change.points(request.points);
    let reference = change.parse("reference", &request.reference);
    let command = (|| {
        Some(Command::Redeem(Redeem {
            brand: brand?,
            currency: currency?,
            points: points?,
            reference: reference?,
        }))
    })();
    change.finish(command)
}

pub(super) fn hold(request: &wire::HoldRequest) -> Result<(Target, Command), Rejection> {
    let mut change = change!(request);
    let brand = change.parse("brand", &request.brand);
    let currency = change.parse("currency", &request.currency);
    let points = change.points(request.points);
    let reference = change.parse("reference", &request.reference);
    let timeout = request.timeout.unwrap_or(prost_types::Duration {
        seconds: HOLD_TIMEOUT_DEFAULT_S,
        nanos: 0,
    });
    let timeout = change.violations.check("timeout", timeout_micros(timeout));
    let command = (|| {
        Some(Command::Hold(HoldCommand {
            brand: brand?,
            currency: currency?,
            points: points?,
            timeout_micros: timeout?,
            reference: reference?,
        }))
    })();
    change.finish(command)
}

fn timeout_micros(timeout: prost_types::Duration) -> Result<u64, InvalidValue> {
    const RULE: InvalidValue = InvalidValue::new("must be 1 second to 366 days");
    let timeout = std::time::Duration::try_from(timeout).map_err(|_| RULE)?;
    if timeout.as_secs() < 1 || timeout > HOLD_TIMEOUT_MAX {
        return Err(RULE);
    }
    u64::try_from(timeout.as_micros()).map_err(|_| RULE)
}

pub(super) fn capture(request: &wire::CaptureRequest) -> Result<(Target, Command), Rejection> {
    let mut change = change!(request);
    let hold = change.transaction("hold", &request.hold);
    let points = change.points_or_all(request.points);
    let command = (|| {
        Some(Command::Capture(Capture {
            hold: hold?,
            points,
            is_final: request.r#final,
        }))
    })();
    change.finish(command)
}

pub(super) fn release(request: &wire::ReleaseRequest) -> Result<(Target, Command), Rejection> {
    let mut change = change!(request);
    let hold = change.transaction("hold", &request.hold);
    let command = hold.map(|hold| Command::Release(Release { hold }));
    change.finish(command)
}

pub(super) fn reverse(request: &wire::ReverseRequest) -> Result<(Target, Command), Rejection> {
    let mut change = change!(request);
    let transaction = change.transaction("transaction", &request.transaction);
    let currency = if request.currency.is_empty() {
        Some(None)
    } else {
        change.parse("currency", &request.currency).map(Some)
    };
    let points = change.points_or_all(request.points);
    let reference = change.parse("reference", &request.reference);
    let command = (|| {
        Some(Command::Reverse(Reverse {
            transaction: transaction?,
            currency: currency?,
            points,
            reference: reference?,
        }))
    })();
    change.finish(command)
}

pub(super) fn adjust(request: &wire::AdjustRequest) -> Result<(Target, Command), Rejection> {
    const POINTS_RULE: &str = "must be -10^15 to 10^15 points, and not 0";
    let mut change = change!(request);
    let brand = change.parse("brand", &request.brand);
    let currency = change.parse("currency", &request.currency);
    let points = i64::try_from(request.points.unsigned_abs())
        .map_err(|_| InvalidValue::new(POINTS_RULE))
        .and_then(Points::amount)
        .map_err(|_| InvalidValue::new(POINTS_RULE));
    let points = change.violations.check("points", points);
    let reason = change.said("reason", &request.reason);
    let actor = change.said("actor", &request.actor);
    let approver = if request.approver.is_empty() {
        Some(None)
    } else {
        change.parse("approver", &request.approver).map(Some)
    };
    if !request.approver.is_empty() && request.approver == request.actor {
        let rule = "must be another person than the actor";
        change.violations.add("approver", rule);
    }
    let note = change.parse("note", &request.note);
    let command = (|| {
        Some(Command::Adjust(Adjust {
            brand: brand?,
            currency: currency?,
            points: points?,
            gives: request.points > 0,
            reason: reason?,
            actor: actor?,
            approver: approver?,
            note: note?,
        }))
    })();
    change.finish(command)
}

pub(super) fn transfer(
    request: &wire::TransferRequest,
) -> Result<(Target, TransferOut), Rejection> {
    let mut change = change!(request);
    let to = change.parse("recipient", &request.recipient);
    if request.recipient == request.member {
        let rule = "must be another member than the giver";
        change.violations.add("recipient", rule);
    }
    let currency = change.parse("currency", &request.currency);
    let points = change.points(request.points);
    let reference = change.parse("reference", &request.reference);
    let parsed = (|| {
        let transfer = TransferOut {
            to: to?,
            currency: currency?,
            points: points?,
            reference: reference?,
        };
        Some((change.target?, transfer))
    })();
    change.violations.finish(parsed)
}

pub(super) fn extend(request: &wire::ExtendLotRequest) -> Result<(Target, Command), Rejection> {
    let mut change = change!(request);
    let lot = change.lot(&request.lot);
    let expires_at = change.time("expiry_time", request.expiry_time);
    let reason = change.said("reason", &request.reason);
    let actor = change.said("actor", &request.actor);
    let command = (|| {
        Some(Command::Extend(Extend {
            lot: lot?,
            expires_at: expires_at?,
            reason: reason?,
            actor: actor?,
        }))
    })();
    change.finish(command)
}

pub(super) fn reinstate(
    request: &wire::ReinstateLotRequest,
) -> Result<(Target, Command), Rejection> {
    let mut change = change!(request);
    let lot = change.lot(&request.lot);
    let points = change.points_or_all(request.points);
    let expires_at = change.time("expiry_time", request.expiry_time);
    let reason = change.said("reason", &request.reason);
    let actor = change.said("actor", &request.actor);
    let command = (|| {
        Some(Command::Reinstate(Reinstate {
            lot: lot?,
            points,
            expires_at: expires_at?,
            reason: reason?,
            actor: actor?,
        }))
    })();
    change.finish(command)
}

pub(super) fn activate(
    request: &wire::ActivatePointsRequest,
) -> Result<(Target, Command), Rejection> {
    let mut change = change!(request);
    let transaction = change.transaction("transaction", &request.transaction);
    let reference = change.parse("reference", &request.reference);
    let command = (|| {
        Some(Command::Activate(Activate {
            transaction: transaction?,
            reference: reference?,
        }))
    })();
    change.finish(command)
}

pub(super) fn purchase(
    request: &wire::RecordPurchaseRequest,
) -> Result<(Target, Command), Rejection> {
    let mut change = change!(request);
    let brand = change.parse("brand", &request.brand);
    let order_number = change.parse("order_number", &request.order_number);
    let amount = money(&mut change.violations, request.amount.as_ref());
    let purchased_at = match request.purchase_time {
        None => Some(None),
        time => change.time("purchase_time", time).map(Some),
    };
    let command = (|| {
        Some(Command::Purchase(Purchase {
            brand: brand?,
            order_number: order_number?,
            amount: amount?,
            purchased_at: purchased_at?,
        }))
    })();
    change.finish(command)
}

fn money(violations: &mut Violations, money: Option<&WireMoney>) -> Option<Money> {
    let Some(money) = money else {
        violations.add("amount", "must be set");
        return None;
    };
    let currency: Option<MoneyCurrency> =
        violations.parse("amount.currency_code", &money.currency_code);
    violations.check(
        "amount.minor_units",
        Money::new(currency?, money.minor_units),
    )
}

fn strong(violations: &mut Violations, consistency: i32) -> Option<bool> {
    match wire::Consistency::try_from(consistency) {
        Ok(wire::Consistency::Strong) => Some(true),
        Ok(wire::Consistency::Unspecified | wire::Consistency::Cached) => Some(false),
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
    pub(super) strong: bool,
    pub(super) moment: Moment,
}

pub(super) fn balance(
    request: &wire::GetBalanceRequest,
    now: Timestamp,
) -> Result<BalanceAsked, Rejection> {
    use wire::get_balance_request::Moment as M;
    let mut violations = Violations::new();
    let program = violations.parse("program", &request.program);
    let member = violations.parse("member", &request.member);
    let currency = violations.parse("currency", &request.currency);
    let strong = strong(&mut violations, request.consistency);
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
    let parsed = (|| {
        Some(BalanceAsked {
            program: program?,
            member: member?,
            currency: currency?,
            strong: strong?,
            moment: moment?,
        })
    })();
    violations.finish(parsed)
}

/// Wallets asked for: programme, members, currency, whether from the database.
pub(super) type BalancesAsked = (ProgramId, Vec<MemberId>, CurrencyId, bool);

pub(super) fn balances(
    request: &wire::BatchGetBalancesRequest,
) -> Result<BalancesAsked, Rejection> {
    let mut violations = Violations::new();
    let program = violations.parse("program", &request.program);
    let currency = violations.parse("currency", &request.currency);
    let strong = strong(&mut violations, request.consistency);
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
    let parsed = (|| Some((program?, members, currency?, strong?)))();
    violations.finish(parsed)
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
    let mut violations = Violations::new();
    let program = violations.parse("program", &request.program);
    let member = violations.parse("member", &request.member);
    let limit = page_size(&mut violations, request.page_size);
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
    let filter = filter(&mut violations, request.filter.as_ref());
    let parsed = (|| {
        Some(PageAsked {
            program: program?,
            member: member?,
            before: before?,
            limit: limit?,
            filter,
        })
    })();
    violations.finish(parsed)
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
    let mut violations = Violations::new();
    let program = violations.parse("program", &request.program);
    let member = violations.parse("member", &request.member);
    let currency = violations.parse("currency", &request.currency);
    let limit = page_size(&mut violations, request.page_size);
    let after = if request.page_token.is_empty() {
        Some(None)
    } else {
        let after = lots_after(&request.page_token);
        if after.is_none() {
            violations.add("page_token", TOKEN_RULE);
        }
        after.map(Some)
    };
    let parsed = (|| {
        Some(LotsAsked {
            program: program?,
            member: member?,
            currency: currency?,
            after: after?,
            limit: limit?,
        })
    })();
    violations.finish(parsed)
}

fn lots_after(token: &str) -> Option<LotsAfter> {
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
    let mut violations = Violations::new();
    let program = violations.parse("program", &request.program);
    let by = match &request.by {
        Some(B::Name(name)) => violations.parse("name", name).map(By::Name),
        Some(B::Request(key)) => {
            let member = violations.parse("request.member", &key.member);
            let request_id = violations.parse("request.request_id", &key.request_id);
            (|| Some(By::Request(member?, request_id?)))()
        }
        Some(B::Order(key)) => {
            let brand: Option<BrandId> = violations.parse("order.brand", &key.brand);
            let order_number = violations.parse("order.order_number", &key.order_number);
            (|| Some(By::Order(brand?, order_number?)))()
        }
        None => {
            violations.add("by", "must have `name`, `request` or `order`");
            None
        }
    };
    let parsed = (|| Some((program?, by?)))();
    violations.finish(parsed)
}

pub(super) fn explain(
    request: &wire::ExplainTransactionRequest,
) -> Result<(ProgramId, TransactionName), Rejection> {
    let mut violations = Violations::new();
    let program = violations.parse("program", &request.program);
    let name = violations.parse("name", &request.name);
    let parsed = (|| Some((program?, name?)))();
    violations.finish(parsed)
}

pub(super) fn feed_filter(request: &wire::WatchTransactionsRequest) -> Result<Filter, Rejection> {
    let mut violations = Violations::new();
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
        filter.kinds = kinds(&mut violations, "filter.kinds", &asked.kinds);
        if asked.brands.len() > BRANDS_MAX {
            violations.add("filter.brands", "must have at most 1,000 entries");
        } else {
            for (index, brand) in asked.brands.iter().enumerate() {
                let field = format!("filter.brands[{index}]");
                filter.brands.extend(violations.parse(&field, brand));
            }
        }
    }
    violations.finish(Some(filter))
}

#[cfg(test)]
mod tests;
