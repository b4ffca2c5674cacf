//! Requests into changes, with every broken rule named.

use std::time::Duration;

use fealty_auth::{Caller, InReach, Role};
use fealty_ledger::{
    Accrue, Activate, Activation, Adjust, Capture, Command, Extend, HOLD_TIMEOUT_MAX, HoldCommand,
    Redeem, Reinstate, Release, Reverse, TransferOut,
};
use fealty_proto::points::v1 as wire;
use fealty_server::{Fields, PlainField, Rejection, from_wire_time};
use fealty_types::{
    BrandId, InvalidValue, LotId, LotName, Points, Position, Reference, ShardId, Timestamp,
    TransactionName,
};

use crate::ledger::Change;

const HOLD_TIMEOUT_DEFAULT: Duration = Duration::from_mins(15);

/// A field that may be left out is there and wrong; the violation is noted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noted;

/// The fields of a change on their way from the wire.
pub(crate) struct ChangeFields<'a> {
    pub(crate) fields: Fields<'a>,
    named_shard: Option<ShardId>,
}

/// Reads a change: what every change has, and what `read` makes of the rest.
pub(crate) fn change<C>(
    caller: &Caller,
    [request_id, program, member]: [&str; 3],
    read: impl FnOnce(&mut ChangeFields<'_>) -> Option<C>,
) -> Result<Change<C>, Rejection> {
    let mut fields = ChangeFields {
        fields: Fields::of(caller),
        named_shard: None,
    };
    let request_id = fields.parse("request_id", request_id);
    let program = fields.fields.program("program", program);
    let member = fields.fields.member("member", program.as_ref(), member);
    let command = read(&mut fields);
    let change = match (request_id, program, member, command) {
        (Some(request_id), Some(program), Some(member), Some(command)) => Some(Change {
            caller: caller.clone(),
            request_id,
            program,
            member,
            named_shard: fields.named_shard,
            command,
        }),
        _ => None,
    };
    fields.fields.finish(change)
}

/// Reads a change from a caller's request that has the fields of every change.
macro_rules! change {
    ($caller:expr, $request:expr, $read:expr) => {
        $crate::ledger::grpc::changes::change(
            $caller,
            [&$request.request_id, &$request.program, &$request.member],
            $read,
        )
    };
}
pub(crate) use change as read_change;

impl ChangeFields<'_> {
    pub(crate) fn parse<T: PlainField>(&mut self, field: &str, text: &str) -> Option<T> {
        self.fields.parse(field, text)
    }

    fn check<T>(&mut self, field: &str, value: Result<T, InvalidValue>) -> Option<T> {
        self.fields.check(field, value)
    }

    fn add(&mut self, field: &str, rule: &str) {
        self.fields.add(field, rule);
    }

    /// Who does it: the caller, unless a service says who asked for it.
    fn actor(&mut self, text: &str) -> Option<Reference> {
        let caller = self.fields.caller();
        let own = caller.whom().unwrap_or(caller.subject()).as_str();
        if !text.is_empty() && text != own && !caller.is(Role::Service) {
            self.add("actor", "must be the caller, or empty for it");
            return None;
        }
        self.parse("actor", if text.is_empty() { own } else { text })
    }

    /// The brand in whose name it is.
    pub(crate) fn brand(&mut self, text: &str) -> Option<BrandId> {
        self.fields.brand("brand", text).map(InReach::into_inner)
    }

    /// A text that may be left out.
    fn optional<T: PlainField>(&mut self, field: &str, text: &str) -> Result<Option<T>, Noted> {
        if text.is_empty() {
            return Ok(None);
        }
        self.parse(field, text).map(Some).ok_or(Noted)
    }

    fn points(&mut self, points: i64) -> Option<Points> {
        self.fields.check("points", Points::amount(points))
    }

    /// Points where 0 stands for all; `None` for all, or with a violation noted.
    fn points_or_all(&mut self, points: i64) -> Option<Points> {
        let points = self.fields.check("points", Points::new(points))?;
        (!points.is_zero()).then_some(points)
    }

    /// A text that may not be empty.
    fn said(&mut self, field: &str, text: &str) -> Option<Reference> {
        if text.is_empty() {
            self.fields.add(field, "must not be empty");
            return None;
        }
        self.parse(field, text)
    }

    fn time(&mut self, field: &str, time: Option<prost_types::Timestamp>) -> Option<Timestamp> {
        let Some(time) = time else {
            self.fields.add(field, "must be set");
            return None;
        };
        self.fields.check(field, from_wire_time(time))
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

pub(super) fn accrue(caller: &Caller, request: &wire::AccrueRequest) -> Result<Change, Rejection> {
    change!(caller, request, |fields| {
        let brand = fields.brand(&request.brand);
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
fn activation(
    fields: &mut ChangeFields<'_>,
    activation: Option<&wire::Activation>,
) -> Option<Activation> {
    use wire::activation::When;
    match activation?.when {
        Some(When::Time(time)) => fields
            .time("activation.time", Some(time))
            .map(Activation::At),
        Some(When::OnEvent(true)) => Some(Activation::OnEvent),
        Some(When::OnEvent(false)) => {
            fields.add("activation.on_event", "must be true");
            None
        }
        None => {
            let rule = "must have `time` or `on_event`";
            fields.add("activation", rule);
            None
        }
    }
}

pub(super) fn redeem(caller: &Caller, request: &wire::RedeemRequest) -> Result<Change, Rejection> {
    change!(caller, request, |fields| {
        let brand = fields.brand(&request.brand);
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

pub(super) fn hold(caller: &Caller, request: &wire::HoldRequest) -> Result<Change, Rejection> {
    change!(caller, request, |fields| {
        let brand = fields.brand(&request.brand);
        let currency = fields.parse("currency", &request.currency);
        let points = fields.points(request.points);
        let reference = fields.parse("reference", &request.reference);
        let timeout = timeout_micros(request.timeout);
        let timeout = fields.check("timeout", timeout);
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

pub(super) fn capture(
    caller: &Caller,
    request: &wire::CaptureRequest,
) -> Result<Change, Rejection> {
    change!(caller, request, |fields| {
        let hold = fields.transaction("hold", &request.hold);
        let points = fields.points_or_all(request.points);
        Some(Command::Capture(Capture {
            hold: hold?,
            points,
            is_final: request.r#final,
        }))
    })
}

pub(super) fn release(
    caller: &Caller,
    request: &wire::ReleaseRequest,
) -> Result<Change, Rejection> {
    change!(caller, request, |fields| {
        let hold = fields.transaction("hold", &request.hold)?;
        Some(Command::Release(Release { hold }))
    })
}

pub(super) fn reverse(
    caller: &Caller,
    request: &wire::ReverseRequest,
) -> Result<Change, Rejection> {
    change!(caller, request, |fields| {
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

pub(super) fn adjust(caller: &Caller, request: &wire::AdjustRequest) -> Result<Change, Rejection> {
    const POINTS_RULE: InvalidValue =
        InvalidValue::new("must be -10^15 to 10^15 points, and not 0");
    change!(caller, request, |fields| {
        let brand = fields.brand(&request.brand);
        let currency = fields.parse("currency", &request.currency);
        let points = i64::try_from(request.points.unsigned_abs())
            .map_err(|_| POINTS_RULE)
            .and_then(|points| Points::amount(points).map_err(|_| POINTS_RULE));
        let points = fields.check("points", points);
        let reason = fields.said("reason", &request.reason);
        let actor = fields.actor(&request.actor);
        let approver = fields.optional("approver", &request.approver);
        let caller = fields.fields.caller();
        let is_actor = actor.as_ref().is_some_and(|actor: &Reference| {
            let own = [caller.subject().as_str(), actor.as_str()];
            own.contains(&request.approver.as_str())
        });
        if is_actor {
            let rule = "must be another person than the actor, and than the caller";
            fields.add("approver", rule);
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

pub(super) fn transfer(
    caller: &Caller,
    request: &wire::TransferRequest,
) -> Result<Change<TransferOut>, Rejection> {
    change!(caller, request, |fields| {
        let to = fields.fields.other_member("recipient", &request.recipient);
        if request.recipient == request.member {
            let rule = "must be another member than the giver";
            fields.add("recipient", rule);
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

pub(super) fn extend(
    caller: &Caller,
    request: &wire::ExtendLotRequest,
) -> Result<Change, Rejection> {
    change!(caller, request, |fields| {
        let lot = fields.lot(&request.lot);
        let expires_at = fields.time("expiry_time", request.expiry_time);
        let reason = fields.said("reason", &request.reason);
        let actor = fields.actor(&request.actor);
        Some(Command::Extend(Extend {
            lot: lot?,
            expires_at: expires_at?,
            reason: reason?,
            actor: actor?,
        }))
    })
}

pub(super) fn reinstate(
    caller: &Caller,
    request: &wire::ReinstateLotRequest,
) -> Result<Change, Rejection> {
    change!(caller, request, |fields| {
        let lot = fields.lot(&request.lot);
        let points = fields.points_or_all(request.points);
        let expires_at = fields.time("expiry_time", request.expiry_time);
        let reason = fields.said("reason", &request.reason);
        let actor = fields.actor(&request.actor);
        Some(Command::Reinstate(Reinstate {
            lot: lot?,
            points,
            expires_at: expires_at?,
            reason: reason?,
            actor: actor?,
        }))
    })
}

pub(super) fn activate(
    caller: &Caller,
    request: &wire::ActivatePointsRequest,
) -> Result<Change, Rejection> {
    change!(caller, request, |fields| {
        let transaction = fields.transaction("transaction", &request.transaction);
        let reference = fields.parse("reference", &request.reference);
        Some(Command::Activate(Activate {
            transaction: transaction?,
            reference: reference?,
        }))
    })
}
