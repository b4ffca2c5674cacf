//! The feed: every shard's log, from a cursor on.

use std::{collections::VecDeque, time::Duration};

use fealty_ledger::canonical::{self, CHAIN_START, Chain};
use fealty_postgres::{Database, DatabaseError, Heads};
use fealty_server::{HEARTBEAT, ServiceClock, Start, WRITING_MAX};
use fealty_types::{Clock as _, Cursor, Mark, Position, ShardId, Timestamp};
use futures::future::join_all;
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::filter::Filter;
use crate::{
    error::Error,
    shard::{Logged, Placement, Shards, look_at_all_heads, look_at_heads, of_node, store},
};

/// Entries in one response.
pub(crate) const WATCH_BATCH_LEN_MAX: i64 = 500;
/// Canonical bytes in one response, unless one entry has more. On the wire an entry takes
/// up to four times as many, and its canonical bytes where they are asked for; gRPC
/// clients take 4 MiB if nothing is said.
const WATCH_BATCH_BYTES_MAX: i64 = 512 * 1024;
/// How often other instances' commits are looked for while somebody listens.
const HEADS_INTERVAL: Duration = Duration::from_millis(50);

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
#[derive(Clone, Debug)]
pub(crate) struct Place {
    cursor: Cursor,
    /// The chains there, from which what follows goes on; nothing for a shard whose node did
    /// not answer, until it does.
    chains: Vec<Option<Chain>>,
    /// Shards whose nodes did not answer; who waited longest is tried first.
    away: VecDeque<ShardId>,
}

impl Place {
    /// What the caller is given of it.
    pub(crate) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// What has been sent of what there is.
    fn sent(&self) -> Sent {
        if self.away.is_empty() {
            Sent::All
        } else {
            Sent::Some
        }
    }

    /// Takes note of the chain after a shard's entry at the cursor, if there is one. It must
    /// be the one of which the cursor is.
    fn found(&mut self, index: usize, chain: Option<Chain>) -> Result<(), Error> {
        let is_it = |chain: &Chain, mark| mark == Mark::of(chain);
        let chain = match (chain, self.cursor.mark(index)) {
            (Some(chain), Some(mark)) if is_it(&chain, mark) => chain,
            (Some(chain), None) => chain,
            (_, Some(_)) => return Err(Error::AnotherLog),
            (None, None) => return Err(Error::CursorOutOfRange),
        };
        self.chains[index] = Some(chain);
        Ok(())
    }
}

