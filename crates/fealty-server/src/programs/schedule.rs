//! Versions that come into force at a moment, on all services together.
//!
//! A version is scheduled in rewards and tiers first, and then in points, which decides: what is
//! scheduled there comes into force, whatever becomes of who asked. The others wait for their
//! moment, and then for points to say that it has the version. So it begins everywhere or
//! nowhere, and a service that was away catches up.

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
    program::v1::{ListVersionsRequest, program_service_client::ProgramServiceClient},
    r#type::v1::ErrorReason,
};
use fealty_types::{Clock as _, ProgramId, RequestId, Timestamp};
use serde_json::json;
use tonic::Status;

use super::{Programs, ProgramsError};
use crate::{Rejection, audit_entry, from_wire_time};

/// How far ahead a moment must be: by then all instances know of it.
const AHEAD_MIN: Duration = Duration::from_secs(10);
/// How long who decides is waited for.
const DECIDER_DEADLINE: Duration = Duration::from_secs(1);

/// The points service, which decides what comes into force.
#[derive(Clone, Debug)]
pub struct Decider(ProgramServiceClient<Channel>);

impl Decider {
    /// Over a connection to the points service.
    #[must_use]
    pub fn over(points: Channel) -> Self {
        Self(ProgramServiceClient::new(points))
    }

    /// What points has of a version: its digest, and from when on it is in force.
    async fn decided(
        &self,
        program: &ProgramId,
        version: i64,
    ) -> Result<Option<(String, Timestamp)>, Status> {
        let request = ListVersionsRequest {
            program: program.to_string(),
            page_size: 1,
            page_token: version.saturating_add(1).to_string(),
        };
        let listed = call(Deadline::within(DECIDER_DEADLINE), || {
            let (mut client, request) = (self.0.clone(), request.clone());
            async move { client.list_versions(request).await }
        });
        let listed = match listed.await {
            Ok(listed) => listed,
            Err(status) if is_not_there(&status) => return Ok(None),
            Err(status) => return Err(status),
        };
        let known = listed.versions.into_iter().chain(listed.scheduled);
        let mut same = known.filter(|known| known.version == version);
        let Some(same) = same.next() else {
            return Ok(None);
        };
        let begins_at = same.effective_time.map(from_wire_time);
        let begins_at = begins_at.and_then(Result::ok);
        let begins_at = begins_at.ok_or_else(|| Status::internal("a version has no time"))?;
        Ok(Some((same.digest, begins_at)))
    }
}

fn is_not_there(status: &Status) -> bool {
    let told = fealty_client::reason(status);
    told.as_deref() == Some("PROGRAM_NOT_FOUND")
}

impl Programs {
    /// Has a version come into force at a moment, in a transaction that has the programmes
    /// locked; answers with what is scheduled.
    pub(super) async fn schedule_in(
        &self,
        connection: &mut PgConnection,
        caller: &Caller,
        (request_id, parsed): (&RequestId, &ProgramSource),
        (stored, newest): (StoredProgram, Option<&StoredProgram>),
    ) -> Result<StoredProgram, ProgramsError> {
        let begins_at = stored.effective_at;
        let ahead = self.clock.now().checked_add(AHEAD_MIN);
        let is_ahead = ahead.is_some_and(|ahead| begins_at >= ahead);
        let follows = newest.is_none_or(|newest| begins_at > newest.effective_at);
        if !is_ahead || !follows {
            return Err(ProgramsError::Rejected(moment_passed(begins_at)));
        }
        let id = &parsed.program.id;
        let scheduled = Scheduled {
            program: id.clone(),
            stored: stored.clone(),
            request_id: request_id.to_string(),
        };
        scheduled::put(&mut *connection, &scheduled).await?;
        let entry = NewAuditEntry {
            program: Some(id.clone()),
            after: Some(told(&stored)),
            ..audit_entry(caller)
        };
        audit_log::append(connection, &entry).await?;
        Ok(stored)
    }

