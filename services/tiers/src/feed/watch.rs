//! The feed of changes of tier, from a cursor on.

use std::time::Duration;

use fealty_postgres::{Database, DatabaseError, Heads};
use fealty_server::{HEARTBEAT, Programs, Start};
use fealty_types::{Cursor, ProgramId, Timestamp};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::store::{self, Logged};
use crate::error::Error;

/// The programmes that have tiers: of others nobody is judged.
pub(crate) fn with_tiers(programs: &Programs) -> Vec<String> {
    let has_tiers = |id: &ProgramId| {
        let applied = programs.newest(id);
        applied.is_ok_and(|applied| applied.program.tiers.is_some())
    };
    let ids = programs.ids().into_iter().filter(has_tiers);
    ids.map(|id| id.to_string()).collect()
}

/// Changes in one response.
const WATCH_BATCH_LEN_MAX: i64 = 500;
/// How often other instances' commits are looked for while somebody listens.
const HEAD_INTERVAL: Duration = Duration::from_millis(50);

/// Some changes.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The changes.
    pub(crate) changes: Vec<Logged>,
    /// The cursor after them.
    pub(crate) cursor: Cursor,
    /// How many the log has beyond it.
    pub(crate) behind: i64,
    /// All that is effective by then has been told.
    pub(crate) known: Option<Timestamp>,
}

/// The log, for those who follow it.
#[derive(Clone)]
pub(crate) struct Feed {
    database: Database,
    heads: Heads,
    /// The feed that brings the changes about.
    source: &'static str,
    programs: Programs,
}

impl Feed {
    pub(crate) fn new(database: Database, source: &'static str, programs: Programs) -> Self {
        let heads = Heads::new(1);
        Self {
            database,
            heads,
            source,
            programs,
        }
    }

    /// How far the log reaches.
    pub(crate) async fn head(&self) -> Result<Cursor, DatabaseError> {
        let head = store::head(self.database.pool()).await?;
        self.reached(head);
        Ok(Cursor::new(vec![head]))
    }

    /// Tells who waits for more that the log reaches to `position`.
    pub(crate) fn reached(&self, position: i64) {
        self.heads.reached(0, position);
    }

    /// The position from which a caller wants to hear.
    pub(crate) async fn start(&self, start: &Start) -> Result<Cursor, Error> {
        let pool = self.database.pool();
        let head = self.head().await?.positions()[0];
        match start {
            Start::Now => self.marked(head).await,
            Start::Time(time) => self.marked(store::last_before(pool, *time).await?).await,
            Start::Cursor(token) => {
                let cursor = Cursor::parse(token, 1).map_err(|_| Error::CursorOutOfRange)?;
                let at = cursor.positions()[0];
                match cursor.mark(0) {
                    None if at > head => Err(Error::CursorOutOfRange),
                    None => self.marked(at).await,
                    Some(_) if self.marked(at).await? != cursor => Err(Error::AnotherLog),
                    Some(_) => Ok(cursor),
                }
            }
        }
    }

    /// A cursor after the entry at a position.
    async fn marked(&self, at: i64) -> Result<Cursor, Error> {
        let mut cursor = Cursor::new(vec![0]);
        if at > 0 {
            let entry = store::read(self.database.pool(), at - 1, 1).await?.pop();
            let entry = entry.filter(|entry| entry.position == at);
            cursor.advance(0, at, entry.ok_or(Error::AnotherLog)?.mark());
        }
        Ok(cursor)
    }

    /// What the log has next after a cursor. It begins with the entry at the cursor, which
    /// must still be the one that was taken.
    async fn next(&self, at: &Cursor) -> Result<Watched, Error> {
        let pool = self.database.pool();
        // Before the log is read, so that all that is known is in it.
        let known = store::known_at(pool, self.source, &with_tiers(&self.programs)).await?;
        let taken = at.positions()[0];
        let skipped = i64::from(taken > 0);
        let max = WATCH_BATCH_LEN_MAX + skipped;
        let mut changes = store::read(pool, taken - skipped, max).await?;
        let mut cursor = at.clone();
        if taken > 0 {
            let first = (!changes.is_empty()).then(|| changes.remove(0));
            let is_same =
                |first: &Logged| first.position == taken && Some(first.mark()) == at.mark(0);
            if !first.as_ref().is_some_and(is_same) {
                return Err(Error::AnotherLog);
            }
        }
        if let Some(last) = changes.last() {
            cursor.advance(0, last.position, last.mark());
        }
        let len = i64::try_from(changes.len()).unwrap_or(i64::MAX);
        let head = self.heads.cursor().positions()[0];
        Ok(Watched {
            behind: (head - cursor.positions()[0]).max(0),
            changes,
            cursor,
            known: known.filter(|_| len < WATCH_BATCH_LEN_MAX),
        })
    }

    /// What the log has next, as soon as there is something, or after a while.
    pub(crate) async fn poll(&self, at: &Cursor, wait: Duration) -> Result<Watched, Error> {
        let ends = tokio::time::Instant::now() + wait;
        let mut heads = self.heads.watch();
        loop {
            heads.borrow_and_update();
            let next = self.next(at).await?;
            if !next.changes.is_empty() {
                return Ok(next);
            }
            match tokio::time::timeout_at(ends, heads.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Ok(next),
            }
        }
    }

    /// Sends everything after a position, until nobody listens or the database
    /// fails. The channel's bound holds it back to the listener's speed.
    pub(crate) async fn watch(
        self,
        mut at: Cursor,
        listener: mpsc::Sender<Result<Watched, Error>>,
    ) {
        let mut heads = self.heads.watch();
        let first = Watched {
            changes: Vec::new(),
            behind: heads.borrow()[0] - at.positions()[0],
            cursor: at.clone(),
            known: None,
        };
        if listener.send(Ok(first)).await.is_err() {
            return;
        }
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.reset();
        let mut is_heard = false;
        loop {
            let head = heads.borrow_and_update()[0];
            while at.positions()[0] < head || is_heard {
                is_heard = false;
                let next = self.next(&at).await;
                if let Err(error) = &next {
                    tracing::warn!(%error, "a feed broke off");
                }
                let reached = next.as_ref().ok().map(|next| next.cursor.clone());
                // The listener may have gone, or the feed broken off.
                let sent = listener.send(next).await;
                let (Ok(()), Some(reached)) = (sent, reached) else {
                    return;
                };
                at = reached;
            }
            is_heard = tokio::select! {
                () = listener.closed() => return,
                _ = heartbeat.tick() => true,
                changed = heads.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    false
                }
            };
        }
    }

    /// Learns of other instances' commits while somebody listens.
    pub(crate) async fn follow_head(self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(HEAD_INTERVAL) => {}
            }
            if self.heads.is_watched()
                && let Err(error) = self.head().await
            {
                tracing::debug!(%error, "the head could not be read");
            }
        }
    }
}
