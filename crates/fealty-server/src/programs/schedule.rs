//! Versions that come into force at a moment, on all services together.
//!
//! A version is scheduled in rewards and tiers first, and then in points, which decides: what is
//! scheduled there comes into force, whatever becomes of who asked. The others wait for their
//! moment, and then for points to have the version in force. What they lack then they read from
//! points: a service that was away, or was restored, catches up. So a version begins everywhere
//! or nowhere.

use std::time::Duration;

use fealty_auth::Caller;
use fealty_client::{Channel, Deadline, call};
use fealty_postgres::{
    DatabaseError, PgConnection,
    audit_log::{self, NewAuditEntry},
    foundation::{self, ProgramRequest, StoredProgram},
    run,
    scheduled::{self, Scheduled},
};
use fealty_program::{Program, ProgramSource};
use fealty_proto::{
    program::v1::{
        GetProgramRequest, ListVersionsRequest, ListVersionsResponse,
        program_service_client::ProgramServiceClient,
    },
    r#type::v1::ErrorReason,
};
use fealty_types::{Clock as _, ProgramId, RequestId, Timestamp};
use tonic::Status;

use super::{Programs, ProgramsError, apply::aside, grpc::MESSAGE_LEN_MAX};
use crate::{ProgramNotFound, Rejection, audit_entry, from_wire_time};

/// How far ahead a moment must be: by then all instances know of it.
const AHEAD_MIN: Duration = Duration::from_secs(10);
/// How long who decides is waited for.
const DECIDER_DEADLINE: Duration = Duration::from_secs(1);

/// The points service, which decides what comes into force.
#[derive(Clone, Debug)]
pub struct Decider(ProgramServiceClient<Channel>);

/// What the service that decides has of a programme.
struct Standing {
    /// The version that is in force, 0 for none.
    newest: i64,
    /// The digest of its meaning.
    digest: String,
    /// The version that is to come.
    to_come: Option<i64>,
}

impl Decider {
    /// Over a connection to the points service.
    #[must_use]
    pub fn over(points: Channel) -> Self {
        let client = ProgramServiceClient::new(points);
        Self(client.max_decoding_message_size(MESSAGE_LEN_MAX))
    }

    /// What is in force there, and what is to come.
    async fn standing(&self, program: &ProgramId) -> Result<Standing, Status> {
        let request = ListVersionsRequest {
            program: program.to_string(),
            page_size: 1,
            page_token: String::new(),
        };
        let listed = call(Deadline::within(DECIDER_DEADLINE), || {
            let (mut client, request) = (self.0.clone(), request.clone());
            async move { client.list_versions(request).await }
        });
        let listed = match listed.await {
            Ok(listed) => listed,
            Err(status) if is_not_there(&status) => ListVersionsResponse::default(),
            Err(status) => return Err(status),
        };
        let newest = listed.versions.into_iter().next().unwrap_or_default();
        Ok(Standing {
            newest: newest.version,
            digest: newest.digest,
            to_come: listed.scheduled.map(|scheduled| scheduled.version),
        })
    }

    /// A version that is or was in force there.
    async fn version(&self, program: &ProgramId, version: i64) -> Result<StoredProgram, Status> {
        let request = GetProgramRequest {
            program: program.to_string(),
            version: Some(version),
        };
        let read = call(Deadline::within(10 * DECIDER_DEADLINE), || {
            let (mut client, request) = (self.0.clone(), request.clone());
            async move { client.get_program(request).await }
        });
        let read = read.await?;
        let told = read.version.unwrap_or_default();
        let effective_at = told.effective_time.map(from_wire_time);
        let effective_at = effective_at.and_then(Result::ok);
        Ok(StoredProgram {
            version: told.version,
            effective_at: effective_at.ok_or_else(|| Status::internal("a version says no time"))?,
            digest: told.digest,
            source: read.source,
            actor: told.actor,
            note: told.note,
        })
    }
}

fn is_not_there(status: &Status) -> bool {
    let told = fealty_client::reason(status);
    told.as_deref() == Some("PROGRAM_NOT_FOUND")
}

impl Programs {
    /// Has a version come into force at a moment, in a transaction that has the programmes
    /// locked.
    pub(super) async fn schedule_in(
        &self,
        connection: &mut PgConnection,
        (request_id, parsed): (&RequestId, &ProgramSource),
        (stored, newest): (&StoredProgram, Option<&StoredProgram>),
        entry: &NewAuditEntry,
    ) -> Result<(), ProgramsError> {
        let begins_at = stored.effective_at;
        let ahead = self.clock.now().checked_add(AHEAD_MIN);
        let is_ahead = ahead.is_some_and(|ahead| begins_at >= ahead);
        let follows = newest.is_none_or(|newest| begins_at > newest.effective_at);
        if !is_ahead || !follows {
            return Err(ProgramsError::Rejected(moment_passed(begins_at)));
        }
        let scheduled = Scheduled {
            program: parsed.program.id.clone(),
            stored: stored.clone(),
            request_id: request_id.to_string(),
        };
        scheduled::put(&mut *connection, &scheduled).await?;
        audit_log::append(connection, entry).await?;
        Ok(())
    }

