//! The feed: every shard's log, from a cursor on.

use std::time::Duration;

use fealty_ledger::canonical::{self, CHAIN_START, Chain};
use fealty_postgres::{Database, DatabaseError, Heads};
use fealty_server::{HEARTBEAT, ServiceClock, Start};
use fealty_types::{Clock as _, Cursor, Mark, Position, ShardId, Timestamp};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::filter::Filter;
use crate::{
    error::Error,
    shard::{Logged, Shards, look_at_all_heads, look_at_heads, store},
};

/// Entries in one response.
pub(crate) const WATCH_BATCH_LEN_MAX: i64 = 500;
/// Canonical bytes in one response, unless one entry has more. On the wire an entry takes
/// up to four times as many, and its canonical bytes where they are asked for; gRPC
/// clients take 4 MiB if nothing is said.
const WATCH_BATCH_BYTES_MAX: i64 = 512 * 1024;
/// How often other instances' commits are looked for while somebody listens.
const HEADS_INTERVAL: Duration = Duration::from_millis(50);

/// For how long an entry may be on its way to the log after the time it says it was
/// written at.
const WRITING_MAX: Duration = Duration::from_mins(2);

/// Reads in a row that a filter may leave out without a word.
const LEFT_OUT_MAX: u32 = 20;

/// Some entries of the feed.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The entries.
    pub(crate) entries: Vec<Logged>,
    /// The cursor after them.
    pub(crate) cursor: Cursor,
    /// How many the logs have beyond it.
    pub(crate) behind: i64,
    /// All that was written by then has been told.
    pub(crate) known: Option<Timestamp>,
}

/// Where somebody who follows the logs stands.
struct Place {
    cursor: Cursor,
    /// The chains there.
    chains: Vec<Chain>,
}

/// The logs, for those who follow them.
#[derive(Clone)]
pub(crate) struct Feed {
    database: Database,
    shards: Shards,
    heads: Heads,
    clock: ServiceClock,
}

impl Feed {
    pub(crate) fn new(
        database: Database,
        shards: Shards,
        heads: Heads,
        clock: ServiceClock,
    ) -> Self {
        Self {
            database,
            shards,
            heads,
            clock,
        }
    }

    /// How far the logs reach.
    pub(crate) async fn head(&self) -> Result<Cursor, DatabaseError> {
        look_at_heads(&self.database, self.shards, &self.heads).await
    }

    /// The cursor from which a caller wants to hear.
    pub(crate) async fn start(&self, start: &Start) -> Result<Cursor, Error> {
        match start {
            Start::Cursor(token) => self.cursor(token).await,
            // Not what is known of a shard whose node does not answer: a part of the log
            // would be told as if it were all.
            Start::Now => Ok(look_at_all_heads(&self.database, &self.heads).await?),
            Start::Time(time) => {
                let heads = look_at_all_heads(&self.database, &self.heads).await?;
                let mut entries = Vec::with_capacity(heads.positions().len());
                for (shard, head) in self.shards.all().zip(heads.positions()) {
                    let before = self.last_before(shard, *head, *time).await?;
                    let pool = self.database.pool();
                    let mark = store::log::mark_at(pool, shard, Position::new(before)).await?;
                    entries.push((before, mark));
                }
                Ok(Cursor::marked(entries))
            }
        }
    }

    /// The last position of a shard that was written before a time; the log is in the
    /// order of its writing, so it is searched by halves.
    async fn last_before(&self, shard: ShardId, head: i64, time: Timestamp) -> Result<i64, Error> {
        let (mut before, mut after) = (0, head + 1);
        while before + 1 < after {
            let middle = before + (after - before) / 2;
            let pool = self.database.pool();
            let row = store::log::at(pool, shard, Position::new(middle)).await?;
            let row = row.ok_or(Error::Defect)?;
            if row.entry()?.written_at() < time {
                before = middle;
            } else {
                after = middle;
            }
        }
        Ok(before)
    }

