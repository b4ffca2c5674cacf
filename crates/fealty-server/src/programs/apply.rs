//! Applying a programme file: what it changes, and that it is done once.

use fealty_auth::Caller;
use fealty_postgres::{
    DatabaseError, PgConnection,
    audit_log::{self, NewAuditEntry},
    foundation::{self, ProgramRequest, StoredProgram},
    run,
    scheduled::{self, Scheduled},
};
use fealty_program::{
    Change, Meaning, Program, ProgramErrors, ProgramNote, ProgramSource, diff, meanings,
};
use fealty_proto::r#type::v1::ErrorReason;
use fealty_types::{ActivityType, Clock as _, ProgramId, Reference, RequestId, Timestamp};
use serde_json::json;

use super::{Programs, ProgramsError};
use crate::{ProgramNotFound, Rejection, audit_entry};

/// Changes of a file that the audit log has in full; the versions have all.
const CHANGES_MAX: usize = 100;

/// A programme file to apply.
pub(super) struct Applying {
    pub(super) request_id: RequestId,
    pub(super) source: String,
    /// Only to be compared.
    pub(super) dry_run: bool,
    /// The version that must be the newest before, unless that says the same.
    pub(super) expected_version: Option<i64>,
    /// Why.
    pub(super) note: Reference,
    /// When it is to come into force, if not at once.
    pub(super) begins_at: Option<Timestamp>,
}

/// What became of it.
pub(super) struct Applied {
    pub(super) program: ProgramId,
    pub(super) stored: StoredProgram,
    pub(super) changes: Vec<Change>,
    /// What they mean.
    pub(super) meanings: Vec<Meaning>,
    /// What it does that its reader may not expect.
    pub(super) notes: Vec<ProgramNote>,
    /// Whether it was there already, from the same request sent before.
    pub(super) replayed: bool,
}

impl Programs {
    /// Applies a file, once, however often it is sent.
    pub(super) async fn apply(
        &self,
        caller: &Caller,
        asked: &Applying,
    ) -> Result<Applied, ProgramsError> {
        let source = asked.source.clone();
        let parsed = aside(move || {
            let parsed = Program::parse(&source)?;
            parsed.check_examples()?;
            Ok(parsed)
        });
        let parsed = parsed
            .await
            .map_err(|error: ProgramErrors| ProgramsError::Rejected(error.into()))?;
        let id = &parsed.program.id;
        // Another's programme is as one that is not there, and cannot be made.
        let reached = caller.program(id.clone());
        reached.map_err(|_| ProgramsError::Rejected(ProgramNotFound(id.clone()).into()))?;
        let applied: Result<Applied, ProgramsError> =
            run!(self.database, "apply_program", |connection| async {
                foundation::lock_programs(connection).await?;
                match asked.answered(connection, &parsed).await? {
                    Some(answered) => Ok(answered),
                    None => self.apply_in(connection, caller, asked, &parsed).await,
                }
            });
        let applied = applied?;
        if !asked.dry_run && !applied.replayed {
            // What is in force is what is stored: the same meaning may have been stored
            // before, in another text.
            self.refresh().await?;
        }
        Ok(applied)
    }

