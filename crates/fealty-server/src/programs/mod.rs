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
    foundation::{self, ProgramRequest, StoredProgram},
    run,
};
use fealty_program::{Change, Program, ProgramErrors, ProgramVersion, diff};
use fealty_proto::{
    program::v1::{self as wire, program_service_server::ProgramService},
    r#type::v1::ErrorReason,
};
use fealty_types::{Clock as _, CurrencyId, ProgramId, Reference, RequestId};
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

    async fn apply(&self, caller: &Caller, asked: &Applying) -> Result<Applied, ProgramsError> {
        let source = asked.source.as_str();
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
                let answered = self.answered(connection, &id, asked, &parsed.digest);
                if let Some(answered) = answered.await? {
                    return Ok(answered);
                }
                let before = foundation::program(&mut *connection, &id, None).await?;
                let newest = before.as_ref().map_or(0, |before| before.version);
                if let Some(expected) = asked.expected_version.filter(|it| *it != newest) {
                    return Err(ProgramsError::Rejected(version_moved(expected, newest)));
                }
                if let Some(before) = before
                    .as_ref()
                    .filter(|before| before.digest == parsed.digest)
                {
                    asked.keep(connection, &id, before).await?;
                    return Ok((before.clone(), Vec::new(), false));
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
                    actor: caller.whom().unwrap_or(caller.subject()).to_string(),
                    note: asked.note.to_string(),
                };
                if !asked.dry_run {
                    self.on_apply
                        .apply(connection, parsed_before, &parsed.program)
                        .await?;
                    foundation::insert_program(connection, &id, &stored).await?;
                    asked.keep(connection, &id, &stored).await?;
                    let entry = applied_entry(caller, &id, before.as_ref(), &stored, &changes);
                    audit_log::append(&mut *connection, &entry).await?;
                }
                Ok((stored, changes, false))
            });
        let (stored, changes, replayed) = applied?;
        if !asked.dry_run && !replayed {
            self.remember(ProgramVersion {
                version: stored.version,
                program: parsed.program,
            });
        }
        Ok(Applied {
            program: id,
            stored,
            changes,
            replayed,
        })
    }
}

impl Programs {
    /// The answer to a request that was there before: the version, what it changed, and
    /// that it is a replay.
    async fn answered(
        &self,
        connection: &mut PgConnection,
        program: &ProgramId,
        asked: &Applying,
        digest: &str,
    ) -> Result<Option<(StoredProgram, Vec<Change>, bool)>, ProgramsError> {
        let request_id = asked.request_id.as_str();
        let before = foundation::program_request(&mut *connection, program, request_id).await?;
        let Some(before) = before.filter(|_| !asked.dry_run) else {
            return Ok(None);
        };
        let differs = [
            ("source", before.digest != digest),
            ("note", before.note != asked.note.as_str()),
        ];
        if let Some((field, _)) = differs.into_iter().find(|(_, differs)| *differs) {
            let told = format!("the request id was used for another request: {field} differs");
            let rejection = Rejection::new(ErrorReason::RequestIdReused, told).with("field", field);
            return Err(ProgramsError::Rejected(rejection));
        }
        let stored = foundation::program(&mut *connection, program, Some(before.version)).await?;
        let stored = stored.ok_or(DatabaseError::Broken("a version that was applied is kept"))?;
        Ok(Some((stored, Vec::new(), true)))
    }
}

impl Applying {
    /// Keeps what it came to, unless it is a dry run.
    async fn keep(
        &self,
        connection: &mut PgConnection,
        program: &ProgramId,
        stored: &StoredProgram,
    ) -> Result<(), DatabaseError> {
        if self.dry_run {
            return Ok(());
        }
        let request = ProgramRequest {
            version: stored.version,
            digest: stored.digest.clone(),
            note: self.note.to_string(),
        };
        let request_id = self.request_id.as_str();
        foundation::insert_program_request(connection, program, request_id, &request).await
    }
}

/// A programme file to apply.
struct Applying {
    request_id: RequestId,
    source: String,
    /// Only to be compared.
    dry_run: bool,
    /// The version that must be the newest before.
    expected_version: Option<i64>,
    /// Why.
    note: Reference,
}

/// What became of it.
struct Applied {
    program: ProgramId,
    stored: StoredProgram,
    changes: Vec<Change>,
    replayed: bool,
}

fn version_moved(expected: i64, actual: i64) -> Rejection {
    let told = format!("the newest version is {actual}, not {expected}");
    let rejection = Rejection::new(ErrorReason::ProgramVersionMoved, told);
    rejection.with("expected", expected).with("actual", actual)
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
        actor: stored.actor.clone(),
        note: stored.note.clone(),
    }
}