    /// What the logs have next, as soon as there is something, or after a while.
    pub(crate) async fn poll(
        &self,
        cursor: Cursor,
        filter: Filter,
        wait: Duration,
    ) -> Result<Watched, Error> {
        let (listener, mut watched) = mpsc::channel(1);
        let ends = tokio::time::Instant::now() + wait;
        tokio::spawn(self.clone().watch(cursor, filter, listener));
        let mut latest = watched.recv().await.ok_or(Error::Ending)??;
        let mut has_moved = false;
        while latest.entries.is_empty() {
            // Who is behind is told how far the cursor came, however little time it has:
            // what a filter leaves out moves it too.
            let next = if latest.behind > 0 {
                if has_moved && tokio::time::Instant::now() >= ends {
                    break;
                }
                has_moved = true;
                watched.recv().await
            } else {
                match tokio::time::timeout_at(ends, watched.recv()).await {
                    Ok(next) => next,
                    Err(_) => break,
                }
            };
            latest = next.ok_or(Error::Ending)??;
        }
        if latest.known.is_none() {
            latest.known = self.known(&latest.cursor).await;
        }
        Ok(latest)
    }

    /// Up to when a cursor has all that was written, if it has all that is there.
    async fn known(&self, cursor: &Cursor) -> Option<Timestamp> {
        let known = self.clock.now().checked_sub(WRITING_MAX)?;
        let heads = look_at_all_heads(&self.database, &self.heads).await.ok()?;
        let mut behind = cursor.positions().iter().zip(heads.positions());
        behind.all(|(at, head)| at >= head).then_some(known)
    }

    /// Checks a caller's cursor against the log.
    pub(crate) async fn cursor(&self, token: &str) -> Result<Cursor, Error> {
        let cursor = Cursor::parse(token, usize::from(self.shards.count()))
            .map_err(|_| Error::CursorOutOfRange)?;
        let heads = self.head().await?;
        for (shard, at) in self.shards.all().zip(cursor.positions()) {
            let (index, pool) = (usize::from(shard.get()), self.database.pool());
            if let Some(mark) = cursor.mark(index) {
                let row = store::log::at(pool, shard, Position::new(*at)).await?;
                if row.is_none_or(|row| Mark::of(&row.chain) != mark) {
                    return Err(Error::AnotherLog);
                }
                continue;
            }
            if *at <= heads.positions()[index] {
                continue;
            }
            // Its node may not have answered.
            let head = store::head::head(pool, shard).await?;
            if *at > head.position.get() {
                return Err(Error::CursorOutOfRange);
            }
        }
        Ok(cursor)
    }

    /// The chains at a cursor: what follows it goes on from them.
    async fn chains_at(&self, cursor: &Cursor) -> Result<Vec<Chain>, Error> {
        let mut chains = Vec::with_capacity(cursor.positions().len());
        for (shard, at) in self.shards.all().zip(cursor.positions()) {
            if *at == 0 {
                chains.push(CHAIN_START);
                continue;
            }
            let pool = self.database.pool();
            let row = store::log::at(pool, shard, Position::new(*at)).await?;
            let chain = row.and_then(|row| row.chain.try_into().ok());
            chains.push(chain.ok_or(Error::AnotherLog)?);
        }
        Ok(chains)
    }

