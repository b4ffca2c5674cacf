//! Versions of programmes that begin in a shard, and ends of periods that are said to be written.

use std::collections::BTreeMap;

use fealty_ledger::{Entry, Said};
use fealty_postgres::{PgConnection, foundation, to_pg};
use fealty_program::{ProgramVersion, text_digest};
use fealty_types::{Position, ProgramId, Timestamp};

use super::{
    store::{rows::VersionRow, versions::BegunVersion},
    work::{Interrupted, ReadOn, ShardWork, number},
};

/// Where a version began, and which was in force before.
pub(super) struct Begun {
    pub(super) position: Position,
    pub(super) before: Option<BegunVersion>,
}

impl ShardWork {
    /// Sees to it that requests from here on are planned by a version: where another is
    /// in force in the shard, this one begins, unless it is the older. Answers with where
    /// it begins, if it does. What is begun stays for ever, so what is stored is looked at
    /// first, under the lock.
    pub(super) async fn begin_version(
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

    /// The ends of periods that are said to be written here, by programme.
    pub(super) fn ended(&self) -> BTreeMap<&ProgramId, Timestamp> {
        let notices = self.log.written().iter().filter_map(|entry| match entry {
            Entry::Notice(notice) => Some(notice),
            Entry::Transaction(_) => None,
        });
        let ended = notices.filter_map(|notice| match notice.says {
            Said::EndsWritten { through } => Some((&notice.program, through)),
            _ => None,
        });
        ended.collect()
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
