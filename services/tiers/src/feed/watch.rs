//! The feed of changes of tier, from a cursor on.

use std::time::Duration;

use fealty_postgres::{Database, DatabaseError, Heads};
use fealty_types::Cursor;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::store::{self, Logged};
use crate::error::Error;

/// Changes in one response.
const WATCH_BATCH_LEN_MAX: i64 = 500;
/// How often other instances' commits are looked for while somebody listens.
const HEAD_INTERVAL: Duration = Duration::from_millis(50);

/// Some changes, the cursor after them, and how many the log has beyond it.
pub(crate) type Batch = (Vec<Logged>, Cursor, i64);

/// The log, for those who follow it.
#[derive(Clone)]
pub(crate) struct Feed {
    database: Database,
    heads: Heads,
}

impl Feed {
    pub(crate) fn new(database: Database) -> Self {
        let heads = Heads::new(1);
        Self { database, heads }
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

    /// Checks a caller's cursor against the log.
    pub(crate) async fn cursor(&self, token: &str) -> Result<Cursor, Error> {
        let cursor = Cursor::parse(token, 1).map_err(|_| Error::CursorOutOfRange)?;
        let head = self.head().await?;
        if cursor.positions()[0] > head.positions()[0] {
            return Err(Error::CursorOutOfRange);
        }
        Ok(cursor)
    }

    /// Sends everything from a cursor on, until nobody listens or the database
    /// fails. The channel's bound holds it back to the listener's speed.
    pub(crate) async fn watch(self, cursor: Cursor, listener: mpsc::Sender<Result<Batch, Error>>) {
        let mut heads = self.heads.watch();
        let mut at = cursor.positions()[0];
        let behind = heads.borrow()[0] - at;
        if listener
            .send(Ok((Vec::new(), cursor, behind)))
            .await
            .is_err()
        {
            return;
        }
        loop {
            let head = heads.borrow_and_update()[0];
            while at < head {
                let rows = store::read(self.database.pool(), at, WATCH_BATCH_LEN_MAX).await;
                let sent = match rows {
                    Ok(rows) => {
                        let Some(last) = rows.last() else { break };
                        at = last.position;
                        let behind = (head - at).max(0);
                        listener
                            .send(Ok((rows, Cursor::new(vec![at]), behind)))
                            .await
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a feed broke off");
                        // The listener may have gone as well.
                        let _ = listener.send(Err(error.into())).await;
                        return;
                    }
                };
                if sent.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = listener.closed() => return,
                changed = heads.changed() => if changed.is_err() { return },
            }
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
