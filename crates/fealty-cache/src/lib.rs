//! Redis behind one small type: a cache that is down is a cache that misses.
//!
//! Entries are versioned: [`Cache::put`] never replaces a newer version by an
//! older one, so writers may come in any order. Next to the entries the cache
//! keeps how far each shard of the log has been written to it, and of which
//! places beyond that it has entries; all of it comes and goes together, so a Redis that lost its memory, or came back with an old one,
//! says so itself.
//!
//! No call takes longer than [`CALL_TIMEOUT`]. After a failure the cache is
//! left alone for a moment, so that a Redis that is down costs nothing.

use std::{
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    Client, FromRedisValue, IntoConnectionInfo as _, Script, TlsCertificates,
    aio::MultiplexedConnection, io::tcp::TcpSettings,
};
use tokio::sync::{Mutex, mpsc, oneshot};

/// The longest that a call may take.
pub const CALL_TIMEOUT: Duration = Duration::from_millis(250);
/// How long the cache is left alone after a failure.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(200);
/// Entries that nobody writes are forgotten after this.
const ENTRY_TTL_S: u64 = 24 * 60 * 60;

/// Digits of an entry's version, in hexadecimal, before its value.
const VERSION_LEN: usize = 32;
/// Reads that wait to be sent together.
const READS_MAX: usize = 4_096;

/// What both scripts begin with; they answer 1 for [`Put::Through`], 2 for [`Put::There`]
/// and 0 for [`Put::LeftOut`]. `KEYS[1]`: where the shard's progress is kept; `KEYS[2]`:
/// the places beyond it of which there are entries; the rest: entries. `ARGV[1]`: progress
/// after; `ARGV[2]`: time to live; `ARGV[3]`: progress before; then each entry: its version
/// in digits of a fixed number, and its value.
const COMMON: &str = r"
local progress = redis.call('GET', KEYS[1])
if not progress then
  return 0
end
local function position(of)
  return tonumber(string.match(of, '^%d+'))
end
local function write()
  for i = 3, #KEYS do
    local entry = ARGV[i + 1]
    local known = redis.call('GETRANGE', KEYS[i], 0, 31)
    if known < string.sub(entry, 1, 32) then
      redis.call('SET', KEYS[i], entry, 'EX', ARGV[2])
    end
  end
end
local function write_beyond()
  if redis.call('SCARD', KEYS[2]) >= 256 then
    return 0
  end
  write()
  redis.call('SADD', KEYS[2], ARGV[1])
  return 2
end
";

/// Entries that a stretch of the log brought about. Progress moves only from where it was,
/// so a gap stays visible; entries beyond the gap are written, and where they are from is
/// noted, while that is not of very many places. Where progress is further, they have been written already.
const PUT: &str = r"
if progress == ARGV[3] then
  write()
  redis.call('SET', KEYS[1], ARGV[1])
  return 1
end
if position(progress) < position(ARGV[1]) and #KEYS > 2 then
  return write_beyond()
end
return 2
";

/// Entries that were read, not written, when the shard's log reached to `ARGV[1]`. A cache
/// that knows more, or has lost its memory since, takes none.
const PUT_READ: &str = r"
if progress == ARGV[1] then
  write()
  return 2
end
if position(progress) < position(ARGV[1]) then
  return write_beyond()
end
return 0
";

/// How far a shard's log has been written: a position, and a mark by which the entry there
/// is known again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The last position, 0 for none.
    pub position: i64,
    /// The mark: letters and digits.
    pub mark: String,
}

impl Progress {
    fn text(&self) -> String {
        format!("{}:{}", self.position, self.mark)
    }

    fn parse(text: &str) -> Option<Self> {
        let (position, mark) = text.split_once(':')?;
        Some(Self {
            position: position.parse().ok()?,
            mark: mark.to_owned(),
        })
    }
}

