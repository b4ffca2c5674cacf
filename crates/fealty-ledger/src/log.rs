//! The end of a shard's log, to which the engine adds.

use fealty_types::{Position, ProgramId, ShardId, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::{Engine, Entry, Notice, Said, Transaction};

/// What a batch's entries are stamped with: when they are written, and a random
/// seed that nobody else has, from which each gets its nonce.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// When they are written; not before the shard's last entry.
    pub written_at: Timestamp,
    /// The seed.
    pub seed: [u8; 32],
}

/// The end of a shard's log, to which the engine adds.
#[derive(Clone, Debug)]
pub struct Log {
    shard: ShardId,
    next: Position,
    stamp: Stamp,
    engine: Engine,
    /// How many lots what falls due may still change.
    due_left: usize,
    written: Vec<Entry>,
}

impl Log {
    /// A log whose next entry goes to `next`.
    #[must_use]
    pub fn new(shard: ShardId, next: Position, stamp: Stamp) -> Self {
        Self {
            shard,
            next,
            stamp,
            engine: Engine::NEWEST,
            due_left: usize::MAX,
            written: Vec::new(),
        }
    }

    /// Has an earlier engine write it: for one who makes its entries again.
    #[must_use]
    pub fn by(self, engine: Engine) -> Self {
        Self { engine, ..self }
    }

    /// Has what falls due change so many lots from here on, or a few hundred more; then the
    /// engine stops by [`crate::Stop::MoreIsDue`].
    pub fn allow_due(&mut self, lots: usize) {
        self.due_left = lots;
    }

    /// How many lots what falls due may still change.
    #[must_use]
    pub fn due_left(&self) -> usize {
        self.due_left
    }

    /// Counts what fell due.
    pub(crate) fn spend_due(&mut self, lots: usize) {
        self.due_left = self.due_left.saturating_sub(lots);
    }

    /// The engine that writes it.
    pub(crate) fn engine(&self) -> Engine {
        self.engine
    }

    /// The shard.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Where the next entry goes.
    #[must_use]
    pub fn next(&self) -> Position {
        self.next
    }

    /// What has been written to it here.
    #[must_use]
    pub fn written(&self) -> &[Entry] {
        &self.written
    }

    /// The transactions that have been written to it here, to keep.
    pub fn into_transactions(self) -> impl Iterator<Item = Transaction> {
        self.written.into_iter().filter_map(Entry::into_transaction)
    }

    /// The transactions that have been written to it here.
    pub fn transactions(&self) -> impl DoubleEndedIterator<Item = &Transaction> {
        self.written.iter().filter_map(Entry::transaction)
    }

    /// The transaction at a position, if it was written here.
    #[must_use]
    pub fn at(&self, position: Position) -> Option<&Transaction> {
        let first = self.written.first()?.position();
        let index = usize::try_from(position.get().checked_sub(first.get())?).ok()?;
        self.written.get(index)?.transaction()
    }

    /// Forgets what has been written to it here: for one who writes none of it down.
    pub fn forget_written(&mut self) {
        self.written.clear();
    }

    /// When what is written here is written.
    #[must_use]
    pub fn written_at(&self) -> Timestamp {
        self.stamp.written_at
    }

    /// The nonce of the next entry.
    pub(crate) fn nonce(&self) -> [u8; 16] {
        let mut hash = Sha256::new();
        hash.update(self.stamp.seed);
        hash.update(self.next.get().to_le_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&digest[..16]);
        nonce
    }

    /// Says something that holds for all that follows.
    pub fn announce(&mut self, program: &ProgramId, says: Said) {
        let notice = Notice {
            engine: self.engine.number(),
            shard: self.shard,
            position: self.next,
            program: program.clone(),
            written_at: self.written_at(),
            nonce: self.nonce(),
            says,
        };
        self.push(Entry::Notice(notice));
    }

    /// Takes back what was said at a position, if nothing follows it; answers whether it
    /// was.
    pub fn withdraw(&mut self, position: Position) -> bool {
        let is_last =
            |entry: &mut Entry| entry.position() == position && matches!(entry, Entry::Notice(_));
        let withdrawn = self.written.pop_if(is_last).is_some();
        if withdrawn {
            self.next = position;
        }
        withdrawn
    }

    pub(crate) fn append(&mut self, transaction: Transaction) {
        self.push(Entry::Transaction(transaction));
    }

    fn push(&mut self, entry: Entry) {
        debug_assert_eq!(entry.position(), self.next);
        self.next = self.next.next();
        self.written.push(entry);
    }
}
