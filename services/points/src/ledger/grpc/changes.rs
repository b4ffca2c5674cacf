//! Requests into changes, with every broken rule named.

use std::time::Duration;

use fealty_ledger::{
    Accrue, Activate, Activation, Adjust, Capture, Command, Extend, HOLD_TIMEOUT_MAX, HoldCommand,
    Redeem, Reinstate, Release, Reverse, TransferOut,
};
use fealty_proto::points::v1 as wire;
use fealty_server::{Rejection, Violations, from_wire_time};
use fealty_types::{
    InvalidValue, LotId, LotName, Points, Position, Reference, ShardId, Timestamp, TransactionName,
};

use crate::ledger::Change;

const HOLD_TIMEOUT_DEFAULT: Duration = Duration::from_mins(15);

/// A field that may be left out is there and wrong; the violation is noted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noted;

/// The fields of a change on their way from the wire.
pub(crate) struct Fields {
    pub(crate) violations: Violations,
    named_shard: Option<ShardId>,
}

/// Reads a change: what every change has, and what `read` makes of the rest.
pub(crate) fn change<C>(
    [request_id, program, member]: [&str; 3],
    read: impl FnOnce(&mut Fields) -> Option<C>,
) -> Result<Change<C>, Rejection> {
    let mut fields = Fields {
        violations: Violations::new(),
        named_shard: None,
    };
    let request_id = fields.parse("request_id", request_id);
    let program = fields.parse("program", program);
    let member = fields.parse("member", member);
    let command = read(&mut fields);
    let change = match (request_id, program, member, command) {
        (Some(request_id), Some(program), Some(member), Some(command)) => Some(Change {
            request_id,
            program,
            member,
            named_shard: fields.named_shard,
            command,
        }),
        _ => None,
    };
    fields.violations.finish(change)
}

/// Reads a change from a request that has the fields of every change.
macro_rules! change {
    ($request:expr, $read:expr) => {
        $crate::ledger::grpc::changes::change(
            [&$request.request_id, &$request.program, &$request.member],
            $read,
        )
    };
}
pub(crate) use change as read_change;

impl Fields {
    pub(crate) fn parse<T: std::str::FromStr<Err = InvalidValue>>(
        &mut self,
        field: &str,
        text: &str,
    ) -> Option<T> {
        self.violations.parse(field, text)
    }

