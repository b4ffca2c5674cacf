//! The programmes of a service: applied over gRPC, kept by version, and at
//! hand in memory.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
    time::Duration,
};

use fealty_auth::Caller;
use fealty_postgres::{
    Database, DatabaseError, HasDatabaseError, PgConnection,
    audit_log::{self, NewAuditEntry},
    foundation::{self, StoredProgram},
    run,
};
use fealty_program::{Change, Program, ProgramErrors, ProgramVersion, diff};
use fealty_proto::{
    program::v1::{self as wire, program_service_server::ProgramService},
    r#type::v1::ErrorReason,
};
use fealty_types::{Clock as _, ProgramId};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, async_trait};

use crate::{
    Fields, ProgramNotFound, Rejection, ServiceClock, Violations, audit_entry, caller, to_wire_time,
};

/// How often other instances' changes are looked for.
const REFRESH_INTERVAL: Duration = Duration::from_millis(500);

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

/// Changes of a file that the audit log has in full; the versions have all.
const CHANGES_MAX: usize = 100;
/// Faults of a file that an answer tells of: answers travel in headers, which
/// many clients bound to 8 KiB.
const VIOLATIONS_MAX: usize = 16;

impl From<ProgramErrors> for Rejection {
    /// The metadata names the first; the violations are all of them.
    fn from(errors: ProgramErrors) -> Self {
        let mut violations = Violations::new();
        for error in errors.iter().take(VIOLATIONS_MAX) {
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
    newest: Arc<RwLock<HashMap<ProgramId, ProgramVersion>>>,
}

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
            newest: Arc::default(),
        };
        programs.refresh().await?;
        Ok(programs)
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

