//! Members' statuses: what their purchases give, judged by `domain`.
//!
//! Purchases come with the points service's feed (`follow`), judgements by time
//! are made as they fall due (`judging`); both log what changes.

mod follow;
pub(crate) mod grpc;
mod judging;
mod read;
mod service;
mod store;

pub(crate) use follow::follow;
pub(crate) use judging::{judge_once_heard, keep_judging};
pub(crate) use service::{Judged, SOURCE, Statuses};
