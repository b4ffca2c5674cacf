//! Recording the purchases of a history: those of one member in their order.

use std::hash::{BuildHasher as _, RandomState};

use tokio::sync::oneshot;

use super::record::record;
use crate::{
    error::Error,
    ledger::{Change, Ledger},
    shard::Answer,
};

/// Over how many queues the members of a stream are spread: many more than purchases are in
/// flight, so that hardly anybody waits for somebody else.
const QUEUES: usize = 16 * 1_024;

/// Records a purchase when its turn has come; the next one's comes then, unless this one could
/// not be recorded for now.
pub(super) async fn record_in_turn(
    ledger: &Ledger,
    turn: Turn,
    purchase: Change,
) -> Result<Answer, Error> {
    let held = turn.wait().await?;
    let done = record(ledger, purchase).await;
    if !done.as_ref().is_err_and(Error::is_passing) {
        held.pass_on();
    }
    done
}

/// The queues of a stream: of those in one queue, one purchase is recorded at a time, in the
/// order in which they came.
pub(super) struct Queues {
    /// The last of each queue tells here that it is done.
    last: Vec<Option<oneshot::Receiver<()>>>,
    hasher: RandomState,
}

impl Queues {
    pub(super) fn new() -> Self {
        Self {
            last: (0..QUEUES).map(|_| None).collect(),
            hasher: RandomState::new(),
        }
    }

    /// The turn of a member's next purchase.
    pub(super) fn turn(&mut self, program: &str, member: &str) -> Turn {
        let hash = self.hasher.hash_one((program, member));
        let queue = usize::try_from(hash % QUEUES as u64).unwrap_or_default();
        let (done, when_done) = oneshot::channel();
        Turn {
            before: self.last[queue].replace(when_done),
            done,
        }
    }
}

/// When a purchase may be recorded.
pub(super) struct Turn {
    before: Option<oneshot::Receiver<()>>,
    done: oneshot::Sender<()>,
}

impl Turn {
    /// Waits for it. If whoever was before could not be recorded for now, it never comes.
    async fn wait(self) -> Result<Held, Error> {
        if let Some(before) = self.before {
            before.await.map_err(|_| Error::Unavailable)?;
        }
        Ok(Held(self.done))
    }

    /// Has it pass when it comes: there is nothing to be recorded.
    pub(super) async fn skip(self) -> Result<(), Error> {
        self.wait().await?.pass_on();
        Ok(())
    }
}

/// A turn that has come. Until it is passed on, nobody behind it has one.
struct Held(oneshot::Sender<()>);

impl Held {
    fn pass_on(self) {
        // Nobody may be behind it.
        let _ = self.0.send(());
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, future::join_all};

    use super::*;

    #[tokio::test]
    async fn a_turn_comes_when_the_one_before_is_done() {
        let mut queues = Queues::new();
        let [one, two, three] = [(); 3].map(|()| queues.turn("club", "ann"));
        let mut two = Box::pin(two.wait());
        let mut three = Box::pin(three.skip());
        assert!(two.as_mut().now_or_never().is_none());
        assert!(three.as_mut().now_or_never().is_none());
        one.wait().await.expect("it is the first").pass_on();
        assert!(three.as_mut().now_or_never().is_none());
        two.await.expect("it has come").pass_on();
        three.await.expect("it has come");
    }

    #[tokio::test]
    async fn behind_what_cannot_be_done_for_now_nobody_has_a_turn() {
        let mut queues = Queues::new();
        let [one, two, three] = [(); 3].map(|()| queues.turn("club", "ann"));
        drop(one.wait().await.expect("it is the first"));
        let waited = join_all([three.skip(), two.skip()]).await;
        assert!(waited.iter().all(Result::is_err));
    }
}
