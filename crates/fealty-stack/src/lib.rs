//! A private Postgres and Redis in temporary folders, for the demo and the
//! tests.
//!
//! Each server runs on a free port under a small supervisor, a shell that
//! holds the read end of a pipe. When the process that asked for the server
//! ends, however it ends, the pipe closes, and the supervisor stops the server
//! and removes its folder. No server outlives the process, and none that was
//! there before is touched.
//!
//! Postgres refuses to run as root, so root's servers run as the user
//! `postgres`, or `nobody` where there is none.

use std::sync::atomic::{AtomicU32, Ordering};

mod binaries;
mod databases;
mod postgres;
mod redis;
mod supervised;
mod user;

pub use binaries::{Binaries, MissingBinaries};
pub use databases::{Databases, Given};
pub use postgres::{Durability, Postgres};
pub use redis::Redis;
pub use supervised::{Supervised, without_knobs};

/// A server that could not be run.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// Programs are missing on this machine.
    #[error(transparent)]
    Missing(#[from] MissingBinaries),
    /// The machine refused.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the machine said.
        source: std::io::Error,
    },
    /// The server did not come up in time.
    #[error("{server} did not start: {log}")]
    NotStarted {
        /// Which server.
        server: &'static str,
        /// The end of its log.
        log: String,
    },
}

pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> StackError {
    let doing = doing.into();
    move |source| StackError::Io { doing, source }
}

/// The first port that is looked at, and how many there are: below those that systems
/// give to outgoing connections, one of which could take a port before it is used.
const PORTS_FROM: u32 = 16_384;
const PORTS_LEN: u32 = 15_000;

/// A port that nobody listens on at this moment, and that this process was not given
/// before.
pub fn free_port() -> Result<u16, StackError> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Other processes look as well, from elsewhere on.
    let begin = std::process::id().wrapping_mul(7_919);
    let mut refused = None;
    for _ in 0..PORTS_LEN {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = PORTS_FROM + begin.wrapping_add(given) % PORTS_LEN;
        let port = u16::try_from(port).unwrap_or_default();
        match std::net::TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(error) => refused = Some(error),
        }
    }
    let none = || std::io::Error::other("there is none");
    Err(io("looking for a free port")(refused.unwrap_or_else(none)))
}

/// Databases and a private Redis.
#[derive(Debug)]
pub struct Stack {
    /// The databases.
    pub postgres: Databases,
    /// The Redis.
    pub redis: Redis,
}

impl Stack {
    /// Starts a private Postgres and Redis and waits until they answer. Blocks for
    /// a second or two.
    pub fn start(durability: Durability) -> Result<Self, StackError> {
        let binaries = Binaries::find()?;
        let redis = Redis::start(&binaries)?;
        let postgres = Databases::Private(Postgres::start(&binaries, durability)?);
        Ok(Self { postgres, redis })
    }

    /// Starts a private Postgres whose data is in a folder, and stays there, and a
    /// private Redis. Blocks for a second or two.
    pub fn start_in(folder: &std::path::Path) -> Result<Self, StackError> {
        let binaries = Binaries::find()?;
        let redis = Redis::start(&binaries)?;
        let postgres = Databases::Private(Postgres::start_in(&binaries, folder)?);
        Ok(Self { postgres, redis })
    }

    /// Starts a private Redis, for databases of a Postgres that is given: the URL of
    /// one of its databases, as its superuser.
    pub fn over(url: &str) -> Result<Self, StackError> {
        let binaries = Binaries::find()?;
        let redis = Redis::start(&binaries)?;
        let postgres = Databases::Given(Given::at(url, &binaries)?);
        Ok(Self { postgres, redis })
    }
}
