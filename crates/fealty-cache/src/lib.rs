//! Redis behind one small type: a cache that is down is a cache that misses.
//!
//! Entries are versioned: [`Cache::put`] never replaces a newer version by an
//! older one, so writers may come in any order. Next to the entries the cache
//! keeps how far each shard of the log has been written to it; both come and
//! go together, so a Redis that lost its memory, or came back with an old one,
//! says so itself.
//!
//! No call takes longer than [`CALL_TIMEOUT`]. After a failure the cache is
//! left alone for a moment, so that a Redis that is down costs nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    Client, FromRedisValue, IntoConnectionInfo as _, Script, aio::MultiplexedConnection,
    io::tcp::TcpSettings,
};
use tokio::sync::Mutex;

/// The longest that a call may take.
pub const CALL_TIMEOUT: Duration = Duration::from_millis(250);
/// How long the cache is left alone after a failure.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(200);
/// Entries that nobody writes are forgotten after this.
const ENTRY_TTL_S: u64 = 24 * 60 * 60;

/// `KEYS[1]`: where the shard's progress is kept; the rest: entries.
/// `ARGV[1]`, `ARGV[2]`: progress before and after; `ARGV[3]`: time to live;
/// then a version and a value for each entry. Progress moves only from where
/// it was, so a gap stays visible.
const PUT: &str = r"
for i = 2, #KEYS do
  local version = tonumber(ARGV[2 * i])
  local known = redis.call('HGET', KEYS[i], 'v')
  if not known or tonumber(known) < version then
    redis.call('HSET', KEYS[i], 'v', version, 'd', ARGV[2 * i + 1])
    redis.call('EXPIRE', KEYS[i], ARGV[3])
  end
end
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2])
  return 1
end
return 0
";

/// The cache did not answer; the database knows.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It failed a moment ago and is left alone.
    #[error("the cache is left alone after a failure")]
    Resting,
    /// It took too long.
    #[error("the cache took too long")]
    Timeout,
    /// It cannot be reached, or refused.
    #[error("the cache failed")]
    Redis(#[from] redis::RedisError),
}

/// An entry to write.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its key, without the cache's own prefix.
    pub key: String,
    /// Its version: the higher is the newer.
    pub version: i64,
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
    connection: Mutex<Option<MultiplexedConnection>>,
    started: Instant,
    /// Milliseconds after `started` until which the cache is left alone.
    rest_until_ms: AtomicU64,
}

impl Cache {
    /// A cache at `url`, with keys that begin with `prefix`. It need not
    /// answer yet.
    pub fn open(url: &str, prefix: &str) -> Result<Self, CacheError> {
        // A commit's answers wait for this: no waiting for acknowledgements.
        let settings = TcpSettings::default().set_nodelay(true);
        let server = url.into_connection_info()?.set_tcp_settings(settings);
        Ok(Self(Arc::new(Inner {
            client: Client::open(server)?,
            prefix: prefix.to_owned(),
            put: Script::new(PUT),
            connection: Mutex::new(None),
            started: Instant::now(),
            rest_until_ms: AtomicU64::new(0),
        })))
    }

    /// Reads an entry.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, CacheError> {
        let key = self.entry_key(key);
        let mut get = redis::cmd("HGET");
        get.arg(&key).arg("d");
        self.call(get).await
    }

    /// Writes entries that a stretch of a shard's log brought about, and moves
    /// the shard's progress from `after` to `through`; `false` if it was
    /// elsewhere, so that what lies between is still to be written.
    pub async fn put(
        &self,
        shard: u8,
        after: i64,
        through: i64,
        entries: &[Entry],
    ) -> Result<bool, CacheError> {
        let mut script = self.0.put.prepare_invoke();
        script
            .key(self.progress_key(shard))
            .arg(after)
            .arg(through)
            .arg(ENTRY_TTL_S);
        for entry in entries {
            script
                .key(self.entry_key(&entry.key))
                .arg(entry.version)
                .arg(&entry.value[..]);
        }
        self.within_limits(async {
            let mut connection = self.connection().await?;
            script.invoke_async(&mut connection).await
        })
        .await
    }

    /// How far each shard has been written; `None` for one of which the cache
    /// knows nothing.
    pub async fn progress(&self, shards: u16) -> Result<Vec<Option<i64>>, CacheError> {
        let keys: Vec<String> = (0..shards)
            .filter_map(|shard| u8::try_from(shard).ok())
            .map(|s| self.progress_key(s))
            .collect();
        let mut read = redis::cmd("MGET");
        read.arg(&keys);
        self.call(read).await
    }

    /// Forgets every entry of this cache, and begins again at these positions.
    pub async fn reset(&self, positions: &[i64]) -> Result<(), CacheError> {
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
        for (shard, position) in (0..=u8::MAX).zip(positions) {
            set.arg(self.progress_key(shard)).arg(*position);
        }
        self.call(set).await
    }

    fn entry_key(&self, key: &str) -> String {
        format!("{}:e:{key}", self.0.prefix)
    }

    fn progress_key(&self, shard: u8) -> String {
        format!("{}:p:{shard}", self.0.prefix)
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
