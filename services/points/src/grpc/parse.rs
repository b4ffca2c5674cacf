//! Requests into commands, with every broken rule named.

use fealty_ledger::{
    Accrue, Capture, Command, HOLD_TIMEOUT_MAX, HoldCommand, Purchase, Redeem, Release,
};
use fealty_proto::{points::v1 as wire, r#type::v1::Money as WireMoney};
use fealty_server::{Rejection, Violations, from_wire_time};
use fealty_types::{
    CurrencyId, InvalidValue, MemberId, Money, MoneyCurrency, Points, Position, ProgramId,
    RequestId, TransactionName,
};

const HOLD_TIMEOUT_DEFAULT_S: i64 = 15 * 60;
const PAGE_SIZE_DEFAULT: i32 = 50;
const PAGE_SIZE_MAX: i32 = 1_000;

/// Whose wallet a change is for, and under which request id.
pub(super) struct Target {
    pub(super) request_id: RequestId,
    pub(super) program: ProgramId,
    pub(super) member: MemberId,
}

fn target(
    violations: &mut Violations,
    request_id: &str,
    program: &str,
    member: &str,
) -> Option<Target> {
    let request_id = violations.parse("request_id", request_id);
    let program = violations.parse("program", program);
    let member = violations.parse("member", member);
    Some(Target {
        request_id: request_id?,
        program: program?,
        member: member?,
    })
}

pub(super) fn accrue(request: &wire::AccrueRequest) -> Result<(Target, Command), Rejection> {
    let mut violations = Violations::new();
    let target = target(
        &mut violations,
        &request.request_id,
        &request.program,
        &request.member,
    );
    let brand = violations.parse("brand", &request.brand);
    let currency = violations.parse("currency", &request.currency);
    let points = violations.check("points", Points::amount(request.points));
    let reference = violations.parse("reference", &request.reference);
    let parsed = (|| {
        let accrue = Accrue {
            brand: brand?,
            currency: currency?,
            points: points?,
            reference: reference?,
        };
        Some((target?, Command::Accrue(accrue)))
    })();
    violations.finish(parsed)
}

pub(super) fn redeem(request: &wire::RedeemRequest) -> Result<(Target, Command), Rejection> {
    let mut violations = Violations::new();
    let target = target(
        &mut violations,
        &request.request_id,
        &request.program,
        &request.member,
    );
    let brand = violations.parse("brand", &request.brand);
    let currency = violations.parse("currency", &request.currency);
    let points = violations.check("points", Points::amount(request.points));
    let reference = violations.parse("reference", &request.reference);
    let parsed = (|| {
        let redeem = Redeem {
            brand: brand?,
            currency: currency?,
            points: points?,
            reference: reference?,
        };
        Some((target?, Command::Redeem(redeem)))
    })();
    violations.finish(parsed)
}

pub(super) fn hold(request: &wire::HoldRequest) -> Result<(Target, Command), Rejection> {
    let mut violations = Violations::new();
    let target = target(
        &mut violations,
        &request.request_id,
        &request.program,
        &request.member,
    );
    let brand = violations.parse("brand", &request.brand);
    let currency = violations.parse("currency", &request.currency);
    let points = violations.check("points", Points::amount(request.points));
    let reference = violations.parse("reference", &request.reference);
    let timeout = request.timeout.unwrap_or(prost_types::Duration {
        seconds: HOLD_TIMEOUT_DEFAULT_S,
        nanos: 0,
    });
    let timeout = violations.check("timeout", timeout_micros(timeout));
    let parsed = (|| {
        let hold = HoldCommand {
            brand: brand?,
            currency: currency?,
            points: points?,
            timeout_micros: timeout?,
            reference: reference?,
        };
        Some((target?, Command::Hold(hold)))
    })();
    violations.finish(parsed)
}

fn timeout_micros(timeout: prost_types::Duration) -> Result<u64, InvalidValue> {
    const RULE: InvalidValue = InvalidValue::new("must be 1 second to 366 days");
    let timeout = std::time::Duration::try_from(timeout).map_err(|_| RULE)?;
    if timeout.as_secs() < 1 || timeout > HOLD_TIMEOUT_MAX {
        return Err(RULE);
    }
    u64::try_from(timeout.as_micros()).map_err(|_| RULE)
}

pub(super) fn capture(
    request: &wire::CaptureRequest,
) -> Result<(Target, TransactionName, Command), Rejection> {
    let mut violations = Violations::new();
    let target = target(
        &mut violations,
        &request.request_id,
        &request.program,
        &request.member,
    );
    let hold: Option<TransactionName> = violations.parse("hold", &request.hold);
    let points = violations.check("points", Points::new(request.points));
    let parsed = (|| {
        let (hold, points) = (hold?, points?);
        let capture = Capture {
            hold: hold.position,
            points: (!points.is_zero()).then_some(points),
            is_final: request.r#final,
        };
        Some((target?, hold, Command::Capture(capture)))
    })();
    violations.finish(parsed)
}

pub(super) fn release(
    request: &wire::ReleaseRequest,
) -> Result<(Target, TransactionName, Command), Rejection> {
    let mut violations = Violations::new();
    let target = target(
        &mut violations,
        &request.request_id,
        &request.program,
        &request.member,
    );
    let hold: Option<TransactionName> = violations.parse("hold", &request.hold);
    let parsed = (|| {
        let hold = hold?;
        Some((
            target?,
            hold,
            Command::Release(Release {
                hold: hold.position,
            }),
        ))
    })();
    violations.finish(parsed)
}

pub(super) fn purchase(
    request: &wire::RecordPurchaseRequest,
) -> Result<(Target, Command), Rejection> {
    let mut violations = Violations::new();
    let target = target(
        &mut violations,
        &request.request_id,
        &request.program,
        &request.member,
    );
    let brand = violations.parse("brand", &request.brand);
    let order_number = violations.parse("order_number", &request.order_number);
    let amount = money(&mut violations, request.amount.as_ref());
    let purchased_at = match request.purchase_time {
        None => Some(None),
        Some(time) => violations
            .check("purchase_time", from_wire_time(time))
            .map(Some),
    };
    let parsed = (|| {
        let purchase = Purchase {
            brand: brand?,
            order_number: order_number?,
            amount: amount?,
            purchased_at: purchased_at?,
        };
        Some((target?, Command::Purchase(purchase)))
    })();
    violations.finish(parsed)
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

pub(super) fn balance(
    request: &wire::GetBalanceRequest,
) -> Result<(ProgramId, MemberId, CurrencyId, bool), Rejection> {
    let mut violations = Violations::new();
    let program = violations.parse("program", &request.program);
    let member = violations.parse("member", &request.member);
    let currency = violations.parse("currency", &request.currency);
    let strong = match wire::Consistency::try_from(request.consistency) {
        Ok(wire::Consistency::Strong) => Some(true),
        Ok(wire::Consistency::Unspecified | wire::Consistency::Cached) => Some(false),
        Err(_) => {
            violations.add("consistency", "must be one of the enum's values");
            None
        }
    };
    let parsed = (|| Some((program?, member?, currency?, strong?)))();
    violations.finish(parsed)
}

/// A page asked for: whose, from where, how long.
pub(super) type PageAsked = (ProgramId, MemberId, Option<Position>, i32);

pub(super) fn list(request: &wire::ListTransactionsRequest) -> Result<PageAsked, Rejection> {
    let mut violations = Violations::new();
    let program = violations.parse("program", &request.program);
    let member = violations.parse("member", &request.member);
    let size = match request.page_size {
        0 => Some(PAGE_SIZE_DEFAULT),
        size @ 1..=PAGE_SIZE_MAX => Some(size),
        _ => {
            violations.add("page_size", "must be 0 to 1,000");
            None
        }
    };
    let before = if request.page_token.is_empty() {
        Some(None)
    } else {
        let token = i64::from_str_radix(&request.page_token, 16)
            .ok()
            .filter(|token| *token > 0);
        if token.is_none() {
            violations.add("page_token", "must be a token as the service gave it");
        }
        token.map(|token| Some(Position::new(token)))
    };
    let parsed = (|| Some((program?, member?, before?, size?)))();
    violations.finish(parsed)
}

pub(super) fn page_token(next: Option<Position>) -> String {
    next.map(|position| format!("{:x}", position.get()))
        .unwrap_or_default()
}
