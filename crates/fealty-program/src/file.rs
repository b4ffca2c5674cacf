//! The shape of a programme file's text. What is not named here is refused
//! with its line and column.

use std::collections::BTreeMap;

use fealty_types::{BrandId, CurrencyId, MoneyCurrency, ProgramId, RewardId, RuleId, TierId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) program: ProgramId,
    pub(crate) time_zone: String,
    pub(crate) money: Money,
    pub(crate) currencies: BTreeMap<CurrencyId, Currency>,
    pub(crate) brands: BTreeMap<BrandId, Brand>,
    #[serde(default)]
    pub(crate) earning: Vec<Rule>,
    pub(crate) tiers: Option<Tiers>,
    #[serde(default)]
    pub(crate) rewards: BTreeMap<RewardId, Reward>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refunds: Option<Refunds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) adjustments: Option<Adjustments>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Money {
    pub(crate) currency: MoneyCurrency,
    pub(crate) decimals: u8,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Currency {
    #[serde(default)]
    pub(crate) decimals: u8,
    pub(crate) expires: Option<Expires>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) activates: Option<Activates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit_value: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expires {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<String>,
    pub(crate) round_to: Option<RoundTo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by_tier: Option<BTreeMap<TierId, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) on: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_least: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inactive_for: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) activity: Option<Vec<Activity>>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Activity {
    Purchase,
    Redeem,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Activates {
    pub(crate) after: Option<String>,
    pub(crate) on: Option<ActivatesOn>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ActivatesOn {
    Event,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refunds {
    pub(crate) policy: RefundPolicy,
    pub(crate) restore_grace: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RefundPolicy {
    LotOnly,
    Balance,
    Debt,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Adjustments {
    pub(crate) approval_above: i64,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RoundTo {
    EndOfMonth,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Brand {
    #[serde(default)]
    pub(crate) issues: Vec<CurrencyId>,
    #[serde(default)]
    pub(crate) accepts: Vec<CurrencyId>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) rule: RuleId,
    pub(crate) on: On,
    pub(crate) earn: Earn,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum On {
    Purchase,
}

/// Either `currency` and `rate`, or `multiply` and `by_tier`; `validate` sees
/// to it, with a clearer message than an untagged enum gives.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Earn {
    pub(crate) currency: Option<CurrencyId>,
    pub(crate) rate: Option<Rate>,
    pub(crate) multiply: Option<RuleId>,
    pub(crate) by_tier: Option<BTreeMap<TierId, String>>,
    pub(crate) tier_as_of: Option<AsOf>,
    pub(crate) round: Round,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    pub(crate) points: i64,
    pub(crate) per: String,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AsOf {
    Purchase,
    StartOfDay,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Round {
    Floor,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tiers {
    pub(crate) qualify_by: Metric,
    pub(crate) window: String,
    pub(crate) upgrade: Upgrade,
    pub(crate) validity: String,
    pub(crate) then: Then,
    pub(crate) levels: Vec<Level>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    MoneySpent,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Upgrade {
    AtOnce,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Then {
    JudgeAgain,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Level {
    pub(crate) tier: TierId,
    pub(crate) from: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reward {
    pub(crate) name: String,
    pub(crate) price: Price,
    pub(crate) accepted_by: BrandId,
    pub(crate) stock: Option<i64>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Price {
    pub(crate) currency: CurrencyId,
    pub(crate) points: i64,
}