    /// Refuses what would come before a version that is scheduled. Where others decide, that
    /// gives way.
    pub(super) async fn nothing_scheduled(
        &self,
        connection: &mut PgConnection,
        (program, digest): (&ProgramId, &str),
        (is_scheduling, dry_run): (bool, bool),
    ) -> Result<(), ProgramsError> {
        let Some(known) = scheduled::of(&mut *connection, program).await? else {
            return Ok(());
        };
        if self.decider.is_some() {
            if !dry_run && !is_scheduling {
                scheduled::remove(connection, program).await?;
            }
            return Ok(());
        }
        // Its moment may be moved; what is asked as a dry run may be to do that.
        if known.stored.digest == digest && (is_scheduling || dry_run) {
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
            let Some(known) = known.filter(|known| known.stored.version == version) else {
                return Ok(false);
            };
            scheduled::remove(&mut *connection, program).await?;
            let entry = NewAuditEntry {
                program: Some(program.clone()),
                before: Some(told(&known.stored)),
                ..audit_entry(caller)
            };
            audit_log::append(connection, &entry).await?;
            Ok(true)
        })
    }

    /// Has the versions come into force whose moment has come.
    pub(super) async fn begin_due(&self) -> Result<(), DatabaseError> {
        let due = scheduled::due(self.database.pool(), self.clock.now()).await?;
        for mut scheduled in due {
            let (program, version) = (scheduled.program.clone(), scheduled.stored.version);
            let is_decided = match self.is_decided(&mut scheduled).await {
                Ok(Some(is_decided)) => is_decided,
                // Points has moved it.
                Ok(None) => continue,
                Err(status) => {
                    let message = status.message();
                    tracing::warn!(%program, version, message, "a version waits for points to say whether it begins");
                    continue;
                }
            };
            let begun = run!(self.database, "begin_program", |connection| async {
                self.begin_in(connection, &scheduled, is_decided).await
            });
            match begun {
                Ok(()) => self.refresh().await?,
                Err(ProgramsError::Database(error)) => return Err(error),
                Err(ProgramsError::Rejected(rejection)) => {
                    let why = Status::from(rejection);
                    tracing::error!(%program, version, message = why.message(), "a version that was scheduled cannot begin");
                }
            }
        }
        Ok(())
    }

    /// Whether a version whose moment has come is to begin, by who decides; `None` where that
    /// says a later moment.
    async fn is_decided(&self, scheduled: &mut Scheduled) -> Result<Option<bool>, Status> {
        let Some(decider) = &self.decider else {
            return Ok(Some(true));
        };
        let stored = &mut scheduled.stored;
        let decided = decider.decided(&scheduled.program, stored.version).await?;
        let Some((_, begins_at)) = decided.filter(|(digest, _)| *digest == stored.digest) else {
            return Ok(Some(false));
        };
        if begins_at > self.clock.now() {
            return Ok(None);
        }
        stored.effective_at = begins_at;
        Ok(Some(true))
    }

    /// Has a version come into force, where that is still what is scheduled; one that was not
    /// decided is forgotten.
    async fn begin_in(
        &self,
        connection: &mut PgConnection,
        scheduled: &Scheduled,
        is_decided: bool,
    ) -> Result<(), ProgramsError> {
        foundation::lock_programs(connection).await?;
        let (program, stored) = (&scheduled.program, &scheduled.stored);
        let known = scheduled::of(&mut *connection, program).await?;
        let now = self.clock.now();
        let is_same = |known: &Scheduled| {
            let known = &known.stored;
            (known.version, &known.digest) == (stored.version, &stored.digest)
                && known.effective_at <= now
        };
        if !known.is_some_and(|known| is_same(&known)) {
            // Another instance was quicker, or it was moved.
            return Ok(());
        }
        scheduled::remove(&mut *connection, program).await?;
        let before = foundation::program(&mut *connection, program, None).await?;
        let follows = before.as_ref().map_or(0, |before| before.version) + 1 == stored.version;
        if !is_decided || !follows {
            let version = stored.version;
            tracing::warn!(%program, version, "a version that was scheduled does not begin");
            return Ok(());
        }
        let after = Program::parse(&stored.source)
            .map_err(|errors| ProgramsError::Rejected(errors.into()))?;
        let parsed_before = before.and_then(|before| Program::parse(&before.source).ok());
        let parsed_before = parsed_before.as_ref().map(|parsed| &*parsed.program);
        let applied = self
            .on_apply
            .apply(connection, parsed_before, &after.program);
        applied.await?;
        foundation::insert_program(&mut *connection, program, stored).await?;
        let request = ProgramRequest {
            version: stored.version,
            digest: stored.digest.clone(),
            note: stored.note.clone(),
        };
        let request_id = &scheduled.request_id;
        let asked = foundation::program_request(&mut *connection, program, request_id).await?;
        if asked.is_none() {
            foundation::insert_program_request(connection, program, request_id, &request).await?;
        }
        tracing::info!(%program, version = stored.version, "a version begins");
        Ok(())
    }
}

fn moment_passed(begins_at: Timestamp) -> Rejection {
    let seconds = AHEAD_MIN.as_secs();
    let message = format!(
        "begin_time: {begins_at} must be {seconds} seconds ahead, and after the version in force began"
    );
    Rejection::new(ErrorReason::ProgramMomentPassed, message).with("begin_time", begins_at)
}

/// What the audit log says of a version that is scheduled.
fn told(stored: &StoredProgram) -> String {
    json!({
        "version": stored.version,
        "digest": stored.digest,
        "begin_time": stored.effective_at.to_string(),
    })
    .to_string()
}