    /// Applies a file that was not sent before, in a transaction that has the programmes
    /// locked.
    async fn apply_in(
        &self,
        connection: &mut PgConnection,
        caller: &Caller,
        asked: &Applying,
        parsed: &ProgramSource,
    ) -> Result<Applied, ProgramsError> {
        let id = &parsed.program.id;
        let answer = |stored, (changes, meanings)| Applied {
            program: id.clone(),
            stored,
            changes,
            meanings,
            notes: parsed.program.notes(),
            replayed: false,
        };
        let before = foundation::program(&mut *connection, id, None).await?;
        let is_same = |before: &&StoredProgram| before.digest == parsed.digest;
        if let Some(same) = before.as_ref().filter(is_same) {
            asked.keep(connection, id, same).await?;
            return Ok(answer(same.clone(), (Vec::new(), Vec::new())));
        }
        let scheduling = (asked.begins_at.is_some(), asked.dry_run);
        let scheduled = self.nothing_scheduled(connection, (id, &parsed.digest), scheduling);
        scheduled.await?;
        let newest = before.as_ref().map_or(0, |before| before.version);
        if let Some(expected) = asked.expected_version.filter(|it| *it != newest) {
            return Err(ProgramsError::Rejected(version_moved(expected, newest)));
        }
        let source_before = before.as_ref().map(|before| before.source.clone());
        let source = asked.source.clone();
        let compared = aside(move || compare(source_before.as_deref(), &source)).await;
        let Compared {
            changes,
            meanings,
            parsed_before,
        } = compared.map_err(|error| ProgramsError::Rejected(error.into()))?;
        let parsed_before = parsed_before.as_ref().map(|parsed| &*parsed.program);
        if let Some(before) = parsed_before {
            nothing_taken_away(before, &parsed.program).map_err(ProgramsError::Rejected)?;
        }
        let stored = StoredProgram {
            version: newest + 1,
            effective_at: asked.begins_at.unwrap_or_else(|| self.clock.now()),
            digest: parsed.digest.clone(),
            source: asked.source.clone(),
            actor: caller.whom().unwrap_or(caller.subject()).to_string(),
            note: asked.note.to_string(),
        };
        if asked.dry_run {
            return Ok(answer(stored, (changes, meanings)));
        }
        let entry = applied_entry(caller, id, before.as_ref(), (&stored, &changes, asked));
        if asked.begins_at.is_some() {
            let request = (&asked.request_id, parsed);
            self.schedule_in(connection, request, (&stored, before.as_ref()), &entry)
                .await?;
            return Ok(answer(stored, (changes, meanings)));
        }
        self.on_apply
            .apply(connection, parsed_before, &parsed.program)
            .await?;
        foundation::insert_program(connection, id, &stored).await?;
        asked.keep(connection, id, &stored).await?;
        audit_log::append(&mut *connection, &entry).await?;
        Ok(answer(stored, (changes, meanings)))
    }
}

/// What a file is held against the one before it.
struct Compared {
    changes: Vec<Change>,
    meanings: Vec<Meaning>,
    /// The one before it; none where this release does not read it any more.
    parsed_before: Option<ProgramSource>,
}

fn compare(before: Option<&str>, after: &str) -> Result<Compared, ProgramErrors> {
    // What a file of an older language said cannot be told.
    let meanings = before.and_then(|before| meanings(before, after).ok());
    Ok(Compared {
        changes: diff(before, after)?,
        meanings: meanings.unwrap_or_default(),
        parsed_before: before.and_then(|source| Program::parse(source).ok()),
    })
}

/// Does something that takes long, with a file of 4 MiB, where it holds nobody up.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The process ends; the call ends with it.
            Err(_) => std::future::pending().await,
        },
    }
}

