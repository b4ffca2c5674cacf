//! Judging members, by purchases and by time, and logging what changes.

use std::{collections::HashMap, time::Duration};

use fealty_postgres::{DatabaseError, PgConnection, foundation, run};
use fealty_program::{Program, TierScheme};
use fealty_server::Trouble;
use fealty_types::{Clock as _, MemberId, ProgramId, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{
    service::{SOURCE, Statuses},
    store::{
        purchases::{self, Purchase},
        statuses,
    },
};
use crate::{
    domain::{self, Change, Day, DayNeeded, Spend, Spends, Status},
    feed::{
        store::{self as log, Logged},
        with_tiers,
    },
};

const JUDGE_INTERVAL: Duration = Duration::from_secs(1);
/// For how long members may wait to be judged until the health tells of it.
const WAITING_MAX: Duration = Duration::from_mins(2);
/// How often it is looked whether points has told of all, where a test has set the clock, and
/// for how long.
const HEARD_INTERVAL: Duration = Duration::from_millis(5);
const HEARD_WAIT_MAX: Duration = Duration::from_secs(2);
/// Members judged in one transaction.
const JUDGED_MAX: i64 = 500;
/// Days of which a member's purchases are read at a time.
const DAYS_READ_MAX: usize = 64;

/// Judges who is due until the service ends.
pub(crate) async fn keep_judging(of: Statuses, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(JUDGE_INTERVAL) => {}
        }
        match of.judged_by().await {
            Ok(by) => of.troubles.report("judging", waiting(by, of.clock.now())),
            Err(error) => tracing::debug!(%error, "it is not known what is told"),
        }
        if let Err(error) = judge_due(&of).await {
            tracing::debug!(%error, "judging did not finish");
        }
    }
}

/// What is wrong where members have not been judged for long.
fn waiting(judged_by: Option<Timestamp>, now: Timestamp) -> Option<Trouble> {
    let behind = judged_by.and_then(|by| by.checked_add(WAITING_MAX));
    let told = "points has not told of all purchases: nobody is judged";
    behind
        .is_none_or(|behind| behind < now)
        .then(|| Trouble::Limits(told.to_owned()))
}

/// Judges everybody who is due by a clock that a test has set, and counts them. Points tells
/// at once up to when it has told of all; if it is not there, that is waited for a little.
pub(crate) async fn judge_once_heard(of: &Statuses) -> Result<i64, DatabaseError> {
    let heard = async {
        while of.judged_by().await? < Some(of.clock.now()) {
            tokio::time::sleep(HEARD_INTERVAL).await;
        }
        Ok::<(), DatabaseError>(())
    };
    if let Ok(heard) = tokio::time::timeout(HEARD_WAIT_MAX, heard).await {
        heard?;
    } else {
        tracing::info!("points does not tell that it has told of all purchases");
    }
    judge_due(of).await
}

/// Judges everybody who is due by now, and who has a tier that is no more, and counts them.
/// By now is by the moment up to which it is known what was bought.
async fn judge_due(of: &Statuses) -> Result<i64, DatabaseError> {
    let by = of.judged_by().await?;
    let Some(now) = by.filter(|_| of.clock.distrust().is_none()) else {
        return Ok(0);
    };
    let mut judged = judge_removed(of, now).await?;
    let programs = with_tiers(&of.programs);
    let mut before = Vec::new();
    loop {
        let done: Result<_, DatabaseError> = run!(of.database, "judge_due", |connection| async {
            let judging = Judging::begin(connection, of).await?;
            let due = statuses::due(connection, &programs, now, JUDGED_MAX).await?;
            judging.judge(connection, of, (due, now)).await
        });
        let (members, position) = done?;
        of.feed.reached(position);
        let count = i64::try_from(members.len()).unwrap_or(i64::MAX);
        // Whoever is found again was not judged, and would be found for ever.
        if count < JUDGED_MAX || members == before {
            return Ok(judged + count);
        }
        judged += count;
        before = members;
    }
}

