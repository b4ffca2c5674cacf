//! Conditions and figures in CEL (<https://cel.dev>), typed.
//!
//! The `cel` crate parses. `check` gives every part a type (`names` has what can be named),
//! refuses what is not there with its place and the nearest name that is, and turns the tree into the form in
//! `form`, which `eval` runs: no allocation, no look-up by text, and a cost that is
//! bounded by its length. Of the language we leave out what would make it otherwise:
//! floating point, maps, and macros that loop.

mod check;
mod eval;
mod form;
mod names;
mod path;
mod scope;

pub(crate) use check::Checker;
pub use check::{CelError, LEN_MAX};
pub(crate) use eval::{Eval, Values};
pub(crate) use form::{Bool, BoolName, Number, NumberName, Of, Text, TextName};
pub use scope::{AttributeType, Attributes, CounterName, Scope, WalletPart};