/// What became of entries that were to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// They are there, and progress is after them.
    Through,
    /// They are there, they or newer ones; progress is not moved.
    There,
    /// They are not there: the cache has lost its memory, or has noted as many places
    /// beyond its progress as it does; or, of entries that were read, it knows more.
    LeftOut,
}

/// How far the cache has been written of a shard's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Up to here, everything has been written.
    pub progress: Progress,
    /// Places beyond of which something has been written, for writers come in any order.
    pub beyond: Vec<Progress>,
}

/// The cache did not answer; the database knows.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It failed a moment ago and is left alone.
    #[error("the cache is left alone after a failure")]
    Resting,
    /// The file with the certificates cannot be read.
    #[error("the file with the certificates")]
    CaFile(#[source] std::io::Error),
    /// It took too long.
    #[error("the cache took too long")]
    Timeout,
    /// It cannot be reached, or refused.
    #[error("the cache failed")]
    Redis(#[from] redis::RedisError),
    /// More reads wait than are taken.
    #[error("too many reads of the cache are waiting")]
    Overloaded,
    /// The read that this one was sent with failed.
    #[error(transparent)]
    Shared(Arc<CacheError>),
}

/// A read that waits to be sent.
struct Read {
    key: String,
    reply: oneshot::Sender<Result<Option<Vec<u8>>, CacheError>>,
}

/// An entry to write.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its key, without the cache's own prefix.
    pub key: String,
    /// Its version: the higher is the newer, by the first number, then the second.
    pub version: (i64, i64),
    /// Its value.
    pub value: Vec<u8>,
}

/// A cache of versioned entries in Redis.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    client: Client,
    prefix: String,
    put: Script,
    put_read: Script,
    reads: OnceLock<mpsc::Sender<Read>>,
    connection: Mutex<Option<MultiplexedConnection>>,
    started: Instant,
    /// Milliseconds after `started` until which the cache is left alone.
    rest_until_ms: AtomicU64,
}

