//! Versions of programmes that begin in a shard, and ends of periods that are said to be written.

use std::collections::BTreeMap;

use fealty_ledger::{Entry, Said};
use fealty_postgres::{DatabaseError, PgConnection, foundation, to_pg};
use fealty_program::{ProgramVersion, text_digest};
use fealty_types::{Position, ProgramId, ShardId, Timestamp};

use super::{
    store::{self, rows::VersionRow, versions::BegunVersion},
    work::{Interrupted, ReadOn, ShardWork, number},
};

/// Where a version began, and which was in force before.
pub(crate) struct Begun {
    pub(super) position: Position,
    pub(super) before: Option<BegunVersion>,
}

/// What is said to be written for all members of programmes.
#[derive(Default)]
pub(super) struct SaidOfAll {
    /// The ends of periods, up to a moment.
    ended: BTreeMap<ProgramId, Timestamp>,
    /// What counters come to by the log, up to a version.
    backfilled: BTreeMap<ProgramId, u32>,
}

impl SaidOfAll {
    pub(super) fn is_empty(&self) -> bool {
        self.ended.is_empty() && self.backfilled.is_empty()
    }

    /// Stores it, under the lock of the head.
    pub(super) async fn put(
        &self,
        connection: &mut PgConnection,
        shard: ShardId,
    ) -> Result<(), DatabaseError> {
        for (program, through) in &self.ended {
            store::ends::put(&mut *connection, shard, (program, *through)).await?;
        }
        for (program, version) in &self.backfilled {
            let said = (program, *version);
            store::versions::put_backfilled(&mut *connection, shard, said).await?;
        }
        Ok(())
    }
}

impl ShardWork {
    /// Sees to it that requests from here on are planned by a version: where another is
    /// in force in the shard, this one begins, unless it is the older. Answers with where
    /// it begins, if it does. What is begun stays for ever, so what is stored is looked at
    /// first, under the lock.
    pub(crate) async fn begin_version(
        &mut self,
        connection: &mut PgConnection,
        applied: &ProgramVersion,
    ) -> Result<Option<Begun>, Interrupted> {
        let (program, version) = (&applied.program.id, number(applied));
        let before = self.versions.get(program).copied();
        if before.is_some_and(|before| before.version == version) {
            return Ok(None);
        }
        let passed = || Interrupted::VersionPassed(program.clone());
        if before.is_some_and(|before| before.version > version) {
            return Err(passed());
        }
        if self.read_on == ReadOn::Never {
            return Err(Interrupted::NeedsLock);
        }
        let stored = foundation::program(connection, program, Some(applied.version)).await?;
        let digest = applied.text_digest;
        if stored.is_none_or(|stored| text_digest(&stored.source) != digest) {
            return Err(passed());
        }
        let position = self.log.next();
        self.announce(program, Said::VersionBegins { version, digest })?;
        let begun = BegunVersion {
            version,
            position,
            begun_at: self.log.written_at(),
            backfilled: before.map_or(0, |before| before.backfilled),
        };
        self.versions.insert(program.clone(), begun);
        Ok(Some(Begun { position, before }))
    }

    /// What is refused changes nothing: a version that began for it alone does not begin.
    /// Where something was due before the request, it has begun, for that is written.
    pub(super) fn withdraw_version(&mut self, program: &ProgramId, begun: &Begun) {
        if !self.log.withdraw(begun.position) {
            return;
        }
        self.slot_of.pop();
        match begun.before {
            Some(before) => self.versions.insert(program.clone(), before),
            None => self.versions.remove(program),
        };
    }

    /// The versions that begin with what is written here.
    pub(super) fn begun(&self) -> Vec<VersionRow> {
        let mut begun: BTreeMap<&ProgramId, VersionRow> = BTreeMap::new();
        for entry in self.log.written() {
            if let Entry::Notice(notice) = entry {
                let Said::VersionBegins { version, .. } = &notice.says else {
                    continue;
                };
                let row = VersionRow {
                    program: notice.program.to_string(),
                    version: i32::try_from(*version).unwrap_or(i32::MAX),
                    position: notice.position.get(),
                    begun_at: to_pg(notice.written_at),
                    backfilled: 0,
                };
                begun.insert(&notice.program, row);
            }
        }
        begun.into_values().collect()
    }

    /// The programmes of which a version begins with what is written here.
    pub(crate) fn begun_programs(&self) -> Vec<ProgramId> {
        let notices = self.log.written().iter().filter_map(|entry| match entry {
            Entry::Notice(notice) => Some(notice),
            Entry::Transaction(_) => None,
        });
        let begun = notices.filter(|notice| matches!(notice.says, Said::VersionBegins { .. }));
        begun.map(|notice| notice.program.clone()).collect()
    }

    /// What is said here to be written for all members.
    pub(super) fn said_of_all(&self) -> SaidOfAll {
        let mut said = SaidOfAll::default();
        for entry in self.log.written() {
            let Entry::Notice(notice) = entry else {
                continue;
            };
            let program = notice.program.clone();
            match notice.says {
                Said::EndsWritten { through } => {
                    said.ended.insert(program, through);
                }
                Said::CountersBackfilled { version } => {
                    said.backfilled.insert(program, version);
                }
                _ => {}
            }
        }
        said
    }

    /// The version of a programme that is in force in the shard.
    pub(crate) fn version(&self, program: &ProgramId) -> Option<BegunVersion> {
        self.versions.get(program).copied()
    }

    /// Up to when the ends of a programme's periods are written.
    pub(crate) fn ended_through(&self, program: &ProgramId) -> Option<Timestamp> {
        self.ends.get(program).copied()
    }
}
