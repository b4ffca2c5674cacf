//! The feed: every shard's log, from a cursor on.

use std::time::Duration;

use fealty_postgres::DatabaseError;
use fealty_types::{Cursor, Position};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{App, batch::decode, history::Logged};
use crate::{error::Error, store};

/// Transactions in one response.
pub const WATCH_BATCH_LEN_MAX: i64 = 500;
/// How often other instances' commits are looked for while somebody listens.
const HEADS_INTERVAL: Duration = Duration::from_millis(50);

impl App {
    /// Checks a caller's cursor against the log.
    pub async fn cursor(&self, token: &str) -> Result<Cursor, Error> {
        let cursor = Cursor::parse(token, usize::from(self.shards()))
            .map_err(|_| Error::CursorOutOfRange)?;
        let heads = self
            .look_at_heads()
            .await
            .map_err(|error| Error::from(&error))?;
        let beyond = cursor
            .positions()
            .iter()
            .zip(heads.positions())
            .any(|(at, head)| at > head);
        if beyond {
            Err(Error::CursorOutOfRange)
        } else {
            Ok(cursor)
        }
    }

    /// Sends everything from a cursor on, until nobody listens or the database
    /// fails. The channel's bound holds it back to the listener's speed.
    pub async fn watch(
        self,
        mut cursor: Cursor,
        listener: mpsc::Sender<Result<(Vec<Logged>, Cursor), Error>>,
    ) {
        let mut heads = self.heads.watch();
        if listener
            .send(Ok((Vec::new(), cursor.clone())))
            .await
            .is_err()
        {
            return;
        }
        loop {
            heads.borrow_and_update();
            match self.send_all(&mut cursor, &listener).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    let told = Error::from(&error);
                    tracing::warn!(%error, "a feed broke off");
                    // The listener may have gone as well.
                    let _ = listener.send(Err(told)).await;
                    return;
                }
            }
            tokio::select! {
                () = listener.closed() => return,
                changed = heads.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Sends what the logs have beyond the cursor; `false` once nobody listens.
    async fn send_all(
        &self,
        cursor: &mut Cursor,
        listener: &mpsc::Sender<Result<(Vec<Logged>, Cursor), Error>>,
    ) -> Result<bool, DatabaseError> {
        let heads = self.heads.cursor();
        for shard in self.shard_ids() {
            let index = usize::from(shard.get());
            while cursor.positions()[index] < heads.positions()[index] {
                let after = Position::new(cursor.positions()[index]);
                let pool = self.database.pool();
                let rows = store::log::read(pool, shard, after, WATCH_BATCH_LEN_MAX).await?;
                let Some(last) = rows.last().map(|row| row.position) else {
                    break;
                };
                let mut logged = Vec::with_capacity(rows.len());
                for row in rows {
                    let transaction = decode(&row.body)?;
                    logged.push(Logged {
                        transaction,
                        chain: row.chain,
                        body: row.body,
                    });
                }
                cursor.advance(index, last);
                if listener.send(Ok((logged, cursor.clone()))).await.is_err() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// Learns of other instances' commits while somebody listens.
pub(super) async fn follow_heads(app: App, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(HEADS_INTERVAL) => {}
        }
        if app.heads.is_watched()
            && let Err(error) = app.look_at_heads().await
        {
            tracing::debug!(%error, "the heads could not be read");
        }
    }
}
