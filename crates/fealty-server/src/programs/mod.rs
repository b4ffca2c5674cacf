//! The programmes of a service: applied over gRPC, kept by version, and at
//! hand in memory.

mod apply;
mod grpc;
mod schedule;

pub use schedule::Decider;

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use fealty_postgres::{Database, DatabaseError, HasDatabaseError, PgConnection, foundation};
use fealty_program::{Program, ProgramErrors, ProgramVersion, text_digest};
use fealty_proto::r#type::v1::ErrorReason;
use fealty_types::ProgramId;
use lru::LruCache;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::async_trait;

use crate::{ProgramNotFound, Rejection, ServiceClock, Violations};

/// How often other instances' changes are looked for.
const REFRESH_INTERVAL: Duration = Duration::from_millis(500);

/// How often it is looked whether the service that decides has what this one lacks.
const CATCH_UP_INTERVAL: Duration = Duration::from_secs(10);

/// What a programme service can answer with.
#[derive(Debug, thiserror::Error)]
pub enum ProgramsError {
    /// The file is not valid, or takes away what is in use.
    #[error("the programme was refused")]
    Rejected(Rejection),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl HasDatabaseError for ProgramsError {
    fn database_error(&self) -> Option<&DatabaseError> {
        match self {
            Self::Database(error) => Some(error),
            Self::Rejected(_) => None,
        }
    }
}

impl From<ProgramsError> for Rejection {
    fn from(error: ProgramsError) -> Self {
        match error {
            ProgramsError::Rejected(rejection) => rejection,
            ProgramsError::Database(error) => error.into(),
        }
    }
}

impl From<ProgramErrors> for Rejection {
    /// The metadata names the first.
    fn from(errors: ProgramErrors) -> Self {
        let mut violations = Violations::new();
        for error in errors.iter() {
            violations.add(&error.path, error.placed_message());
        }
        let first = errors.first();
        let rejection =
            Self::violating(ErrorReason::ProgramInvalid, violations).with("path", &first.path);
        match first.location {
            Some((line, column)) => rejection.with("line", line).with("column", column),
            None => rejection,
        }
    }
}

/// What a service adds when a programme is applied: in the same transaction,
/// with the chance to refuse.
#[async_trait]
pub trait OnApply: Send + Sync + 'static {
    /// Takes the new version over; `before` is what is in force.
    async fn apply(
        &self,
        connection: &mut PgConnection,
        before: Option<&Program>,
        after: &Program,
    ) -> Result<(), ProgramsError>;
}

/// For services that read a programme where they need it.
#[derive(Clone, Copy, Debug)]
pub struct NothingToApply;

#[async_trait]
impl OnApply for NothingToApply {
    async fn apply(
        &self,
        _: &mut PgConnection,
        _: Option<&Program>,
        _: &Program,
    ) -> Result<(), ProgramsError> {
        Ok(())
    }
}

/// The programmes of a service.
#[derive(Clone)]
pub struct Programs {
    database: Database,
    clock: ServiceClock,
    on_apply: Arc<dyn OnApply>,
    /// Who decides what comes into force at a moment; this service, if nobody does.
    decider: Option<Decider>,
    newest: Arc<RwLock<HashMap<ProgramId, ProgramVersion>>>,
    /// Versions that were in force before, as they were asked for last.
    earlier: Arc<Mutex<LruCache<(ProgramId, i64), ProgramVersion>>>,
}

/// Earlier versions that are remembered.
const EARLIER_MAX: NonZeroUsize = NonZeroUsize::new(16).expect("not none");

impl Programs {
    /// The programmes that the database has.
    pub async fn load(
        database: Database,
        clock: ServiceClock,
        on_apply: Arc<dyn OnApply>,
    ) -> Result<Self, DatabaseError> {
        let programs = Self {
            database,
            clock,
            on_apply,
            decider: None,
            newest: Arc::default(),
            earlier: Arc::new(Mutex::new(LruCache::new(EARLIER_MAX))),
        };
        programs.refresh().await?;
        Ok(programs)
    }