/// How far sending came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// All that there is.
    All,
    /// What there is of some shards only: the nodes of others do not answer.
    Some,
    /// Nobody listens any more.
    Unheard,
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

    /// Where a caller wants to hear from.
    pub(crate) async fn start(&self, start: &Start) -> Result<Place, Error> {
        match start {
            Start::Cursor(token) => self.place(token).await,
            // Not what is known of a shard whose node does not answer: a part of the log
            // would be told as if it were all.
            Start::Now => {
                let heads = self.look_at_all_heads().await?;
                self.place_at(heads).await
            }
            Start::Time(time) => {
                let heads = self.look_at_all_heads().await?;
                let mut entries = Vec::with_capacity(heads.positions().len());
                for (shard, head) in self.shards.all().zip(heads.positions()) {
                    let before = self.last_before(shard, *head, *time).await?;
                    let pool = self.database.pool();
                    let mark = store::log::mark_at(pool, shard, Position::new(before)).await?;
                    entries.push((before, mark));
                }
                self.place_at(Cursor::marked(entries)).await
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
        place: Place,
        filter: Filter,
        wait: Duration,
    ) -> Result<Watched, Error> {
        let (listener, mut watched) = mpsc::channel(1);
        let ends = tokio::time::Instant::now() + wait;
        tokio::spawn(self.clone().watch(place, filter, listener));
        let mut latest = watched.recv().await.ok_or(Error::Ending)??;
        let mut has_moved = false;
        while latest.entries.is_empty() {
            // Who is behind is told how far the cursor came, however little time it has:
            // what a filter leaves out moves it too.
            let next = if latest.behind > 0 && !has_moved {
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
        let known = self.known_now()?;
        let heads = self.look_at_all_heads().await.ok()?;
        let mut behind = cursor.positions().iter().zip(heads.positions());
        behind.all(|(at, head)| at >= head).then_some(known)
    }

    /// Up to when all that was written is in the log, by a clock that is trusted.
    fn known_now(&self) -> Option<Timestamp> {
        if self.clock.distrust().is_some() {
            return None;
        }
        self.clock.now().checked_sub(WRITING_MAX)
    }

    /// The place of a caller's cursor, which is compared with the log.
    pub(crate) async fn place(&self, token: &str) -> Result<Place, Error> {
        let cursor = Cursor::parse(token, usize::from(self.shards.count()));
        self.place_at(cursor.map_err(|_| Error::CursorOutOfRange)?)
            .await
    }

    /// A caller's cursor, which is compared with the log of each shard.
    pub(crate) async fn cursor(&self, token: &str) -> Result<Cursor, Error> {
        let mut place = self.place(token).await?;
        for (index, shard) in self.shards.all().enumerate() {
            if place.chains[index].is_none() {
                let at = place.cursor.positions()[index];
                place.found(index, self.chain_at(shard, at).await?)?;
            }
        }
        Ok(place.cursor)
    }

    /// The place of a cursor. A shard whose node does not answer is compared when it is
    /// read on: the others are not kept waiting for it.
    async fn place_at(&self, cursor: Cursor) -> Result<Place, Error> {
        let shards = self.shards.all().zip(cursor.positions());
        let reads = join_all(shards.map(|(shard, at)| self.chain_at(shard, *at))).await;
        let mut place = Place {
            cursor,
            chains: vec![None; reads.len()],
            away: VecDeque::new(),
        };
        for (shard, read) in self.shards.all().zip(reads) {
            match read {
                Ok(chain) => place.found(usize::from(shard.get()), chain)?,
                Err(error) if error.is_passing() && self.others_go_on() => {
                    place.away.push_back(shard);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(place)
    }

    /// The chain after a shard's entry at a position, if there is one.
    async fn chain_at(&self, shard: ShardId, at: i64) -> Result<Option<Chain>, DatabaseError> {
        if at == 0 {
            return Ok(Some(CHAIN_START));
        }
        let pool = self.database.pool();
        let mut found = of_node(self.shards, store::log::chains(pool, shard, &[at])).await?;
        Ok(found.remove(&at))
    }

    async fn look_at_all_heads(&self) -> Result<Cursor, DatabaseError> {
        look_at_all_heads(&self.database, self.shards, &self.heads).await
    }

    /// Whether an error that passes is of one node only.
    fn others_go_on(&self) -> bool {
        self.shards.placement() == Placement::Distributed
    }

    /// Sends everything from a place on that the filter wants, until nobody
    /// listens or the database fails; one node that does not answer holds back its own
    /// shards alone. The channel's bound holds it back to the listener's speed.
    pub(crate) async fn watch(
        self,
        mut at: Place,
        filter: Filter,
        listener: mpsc::Sender<Result<Watched, Error>>,
    ) {
        let mut heads = self.heads.watch();
        let first = Watched {
            entries: Vec::new(),
            cursor: at.cursor.clone(),
            behind: self.behind(&at.cursor),
            known: None,
        };
        if listener.send(Ok(first)).await.is_err() {
            return;
        }
        let mut clock_sets = self.clock.sets();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        let (mut is_heard, mut is_new) = (false, true);
        let broken = |error: Error| {
            tracing::warn!(%error, "a feed broke off");
            error
        };
        loop {
            heads.borrow_and_update();
            let sent = if is_heard {
                self.send_known(&mut at, &filter, &listener).await
            } else {
                self.send_all(&mut at, &filter, &listener).await
            };
            let sent = match sent {
                // Who polls waits for no shard that is away.
                Ok(Sent::Some) if is_new => self.tell_cursor(&at, &listener).await,
                sent => sent,
            };
            let begins = std::mem::take(&mut is_new);
            match sent {
                Ok(Sent::All | Sent::Some) => {}
                Ok(Sent::Unheard) => return,
                Err(error) => {
                    // The listener may have gone as well.
                    let _ = listener.send(Err(broken(error))).await;
                    return;
                }
            }
            // Once all there was at the beginning is sent, that is told, and then now and then.
            is_heard = tokio::select! {
                biased;
                () = listener.closed() => return,
                () = std::future::ready(()), if begins => true,
                _ = heartbeat.tick() => true,
                () = clock_sets.next() => true,
                changed = heads.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    false
                }
            };
        }
    }

    /// Sends all that there is, and up to when that is all. While a shard cannot be looked
    /// at, nobody knows.
    async fn send_known(
        &self,
        at: &mut Place,
        filter: &Filter,
        listener: &mpsc::Sender<Result<Watched, Error>>,
    ) -> Result<Sent, Error> {
        // What there is of the shards that answer waits for none that does not.
        if self.others_go_on() && self.send_all(at, filter, listener).await? == Sent::Unheard {
            return Ok(Sent::Unheard);
        }
        let known = self.known_now();
        let looked_at = self.look_at_all_heads().await;
        let mut sent = self.send_all(at, filter, listener).await?;
        if sent == Sent::Some {
            sent = self.send_away(at, filter, listener).await?;
        }
        if sent == Sent::Unheard {
            return Ok(sent);
        }
        let all = looked_at.is_ok() && sent == Sent::All;
        let heard = Watched {
            entries: Vec::new(),
            cursor: at.cursor.clone(),
            behind: self.behind(&at.cursor).max(0),
            known: known.filter(|_| all),
        };
        let heard = listener.send(Ok(heard)).await;
        Ok(if heard.is_ok() { sent } else { Sent::Unheard })
    }

    /// Tells how far the cursor came.
    async fn tell_cursor(
        &self,
        at: &Place,
        listener: &mpsc::Sender<Result<Watched, Error>>,
    ) -> Result<Sent, Error> {
        let told = Watched {
            entries: Vec::new(),
            cursor: at.cursor.clone(),
            behind: self.behind(&at.cursor).max(0),
            known: None,
        };
        let heard = listener.send(Ok(told)).await.is_ok();
        Ok(if heard { at.sent() } else { Sent::Unheard })
    }

    /// How many entries the logs have beyond a cursor.
    fn behind(&self, cursor: &Cursor) -> i64 {
        self.heads.cursor().entries() - cursor.entries()
    }

    /// Sends what the logs have beyond the cursor, but for shards that are away.
    async fn send_all(
        &self,
        at: &mut Place,
        filter: &Filter,
        listener: &mpsc::Sender<Result<Watched, Error>>,
    ) -> Result<Sent, Error> {
        let heads = self.heads.cursor();
        for shard in self.shards.all() {
            if at.away.contains(&shard) {
                continue;
            }
            let sent = self.send_shard(at, shard, &heads, filter, listener).await?;
            if sent == Sent::Unheard {
                return Ok(sent);
            }
        }
        Ok(at.sent())
    }

    /// Tries the shards that are away, until one still is: there may be many of them, and
    /// each may take as long as a statement may.
    async fn send_away(
        &self,
        at: &mut Place,
        filter: &Filter,
        listener: &mpsc::Sender<Result<Watched, Error>>,
    ) -> Result<Sent, Error> {
        let heads = self.heads.cursor();
        while let Some(shard) = at.away.pop_front() {
            let sent = self.send_shard(at, shard, &heads, filter, listener).await?;
            if sent != Sent::All {
                return Ok(sent);
            }
        }
        Ok(at.sent())
    }

    /// Sends what the log of a shard has beyond the cursor; if its node does not answer, it
    /// is away.
    async fn send_shard(
        &self,
        at: &mut Place,
        shard: ShardId,
        heads: &Cursor,
        filter: &Filter,
        listener: &mpsc::Sender<Result<Watched, Error>>,
    ) -> Result<Sent, Error> {
        let sent = self.read_shard(at, shard, heads, filter, listener).await;
        if matches!(sent, Err(Error::Unavailable)) && self.others_go_on() {
            at.away.push_back(shard);
            // A short read shows whether it is back, before a long one.
            at.chains[usize::from(shard.get())] = None;
            return Ok(Sent::Some);
        }
        sent
    }

    async fn read_shard(
        &self,
        at: &mut Place,
        shard: ShardId,
        heads: &Cursor,
        filter: &Filter,
        listener: &mpsc::Sender<Result<Watched, Error>>,
    ) -> Result<Sent, Error> {
        let index = usize::from(shard.get());
        let head = heads.positions()[index];
        if at.chains[index].is_none() {
            let after = at.cursor.positions()[index];
            at.found(index, self.chain_at(shard, after).await?)?;
        }
        let mut left_out = 0;
        while at.cursor.positions()[index] < head {
            let after = at.cursor.positions()[index];
            let chain = at.chains[index].ok_or(Error::Defect)?;
            let (pool, after) = (self.database.pool(), Position::new(after));
            let (len, bytes) = (WATCH_BATCH_LEN_MAX, WATCH_BATCH_BYTES_MAX);
            let rows = store::log::read_within(pool, shard, after, len, bytes).await?;
            let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
                break;
            };
            if canonical::chain(&chain, &first.body)[..] != first.chain[..] {
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
            at.cursor.advance(index, last, Mark::of(&chain));
            at.chains[index] = Some(chain.try_into().map_err(|_| Error::Defect)?);
            // A filter that leaves everything out still moves the cursor,
            // now and then and at the end.
            left_out += 1;
            if entries.is_empty() && last < head && left_out < LEFT_OUT_MAX {
                continue;
            }
            left_out = 0;
            let watched = Watched {
                entries,
                cursor: at.cursor.clone(),
                behind: self.behind(&at.cursor).max(0),
                known: None,
            };
            if listener.send(Ok(watched)).await.is_err() {
                return Ok(Sent::Unheard);
            }
        }
        Ok(Sent::All)
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