    /// Sends everything from a cursor on that the filter wants, until nobody
    /// listens or the database fails. The channel's bound holds it back to the
    /// listener's speed.
    pub(crate) async fn watch(
        self,
        cursor: Cursor,
        filter: Filter,
        listener: mpsc::Sender<Result<Watched, Error>>,
    ) {
        let mut heads = self.heads.watch();
        let first = Watched {
            entries: Vec::new(),
            cursor: cursor.clone(),
            behind: self.behind(&cursor),
            known: None,
        };
        if listener.send(Ok(first)).await.is_err() {
            return;
        }
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.reset();
        let mut is_heard = false;
        let broken = |error: Error| {
            tracing::warn!(%error, "a feed broke off");
            error
        };
        let mut at = match self.chains_at(&cursor).await {
            Ok(chains) => Place { cursor, chains },
            Err(error) => {
                // The listener may have gone as well.
                let _ = listener.send(Err(broken(error))).await;
                return;
            }
        };
        loop {
            heads.borrow_and_update();
            let sent = if is_heard {
                self.send_known(&mut at, &filter, &listener).await
            } else {
                self.send_all(&mut at, &filter, &listener).await
            };
            match sent {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    let _ = listener.send(Err(broken(error))).await;
                    return;
                }
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

    /// Sends all that there is, and up to when that is all; `false` once nobody listens.
    /// While a shard cannot be looked at, nobody knows.
    async fn send_known(
        &self,
        at: &mut Place,
        filter: &Filter,
        listener: &mpsc::Sender<Result<Watched, Error>>,
    ) -> Result<bool, Error> {
        let known = self.clock.now().checked_sub(WRITING_MAX);
        let looked_at = look_at_all_heads(&self.database, &self.heads).await;
        if !self.send_all(at, filter, listener).await? {
            return Ok(false);
        }
        let heard = Watched {
            entries: Vec::new(),
            cursor: at.cursor.clone(),
            behind: self.behind(&at.cursor).max(0),
            known: known.filter(|_| looked_at.is_ok()),
        };
        Ok(listener.send(Ok(heard)).await.is_ok())
    }

    /// How many entries the logs have beyond a cursor.
    fn behind(&self, cursor: &Cursor) -> i64 {
        self.heads.cursor().entries() - cursor.entries()
    }

    /// Sends what the logs have beyond the cursor; `false` once nobody listens.
    async fn send_all(
        &self,
        Place { cursor, chains }: &mut Place,
        filter: &Filter,
        listener: &mpsc::Sender<Result<Watched, Error>>,
    ) -> Result<bool, Error> {
        let heads = self.heads.cursor();
        for shard in self.shards.all() {
            let index = usize::from(shard.get());
            let mut left_out = 0;
            while cursor.positions()[index] < heads.positions()[index] {
                let after = Position::new(cursor.positions()[index]);
                let pool = self.database.pool();
                let (len, bytes) = (WATCH_BATCH_LEN_MAX, WATCH_BATCH_BYTES_MAX);
                let rows = store::log::read_within(pool, shard, after, len, bytes).await?;
                let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
                    break;
                };
                if canonical::chain(&chains[index], &first.body)[..] != first.chain[..] {
                    return Err(Error::AnotherLog);
                }
                let (last, chain) = (last.position, last.chain.clone());
                let mut entries = Vec::with_capacity(rows.len());
                for row in rows {
                    let logged = Logged::try_from(row)?;
                    if filter.wants_entry(&logged.entry) {
                        entries.push(logged);
                    }
                }
                cursor.advance(index, last, Mark::of(&chain));
                chains[index] = chain.try_into().map_err(|_| Error::Defect)?;
                // A filter that leaves everything out still moves the cursor,
                // now and then and at the end.
                let at_end = last >= heads.positions()[index];
                left_out += 1;
                if entries.is_empty() && !at_end && left_out < LEFT_OUT_MAX {
                    continue;
                }
                left_out = 0;
                let watched = Watched {
                    entries,
                    cursor: cursor.clone(),
                    behind: self.behind(cursor).max(0),
                    known: None,
                };
                if listener.send(Ok(watched)).await.is_err() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Learns of other instances' commits while somebody listens.
    pub(crate) async fn follow_heads(self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(HEADS_INTERVAL) => {}
            }
            if self.heads.is_watched()
                && let Err(error) = self.head().await
            {
                tracing::debug!(%error, "the heads could not be read");
            }
        }
    }
}