    /// Looks for what other instances applied, until the service ends.
    pub async fn keep_fresh(self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(REFRESH_INTERVAL) => {}
            }
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "programmes could not be looked for");
            }
        }
    }

    async fn refresh(&self) -> Result<(), DatabaseError> {
        for (id, version) in foundation::program_versions(self.database.pool()).await? {
            let Ok(id) = id.parse::<ProgramId>() else {
                continue;
            };
            if self.newest(&id).is_ok_and(|known| known.version >= version) {
                continue;
            }
            let stored = foundation::program(self.database.pool(), &id, Some(version)).await?;
            let Some(stored) = stored else { continue };
            match Program::parse(&stored.source) {
                Ok(parsed) => self.remember(ProgramVersion {
                    version,
                    program: parsed.program,
                }),
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
        let id = applied.program.id.clone();
        if newest
            .get(&id)
            .is_none_or(|known| known.version < applied.version)
        {
            newest.insert(id, applied);
        }
    }

    async fn apply(
        &self,
        caller: &Caller,
        source: &str,
        validate_only: bool,
    ) -> Result<(ProgramId, StoredProgram, Vec<Change>), ProgramsError> {
        let parsed =
            Program::parse(source).map_err(|error| ProgramsError::Rejected(error.into()))?;
        let id = parsed.program.id.clone();
        // Another's programme is as one that is not there, and cannot be made.
        let reached = caller.program(id.clone());
        reached.map_err(|_| ProgramsError::Rejected(ProgramNotFound(id.clone()).into()))?;
        let now = self.clock.now();
        let applied: Result<_, ProgramsError> =
            run!(self.database, "apply_program", |connection| async {
                foundation::lock_programs(connection).await?;
                let before = foundation::program(&mut *connection, &id, None).await?;
                if let Some(before) = before
                    .as_ref()
                    .filter(|before| before.digest == parsed.digest)
                {
                    return Ok((before.clone(), Vec::new()));
                }
                let changes = diff(before.as_ref().map(|before| before.source.as_str()), source)
                    .map_err(|error| ProgramsError::Rejected(ProgramErrors::from(error).into()))?;
                let parsed_before = before.as_ref().and_then(|b| Program::parse(&b.source).ok());
                let parsed_before = parsed_before.as_ref().map(|parsed| &*parsed.program);
                if let Some(before) = parsed_before {
                    nothing_taken_away(before, &parsed.program).map_err(ProgramsError::Rejected)?;
                }
                let stored = StoredProgram {
                    version: before.as_ref().map_or(1, |before| before.version + 1),
                    effective_at: now,
                    digest: parsed.digest.clone(),
                    source: source.to_owned(),
                };
                if !validate_only {
                    self.on_apply
                        .apply(connection, parsed_before, &parsed.program)
                        .await?;
                    foundation::insert_program(connection, &id, &stored).await?;
                    let entry = applied_entry(caller, &id, before.as_ref(), &stored, &changes);
                    audit_log::append(&mut *connection, &entry).await?;
                }
                Ok((stored, changes))
            });
        let (stored, changes) = applied?;
        if !validate_only {
            self.remember(ProgramVersion {
                version: stored.version,
                program: parsed.program,
            });
        }
        Ok((id, stored, changes))
    }
}

/// What the audit log says of a version that was applied.
fn applied_entry(
    caller: &Caller,
    program: &ProgramId,
    before: Option<&StoredProgram>,
    after: &StoredProgram,
    changes: &[Change],
) -> NewAuditEntry {
    let version =
        |stored: &StoredProgram| json!({ "version": stored.version, "digest": stored.digest });
    let changed = changes.iter().take(CHANGES_MAX).map(
        |change| json!({ "path": change.path, "before": change.before, "after": change.after }),
    );
    let mut now = version(after);
    now["changes"] = changed.collect();
    now["changes_in_all"] = changes.len().into();
    NewAuditEntry {
        program: Some(program.clone()),
        before: before.map(|before| version(before).to_string()),
        after: Some(now.to_string()),
        ..audit_entry(caller)
    }
}

/// Points that members hold must keep their currency, brand and money.
fn nothing_taken_away(before: &Program, after: &Program) -> Result<(), Rejection> {
    let gone = before
        .currencies
        .keys()
        .find(|id| !after.currencies.contains_key(*id))
        .map(|id| format!("currencies.{id}"))
        .or_else(|| {
            let brand = before
                .brands
                .keys()
                .find(|id| !after.brands.contains_key(*id));
            brand.map(|id| format!("brands.{id}"))
        })
        .or_else(|| (before.money != after.money).then(|| "money".to_owned()))
        .or_else(|| (before.time_zone != after.time_zone).then(|| "time_zone".to_owned()));
    gone.map_or(Ok(()), |path| {
        let message = format!("{path}: what points were issued under must stay as it is");
        Err(Rejection::new(ErrorReason::ProgramConflict, message).with("path", path))
    })
}

fn to_wire_version(program: &ProgramId, stored: &StoredProgram) -> wire::ProgramVersion {
    wire::ProgramVersion {
        program: program.to_string(),
        version: stored.version,
        effective_time: Some(to_wire_time(stored.effective_at)),
        digest: stored.digest.clone(),
    }
}

#[async_trait]
impl ProgramService for Programs {
    async fn apply_program(
        &self,
        request: Request<wire::ApplyProgramRequest>,
    ) -> Result<Response<wire::ApplyProgramResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let (program, stored, changes) = self
            .apply(caller, &request.source, request.validate_only)
            .await
            .map_err(Rejection::from)?;
        let changes = changes.into_iter().map(|change| wire::ProgramChange {
            path: change.path,
            before: change.before.unwrap_or_default(),
            after: change.after.unwrap_or_default(),
        });
        Ok(Response::new(wire::ApplyProgramResponse {
            version: Some(to_wire_version(&program, &stored)),
            changes: changes.collect(),
        }))
    }

    async fn get_program(
        &self,
        request: Request<wire::GetProgramRequest>,
    ) -> Result<Response<wire::GetProgramResponse>, Status> {
        let program = Fields::read(caller(&request)?, |fields| {
            let program = fields.program("program", &request.get_ref().program);
            if request.get_ref().version < 0 {
                fields.add("version", "must be 0 or above");
            }
            program
        })?;
        let request = request.into_inner();
        let version = (request.version > 0).then_some(request.version);
        let stored = foundation::program(self.database.pool(), &program, version)
            .await
            .map_err(Rejection::from)?
            .ok_or_else(|| Rejection::from(ProgramNotFound((*program).clone())))?;
        Ok(Response::new(wire::GetProgramResponse {
            version: Some(to_wire_version(&program, &stored)),
            source: stored.source,
        }))
    }
}
