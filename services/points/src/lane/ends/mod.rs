//! The ends of periods that are due in a shard: which, by which version of the programme, and
//! what each comes to for a member.
//!
//! An end belongs to a member, not to a wallet: whatever is done for the member after it, the end
//! is written before. For who does nothing the sweeper has it written, and then says in the log
//! that the ends up to that moment are written for all ([`fealty_ledger::Said::EndsWritten`]).
//! Between the moment and that notice each batch looks; else nobody has to.
//!
//! What a member's tier decides waits until that is known, an hour at the longest; the member's
//! requests do not wait for it.
//!
//! A purchase, an activity or a return that comes late counts in its own time. The ends of the
//! periods in which that was are evaluated again, by the version that was in force then, and the
//! difference is written in the same batch.
//!
//! `known` is what an instance knows of the ends of its shards, `batch` what a batch does with
//! them.

mod batch;
mod due;
mod known;

pub(crate) use batch::write_all;
pub(super) use batch::{EndsOfBatch, Late};
pub(crate) use due::DueEnd;
pub(crate) use known::{Ends, Open, Standing};
