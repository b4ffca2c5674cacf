//! Judging members, by purchases and by time, and logging what changes.

use std::{collections::HashMap, time::Duration};

use fealty_postgres::{DatabaseError, PgConnection, run};
use fealty_types::{Clock as _, MemberId, ProgramId, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{
    service::Statuses,
    store::{
        purchases::{self, Purchase},
        statuses,
    },
};
use crate::{
    domain::{self, Change, Spend, Status},
    feed::{
        store::{self as log, Logged},
        with_tiers,
    },
};

const JUDGE_INTERVAL: Duration = Duration::from_secs(1);
/// Members judged in one transaction.
const JUDGED_MAX: i64 = 500;

/// Judges who is due until the service ends.
pub(crate) async fn keep_judging(of: Statuses, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(JUDGE_INTERVAL) => {}
        }
        if let Err(error) = judge_due(&of).await {
            tracing::debug!(%error, "judging did not finish");
        }
    }
}

/// Judges everybody who is due by now, and counts them.
pub(crate) async fn judge_due(of: &Statuses) -> Result<i64, DatabaseError> {
    let now = of.clock.now();
    let programs = with_tiers(&of.programs);
    let mut judged = 0;
    loop {
        let done: Result<(i64, i64), DatabaseError> =
            run!(of.database, "judge_due", |connection| async {
                let mut judging = Judging::begin(connection, now).await?;
                let due = statuses::due(connection, &programs, now, JUDGED_MAX).await?;
                let count = i64::try_from(due.len()).unwrap_or(i64::MAX);
                judging.read(connection, of, due, now).await?;
                judging.advance_all(of, now);
                judging.write(connection).await?;
                Ok((count, judging.position))
            });
        let (count, position) = done?;
        of.feed.reached(position);
        judged += count;
        if count < JUDGED_MAX {
            return Ok(judged);
        }
    }
}

/// A member being judged.
struct Member {
    program: ProgramId,
    member: MemberId,
    status: Option<Status>,
    spends: Vec<Spend>,
    changed: bool,
}

/// Members being judged, under the lock of the log.
pub(super) struct Judging {
    pub(super) position: i64,
    written_at: Timestamp,
    members: Vec<Member>,
    log: Vec<Logged>,
}

impl Judging {
    /// Locks the log: from here to the end of the transaction nobody else
    /// judges anybody.
    pub(super) async fn begin(
        connection: &mut PgConnection,
        now: Timestamp,
    ) -> Result<Self, DatabaseError> {
        let head = log::lock_head(connection).await?;
        Ok(Self {
            position: head.position,
            written_at: head.written_at.max(now),
            members: Vec::new(),
            log: Vec::new(),
        })
    }

    /// Reads members' statuses, and the purchases that count for a judgement at
    /// `earliest` or later.
    pub(super) async fn read(
        &mut self,
        connection: &mut PgConnection,
        of: &Statuses,
        members: Vec<(ProgramId, MemberId)>,
        earliest: Timestamp,
    ) -> Result<(), DatabaseError> {
        let programs: Vec<String> = members.iter().map(|(p, _)| p.to_string()).collect();
        let names: Vec<String> = members.iter().map(|(_, m)| m.to_string()).collect();
        self.members = members
            .into_iter()
            .map(|(program, member)| Member {
                program,
                member,
                status: None,
                spends: Vec::new(),
                changed: false,
            })
            .collect();
        for (index, status) in statuses::find(connection, &programs, &names).await? {
            self.members[index].status = Some(status);
        }
        let start = self
            .members
            .iter()
            .filter_map(|member| {
                let program = of.programs.newest(&member.program).ok()?.program;
                let due = member.status.as_ref().and_then(|status| status.evaluate_at);
                let from = due.map_or(earliest, |due| due.min(earliest));
                Some(
                    program
                        .tiers
                        .as_ref()?
                        .window
                        .before(from, &program.time_zone),
                )
            })
            .min();
        if let Some(start) = start {
            let spends = purchases::spends(connection, &programs, &names, start).await?;
            for (index, spend) in spends {
                self.members[index].spends.push(spend);
            }
        }
        Ok(())
    }

    /// Judges everybody whose validity has ended by `now`.
    fn advance_all(&mut self, of: &Statuses, now: Timestamp) {
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            let Some(program) = of.programs.newest(&member.program).ok().map(|p| p.program) else {
                continue;
            };
            let (Some(scheme), Some(status)) = (&program.tiers, &mut member.status) else {
                continue;
            };
            let changes = domain::advance(&program, scheme, status, &member.spends, now);
            member.changed = true;
            for change in changes {
                self.log(index, change, String::new());
            }
        }
    }

    /// Credits purchases, in their order; their members have been read.
    pub(super) fn credit_all(&mut self, of: &Statuses, made: &[Purchase]) {
        let index_of: HashMap<(ProgramId, MemberId), usize> = self
            .members
            .iter()
            .enumerate()
            .map(|(index, member)| ((member.program.clone(), member.member.clone()), index))
            .collect();
        for purchase in made {
            let index = index_of[&(purchase.program.clone(), purchase.member.clone())];
            let member = &mut self.members[index];
            let at = purchase.spend.at;
            let place = member.spends.partition_point(|spend| spend.at <= at);
            member.spends.insert(place, purchase.spend);
            // Without a scheme, the purchase waits for one.
            let Ok(applied) = of.programs.newest(&purchase.program) else {
                continue;
            };
            let program = &*applied.program;
            let Some(scheme) = &program.tiers else {
                continue;
            };
            let status = member
                .status
                .get_or_insert_with(|| Status::beginning(scheme));
            member.changed = true;
            let mut changes = domain::advance(program, scheme, status, &member.spends, at);
            let judged = changes.len();
            changes.extend(domain::credit(program, scheme, status, &member.spends, at));
            for (number, change) in changes.into_iter().enumerate() {
                let by_purchase = number >= judged;
                let by = if by_purchase {
                    purchase.transaction.clone()
                } else {
                    String::new()
                };
                self.log(index, change, by);
            }
        }
    }

    fn log(&mut self, index: usize, change: Change, transaction: String) {
        self.position += 1;
        let Member {
            program, member, ..
        } = &self.members[index];
        self.log.push(Logged {
            position: self.position,
            program: program.clone(),
            member: member.clone(),
            change,
            transaction,
            written_at: self.written_at,
        });
    }

    /// Writes what has changed.
    pub(super) async fn write(&self, connection: &mut PgConnection) -> Result<(), DatabaseError> {
        let changed = self.members.iter().filter(|member| member.changed);
        let rows: Vec<(ProgramId, MemberId, Status)> = changed
            .filter_map(|member| {
                let status = member.status.clone()?;
                Some((member.program.clone(), member.member.clone(), status))
            })
            .collect();
        if !rows.is_empty() {
            statuses::write(connection, &rows).await?;
        }
        log::append(connection, &self.log).await
    }
}
