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
    pub(crate) async fn start(&self, start: &Start) -> Result<i64, Error> {
        let head = self.head().await?.positions()[0];
        match start {
            Start::Now => Ok(head),
            Start::Time(time) => Ok(store::last_before(self.database.pool(), *time).await?),
            Start::Cursor(token) => {
                let cursor = Cursor::parse(token, 1).map_err(|_| Error::CursorOutOfRange)?;
                let at = cursor.positions()[0];
                if at > head {
                    return Err(Error::CursorOutOfRange);
                }
                Ok(at)
            }
        }
    }

    /// What the log has next after a position.
    async fn next(&self, at: i64) -> Result<Watched, DatabaseError> {
        let pool = self.database.pool();
        // Before the log is read, so that all that is known is in it.
        let known = store::known_at(pool, self.source, &with_tiers(&self.programs)).await?;
        let changes = store::read(pool, at, WATCH_BATCH_LEN_MAX).await?;
        let told = changes.last().map_or(at, |last| last.position);
        let len = i64::try_from(changes.len()).unwrap_or(i64::MAX);
        let head = self.heads.cursor().positions()[0];
        Ok(Watched {
            changes,
            cursor: Cursor::new(vec![told]),
            behind: (head - told).max(0),
            known: known.filter(|_| len < WATCH_BATCH_LEN_MAX),
        })
    }

    /// What the log has next, as soon as there is something, or after a while.
    pub(crate) async fn poll(&self, at: i64, wait: Duration) -> Result<Watched, Error> {
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
    pub(crate) async fn watch(self, mut at: i64, listener: mpsc::Sender<Result<Watched, Error>>) {
        let mut heads = self.heads.watch();
        let first = Watched {
            changes: Vec::new(),
            cursor: Cursor::new(vec![at]),
            behind: heads.borrow()[0] - at,
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
            while at < head || is_heard {
                is_heard = false;
                let next = self.next(at).await;
                if let Err(error) = &next {
                    tracing::warn!(%error, "a feed broke off");
                }
                let reached = next.as_ref().ok().map(|next| next.cursor.positions()[0]);
                // The listener may have gone, or the feed broken off.
                let sent = listener.send(next.map_err(Error::from)).await;
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
