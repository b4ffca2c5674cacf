//! Recording, reading and deleting them.

use std::time::Duration;

use fealty_auth::{Caller, InReach};
use fealty_postgres::{
    Database, DatabaseError,
    audit_log::{self, NewAuditEntry},
    run,
};
use fealty_program::check_attributes;
use fealty_server::{Programs, ServiceClock, audit_entry};
use fealty_types::{Clock as _, MemberId, ProgramId, Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::{
    activity::{Activity, Asked, Which},
    store,
};
use crate::error::Error;

/// How far ahead of the service's clock a caller's may be.
const CLOCK_SKEW_MAX: Duration = Duration::from_hours(1);

/// Whose they are.
pub(super) type Whose<'a> = (&'a InReach<ProgramId>, &'a InReach<MemberId>);

/// Keeps sensitive activities.
#[derive(Clone)]
pub(crate) struct Activities {
    pub(crate) programs: Programs,
    pub(crate) database: Database,
    pub(crate) clock: ServiceClock,
}

impl Activities {
    /// Records an activity, once; answers with it, and whether it was there already.
    pub(super) async fn record(
        &self,
        caller: &Caller,
        whose: Whose<'_>,
        asked: Asked,
    ) -> Result<(Activity, bool), Error> {
        let now = self.clock.now();
        self.check(whose.0, &asked, now)?;
        let said = asked.occurred_at;
        let activity = Activity {
            occurred_at: said.unwrap_or(now),
            recorded_at: now,
            of_type: asked.of_type,
            id: asked.id,
            attributes: asked.attributes,
        };
        let name = (&**whose.0, &**whose.1);
        // Who asks is known, whether it is new or there already: the answer tells of it.
        let kept: Result<_, DatabaseError> =
            run!(self.database, "record_activity", |connection| async {
                audit_log::append(&mut *connection, &entry(caller, whose, None)).await?;
                store::keep(connection, name, (Uuid::now_v7(), &activity)).await
            });
        let kept = kept?;
        caller.mark_recorded();
        let Some((member, before)) = kept else {
            return Ok((activity, false));
        };
        let same = member == **whose.1
            && said.is_none_or(|said| said == before.occurred_at)
            && before.attributes == activity.attributes;
        if same {
            return Ok((before, true));
        }
        Err(Error::ActivityAlreadyRecorded(activity.id))
    }

    /// Whether the programme declares such an activity, and sensitive. What is refused is not
    /// told again: a refusal may stand in a log.
    fn check(
        &self,
        program: &InReach<ProgramId>,
        asked: &Asked,
        now: Timestamp,
    ) -> Result<(), Error> {
        let wrong = |field: &str, rule| Error::Field {
            field: field.to_owned(),
            rule,
        };
        let applied = self.programs.newest(program)?;
        let declared = applied.program.activities.get(&asked.of_type);
        let declared =
            declared.ok_or_else(|| wrong("activity", "is not declared by the programme"))?;
        if !declared.sensitive {
            let rule = "is not sensitive: it is recorded with the points service";
            return Err(wrong("activity", rule));
        }
        check_attributes(&declared.attributes, &asked.attributes)
            .map_err(|(name, rule)| wrong(&format!("attributes[{name}]"), rule))?;
        let latest = now.checked_add(CLOCK_SKEW_MAX);
        if asked
            .occurred_at
            .zip(latest)
            .is_some_and(|(at, latest)| at > latest)
        {
            return Err(wrong("activity_time", "must be at most one hour from now"));
        }
        Ok(())
    }

    /// Lists a member's activities before a place, newest first; answers with the place where
    /// the next page begins. Who asked is recorded before the answer.
    pub(super) async fn list(
        &self,
        caller: &Caller,
        whose: Whose<'_>,
        (before, limit): (Option<Uuid>, usize),
    ) -> Result<(Vec<Activity>, Option<Uuid>), Error> {
        self.programs.newest(whose.0)?;
        let name = (&**whose.0, &**whose.1);
        // One more tells whether there is a next page.
        let slice = i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1;
        let mut listed = store::list(self.database.pool(), name, (before, slice)).await?;
        let more = listed.len() > limit;
        listed.truncate(limit);
        let next = listed.last().map(|(id, _)| *id).filter(|_| more);
        let told = json!({ "read_activities": listed.len() });
        audit_log::append(self.database.pool(), &entry(caller, whose, Some(told))).await?;
        caller.mark_recorded();
        let activities = listed.into_iter().map(|(_, activity)| activity);
        Ok((activities.collect(), next))
    }

    /// Deletes a member's activities; answers how many there were.
    pub(super) async fn erase(
        &self,
        caller: &Caller,
        whose: Whose<'_>,
        which: &Which,
    ) -> Result<i64, Error> {
        self.programs.newest(whose.0)?;
        let name = (&**whose.0, &**whose.1);
        let erased: Result<i64, DatabaseError> =
            run!(self.database, "erase_activities", |connection| async {
                let erased = store::erase(connection, name, which).await?;
                let told = json!({ "erased_activities": erased });
                audit_log::append(&mut *connection, &entry(caller, whose, Some(told))).await?;
                Ok(erased)
            });
        let erased = erased?;
        caller.mark_recorded();
        Ok(erased)
    }
}

/// What the audit log is told.
fn entry(caller: &Caller, whose: Whose<'_>, after: Option<serde_json::Value>) -> NewAuditEntry {
    NewAuditEntry {
        program: Some((**whose.0).clone()),
        member: Some((**whose.1).clone()),
        after: after.map(|after| after.to_string()),
        ..audit_entry(caller)
    }
}
