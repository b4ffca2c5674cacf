//! Points taken: by which brand.

use fealty_ledger::Request;
use fealty_program::Activity;
use fealty_types::{BrandId, CurrencyId};

use super::{Plan, PlanError, grant::allowed};

impl Plan<'_> {
    /// Points spent, or held to be spent, at a brand.
    pub(super) fn spend(
        &self,
        brand: &BrandId,
        currency: &CurrencyId,
        request: &mut Request,
    ) -> Result<(), PlanError> {
        let accepts = &self.brand(brand, currency)?.accepts;
        allowed(accepts, brand, currency, "accept")?;
        self.keep_active(request, self.now, Some(Activity::Redeem));
        Ok(())
    }
}