impl Applying {
    /// The answer to a request that was there before: the version that it came to,
    /// without the changes.
    async fn answered(
        &self,
        connection: &mut PgConnection,
        parsed: &ProgramSource,
    ) -> Result<Option<Applied>, ProgramsError> {
        let program = &parsed.program.id;
        let request_id = self.request_id.as_str();
        let before = foundation::program_request(&mut *connection, program, request_id).await?;
        let scheduled = scheduled::of(&mut *connection, program).await?;
        let scheduled = scheduled.filter(|scheduled| scheduled.request_id == request_id);
        let (digest, note, is_other_moment) = match (&before, &scheduled) {
            _ if self.dry_run => return Ok(None),
            (Some(before), _) => (&before.digest, &before.note, false),
            (None, Some(Scheduled { stored, .. })) => {
                let moment = Some(stored.effective_at);
                (&stored.digest, &stored.note, self.begins_at != moment)
            }
            (None, None) => return Ok(None),
        };
        let differs = [
            ("source", *digest != parsed.digest),
            ("note", note != self.note.as_str()),
            ("begin_time", is_other_moment),
        ];
        if let Some((field, _)) = differs.into_iter().find(|(_, differs)| *differs) {
            let told = format!("the request id was used for another request: {field} differs");
            let rejection = Rejection::new(ErrorReason::RequestIdReused, told).with("field", field);
            return Err(ProgramsError::Rejected(rejection));
        }
        let stored = match before {
            Some(before) => {
                let version = Some(before.version);
                foundation::program(&mut *connection, program, version).await?
            }
            None => scheduled.map(|scheduled| scheduled.stored),
        };
        Ok(Some(Applied {
            program: program.clone(),
            stored: stored.ok_or(DatabaseError::Broken("a version that was applied is kept"))?,
            changes: Vec::new(),
            meanings: Vec::new(),
            notes: parsed.program.notes(),
            replayed: true,
        }))
    }

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

fn version_moved(expected: i64, actual: i64) -> Rejection {
    let told = format!("the newest version is {actual}, not {expected}");
    let rejection = Rejection::new(ErrorReason::ProgramVersionMoved, told);
    rejection.with("expected", expected).with("actual", actual)
}

/// What the audit log says of a version that was applied, or scheduled.
fn applied_entry(
    caller: &Caller,
    program: &ProgramId,
    before: Option<&StoredProgram>,
    (after, changes, asked): (&StoredProgram, &[Change], &Applying),
) -> NewAuditEntry {
    let version =
        |stored: &StoredProgram| json!({ "version": stored.version, "digest": stored.digest });
    let changed = changes.iter().take(CHANGES_MAX).map(
        |change| json!({ "path": change.path, "before": change.before, "after": change.after }),
    );
    let mut now = version(after);
    now["changes"] = changed.collect();
    now["changes_in_all"] = changes.len().into();
    if let Some(begins_at) = asked.begins_at {
        now["begin_time"] = begins_at.to_string().into();
    }
    NewAuditEntry {
        program: Some(program.clone()),
        before: before.map(|before| version(before).to_string()),
        after: Some(now.to_string()),
        ..audit_entry(caller)
    }
}

/// A type of activities that was sensitive, and is declared otherwise, or no more.
fn no_longer_sensitive<'a>(before: &'a Program, after: &Program) -> Option<&'a ActivityType> {
    let stays = |of_type: &ActivityType| {
        let declared = after.activities.get(of_type);
        declared.is_some_and(|declared| declared.sensitive)
    };
    let mut sensitive = before.activities.iter();
    let lost = sensitive.find(|(of_type, declared)| declared.sensitive && !stays(of_type));
    lost.map(|(of_type, _)| of_type)
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
        .or_else(|| (before.calendar.zone != after.calendar.zone).then(|| "time_zone".to_owned()));
    let stays = |path: String, why: &str| {
        let message = format!("{path}: {why} must stay as it is");
        Err(Rejection::new(ErrorReason::ProgramConflict, message).with("path", path))
    };
    if let Some(path) = gone {
        return stays(path, "what points were issued under");
    }
    let days = |program: &Program| {
        let calendar = &program.calendar;
        (
            calendar.week_starts,
            calendar.quarter_starts,
            calendar.year_starts,
        )
    };
    if before.earning.rules.has_slots() && days(before) != days(after) {
        return stays(
            "calendar".to_owned(),
            "over what counters and caps have counted",
        );
    }
    let (late_before, late_after) = (
        before.earning.rules.late_days(),
        after.earning.rules.late_days(),
    );
    if before.earning.rules.has_slots() && late_after > late_before {
        // What was used of a window that is not kept would be free again.
        let message = format!(
            "calendar.late_until: windows are kept for {late_before} days, and cannot be got back"
        );
        let rejection = Rejection::new(ErrorReason::ProgramConflict, message);
        return Err(rejection.with("path", "calendar.late_until"));
    }
    let other_currency = before.earning.rules.budgets().find(|budget| {
        let mut budgets = after.earning.rules.budgets();
        budgets.any(|other| other.id == budget.id && other.currency != budget.currency)
    });
    if let Some(budget) = other_currency {
        let path = format!("budgets.{}.currency", budget.id);
        return stays(path, "that in which some of it was given");
    }
    if let Some(of_type) = no_longer_sensitive(before, after) {
        let path = format!("activities.{of_type}");
        return stays(path, "what goes into no log because it is sensitive");
    }
    if before.orders != after.orders {
        // An order that was recorded would be another one, and earn again.
        return stays(
            "orders".to_owned(),
            "what names the orders that were recorded",
        );
    }
    Ok(())
}
