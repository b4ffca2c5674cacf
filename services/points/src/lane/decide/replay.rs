//! Requests that were there before: their answer is the one they had.

use super::{Jobs, Pending, same::same_request};
use crate::{
    lane::job::{Job, Work},
    shard::{Answer, Interrupted},
};

impl Jobs {
    /// The answer to a request that was there before, in the log or in this
    /// batch.
    pub(super) fn replay(&self, index: usize, job: &Job) -> Result<Option<Pending>, Interrupted> {
        let (
            Some(key),
            Work::Request {
                request_id,
                metadata,
                command,
                ..
            },
        ) = (self.keys[index], &job.work)
        else {
            return Ok(None);
        };
        if let Some(seen) = self.seen.get(&key) {
            let transaction = seen.transaction()?;
            let same = same_request((request_id, metadata), command, &transaction);
            return Ok(Some(Pending::Final(same.map(|()| {
                Some(Answer {
                    transaction: transaction.into(),
                    replayed: true,
                })
            }))));
        }
        let Some(position) = self.done.get(&key).copied() else {
            return Ok(None);
        };
        let written = self.work.log().at(position);
        let written = written.expect("what was written in this batch is in its log");
        Ok(Some(
            match same_request((request_id, metadata), command, written) {
                Err(error) => Pending::Final(Err(error)),
                Ok(()) => Pending::Written {
                    position,
                    replayed: true,
                },
            },
        ))
    }
}