    /// A text that may be left out.
    fn optional<T: std::str::FromStr<Err = InvalidValue>>(
        &mut self,
        field: &str,
        text: &str,
    ) -> Result<Option<T>, Noted> {
        if text.is_empty() {
            return Ok(None);
        }
        self.parse(field, text).map(Some).ok_or(Noted)
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

    /// A time that may be left out.
    pub(crate) fn optional_time(
        &mut self,
        field: &str,
        time: Option<prost_types::Timestamp>,
    ) -> Result<Option<Timestamp>, Noted> {
        match time {
            None => Ok(None),
            time => self.time(field, time).map(Some).ok_or(Noted),
        }
    }

    /// The transaction, or the hold, of that name.
    fn transaction(&mut self, field: &str, name: &str) -> Option<Position> {
        let name: TransactionName = self.parse(field, name)?;
        self.named_shard = Some(name.shard);
        Some(name.position)
    }

    fn lot(&mut self, name: &str) -> Option<LotId> {
        let name: LotName = self.parse("lot", name)?;
        self.named_shard = Some(name.shard);
        Some(name.lot)
    }
}

pub(super) fn accrue(request: &wire::AccrueRequest) -> Result<Change, Rejection> {
    change!(request, |fields| {
        let brand = fields.parse("brand", &request.brand);
        let currency = fields.parse("currency", &request.currency);
        let points = fields.points(request.points);
        let reference = fields.parse("reference", &request.reference);
        let activation = activation(fields, request.activation.as_ref());
        let expires_at = fields.optional_time("expiry_time", request.expiry_time);
        Some(Command::Accrue(Accrue {
            brand: brand?,
            currency: currency?,
            points: points?,
            activation,
            expires_at: expires_at.ok()?,
            reference: reference?,
        }))
    })
}

/// When points become available, if the caller says; `None` also with a
/// violation noted.
fn activation(fields: &mut Fields, activation: Option<&wire::Activation>) -> Option<Activation> {
    use wire::activation::When;
    match activation?.when {
        Some(When::Time(time)) => fields
            .time("activation.time", Some(time))
            .map(Activation::At),
        Some(When::OnEvent(true)) => Some(Activation::OnEvent),
        Some(When::OnEvent(false)) => {
            fields.violations.add("activation.on_event", "must be true");
            None
        }
        None => {
            let rule = "must have `time` or `on_event`";
            fields.violations.add("activation", rule);
            None
        }
    }
}

pub(super) fn redeem(request: &wire::RedeemRequest) -> Result<Change, Rejection> {
    change!(request, |fields| {
        let brand = fields.parse("brand", &request.brand);
        let currency = fields.parse("currency", &request.currency);
        let points = fields.points(request.points);
        let reference = fields.parse("reference", &request.reference);
        Some(Command::Redeem(Redeem {
            brand: brand?,
            currency: currency?,
            points: points?,
            reference: reference?,
        }))
    })
}

pub(super) fn hold(request: &wire::HoldRequest) -> Result<Change, Rejection> {
    change!(request, |fields| {
        let brand = fields.parse("brand", &request.brand);
        let currency = fields.parse("currency", &request.currency);
        let points = fields.points(request.points);
        let reference = fields.parse("reference", &request.reference);
        let timeout = timeout_micros(request.timeout);
        let timeout = fields.violations.check("timeout", timeout);
        Some(Command::Hold(HoldCommand {
            brand: brand?,
            currency: currency?,
            points: points?,
            timeout_micros: timeout?,
            reference: reference?,
        }))
    })
}

fn timeout_micros(timeout: Option<prost_types::Duration>) -> Result<u64, InvalidValue> {
    const RULE: InvalidValue = InvalidValue::new("must be 1 second to 366 days");
    let timeout = match timeout {
        None => HOLD_TIMEOUT_DEFAULT,
        // Not by `TryFrom`, which negates the seconds and panics at the smallest number.
        Some(timeout) => {
            let seconds = u64::try_from(timeout.seconds).map_err(|_| RULE)?;
            let nanos = u32::try_from(timeout.nanos).map_err(|_| RULE)?;
            if nanos >= 1_000_000_000 {
                return Err(RULE);
            }
            Duration::new(seconds, nanos)
        }
    };
    if timeout < Duration::from_secs(1) || timeout > HOLD_TIMEOUT_MAX {
        return Err(RULE);
    }
    u64::try_from(timeout.as_micros()).map_err(|_| RULE)
}

pub(super) fn capture(request: &wire::CaptureRequest) -> Result<Change, Rejection> {
    change!(request, |fields| {
        let hold = fields.transaction("hold", &request.hold);
        let points = fields.points_or_all(request.points);
        Some(Command::Capture(Capture {
            hold: hold?,
            points,
            is_final: request.r#final,
        }))
    })
}

pub(super) fn release(request: &wire::ReleaseRequest) -> Result<Change, Rejection> {
    change!(request, |fields| {
        let hold = fields.transaction("hold", &request.hold)?;
        Some(Command::Release(Release { hold }))
    })
}

pub(super) fn reverse(request: &wire::ReverseRequest) -> Result<Change, Rejection> {
    change!(request, |fields| {
        let transaction = fields.transaction("transaction", &request.transaction);
        let currency = fields.optional("currency", &request.currency);
        let points = fields.points_or_all(request.points);
        let reference = fields.parse("reference", &request.reference);
        Some(Command::Reverse(Reverse {
            transaction: transaction?,
            currency: currency.ok()?,
            points,
            reference: reference?,
        }))
    })
}

pub(super) fn adjust(request: &wire::AdjustRequest) -> Result<Change, Rejection> {
    const POINTS_RULE: InvalidValue =
        InvalidValue::new("must be -10^15 to 10^15 points, and not 0");
    change!(request, |fields| {
        let brand = fields.parse("brand", &request.brand);
        let currency = fields.parse("currency", &request.currency);
        let points = i64::try_from(request.points.unsigned_abs())
            .map_err(|_| POINTS_RULE)
            .and_then(|points| Points::amount(points).map_err(|_| POINTS_RULE));
        let points = fields.violations.check("points", points);
        let reason = fields.said("reason", &request.reason);
        let actor = fields.said("actor", &request.actor);
        let approver = fields.optional("approver", &request.approver);
        if !request.approver.is_empty() && request.approver == request.actor {
            let rule = "must be another person than the actor";
            fields.violations.add("approver", rule);
        }
        let note = fields.parse("note", &request.note);
        Some(Command::Adjust(Adjust {
            brand: brand?,
            currency: currency?,
            points: points?,
            gives: request.points > 0,
            reason: reason?,
            actor: actor?,
            approver: approver.ok()?,
            note: note?,
        }))
    })
}

pub(super) fn transfer(request: &wire::TransferRequest) -> Result<Change<TransferOut>, Rejection> {
    change!(request, |fields| {
        let to = fields.parse("recipient", &request.recipient);
        if request.recipient == request.member {
            let rule = "must be another member than the giver";
            fields.violations.add("recipient", rule);
        }
        let currency = fields.parse("currency", &request.currency);
        let points = fields.points(request.points);
        let reference = fields.parse("reference", &request.reference);
        Some(TransferOut {
            to: to?,
            currency: currency?,
            points: points?,
            reference: reference?,
        })
    })
}

pub(super) fn extend(request: &wire::ExtendLotRequest) -> Result<Change, Rejection> {
    change!(request, |fields| {
        let lot = fields.lot(&request.lot);
        let expires_at = fields.time("expiry_time", request.expiry_time);
        let reason = fields.said("reason", &request.reason);
        let actor = fields.said("actor", &request.actor);
        Some(Command::Extend(Extend {
            lot: lot?,
            expires_at: expires_at?,
            reason: reason?,
            actor: actor?,
        }))
    })
}

pub(super) fn reinstate(request: &wire::ReinstateLotRequest) -> Result<Change, Rejection> {
    change!(request, |fields| {
        let lot = fields.lot(&request.lot);
        let points = fields.points_or_all(request.points);
        let expires_at = fields.time("expiry_time", request.expiry_time);
        let reason = fields.said("reason", &request.reason);
        let actor = fields.said("actor", &request.actor);
        Some(Command::Reinstate(Reinstate {
            lot: lot?,
            points,
            expires_at: expires_at?,
            reason: reason?,
            actor: actor?,
        }))
    })
}

pub(super) fn activate(request: &wire::ActivatePointsRequest) -> Result<Change, Rejection> {
    change!(request, |fields| {
        let transaction = fields.transaction("transaction", &request.transaction);
        let reference = fields.parse("reference", &request.reference);
        Some(Command::Activate(Activate {
            transaction: transaction?,
            reference: reference?,
        }))
    })
}
