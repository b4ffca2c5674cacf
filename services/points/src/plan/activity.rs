//! An activity: what the rules give for it.

use fealty_ledger::{Activity, Request};
use fealty_program::Brand;
use fealty_rules::Silent;
use fealty_types::{OrderScope, Timestamp};

use super::{
    Plan, PlanError,
    earns::Earns,
    event::{activity_event, check_declared},
};

impl Plan<'_> {
    pub(super) fn activity(
        &self,
        activity: &Activity,
        request: &mut Request,
    ) -> Result<(), PlanError> {
        let (brand, occurred_at) = self.check_activity(activity)?;
        let rules = &self.program.earning.rules;
        let tier = (self.tier.as_ref(), occurred_at);
        let counts = rules.counts(occurred_at, self.now);
        let event = activity_event(self.program, &brand.issues, activity, tier, counts);
        let event = event.ok_or(PlanError::ActivitySensitive)?;
        let outcome = self.evaluated_by_now(&event, &mut Silent)?;
        let of = Earns {
            subject: event.subject,
            at: (&activity.brand, brand),
            time: occurred_at,
        };
        self.grants(of, &outcome.given, request);
        self.keep_active(request, occurred_at, None);
        self.moved(rules, &outcome, request);
        let facts = self.earned(rules, (occurred_at, OrderScope::default()), outcome);
        request.facts = Some(facts);
        Ok(())
    }

    /// Checks an activity against the programme; answers with its brand, and when it was.
    fn check_activity(&self, activity: &Activity) -> Result<(&Brand, Timestamp), PlanError> {
        // First of all: nothing is to be told of those.
        let declared = self.program.activities.get(&activity.of_type);
        let declared = declared.ok_or_else(|| PlanError::Field {
            field: "activity".to_owned(),
            what: "is not declared by the programme",
        })?;
        if declared.sensitive {
            return Err(PlanError::ActivitySensitive);
        }
        let brand = self.program.brands.get(&activity.brand);
        let brand = brand.ok_or_else(|| PlanError::BrandNotFound(activity.brand.clone()))?;
        check_declared("attributes", &declared.attributes, &activity.attributes)?;
        let occurred_at = activity.occurred_at.unwrap_or(self.now);
        if self.is_ahead(occurred_at) {
            return Err(PlanError::ActivityInFuture);
        }
        Ok((brand, occurred_at))
    }
}
