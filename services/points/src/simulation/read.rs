//! What a simulation reads: logs, versions, and what later entries name.

use std::collections::{HashMap, HashSet, VecDeque};

use fealty_ledger::Entry;
use fealty_postgres::{Database, DatabaseError, foundation};
use fealty_program::{Program, ProgramVersion};
use fealty_types::{MemberId, Position, ProgramId, ShardId, TierId, Timestamp};

use crate::shard::store;

/// Entries read at a time.
const READ_LEN: i64 = 5_000;

/// A shard's log, read as it is played.
pub(super) struct Source {
    pub(super) shard: ShardId,
    after: Position,
    through: Position,
    entries: VecDeque<Entry>,
}

impl Source {
    /// The log of a shard as far as it goes now.
    pub(super) async fn of(database: &Database, shard: ShardId) -> Result<Self, DatabaseError> {
        let head = store::head::head(database.pool(), shard).await?;
        Ok(Self {
            shard,
            after: Position::new(0),
            through: head.position,
            entries: VecDeque::new(),
        })
    }

    /// How many entries it has.
    pub(super) fn len(&self) -> i64 {
        self.through.get()
    }

    /// The next entry, which stays.
    pub(super) async fn peek(
        &mut self,
        database: &Database,
    ) -> Result<Option<&Entry>, DatabaseError> {
        if self.entries.is_empty() && self.after < self.through {
            let left = self.through.get() - self.after.get();
            let limit = READ_LEN.min(left);
            let rows = store::log::read(database.pool(), self.shard, self.after, limit).await?;
            let last = rows.last().map(|row| row.position);
            let last = last.ok_or(DatabaseError::Broken("a log has no gaps"))?;
            self.after = Position::new(last);
            for row in rows {
                self.entries.push_back(row.entry()?);
            }
        }
        Ok(self.entries.front())
    }

    /// Takes the next entry.
    pub(super) fn take(&mut self) -> Option<Entry> {
        self.entries.pop_front()
    }
}

/// The places of what later entries of a shard name: purchases of which something came back,
/// and what was reversed.
pub(super) async fn named(
    database: &Database,
    shard: ShardId,
) -> Result<HashSet<Position>, DatabaseError> {
    let named = store::reversals::named(database.pool(), shard).await?;
    Ok(named.into_iter().collect())
}

/// Members' changes of tier as they were told, in order.
pub(super) async fn tiers(
    database: &Database,
    shard: ShardId,
    program: &ProgramId,
) -> Result<HashMap<MemberId, Vec<(Timestamp, TierId)>>, DatabaseError> {
    let rows = store::members::tiers(database.pool(), shard, program).await?;
    let mut tiers: HashMap<MemberId, Vec<(Timestamp, TierId)>> = HashMap::new();
    for (member, since, tier) in rows {
        tiers.entry(member).or_default().push((since, tier));
    }
    Ok(tiers)
}

/// A version that was applied.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    pub(super) version: ProgramVersion,
    /// SHA-256 of its meaning.
    pub(super) digest: String,
}

/// All versions of a programme, by number.
pub(super) async fn versions(
    database: &Database,
    program: &ProgramId,
) -> Result<HashMap<u32, Applied>, DatabaseError> {
    let mut versions = HashMap::new();
    let newest = foundation::newest_version(database.pool(), program).await?;
    for number in 1..=newest.unwrap_or(0) {
        let stored = foundation::program(database.pool(), program, Some(number)).await?;
        let Some(stored) = stored else { continue };
        // One that cannot be read any more is missed only where it was in force.
        if let (Ok(parsed), Ok(at)) = (Program::parse(&stored.source), u32::try_from(number)) {
            let version = parsed.numbered(number);
            let digest = stored.digest;
            versions.insert(at, Applied { version, digest });
        }
    }
    Ok(versions)
}

/// The versions that were in force in a shard from a moment on, or ever.
pub(super) async fn in_force(
    database: &Database,
    (shard, program): (ShardId, &ProgramId),
    since: Option<Timestamp>,
) -> Result<Vec<u32>, DatabaseError> {
    let rows = store::versions::history(database.pool(), shard, Some(program)).await?;
    let mut began = Vec::new();
    for row in rows {
        let (_, version) = row.into_version()?;
        began.push((version.begun_at, version.version));
    }
    let until = |at: usize| began.get(at + 1).map(|(next, _)| *next);
    let counts = |at: usize| since.is_none_or(|since| until(at).is_none_or(|until| until > since));
    let numbers = began.iter().enumerate().filter(|(at, _)| counts(*at));
    Ok(numbers.map(|(_, (_, version))| *version).collect())
}