    /// Refuses what would come before a version that is scheduled. Where others decide, another
    /// may be scheduled in its place: what begins is read from there.
    pub(super) async fn nothing_scheduled(
        &self,
        connection: &mut PgConnection,
        (program, digest): (&ProgramId, &str),
        (is_scheduling, dry_run): (bool, bool),
    ) -> Result<(), ProgramsError> {
        let Some(known) = scheduled::of(&mut *connection, program).await? else {
            return Ok(());
        };
        // Its moment may be moved; what is asked as a dry run may be to do that.
        let is_same = known.stored.digest == digest;
        let gives_way = self.decider.is_some() && (is_scheduling || dry_run);
        if gives_way || (is_same && (is_scheduling || dry_run)) {
            return Ok(());
        }
        let StoredProgram {
            version,
            effective_at,
            ..
        } = known.stored;
        let message =
            format!("version {version} comes into force at {effective_at}: withdraw it first");
        let rejection = Rejection::new(ErrorReason::ProgramScheduled, message);
        let rejection = rejection.with("version", version);
        Err(ProgramsError::Rejected(
            rejection.with("begin_time", effective_at),
        ))
    }

    /// Takes a version away that is scheduled; answers whether it was.
    pub(super) async fn withdraw(
        &self,
        caller: &Caller,
        (program, version): (&ProgramId, i64),
    ) -> Result<bool, ProgramsError> {
        run!(self.database, "withdraw_program", |connection| async {
            foundation::lock_programs(connection).await?;
            let known = scheduled::of(&mut *connection, program).await?;
            if known.is_none() {
                let applied = foundation::newest_version(&mut *connection, program).await?;
                let missing = || ProgramNotFound(program.clone());
                applied.ok_or_else(|| ProgramsError::Rejected(missing().into()))?;
            }
            let Some(known) = known.filter(|known| known.stored.version == version) else {
                return Ok(false);
            };
            scheduled::remove(&mut *connection, program).await?;
            let StoredProgram {
                digest,
                effective_at,
                ..
            } = known.stored;
            let before = serde_json::json!({
                "version": version,
                "digest": digest,
                "begin_time": effective_at.to_string(),
            });
            let entry = NewAuditEntry {
                program: Some(program.clone()),
                before: Some(before.to_string()),
                ..audit_entry(caller)
            };
            audit_log::append(connection, &entry).await?;
            Ok(true)
        })
    }

    /// Has the versions come into force whose moment has come. What goes wrong with one holds up
    /// no other.
    pub(super) async fn begin_due(&self) -> Result<(), DatabaseError> {
        if self.clock.distrust().is_some() {
            return Ok(());
        }
        let due = scheduled::due(self.database.pool(), self.clock.now()).await?;
        for scheduled in due {
            let (program, version) = (&scheduled.program, scheduled.stored.version);
            let begun = match &self.decider {
                None => self.begin(&scheduled).await,
                Some(decider) => match decider.standing(program).await {
                    Ok(there) => self.follow((decider, there), program, Some(version)).await,
                    Err(status) => Err(status.message().to_owned()),
                },
            };
            if let Err(why) = begun {
                tracing::error!(%program, version, why, "a version that is scheduled does not begin yet");
            }
        }
        Ok(())
    }

    /// Takes over what is in force where it is decided and is not here.
    pub(super) async fn catch_up(&self) {
        let Some(decider) = &self.decider else { return };
        for program in self.ids() {
            let there = match decider.standing(&program).await {
                Ok(there) => there,
                Err(status) => {
                    let message = status.message();
                    tracing::warn!(%program, message, "what points has in force is not known");
                    // Where it does not answer, it is not asked for all the others.
                    return;
                }
            };
            if let Err(why) = self.follow((decider, there), &program, None).await {
                tracing::error!(%program, why, "what is in force here is not what points has");
            }
        }
    }