/// Judges members whose tier their programme has no more, once for each of its versions.
async fn judge_removed(of: &Statuses, now: Timestamp) -> Result<i64, DatabaseError> {
    let mut judged = 0;
    for program in of.programs.ids() {
        let Ok(applied) = of.programs.newest(&program) else {
            continue;
        };
        // Who has a tier of a programme without tiers is judged when it has some again.
        let Some(scheme) = &applied.program.tiers else {
            continue;
        };
        if of.judged.knows(&program, applied.version) {
            continue;
        }
        let levels = scheme.levels.iter();
        let tiers: Vec<String> = levels.map(|level| level.tier.to_string()).collect();
        let mut before = Vec::new();
        loop {
            let done: Result<_, DatabaseError> =
                run!(of.database, "judge_removed", |connection| async {
                    let judging = Judging::begin(connection, of).await?;
                    let limit = JUDGED_MAX;
                    let found =
                        statuses::with_other_tiers(connection, &program, &tiers, limit).await?;
                    let members = found.into_iter().map(|member| (program.clone(), member));
                    judging
                        .judge(connection, of, (members.collect(), now))
                        .await
                });
            let (members, position) = done?;
            of.feed.reached(position);
            judged += i64::try_from(members.len()).unwrap_or(i64::MAX);
            if members.is_empty() || members == before {
                break;
            }
            before = members;
        }
        of.judged.note(program, applied.version);
    }
    Ok(judged)
}

/// A member being judged.
struct Member {
    program: ProgramId,
    member: MemberId,
    status: Option<Status>,
    spends: Spends,
    changed: bool,
}

/// Members being judged, under the lock of the log.
pub(super) struct Judging {
    pub(super) position: i64,
    written_at: Timestamp,
    members: Vec<Member>,
    log: Vec<Logged>,
}

/// Members as their programme and id.
type Names = Vec<(ProgramId, MemberId)>;

impl Judging {
    /// Locks the log: from here to the end of the transaction nobody else
    /// judges anybody.
    pub(super) async fn begin(
        connection: &mut PgConnection,
        of: &Statuses,
    ) -> Result<Self, DatabaseError> {
        let head = log::lock_head(connection).await?;
        Ok(Self {
            position: head.position,
            written_at: head.written_at.max(of.clock.now()),
            members: Vec::new(),
            log: Vec::new(),
        })
    }

    /// Judges members as of now; answers with them, and how far the log reaches.
    async fn judge(
        mut self,
        connection: &mut PgConnection,
        of: &Statuses,
        (members, now): (Names, Timestamp),
    ) -> Result<(Names, i64), DatabaseError> {
        let from: Vec<(ProgramId, MemberId, Timestamp)> = members
            .iter()
            .map(|(program, member)| (program.clone(), member.clone(), now))
            .collect();
        self.read(connection, of, from).await?;
        self.advance_all(connection, of, now).await?;
        self.write(connection).await?;
        Ok((members, self.position))
    }

    /// Reads members' statuses, and by day what counts for a judgement at the moment that
    /// is named with each, or later.
    pub(super) async fn read(
        &mut self,
        connection: &mut PgConnection,
        of: &Statuses,
        members: Vec<(ProgramId, MemberId, Timestamp)>,
    ) -> Result<(), DatabaseError> {
        let programs: Vec<String> = members.iter().map(|(p, ..)| p.to_string()).collect();
        let names: Vec<String> = members.iter().map(|(_, m, _)| m.to_string()).collect();
        let earliest: Vec<Timestamp> = members.iter().map(|(.., earliest)| *earliest).collect();
        self.members = members
            .into_iter()
            .map(|(program, member, _)| Member {
                program,
                member,
                status: None,
                spends: Spends::default(),
                changed: false,
            })
            .collect();
        for (index, status) in statuses::find(connection, &programs, &names).await? {
            self.members[index].status = Some(status);
        }
        let known = self.members.iter().zip(earliest);
        let from: Vec<Day> = known
            .map(|(member, earliest)| {
                let program = of.programs.newest(&member.program).ok();
                let Some(program) = program.map(|applied| applied.program) else {
                    return Day::of(earliest);
                };
                let due = member.status.as_ref().and_then(|status| status.evaluate_at);
                let from = due.map_or(earliest, |due| due.min(earliest));
                let scheme = program.tiers.as_ref();
                let before =
                    scheme.map(|scheme| scheme.window.before(from, &program.calendar.zone));
                Day::of(before.unwrap_or(from))
            })
            .collect();
        for (index, day, spent) in purchases::days(connection, &programs, &names, &from).await? {
            self.members[index].spends.add_day(day, spent);
        }
        Ok(())
    }

