//! Reading a request's fields for its caller.
//!
//! A programme, a member or a brand is read only together with who asks: what
//! the caller does not reach never becomes an id that a use case takes. (Plain
//! fields are those of [`PlainField`], and these three are not among them.)

use std::{collections::HashSet, str::FromStr};

use fealty_auth::{Caller, InReach};
use fealty_proto::r#type::v1::ErrorReason;
use fealty_types::{
    ActivityId, ActivityType, AttributeName, BrandId, BusinessDate, Code, CurrencyId, EventName,
    InvalidValue, MemberId, MetadataKey, MetadataValue, MoneyCurrency, OrderNumber, ProgramId,
    Reference, RequestId, RewardId, Subject, TierId, Timestamp,
};
use tonic::Request;

use crate::{ProgramNotFound, Rejection, Violations, from_wire_time};

/// Entries of a page, if nothing is said.
const PAGE_SIZE_DEFAULT: usize = 50;
/// Entries of a page at the most.
const PAGE_SIZE_MAX: usize = 1_000;
/// Members that one call may name.
const MEMBERS_MAX: usize = 1_000;

/// A field whose value belongs to nobody.
pub trait PlainField: FromStr<Err = InvalidValue> {}

macro_rules! plain {
    ($($field:ty),+) => { $(impl PlainField for $field {})+ };
}
plain!(
    AttributeName,
    BusinessDate,
    Code,
    CurrencyId,
    EventName,
    MetadataKey,
    MetadataValue,
    MoneyCurrency,
    OrderNumber,
    ActivityType,
    ActivityId,
    Reference,
    RequestId,
    RewardId,
    Subject,
    TierId
);

/// Who makes a call, as the layer before the handlers found out.
pub fn caller<T>(request: &Request<T>) -> Result<&Caller, Rejection> {
    // Without one nothing is answered: the layer is missing.
    request.extensions().get().ok_or_else(|| {
        tracing::error!("a call came past authentication");
        Rejection::new(
            ErrorReason::Internal,
            "an internal error; the service's log has it",
        )
    })
}

/// The fields of a request on their way in.
#[derive(Debug)]
pub struct Fields<'a> {
    /// What is wrong with them.
    pub violations: Violations,
    caller: &'a Caller,
    /// The first that the caller does not reach.
    out_of_reach: Option<Rejection>,
}

impl<'a> Fields<'a> {
    /// Fields that a caller sent.
    #[must_use]
    pub fn of(caller: &'a Caller) -> Self {
        Self {
            violations: Violations::new(),
            caller,
            out_of_reach: None,
        }
    }

    /// Reads a request: `read` notes what is wrong and goes on, so that the caller
    /// learns all of it at once. It answers `None` only where it has noted
    /// something.
    pub fn read<T>(
        caller: &'a Caller,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Result<T, Rejection> {
        let mut fields = Self::of(caller);
        let parsed = read(&mut fields);
        fields.finish(parsed)
    }

    /// What was read, if nothing was wrong and all of it is the caller's.
    pub fn finish<T>(self, parsed: Option<T>) -> Result<T, Rejection> {
        match self.out_of_reach {
            Some(out_of_reach) if self.violations.is_empty() => Err(out_of_reach),
            _ => self.violations.finish(parsed),
        }
    }