impl Cache {
    /// A cache at `url`, with keys that begin with `prefix`. It need not
    /// answer yet. At `rediss://` it must prove who it is, by a certificate that
    /// those in `ca_file` (PEM), or of the web, signed.
    pub fn open(url: &str, ca_file: Option<&Path>, prefix: &str) -> Result<Self, CacheError> {
        // A commit's answers wait for this: no waiting for acknowledgements.
        let settings = TcpSettings::default().set_nodelay(true);
        let server = url.into_connection_info()?.set_tcp_settings(settings);
        let client = match ca_file {
            None => Client::open(server)?,
            Some(path) => {
                let root_cert = std::fs::read(path).map_err(CacheError::CaFile)?;
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(root_cert),
                };
                Client::build_with_tls(server, certificates)?
            }
        };
        Ok(Self(Arc::new(Inner {
            client,
            prefix: prefix.to_owned(),
            put: Script::new(&format!("{COMMON}{PUT}")),
            put_read: Script::new(&format!("{COMMON}{PUT_READ}")),
            reads: OnceLock::new(),
            connection: Mutex::new(None),
            started: Instant::now(),
            rest_until_ms: AtomicU64::new(0),
        })))
    }

    /// Reads an entry. Reads that come at the same time are sent as one.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, CacheError> {
        let (reply, answer) = oneshot::channel();
        let read = Read {
            key: self.entry_key(key),
            reply,
        };
        self.reads()
            .try_send(read)
            .map_err(|_| CacheError::Overloaded)?;
        answer.await.map_err(|_| CacheError::Overloaded)?
    }

    /// Reads entries.
    pub async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, CacheError> {
        let keys = keys.iter().map(|key| self.entry_key(key)).collect();
        self.read(keys).await
    }

    async fn read(&self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, CacheError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut read = redis::cmd("MGET");
        read.arg(&keys);
        let entries: Vec<Option<Vec<u8>>> = self.call(read).await?;
        let value = |mut entry: Vec<u8>| {
            entry.drain(..VERSION_LEN.min(entry.len()));
            entry
        };
        Ok(entries.into_iter().map(|entry| entry.map(value)).collect())
    }

    /// The queue of reads; the first caller starts the task that serves it.
    fn reads(&self) -> &mpsc::Sender<Read> {
        self.0.reads.get_or_init(|| {
            let (reads, mut waiting) = mpsc::channel::<Read>(READS_MAX);
            let inner = Arc::downgrade(&self.0);
            tokio::spawn(async move {
                let mut batch = Vec::new();
                while waiting.recv_many(&mut batch, READS_MAX).await > 0 {
                    let Some(inner) = inner.upgrade() else { return };
                    let keys = batch.iter_mut().map(|read| std::mem::take(&mut read.key));
                    let keys: Vec<String> = keys.collect();
                    match Self(inner).read(keys).await {
                        Ok(entries) => {
                            for (read, entry) in batch.drain(..).zip(entries) {
                                // A caller that has gone away wants no answer.
                                let _ = read.reply.send(Ok(entry));
                            }
                        }
                        Err(error) => {
                            let error = Arc::new(error);
                            for read in batch.drain(..) {
                                let shared = CacheError::Shared(Arc::clone(&error));
                                let _ = read.reply.send(Err(shared));
                            }
                        }
                    }
                }
            });
            reads
        })
    }

    /// Writes entries that a stretch of a shard's log brought about, and moves
    /// the shard's progress from `after` to `through`, if it was there.
    pub async fn put(
        &self,
        shard: u8,
        after: &Progress,
        through: &Progress,
        entries: &[Entry],
    ) -> Result<Put, CacheError> {
        let script = &self.0.put;
        self.invoke(script, shard, (after, through), entries).await
    }

    /// Writes entries that were read when a shard's log reached to `head`.
    pub async fn put_read(
        &self,
        shard: u8,
        head: &Progress,
        entries: &[Entry],
    ) -> Result<Put, CacheError> {
        let script = &self.0.put_read;
        self.invoke(script, shard, (head, head), entries).await
    }

    async fn invoke(
        &self,
        script: &Script,
        shard: u8,
        (after, through): (&Progress, &Progress),
        entries: &[Entry],
    ) -> Result<Put, CacheError> {
        let mut script = script.prepare_invoke();
        script
            .key(self.progress_key(shard))
            .key(self.beyond_key(shard))
            .arg(through.text())
            .arg(ENTRY_TTL_S)
            .arg(after.text());
        // So that the digits are in the order of the numbers.
        let digits = |number: i64| format!("{:016x}", number.cast_unsigned() ^ (1 << 63));
        for entry in entries {
            let (first, second) = entry.version;
            let mut value = (digits(first) + &digits(second)).into_bytes();
            value.extend_from_slice(&entry.value);
            script.key(self.entry_key(&entry.key)).arg(value);
        }
        self.within_limits(async {
            let mut connection = self.connection().await?;
            let put: i64 = script.invoke_async(&mut connection).await?;
            Ok(match put {
                1 => Put::Through,
                2 => Put::There,
                _ => Put::LeftOut,
            })
        })
        .await
    }

    /// How far each shard has been written; `None` for one of which the cache
    /// knows nothing.
    pub async fn reach(&self, shards: u16) -> Result<Vec<Option<Reach>>, CacheError> {
        let shards = || (0..shards).filter_map(|shard| u8::try_from(shard).ok());
        let mut read = redis::pipe();
        read.mget(shards().map(|s| self.progress_key(s)).collect::<Vec<_>>());
        for shard in shards() {
            read.smembers(self.beyond_key(shard));
        }
        let read = self.within_limits(async {
            let mut connection = self.connection().await?;
            let answers: Vec<redis::Value> = read.query_async(&mut connection).await?;
            let mut answers = answers.into_iter();
            let progress = answers.next().unwrap_or(redis::Value::Nil);
            let progress = Vec::<Option<String>>::from_redis_value(progress)?;
            let beyond = answers.map(Vec::<String>::from_redis_value);
            Ok((progress, beyond.collect::<Result<Vec<_>, _>>()?))
        });
        let (progress, beyond) = read.await?;
        let shards = progress.into_iter().zip(beyond);
        let reach = shards.map(|(progress, beyond)| {
            Some(Reach {
                progress: Progress::parse(&progress?)?,
                beyond: beyond.iter().filter_map(|at| Progress::parse(at)).collect(),
            })
        });
        Ok(reach.collect())
    }

    /// Forgets places beyond a shard's progress, which by now has come to them.
    pub async fn come_to(&self, shard: u8, places: &[Progress]) -> Result<(), CacheError> {
        let mut remove = redis::cmd("SREM");
        remove.arg(self.beyond_key(shard));
        for place in places {
            remove.arg(place.text());
        }
        let _: i64 = self.call(remove).await?;
        Ok(())
    }

    /// Forgets every entry of this cache, and begins again there.
    pub async fn reset(&self, progress: &[Progress]) -> Result<(), CacheError> {
        // First what says how far it is: what is read meanwhile is not taken any more.
        let shards = (0..=u8::MAX).zip(progress);
        let keys: Vec<String> = shards.map(|(shard, _)| self.progress_key(shard)).collect();
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(&keys);
        let _: i64 = self.call(unlink).await?;
        let pattern = format!("{}:*", self.0.prefix);
        let mut at = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(at)
                .arg("MATCH")
                .arg(&pattern)
                .arg("COUNT")
                .arg(1_000);
            let (next, keys): (u64, Vec<String>) = self.call(scan).await?;
            if !keys.is_empty() {
                let mut unlink = redis::cmd("UNLINK");
                unlink.arg(&keys);
                let _: i64 = self.call(unlink).await?;
            }
            if next == 0 {
                break;
            }
            at = next;
        }
        let mut set = redis::cmd("MSET");
        for (shard, progress) in (0..=u8::MAX).zip(progress) {
            set.arg(self.progress_key(shard)).arg(progress.text());
        }
        self.call(set).await
    }

    fn entry_key(&self, key: &str) -> String {
        format!("{}:e:{key}", self.0.prefix)
    }

    fn progress_key(&self, shard: u8) -> String {
        format!("{}:p:{shard}", self.0.prefix)
    }

    fn beyond_key(&self, shard: u8) -> String {
        format!("{}:b:{shard}", self.0.prefix)
    }

    async fn call<T: FromRedisValue>(&self, command: redis::Cmd) -> Result<T, CacheError> {
        self.within_limits(async {
            let mut connection = self.connection().await?;
            command.query_async(&mut connection).await
        })
        .await
    }

    async fn within_limits<T>(
        &self,
        work: impl Future<Output = Result<T, redis::RedisError>>,
    ) -> Result<T, CacheError> {
        let now_ms = || u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now_ms() < self.0.rest_until_ms.load(Ordering::Relaxed) {
            return Err(CacheError::Resting);
        }
        let error = match tokio::time::timeout(CALL_TIMEOUT, work).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => CacheError::Redis(error),
            Err(_) => CacheError::Timeout,
        };
        let rest = u64::try_from(REST_AFTER_FAILURE.as_millis()).unwrap_or(u64::MAX);
        self.0
            .rest_until_ms
            .store(now_ms().saturating_add(rest), Ordering::Relaxed);
        *self.0.connection.lock().await = None;
        Err(error)
    }

    async fn connection(&self) -> Result<MultiplexedConnection, redis::RedisError> {
        let mut known = self.0.connection.lock().await;
        if let Some(connection) = &*known {
            return Ok(connection.clone());
        }
        let connection = self.0.client.get_multiplexed_async_connection().await?;
        *known = Some(connection.clone());
        Ok(connection)
    }
}