/// What an app shows of a programme.
fn outline(applied: &ProgramVersion) -> wire::ProgramOutline {
    let program = &*applied.program;
    let ids = |ids: &[CurrencyId]| ids.iter().map(ToString::to_string).collect();
    let currencies = program.currencies.iter();
    let brands = program.brands.iter();
    let levels = program.tiers.iter().flat_map(|scheme| &scheme.levels);
    wire::ProgramOutline {
        program: program.id.to_string(),
        version: applied.version,
        time_zone: program.time_zone.iana_name().unwrap_or_default().to_owned(),
        money_currency_code: program.money.currency.to_string(),
        money_decimals: program.money.decimals.into(),
        currencies: currencies
            .map(|(id, currency)| wire::CurrencyOutline {
                id: id.to_string(),
                decimals: currency.decimals.into(),
                unit_value_micros: currency.unit_value_micros.unwrap_or_default(),
            })
            .collect(),
        brands: brands
            .map(|(id, brand)| wire::BrandOutline {
                id: id.to_string(),
                issues: ids(&brand.issues),
                accepts: ids(&brand.accepts),
            })
            .collect(),
        tiers: (0..)
            .zip(levels)
            .map(|(rank, level)| wire::TierOutline {
                id: level.tier.to_string(),
                rank,
                threshold_minor_units: level.threshold.minor_units(),
            })
            .collect(),
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
        let asked = Fields::read(caller, |fields| {
            let request_id = fields.parse("request_id", &request.request_id);
            let note = fields.parse("note", &request.note);
            let expected_version = request.expected_version;
            if expected_version.is_some_and(|version| version < 0) {
                fields.add("expected_version", "must be 0 or above");
            }
            Some(Applying {
                request_id: request_id?,
                source: request.source.clone(),
                dry_run: request.dry_run,
                expected_version,
                note: note?,
            })
        })?;
        let applied = self.apply(caller, &asked).await.map_err(Rejection::from)?;
        let changes = applied
            .changes
            .into_iter()
            .map(|change| wire::ProgramChange {
                path: change.path,
                before: change.before.unwrap_or_default(),
                after: change.after.unwrap_or_default(),
            });
        Ok(Response::new(wire::ApplyProgramResponse {
            version: Some(to_wire_version(&applied.program, &applied.stored)),
            changes: changes.collect(),
            replayed: applied.replayed,
        }))
    }

    async fn get_program(
        &self,
        request: Request<wire::GetProgramRequest>,
    ) -> Result<Response<wire::GetProgramResponse>, Status> {
        let program = Fields::read(caller(&request)?, |fields| {
            let program = fields.program("program", &request.get_ref().program);
            if request.get_ref().version.is_some_and(|version| version < 1) {
                fields.add("version", "must be 1 or above");
            }
            program
        })?;
        let request = request.into_inner();
        let stored = foundation::program(self.database.pool(), &program, request.version)
            .await
            .map_err(Rejection::from)?
            .ok_or_else(|| Rejection::from(ProgramNotFound((*program).clone())))?;
        Ok(Response::new(wire::GetProgramResponse {
            version: Some(to_wire_version(&program, &stored)),
            source: stored.source,
        }))
    }

    async fn list_versions(
        &self,
        request: Request<wire::ListVersionsRequest>,
    ) -> Result<Response<wire::ListVersionsResponse>, Status> {
        let (program, limit, before) = Fields::read(caller(&request)?, |fields| {
            let request = request.get_ref();
            let program = fields.program("program", &request.program);
            let limit = fields.page_size("page_size", request.page_size);
            let before = match request.page_token.as_str() {
                "" => Some(i64::MAX),
                token => {
                    let version: Option<i64> = token.parse().ok();
                    if version.is_none() {
                        fields.add("page_token", "must be a token as the service gave it");
                    }
                    version
                }
            };
            Some((program?, limit?, before?))
        })?;
        self.newest(&program).map_err(Rejection::from)?;
        let wanted = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let pool = self.database.pool();
        let mut read = foundation::programs_before(pool, &program, before, wanted)
            .await
            .map_err(Rejection::from)?;
        let more = read.len() > limit;
        read.truncate(limit);
        let last = read.last().filter(|_| more);
        let next_page_token = last
            .map(|last| last.version.to_string())
            .unwrap_or_default();
        let versions = read.iter().map(|stored| to_wire_version(&program, stored));
        Ok(Response::new(wire::ListVersionsResponse {
            versions: versions.collect(),
            next_page_token,
        }))
    }

    async fn get_program_outline(
        &self,
        request: Request<wire::GetProgramOutlineRequest>,
    ) -> Result<Response<wire::GetProgramOutlineResponse>, Status> {
        let program = Fields::read(caller(&request)?, |fields| {
            fields.program("program", &request.get_ref().program)
        })?;
        let applied = self.newest(&program).map_err(Rejection::from)?;
        Ok(Response::new(wire::GetProgramOutlineResponse {
            outline: Some(outline(&applied)),
        }))
    }
}
