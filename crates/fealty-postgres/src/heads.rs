//! How far the shards of a log reach, so that those who read on know when to.

use fealty_types::Cursor;
use tokio::sync::watch;

/// The last position of each shard, as far as this process knows: it hears at
/// once of what it committed itself, and learns of others' commits by looking.
#[derive(Clone, Debug)]
pub struct Heads(watch::Sender<Vec<i64>>);

impl Heads {
    /// Heads of a log of `shards` shards, known to be empty.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self(watch::Sender::new(vec![0; shards]))
    }

    /// A shard reaches to `position`.
    pub fn reached(&self, shard: usize, position: i64) {
        self.0.send_if_modified(|heads| {
            let further = heads[shard] < position;
            if further {
                heads[shard] = position;
            }
            further
        });
    }

    /// All shards reach to these positions.
    pub fn reached_all(&self, cursor: &Cursor) {
        for (shard, position) in cursor.positions().iter().enumerate() {
            self.reached(shard, *position);
        }
    }

    /// The heads as known now.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor::new(self.0.borrow().clone())
    }

    /// Whether anybody waits for more.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// To wait for more.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Vec<i64>> {
        self.0.subscribe()
    }
}
