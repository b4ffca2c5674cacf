//! What has been verified of a shard, kept in a file, and compared with what is stored when
//! the next run goes on from there.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use fealty_postgres::PgConnection;
use fealty_types::{Position, ShardId};

use super::{
    NO_MARK, OTHER_TEXT, Programs, VerifyError,
    shard::{Shard, hash_of, with_columns},
};
use crate::{
    audit::store as accounts,
    shard::{Shards, store},
};

/// What a file of this release begins with.
const STATE_HEADER: &[u8] = b"fealty verified 11\n";
/// Transactions that an earlier run has verified, hashed at a time.
const REHASH_LEN: i64 = 50_000;

impl Shard {
    fn path(shard: ShardId, folder: &Path) -> PathBuf {
        folder.join(format!("shard-{shard}.verified"))
    }

    /// What an earlier run has kept; a new shard where there is nothing.
    pub(super) fn load(shard: ShardId, shards: Shards, folder: &Path) -> Result<Self, VerifyError> {
        let path = Self::path(shard, folder);
        let read = match fs::read(&path) {
            // Another release kept other things: it is verified from the beginning.
            Ok(bytes) => match bytes.strip_prefix(STATE_HEADER) {
                None => return Ok(Self::new(shard, shards.count())),
                Some(bytes) => borsh::from_slice::<Self>(bytes),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::new(shard, shards.count()));
            }
            Err(error) => Err(error),
        };
        read.map_err(|source| VerifyError::State { path, source })
    }

    /// Keeps what has been verified: a new file takes the place of the old.
    pub(super) fn keep(&self, folder: &Path) -> Result<(), VerifyError> {
        let path = Self::path(self.shard, folder);
        let write = || {
            fs::create_dir_all(folder)?;
            let new = path.with_extension("new");
            let mut file = std::io::BufWriter::new(fs::File::create(&new)?);
            file.write_all(STATE_HEADER)?;
            borsh::to_writer(&mut file, self)?;
            file.flush()?;
            fs::rename(new, &path)
        };
        write().map_err(|source| VerifyError::State {
            path: path.clone(),
            source,
        })
    }

    /// What an earlier run verified must still be there: its bytes are hashed again, the
    /// columns beside them, and the accounts' marks; and the programmes in force must have the
    /// text that they began with.
    pub(super) async fn confirm(
        &self,
        connection: &mut PgConnection,
        programs: &Programs,
    ) -> Result<(), VerifyError> {
        for (program, began) in &self.versions {
            let applied = programs.get(&(program.clone(), began.version));
            if applied.is_none_or(|applied| applied.text_digest != began.digest) {
                return Err(self.difference(began.position, OTHER_TEXT));
            }
        }
        let mut columns = [0; 32];
        let mut from = Position::new(0);
        while from < self.position {
            let through = self.position.get().min(from.get() + REHASH_LEN);
            let through = Position::new(through);
            let found =
                store::log::first_unchained(&mut *connection, self.shard, from, through).await?;
            if let Some(position) = found {
                return Err(self.difference(position, "the chain does not fit the entry"));
            }
            self.confirm_marks(connection, from, through).await?;
            let rows = store::log::columns(&mut *connection, self.shard, from, through).await?;
            columns = rows.into_iter().fold(columns, with_columns);
            from = through;
        }
        if columns != self.columns {
            let what = "up to here, a column differs from the entry that was verified";
            return Err(self.difference(self.position, what));
        }
        if self.position.get() == 0 {
            return Ok(());
        }
        let row = store::log::at(connection, self.shard, self.position).await?;
        if row.is_none_or(|row| row.chain != self.chain) {
            let what = "the log is not the one that was verified before";
            return Err(self.difference(self.position, what));
        }
        Ok(())
    }

    /// Marks after a position and through another must be those that were verified.
    async fn confirm_marks(
        &self,
        connection: &mut PgConnection,
        after: Position,
        through: Position,
    ) -> Result<(), VerifyError> {
        let stray = accounts::stray_mark(connection, self.shard, after, through).await?;
        if let Some(position) = stray {
            return Err(self.difference(position, NO_MARK));
        }
        let stored = accounts::marks_between(connection, self.shard, after, through).await?;
        let mut stored = stored.iter().map(|(at, marked)| (*at, hash_of(marked)));
        let verified = self.marks.range(after.next()..=through);
        for (at, hash) in verified.map(|(at, hash)| (*at, *hash)) {
            if stored.next() != Some((at, hash)) {
                return Err(self.difference(at, "the accounts' mark differs"));
            }
        }
        match stored.next() {
            Some((position, _)) => Err(self.difference(position, "the accounts' mark differs")),
            None => Ok(()),
        }
    }
}
