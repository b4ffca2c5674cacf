//! The sections of a programme file. Each has its text's form, its meaning, the
//! check that leads from one to the other, and its tests.

pub(crate) mod activities;
pub(crate) mod adjustments;
pub(crate) mod attributes;
pub(crate) mod brands;
pub(crate) mod budgets;
pub(crate) mod calendar;
pub(crate) mod counters;
pub(crate) mod currencies;
pub(crate) mod earning;
pub(crate) mod examples;
pub(crate) mod expiry;
pub(crate) mod figure;
pub(crate) mod orders;
pub(crate) mod personal;
pub(crate) mod program;
pub(crate) mod referrals;
pub(crate) mod refunds;
pub(crate) mod rewards;
pub(crate) mod tiers;