    /// Decides something of a member, and reads the days that this needs. Members without
    /// a scheme are left as they are.
    async fn decide(
        &mut self,
        connection: &mut PgConnection,
        of: &Statuses,
        index: usize,
        decide: impl Fn(&Program, &TierScheme, &mut Status, &Spends) -> Result<Vec<Change>, DayNeeded>,
    ) -> Result<Vec<Change>, DatabaseError> {
        let member = &mut self.members[index];
        let applied = of.programs.newest(&member.program).ok();
        let Some(program) = applied.map(|applied| applied.program) else {
            return Ok(Vec::new());
        };
        let (Some(scheme), Some(status)) = (&program.tiers, &mut member.status) else {
            return Ok(Vec::new());
        };
        // Who needs many days is read more and more of them at a time.
        let mut days_max = 1;
        let changes = loop {
            match decide(&program, scheme, status, &member.spends) {
                Ok(changes) => break changes,
                Err(DayNeeded(day)) => {
                    let days = member.spends.unread_from(day, days_max);
                    let programs = vec![member.program.to_string(); days.len()];
                    let names = vec![member.member.to_string(); days.len()];
                    let read = purchases::of_days(&mut *connection, &programs, &names, &days);
                    let mut by_day: Vec<Vec<Spend>> = vec![Vec::new(); days.len()];
                    for (index, spend) in read.await? {
                        by_day[index].push(spend);
                    }
                    for (day, spends) in days.into_iter().zip(by_day) {
                        member.spends.read_day(day, spends);
                    }
                    days_max = (2 * days_max).min(DAYS_READ_MAX);
                }
            }
        };
        member.changed = true;
        Ok(changes)
    }

    /// Judges everybody whose validity has ended by now.
    async fn advance_all(
        &mut self,
        connection: &mut PgConnection,
        of: &Statuses,
        now: Timestamp,
    ) -> Result<(), DatabaseError> {
        for index in 0..self.members.len() {
            self.judge_until(connection, of, index, now).await?;
        }
        Ok(())
    }

    /// Credits purchases, in their order; their members have been read.
    pub(super) async fn credit_all(
        &mut self,
        connection: &mut PgConnection,
        of: &Statuses,
        made: &[Purchase],
    ) -> Result<(), DatabaseError> {
        let known = foundation::feed_known_at(&mut *connection, SOURCE).await?;
        let judged_by = of.by(known);
        let index_of: HashMap<(ProgramId, MemberId), usize> = self
            .members
            .iter()
            .enumerate()
            .map(|(index, member)| ((member.program.clone(), member.member.clone()), index))
            .collect();
        for purchase in made {
            let index = index_of[&(purchase.program.clone(), purchase.member.clone())];
            let applied = of.programs.newest(&purchase.program).ok();
            let scheme = applied.as_ref().and_then(|a| a.program.tiers.as_ref());
            if let Some(returned_at) = purchase.returned_at {
                // What was due before it came back is judged with it, what is due then without.
                self.judge_until(connection, of, index, returned_at).await?;
                self.members[index].spends.add(purchase.spend);
                continue;
            }
            let member = &mut self.members[index];
            let at = purchase.spend.at;
            member.spends.add(purchase.spend);
            // Without a scheme, the purchase waits for one.
            let Some(scheme) = scheme else {
                continue;
            };
            let status = &mut member.status;
            status.get_or_insert_with(|| Status::beginning(scheme));
            self.judge_until(connection, of, index, at).await?;
            let before = self.held(connection, scheme, index, at).await?;
            // As far as others are judged: beyond, more may have been bought.
            let made = (purchase.spend, judged_by.unwrap_or(at));
            let lifted = self.decide(connection, of, index, |program, scheme, status, spends| {
                domain::credit(program, scheme, status, (&before, spends), made)
            });
            for change in lifted.await? {
                self.log(index, change, purchase.transaction.clone());
            }
        }
        Ok(())
    }

    /// Judges a member whose validity has ended by a moment.
    async fn judge_until(
        &mut self,
        connection: &mut PgConnection,
        of: &Statuses,
        index: usize,
        at: Timestamp,
    ) -> Result<(), DatabaseError> {
        let judged = self.decide(connection, of, index, |program, scheme, status, spends| {
            domain::advance(program, scheme, status, spends, at)
        });
        for change in judged.await? {
            self.log(index, change, String::new());
        }
        Ok(())
    }

    /// The status that a member had at a moment.
    async fn held(
        &self,
        connection: &mut PgConnection,
        scheme: &TierScheme,
        index: usize,
        at: Timestamp,
    ) -> Result<Status, DatabaseError> {
        let Member {
            program,
            member,
            status,
            ..
        } = &self.members[index];
        let known = status.iter().find(|status| status.since <= Some(at));
        let mut here = self.log.iter().rev().filter(|logged| {
            logged.program == *program
                && logged.member == *member
                && logged.change.status.since <= Some(at)
        });
        if let Some(known) = known.or_else(|| Some(&here.next()?.change.status)) {
            return Ok(known.clone());
        }
        let stored = log::status_at(connection, program, member, at).await?;
        Ok(stored.unwrap_or_else(|| Status::beginning(scheme)))
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