    /// Has another service decide what comes into force at a moment.
    #[must_use]
    pub fn decided_by(self, decider: Decider) -> Self {
        Self {
            decider: Some(decider),
            ..self
        }
    }

    /// The version in force.
    pub fn newest(&self, program: &ProgramId) -> Result<ProgramVersion, ProgramNotFound> {
        let newest = self
            .newest
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        newest
            .get(program)
            .cloned()
            .ok_or_else(|| ProgramNotFound(program.clone()))
    }

    /// A version by its number, also one that is in force no more; `None` where it is not
    /// stored, or cannot be read any more.
    pub async fn version(
        &self,
        program: &ProgramId,
        version: u32,
    ) -> Result<Option<ProgramVersion>, DatabaseError> {
        let number = i64::from(version);
        if let Ok(newest) = self.newest(program)
            && newest.version == number
        {
            return Ok(Some(newest));
        }
        let pool = self.database.pool();
        let mut connection = pool.acquire().await.map_err(DatabaseError::from)?;
        self.version_in(&mut connection, program, version).await
    }

    /// The same, read over a connection: for one who holds a lock, and must not wait for
    /// another that whoever waits for the lock may have.
    pub async fn version_in(
        &self,
        connection: &mut PgConnection,
        program: &ProgramId,
        version: u32,
    ) -> Result<Option<ProgramVersion>, DatabaseError> {
        let number = i64::from(version);
        let key = (program.clone(), number);
        let earlier = || self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        // What is stored of a version never changes; a database that was restored is another
        // one's, so its digest is compared.
        let stored = foundation::program(connection, program, Some(number)).await?;
        let Some(stored) = stored else {
            return Ok(None);
        };
        let digest = text_digest(&stored.source);
        let known = earlier().get(&key).cloned();
        if let Some(known) = known.filter(|known| known.text_digest == digest) {
            return Ok(Some(known));
        }
        let parsed = Program::parse(&stored.source).ok();
        let parsed = parsed.map(|parsed| parsed.numbered(number));
        if let Some(parsed) = &parsed {
            earlier().put(key, parsed.clone());
        }
        Ok(parsed)
    }

    /// The ids of all.
    #[must_use]
    pub fn ids(&self) -> Vec<ProgramId> {
        let newest = self
            .newest
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        newest.keys().cloned().collect()
    }

    /// Looks for what other instances applied, and has begin what is scheduled, until the
    /// service ends.
    pub async fn keep_fresh(self, shutdown: CancellationToken) {
        let mut caught_up = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(REFRESH_INTERVAL) => {}
            }
            if let Err(error) = self.begin_due().await {
                tracing::warn!(%error, "what is scheduled could not be looked for");
            }
            if caught_up.elapsed() >= CATCH_UP_INTERVAL {
                self.catch_up().await;
                caught_up = Instant::now();
            }
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "programmes could not be looked for");
            }
        }
    }

    /// Looks for what is stored now: what other instances applied, and, where the
    /// database was restored, what is not there any more.
    pub async fn refresh(&self) -> Result<(), DatabaseError> {
        let pool = self.database.pool();
        for newest in foundation::newest_versions(pool).await? {
            let Ok(id) = newest.program.parse::<ProgramId>() else {
                continue;
            };
            let is_known = |known: ProgramVersion| {
                (known.version, &known.text_digest[..]) == (newest.version, &*newest.text_digest)
            };
            if self.newest(&id).is_ok_and(is_known) {
                continue;
            }
            // Read again: a version that was applied here meanwhile is newer than the list.
            let stored = foundation::program(pool, &id, None).await?;
            let Some(stored) = stored else { continue };
            let version = stored.version;
            match Program::parse(&stored.source) {
                Ok(parsed) => self.remember(parsed.numbered(version)),
                Err(error) => {
                    tracing::error!(%error, program = %id, version, "a stored programme cannot be read");
                }
            }
        }
        Ok(())
    }

    fn remember(&self, applied: ProgramVersion) {
        let mut newest = self
            .newest
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        newest.insert(applied.program.id.clone(), applied);
    }
}
