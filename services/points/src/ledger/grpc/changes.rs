//! Requests into changes, with every broken rule named.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use fealty_auth::{InReach, Role};
use fealty_ledger::{
    Accrue, Activation, Adjust, Capture, Command, Extend, ExtendHold, Gift, HOLD_TIMEOUT_MAX,
    HoldCommand, Redeem, Reinstate, Release, Reverse,
};
use fealty_proto::points::v1 as wire;
use fealty_server::{Fields, PlainField, Rejection, from_wire_time};
use fealty_types::{
    BrandId, Ids, InvalidValue, LotId, Metadata, Points, Position, Reference, ShardId, Timestamp,
};

use super::{Call, reads};
use crate::ledger::{Change, activation::Activating, which::Which};

const HOLD_TIMEOUT_DEFAULT: Duration = Duration::from_mins(15);

/// A field that may be left out is there and wrong; the violation is noted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noted;

/// The fields of a change on their way from the wire.
pub(crate) struct ChangeFields<'a> {
    pub(crate) fields: Fields<'a>,
    ids: Ids,
    named_shard: Option<ShardId>,
}

/// Reads a change: what every change has, and what `read` makes of the rest.
pub(crate) fn change<C>(
    call: Call<'_>,
    [request_id, program, member]: [&str; 3],
    metadata: &HashMap<String, String>,
    read: impl FnOnce(&mut ChangeFields<'_>) -> Option<C>,
) -> Result<Change<C>, Rejection> {
    let mut fields = ChangeFields {
        fields: Fields::of(call.caller),
        ids: call.ids,
        named_shard: None,
    };
    let request_id = fields.parse("request_id", request_id);
    let program = fields.fields.program("program", program);
    let member = fields.fields.member("member", program.as_ref(), member);
    let metadata = fields.metadata(metadata);
    let command = read(&mut fields);
    let change = match (request_id, program, member, metadata, command) {
        (Some(request_id), Some(program), Some(member), Some(metadata), Some(command)) => {
            Some(Change {
                caller: call.caller.clone(),
                request_id,
                metadata,
                program,
                member,
                named_shard: fields.named_shard,
                only_version: None,
                command,
            })
        }
        _ => None,
    };
    fields.fields.finish(change)
}

/// Reads a change from a caller's request that has the fields of every change.
macro_rules! change {
    ($call:expr, $request:expr, $read:expr) => {
        $crate::ledger::grpc::changes::change(
            $call,
            [&$request.request_id, &$request.program, &$request.member],
            &$request.metadata,
            $read,
        )
    };
}
pub(crate) use change as read_change;

impl ChangeFields<'_> {
    pub(crate) fn parse<T: PlainField>(&mut self, field: &str, text: &str) -> Option<T> {
        self.fields.parse(field, text)
    }

    pub(crate) fn check<T>(&mut self, field: &str, value: Result<T, InvalidValue>) -> Option<T> {
        self.fields.check(field, value)
    }

    pub(crate) fn add(&mut self, field: &str, rule: &str) {
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

    /// The transaction with an id, `of` which something is asked.
    pub(crate) fn which_by_id(&mut self, id: &str) -> Option<Which> {
        self.transaction("transaction", id).map(Which::At)
    }

    /// The transaction that recorded an order, `of` which something is asked.
    pub(crate) fn which_by_order(&mut self, order: &wire::OrderKey) -> Option<Which> {
        let brand = self.fields.brand("order.brand", &order.brand);
        let brand = brand.map(InReach::into_inner);
        reads::order(&mut self.fields, brand, order).map(Which::Order)
    }

    /// Neither is said.
    pub(crate) fn which_is_unset(&mut self) -> Option<Which> {
        self.add("of", "must have `transaction` or `order`");
        None
    }

    /// A text that may be left out.
    pub(crate) fn optional<T: PlainField>(
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
        self.fields.check("points", Points::amount(points))
    }

    /// Points to give, or, below 0, to take: how many.
    pub(crate) fn either_way(&mut self, points: i64) -> Option<Points> {
        const RULE: InvalidValue = InvalidValue::new("must be -10^15 to 10^15 points, and not 0");
        let points = i64::try_from(points.unsigned_abs())
            .map_err(|_| RULE)
            .and_then(|points| Points::amount(points).map_err(|_| RULE));
        self.fields.check("points", points)
    }

    /// Points that may be left out, for all there are.
    fn points_or_all(&mut self, points: Option<i64>) -> Result<Option<Points>, Noted> {
        match points {
            None => Ok(None),
            Some(points) => self.points(points).map(Some).ok_or(Noted),
        }
    }

    /// What is to be kept with the change.
    fn metadata(&mut self, metadata: &HashMap<String, String>) -> Option<Metadata> {
        let mut facts = BTreeMap::new();
        if metadata.len() > Metadata::LEN_MAX {
            self.add("metadata", "must have at most 16 entries");
            return None;
        }
        for (key, value) in metadata.iter().collect::<BTreeMap<_, _>>() {
            let field = format!("metadata[{key}]");
            let key = self.parse(&field, key);
            let value = self.parse(&field, value);
            facts.extend(key.zip(value));
        }
        self.check("metadata", Metadata::new(facts))
    }

    /// A text that may not be empty.
    pub(crate) fn said(&mut self, field: &str, text: &str) -> Option<Reference> {
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

    /// The transaction of that id.
    fn transaction(&mut self, field: &str, id: &str) -> Option<Position> {
        let place = self.fields.check(field, self.ids.transaction_place(id))?;
        self.named_shard = Some(place.shard);
        Some(place.position)
    }

    /// The transaction that made the hold of that id.
    fn hold(&mut self, id: &str) -> Option<Position> {
        self.hold_in("hold", id)
    }

    /// A hold; all that are named must be of one member, and so lie in one shard.
    pub(crate) fn hold_in(&mut self, field: &str, id: &str) -> Option<Position> {
        let place = self.fields.check(field, self.ids.hold_place(id))?;
        let shard = *self.named_shard.get_or_insert(place.shard);
        if shard != place.shard {
            self.fields
                .add(field, "must be of the same member as the holds before it");
            return None;
        }
        Some(place.position)
    }

    fn lot(&mut self, id: &str) -> Option<LotId> {
        let place = self.fields.check("lot", self.ids.lot_place(id))?;
        self.named_shard = Some(place.shard);
        Some(place.lot)
    }
}

pub(super) fn accrue(call: Call<'_>, request: &wire::AccrueRequest) -> Result<Change, Rejection> {
    change!(call, request, |fields| {
        let brand = fields.brand(&request.brand);
        let currency = fields.parse("currency", &request.currency);
        let points = fields.points(request.points);
        let reference = fields.parse("reference", &request.reference);
        let activation = activation(fields, request.activation.as_ref());
        let expires_at = fields.optional_time("expiry_time", request.expiry_time);
        let earned_at = fields.optional_time("earned_time", request.earned_time);
        Some(Command::Accrue(Accrue {
            brand: brand?,
            currency: currency?,
            points: points?,
            earned_at: earned_at.ok()?,
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
    match &activation?.when {
        Some(When::Time(time)) => fields
            .time("activation.time", Some(*time))
            .map(Activation::At),
        Some(When::Event(event)) => fields
            .parse("activation.event", event)
            .map(Activation::OnEvent),
        None => {
            let rule = "must have `time` or `event`";
            fields.add("activation", rule);
            None
        }
    }
}

pub(super) fn redeem(call: Call<'_>, request: &wire::RedeemRequest) -> Result<Change, Rejection> {
    change!(call, request, |fields| {
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

pub(super) fn hold(call: Call<'_>, request: &wire::HoldRequest) -> Result<Change, Rejection> {
    change!(call, request, |fields| {
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

pub(super) fn capture(call: Call<'_>, request: &wire::CaptureRequest) -> Result<Change, Rejection> {
    change!(call, request, |fields| {
        let hold = fields.hold(&request.hold);
        let points = fields.points_or_all(request.points);
        Some(Command::Capture(Capture {
            hold: hold?,
            points: points.ok()?,
            keeps_rest: request.keep_rest,
        }))
    })
}

pub(super) fn release(call: Call<'_>, request: &wire::ReleaseRequest) -> Result<Change, Rejection> {
    change!(call, request, |fields| {
        let hold = fields.hold(&request.hold)?;
        Some(Command::Release(Release { hold }))
    })
}

pub(super) fn extend_hold(
    call: Call<'_>,
    request: &wire::ExtendHoldRequest,
) -> Result<Change, Rejection> {
    change!(call, request, |fields| {
        let hold = fields.hold(&request.hold);
        let timeout = timeout_micros(request.timeout);
        let timeout = fields.check("timeout", timeout);
        Some(Command::ExtendHold(ExtendHold {
            hold: hold?,
            timeout_micros: timeout?,
        }))
    })
}

pub(super) fn reverse(call: Call<'_>, request: &wire::ReverseRequest) -> Result<Change, Rejection> {
    change!(call, request, |fields| {
        let transaction = fields.transaction("transaction", &request.transaction);
        let currency = fields.optional("currency", &request.currency);
        let points = fields.points_or_all(request.points);
        let reference = fields.parse("reference", &request.reference);
        Some(Command::Reverse(Reverse {
            transaction: transaction?,
            currency: currency.ok()?,
            points: points.ok()?,
            reference: reference?,
        }))
    })
}

pub(super) fn adjust(call: Call<'_>, request: &wire::AdjustRequest) -> Result<Change, Rejection> {
    change!(call, request, |fields| {
        let brand = fields.brand(&request.brand);
        let currency = fields.parse("currency", &request.currency);
        let points = fields.either_way(request.points);
        let reason = fields.said("reason", &request.reason);
        let actor = fields.actor(&request.actor);
        let note = fields.parse("note", &request.note);
        Some(Command::Adjust(Adjust {
            brand: brand?,
            currency: currency?,
            points: points?,
            gives: request.points > 0,
            reason: reason?,
            actor: actor?,
            approver: None,
            note: note?,
        }))
    })
}

pub(super) fn gift(call: Call<'_>, request: &wire::GiftRequest) -> Result<Change<Gift>, Rejection> {
    change!(call, request, |fields| {
        let to = fields.fields.other_member("recipient", &request.recipient);
        if request.recipient == request.member {
            let rule = "must be another member than the giver";
            fields.add("recipient", rule);
        }
        let currency = fields.parse("currency", &request.currency);
        let points = fields.points(request.points);
        let reference = fields.parse("reference", &request.reference);
        Some(Gift {
            to: to?,
            currency: currency?,
            points: points?,
            reference: reference?,
        })
    })
}

pub(super) fn extend(
    call: Call<'_>,
    request: &wire::ExtendLotRequest,
) -> Result<Change, Rejection> {
    change!(call, request, |fields| {
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
    call: Call<'_>,
    request: &wire::ReinstateLotRequest,
) -> Result<Change, Rejection> {
    change!(call, request, |fields| {
        let lot = fields.lot(&request.lot);
        let points = fields.points_or_all(request.points);
        let expires_at = fields.time("expiry_time", request.expiry_time);
        let reason = fields.said("reason", &request.reason);
        let actor = fields.actor(&request.actor);
        Some(Command::Reinstate(Reinstate {
            lot: lot?,
            points: points.ok()?,
            expires_at: expires_at?,
            reason: reason?,
            actor: actor?,
        }))
    })
}

pub(super) fn activate(
    call: Call<'_>,
    request: &wire::ActivatePointsRequest,
) -> Result<Change<Activating>, Rejection> {
    use wire::activate_points_request::Of;
    change!(call, request, |fields| {
        let gave = match &request.of {
            Some(Of::Transaction(id)) => fields.which_by_id(id),
            Some(Of::Order(order)) => fields.which_by_order(order),
            None => fields.which_is_unset(),
        };
        let event = fields.optional("event", &request.event);
        let reference = fields.parse("reference", &request.reference);
        Some(Activating {
            gave: gave?,
            event: event.ok()?,
            reference: reference?,
        })
    })
}