    /// Whose they are.
    #[must_use]
    pub fn caller(&self) -> &'a Caller {
        self.caller
    }

    /// Parses a plain field.
    pub fn parse<T: PlainField>(&mut self, field: &str, text: &str) -> Option<T> {
        self.violations.parse(field, text)
    }

    /// The value, or `None` with its violation noted.
    pub fn check<T>(&mut self, field: &str, value: Result<T, InvalidValue>) -> Option<T> {
        self.violations.check(field, value)
    }

    /// Notes a violation of `rule` by `field`.
    pub fn add(&mut self, field: &str, rule: impl Into<String>) {
        self.violations.add(field, rule);
    }

    /// The programme. Another's answers as one that is not there.
    pub fn program(&mut self, field: &str, text: &str) -> Option<InReach<ProgramId>> {
        let program: ProgramId = self.violations.parse(field, text)?;
        self.caller.program(program.clone()).map_or_else(
            |_| {
                self.refuse(ProgramNotFound(program).into());
                None
            },
            Some,
        )
    }

    /// The programme; where none is named, all that the caller reaches: `Some(None)`
    /// for all there are.
    pub fn program_or_all(
        &mut self,
        field: &str,
        text: &str,
    ) -> Option<Option<Vec<InReach<ProgramId>>>> {
        if text.is_empty() {
            return Some(self.caller.programs());
        }
        self.program(field, text).map(|program| Some(vec![program]))
    }

    /// A member of that programme.
    pub fn member(
        &mut self,
        field: &str,
        program: Option<&InReach<ProgramId>>,
        text: &str,
    ) -> Option<InReach<MemberId>> {
        let member: MemberId = self.violations.parse(field, text)?;
        let reached = self.caller.member(program?, member);
        self.in_reach(field, reached)
    }

    /// Members of that programme: 1 to 1,000, none twice.
    pub fn members(
        &mut self,
        field: &str,
        program: Option<&InReach<ProgramId>>,
        asked: &[String],
    ) -> Option<Vec<InReach<MemberId>>> {
        if asked.is_empty() || asked.len() > MEMBERS_MAX {
            self.add(field, "must have 1 to 1,000 entries");
            return None;
        }
        let each = asked.iter().enumerate();
        let members: Vec<_> = each
            .filter_map(|(index, member)| {
                self.member(&format!("{field}[{index}]"), program, member)
            })
            .collect();
        let mut seen = HashSet::new();
        if !asked.iter().all(|member| seen.insert(member)) {
            self.add(field, "must not name a member twice");
        }
        (members.len() == asked.len()).then_some(members)
    }

    /// How many a page is to have at the most: 1 to 1,000, 50 if nothing is said.
    pub fn page_size(&mut self, field: &str, size: i32) -> Option<usize> {
        match usize::try_from(size) {
            Ok(0) => Some(PAGE_SIZE_DEFAULT),
            Ok(size) if size <= PAGE_SIZE_MAX => Some(size),
            _ => {
                self.add(field, "must be 0 to 1,000");
                None
            }
        }
    }

    /// Where a page goes on, as `read` has it from the `page_token`: `Some(None)` for
    /// the first page.
    pub fn page_token<T>(
        &mut self,
        token: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<Option<T>> {
        if token.is_empty() {
            return Some(None);
        }
        let place = read(token);
        if place.is_none() {
            self.add("page_token", "must be a token as the service gave it");
        }
        place.map(Some)
    }

    /// A member of that programme with whom the caller's own has to do: the
    /// receiver of a gift.
    pub fn other_member(&mut self, field: &str, text: &str) -> Option<MemberId> {
        self.violations.parse(field, text)
    }

    /// A brand in whose name something is done.
    pub fn brand(&mut self, field: &str, text: &str) -> Option<InReach<BrandId>> {
        let brand: BrandId = self.violations.parse(field, text)?;
        let reached = self.caller.brand(brand);
        self.in_reach(field, reached)
    }

    /// A brand by which something is looked for that is the caller's anyway.
    pub fn any_brand(&mut self, field: &str, text: &str) -> Option<BrandId> {
        self.violations.parse(field, text)
    }

    /// A time.
    pub fn time(&mut self, field: &str, time: prost_types::Timestamp) -> Option<Timestamp> {
        self.violations.check(field, from_wire_time(time))
    }

    fn in_reach<T>(
        &mut self,
        field: &str,
        reached: Result<InReach<T>, fealty_auth::OutOfReach>,
    ) -> Option<InReach<T>> {
        if reached.is_err() {
            self.deny(field);
        }
        reached.ok()
    }

    /// Notes that a field names what is none of the caller's.
    pub fn deny(&mut self, field: &str) {
        let told = format!("{field} is none of the caller's");
        self.refuse(Rejection::new(ErrorReason::PermissionDenied, told).with("field", field));
    }

    /// Notes that something is out of the caller's reach.
    fn refuse(&mut self, rejection: Rejection) {
        self.out_of_reach.get_or_insert(rejection);
    }
}
