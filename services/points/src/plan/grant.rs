//! Points given: by whom, and under which terms.

use fealty_ledger::{Accrue, Activation, Adjust, Grant, LotOrigin, LotTerms, Request};
use fealty_program::{ActivationTerms, Brand, ExpiryTerms, RuleTerms};
use fealty_types::{BrandId, CurrencyId, EventName, Points, RuleId, Timestamp};

use super::{Plan, PlanError};

impl Plan<'_> {
    pub(super) fn accrue(&self, accrue: &Accrue, request: &mut Request) -> Result<(), PlanError> {
        let brand = self.brand(&accrue.brand, &accrue.currency)?;
        allowed(&brand.issues, &accrue.brand, &accrue.currency, "issue")?;
        let earned_at = accrue.earned_at.unwrap_or(self.now);
        if earned_at > self.now {
            return Err(PlanError::EarnedInFuture);
        }
        let activation = accrue.activation.clone();
        let activation = activation.unwrap_or_else(|| self.activation(&accrue.currency, earned_at));
        let mut terms = self.terms(&accrue.currency, earned_at, activation);
        terms.expires_at = accrue.expires_at.or(terms.expires_at);
        if terms
            .expires_at
            .is_some_and(|expires_at| expires_at <= self.now)
        {
            return Err(PlanError::TermsOutOfRange);
        }
        let (brand, points) = (&accrue.brand, accrue.points);
        let grant = terms.grant(None, brand, points, LotOrigin::Promotion, self.version);
        request.grants.push(grant);
        self.keep_active(request, self.now, None);
        request.facts = self.tier_for_expiry(&accrue.currency);
        Ok(())
    }

    pub(super) fn adjust(&self, adjust: &Adjust, request: &mut Request) -> Result<(), PlanError> {
        self.brand(&adjust.brand, &adjust.currency)?;
        let above = self.program.adjustments.approval_above;
        if let Some(approval_above) = above.filter(|above| adjust.points > *above)
            && adjust.approver.is_none()
        {
            return Err(PlanError::ApprovalRequired { approval_above });
        }
        if adjust.gives {
            // An operator's points are there at once.
            let terms = self.terms(&adjust.currency, self.now, Activation::AtOnce);
            let (brand, points) = (&adjust.brand, adjust.points);
            let grant = terms.grant(None, brand, points, LotOrigin::Adjustment, self.version);
            request.grants.push(grant);
            self.keep_active(request, self.now, None);
            request.facts = self.tier_for_expiry(&adjust.currency);
        }
        Ok(())
    }

    /// The brand, if the programme has it and the currency.
    pub(super) fn brand(
        &self,
        brand: &BrandId,
        currency: &CurrencyId,
    ) -> Result<&Brand, PlanError> {
        self.currency(currency)?;
        let known = self.program.brands.get(brand);
        known.ok_or_else(|| PlanError::BrandNotFound(brand.clone()))
    }

    /// When the programme has points become available that are earned at some moment.
    pub(super) fn activation(&self, currency: &CurrencyId, earned_at: Timestamp) -> Activation {
        asked(self.program.activation_of(currency, earned_at))
    }

    /// The terms of points that a rule gives, for something at some moment.
    pub(super) fn terms_by(
        &self,
        rule: &RuleTerms,
        currency: &CurrencyId,
        earned_at: Timestamp,
    ) -> Terms {
        let activation = match &rule.activation {
            Some(activation) => asked(self.program.activation_by(activation, earned_at)),
            None => self.activation(currency, earned_at),
        };
        let mut terms = self.terms(currency, earned_at, activation);
        if let Some(expiry) = &rule.expiry {
            let times = (earned_at, terms.active_at());
            let tier = self.tier.as_ref();
            terms.expires_at = stored(self.program.expiry_by(Some(expiry), times, tier));
        }
        terms
    }

    /// The programme's terms for points earned at some moment.
    pub(super) fn terms(
        &self,
        currency: &CurrencyId,
        earned_at: Timestamp,
        activation: Activation,
    ) -> Terms {
        let known = self.program.currencies.get(currency);
        let tier = self.tier.as_ref();
        let active_at = match &activation {
            Activation::At(at) => *at,
            Activation::AtOnce | Activation::OnEvent(_) => earned_at,
        };
        let (activates_at, activates_on) = match activation {
            Activation::AtOnce => (None, None),
            Activation::At(at) => (Some(at), None),
            Activation::OnEvent(event) => (Some(LotTerms::ON_EVENT), Some(event)),
        };
        let times = (earned_at, active_at);
        Terms {
            currency: currency.clone(),
            earned_at,
            activates_at,
            activates_on,
            expires_at: stored(self.program.expiry_when_active(currency, times, tier)),
            unit_value_micros: known.and_then(|currency| currency.unit_value_micros),
        }
    }
}

/// Terms of points.
pub(super) struct Terms {
    currency: CurrencyId,
    earned_at: Timestamp,
    activates_at: Option<Timestamp>,
    activates_on: Option<EventName>,
    expires_at: Option<Timestamp>,
    unit_value_micros: Option<i64>,
}

/// An activation as a request asks for it.
fn asked(terms: ActivationTerms) -> Activation {
    match terms {
        ActivationTerms::AtOnce => Activation::AtOnce,
        ActivationTerms::At(at) => Activation::At(at),
        ActivationTerms::OnEvent(event) => Activation::OnEvent(event),
    }
}

/// An expiry as a lot has it.
fn stored(terms: ExpiryTerms) -> Option<Timestamp> {
    match terms {
        ExpiryTerms::Never => None,
        ExpiryTerms::At(at) => Some(at),
        ExpiryTerms::WithInactivity => Some(LotTerms::WITH_ACTIVITY),
    }
}

impl Terms {
    /// When the points become available, as far as that is a moment.
    fn active_at(&self) -> Timestamp {
        let at = self.activates_at.filter(|_| self.activates_on.is_none());
        at.unwrap_or(self.earned_at)
    }

    /// So many points under these terms.
    pub(super) fn grant(
        self,
        rule: Option<RuleId>,
        brand: &BrandId,
        points: Points,
        origin: LotOrigin,
        program_version: u32,
    ) -> Grant {
        Grant {
            rule,
            currency: self.currency,
            points,
            brand: brand.clone(),
            earned_at: self.earned_at,
            activates_at: self.activates_at,
            activates_on: self.activates_on,
            expires_at: self.expires_at,
            origin,
            unit_value_micros: self.unit_value_micros,
            program_version,
        }
    }
}

/// Checks that a brand may do something with a currency.
pub(super) fn allowed(
    currencies: &[CurrencyId],
    brand: &BrandId,
    currency: &CurrencyId,
    what: &'static str,
) -> Result<(), PlanError> {
    if currencies.contains(currency) {
        return Ok(());
    }
    Err(PlanError::BrandNotAllowed {
        brand: brand.clone(),
        currency: currency.clone(),
        what,
    })
}