    /// Takes over what is in force where it is decided. What is `due` here and is not to come
    /// there, either, is forgotten.
    async fn follow(
        &self,
        (decider, there): (&Decider, Standing),
        program: &ProgramId,
        due: Option<i64>,
    ) -> Result<(), String> {
        let Standing {
            newest,
            digest,
            to_come,
        } = there;
        let here = foundation::program(self.database.pool(), program, None);
        let here = here.await.map_err(|error| error.to_string())?;
        let number = here.as_ref().map_or(0, |here| here.version);
        if let Some(here) = here.filter(|here| here.version == newest && here.digest != digest) {
            return Err(format!("version {} has another meaning here", here.version));
        }
        for version in number + 1..=newest {
            let stored = decider.version(program, version).await;
            let scheduled = Scheduled {
                program: program.clone(),
                stored: stored.map_err(|status| status.message().to_owned())?,
                request_id: String::new(),
            };
            self.begin(&scheduled).await?;
        }
        // What has begun is no more scheduled, what is to come there waits.
        let Some(due) = due.filter(|due| Some(*due) != to_come) else {
            return Ok(());
        };
        if due > newest {
            tracing::warn!(%program, version = due, "a version that points does not have is forgotten");
        }
        let forgotten: Result<(), DatabaseError> =
            run!(self.database, "forget_program", |connection| async {
                foundation::lock_programs(connection).await?;
                let known = scheduled::of(&mut *connection, program).await?;
                let now = self.clock.now();
                let is_due = |known: Scheduled| {
                    known.stored.version == due && known.stored.effective_at <= now
                };
                if known.is_some_and(is_due) {
                    scheduled::remove(connection, program).await?;
                }
                Ok(())
            });
        forgotten.map_err(|error| error.to_string())
    }

    /// Has a version come into force.
    async fn begin(&self, scheduled: &Scheduled) -> Result<(), String> {
        let source = scheduled.stored.source.clone();
        let parsed = aside(move || Program::parse(&source)).await;
        let parsed = parsed.map_err(|errors| errors.to_string())?;
        let begun: Result<(), ProgramsError> =
            run!(self.database, "begin_program", |connection| async {
                self.begin_in(connection, scheduled, &parsed).await
            });
        match begun {
            Ok(()) => self.refresh().await.map_err(|error| error.to_string()),
            Err(ProgramsError::Database(error)) => Err(error.to_string()),
            Err(ProgramsError::Rejected(rejection)) => {
                Err(Status::from(rejection).message().to_owned())
            }
        }
    }

    /// Has a version come into force that follows the one that is; where this service decides,
    /// it must be what is scheduled still.
    async fn begin_in(
        &self,
        connection: &mut PgConnection,
        scheduled: &Scheduled,
        parsed: &ProgramSource,
    ) -> Result<(), ProgramsError> {
        foundation::lock_programs(connection).await?;
        let (program, stored) = (&scheduled.program, &scheduled.stored);
        let known = scheduled::of(&mut *connection, program).await?;
        let (version, now) = (stored.version, self.clock.now());
        let is_same = |known: &Scheduled| {
            let known = &known.stored;
            (known.version, &known.digest) == (version, &stored.digest) && known.effective_at <= now
        };
        // Else another instance was quicker, or it was moved or withdrawn.
        let is_decided = self.decider.is_some() || known.as_ref().is_some_and(is_same);
        let before = foundation::program(&mut *connection, program, None).await?;
        let follows = before.as_ref().map_or(0, |before| before.version) + 1 == version;
        if is_decided && known.is_some_and(|known| known.stored.version <= version) {
            scheduled::remove(&mut *connection, program).await?;
        }
        if !is_decided || !follows {
            return Ok(());
        }
        let earlier = match before {
            Some(before) => match self.newest(program) {
                Ok(known) if known.version == before.version => Some(known.program),
                _ => Program::parse(&before.source)
                    .ok()
                    .map(|parsed| parsed.program),
            },
            None => None,
        };
        let applied = self
            .on_apply
            .apply(connection, earlier.as_deref(), &parsed.program);
        applied.await?;
        foundation::insert_program(&mut *connection, program, stored).await?;
        let request_id = &scheduled.request_id;
        let asked = foundation::program_request(&mut *connection, program, request_id).await?;
        if asked.is_none() && !request_id.is_empty() {
            let request = ProgramRequest {
                version,
                digest: stored.digest.clone(),
                note: stored.note.clone(),
            };
            foundation::insert_program_request(connection, program, request_id, &request).await?;
        }
        tracing::info!(%program, version, "a version begins");
        Ok(())
    }
}

fn moment_passed(begins_at: Timestamp) -> Rejection {
    let seconds = AHEAD_MIN.as_secs();
    let message = format!(
        "begin_time: {begins_at} must be {seconds} seconds ahead, and after the version in force \
         began"
    );
    Rejection::new(ErrorReason::ProgramMomentPassed, message).with("begin_time", begins_at)
}
