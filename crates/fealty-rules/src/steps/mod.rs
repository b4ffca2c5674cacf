//! The steps of an evaluation.

pub(crate) mod base;
pub(crate) mod budgets;
pub(crate) mod caps;
pub(crate) mod select;
