//! Changes.

use fealty_ledger::{
    Accrue, Activate, Activation, Adjust, Capture, Command, Extend, HOLD_TIMEOUT_MAX, HoldCommand,
    Purchase, Redeem, Reinstate, Release, Reverse, TransferOut,
};
use fealty_proto::{points::v1 as wire, r#type::v1::Money as WireMoney};
use fealty_server::{Rejection, Violations, from_wire_time};
use fealty_types::{
    InvalidValue, LotId, LotName, MemberId, Money, MoneyCurrency, Points, Position, ProgramId,
    Reference, RequestId, ShardId, Timestamp, TransactionName,
};

const HOLD_TIMEOUT_DEFAULT_S: i64 = 15 * 60;

/// Whose wallet a change is for, and under which request id.
pub(in crate::grpc) struct Target {
    pub(in crate::grpc) request_id: RequestId,
    pub(in crate::grpc) program: ProgramId,
    pub(in crate::grpc) member: MemberId,
    /// The shard of the hold, transaction or lot that it names.
    pub(in crate::grpc) named_shard: Option<ShardId>,
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

pub(in crate::grpc) fn accrue(
    request: &wire::AccrueRequest,
) -> Result<(Target, Command), Rejection> {
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

pub(in crate::grpc) fn redeem(
    request: &wire::RedeemRequest,
) -> Result<(Target, Command), Rejection> {
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

pub(in crate::grpc) fn hold(request: &wire::HoldRequest) -> Result<(Target, Command), Rejection> {
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
    let seconds = u64::try_from(timeout.seconds).map_err(|_| RULE)?;
    let nanos = u32::try_from(timeout.nanos).map_err(|_| RULE)?;
    if seconds < 1 || seconds > HOLD_TIMEOUT_MAX.as_secs() || nanos >= 1_000_000_000 {
        return Err(RULE);
    }
    let timeout = std::time::Duration::new(seconds, nanos);
    if timeout > HOLD_TIMEOUT_MAX {
        return Err(RULE);
    }
    u64::try_from(timeout.as_micros()).map_err(|_| RULE)
}

pub(in crate::grpc) fn capture(
    request: &wire::CaptureRequest,
) -> Result<(Target, Command), Rejection> {
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

pub(in crate::grpc) fn release(
    request: &wire::ReleaseRequest,
) -> Result<(Target, Command), Rejection> {
    let mut change = change!(request);
    let hold = change.transaction("hold", &request.hold);
    let command = hold.map(|hold| Command::Release(Release { hold }));
    change.finish(command)
}

pub(in crate::grpc) fn reverse(
    request: &wire::ReverseRequest,
) -> Result<(Target, Command), Rejection> {
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

pub(in crate::grpc) fn adjust(
    request: &wire::AdjustRequest,
) -> Result<(Target, Command), Rejection> {
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

pub(in crate::grpc) fn transfer(
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

pub(in crate::grpc) fn extend(
    request: &wire::ExtendLotRequest,
) -> Result<(Target, Command), Rejection> {
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

pub(in crate::grpc) fn reinstate(
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

pub(in crate::grpc) fn activate(
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

pub(in crate::grpc) fn purchase(
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
