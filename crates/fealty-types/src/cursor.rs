//! How far a consumer has read a service's log.

use std::{fmt, str::FromStr};

/// A place in all logs of a service: for each shard the position of the last
/// entry that was taken, 0 for none, and a mark by which that entry is known again. A log
/// that was restored to an earlier moment and went on otherwise has other entries at the
/// same positions: the mark shows it.
///
/// Callers get and return it as one opaque token, its `Display`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    positions: Vec<i64>,
    marks: Vec<Option<Mark>>,
}

/// By what an entry is known again: the first bytes of a hash of it and all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64);

impl Mark {
    /// Of a hash.
    #[must_use]
    pub fn of(hash: &[u8]) -> Self {
        let mut first = [0; 8];
        for (first, byte) in first.iter_mut().zip(hash) {
            *first = *byte;
        }
        Self(u64::from_be_bytes(first))
    }
}

/// A token that is no cursor of this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a cursor as the service gave it")]
pub struct InvalidCursor;

impl Cursor {
    /// Before the first entry of every shard.
    #[must_use]
    pub fn beginning(shards: usize) -> Self {
        Self::new(vec![0; shards])
    }

    /// After these positions, one for each shard, whatever stands there.
    #[must_use]
    pub fn new(positions: Vec<i64>) -> Self {
        let marks = vec![None; positions.len()];
        Self { positions, marks }
    }

    /// After these entries, one for each shard.
    #[must_use]
    pub fn marked(entries: impl IntoIterator<Item = (i64, Mark)>) -> Self {
        let (positions, marks) = entries.into_iter().unzip();
        let mut cursor = Self {
            positions,
            marks: Vec::new(),
        };
        let marks: Vec<Mark> = marks;
        cursor.marks = marks.into_iter().map(Some).collect();
        cursor
    }

    /// The position of the last entry taken, for each shard.
    #[must_use]
    pub fn positions(&self) -> &[i64] {
        &self.positions
    }

    /// By what the last entry taken of a shard is known again; nothing before the first
    /// entry, or where the cursor does not say.
    #[must_use]
    pub fn mark(&self, shard: usize) -> Option<Mark> {
        self.marks[shard].filter(|_| self.positions[shard] > 0)
    }

    /// Moves one shard forward to an entry.
    pub fn advance(&mut self, shard: usize, position: i64, mark: Mark) {
        self.positions[shard] = position;
        self.marks[shard] = Some(mark);
    }

    /// Entries before it, in all shards together.
    #[must_use]
    pub fn entries(&self) -> i64 {
        self.positions.iter().sum()
    }

    /// Reads a token for a log of `shards` shards; an empty one is the beginning.
    pub fn parse(token: &str, shards: usize) -> Result<Self, InvalidCursor> {
        if token.is_empty() {
            return Ok(Self::beginning(shards));
        }
        let cursor: Self = token.parse()?;
        if cursor.positions.len() == shards {
            Ok(cursor)
        } else {
            Err(InvalidCursor)
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shard, position) in self.positions.iter().enumerate() {
            if shard > 0 {
                f.write_str(".")?;
            }
            write!(f, "{position:x}")?;
            if let Some(mark) = self.mark(shard) {
                write!(f, "-{:016x}", mark.0)?;
            }
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(token: &str) -> Result<Self, InvalidCursor> {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (mut positions, mut marks) = (Vec::new(), Vec::new());
        for part in token.split('.') {
            let (position, mark) = part
                .split_once('-')
                .map_or((part, None), |(p, m)| (p, Some(m)));
            let position = Some(position).filter(|text| digits(text));
            let position = position.and_then(|text| i64::from_str_radix(text, 16).ok());
            positions.push(position.ok_or(InvalidCursor)?);
            marks.push(match mark {
                None => None,
                Some(mark) if mark.len() == 16 && digits(mark) => {
                    let mark = u64::from_str_radix(mark, 16);
                    Some(Mark(mark.map_err(|_| InvalidCursor)?))
                }
                Some(_) => return Err(InvalidCursor),
            });
        }
        Ok(Self { positions, marks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_token() {
        let mut cursor = Cursor::new(vec![0, 7, 1_000_000]);
        assert_eq!(Cursor::parse(&cursor.to_string(), 3), Ok(cursor.clone()));
        cursor.advance(1, 8, Mark::of(&[0, 1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(cursor.to_string(), "0.8-0001020304050607.f4240");
        assert_eq!(Cursor::parse(&cursor.to_string(), 3), Ok(cursor));
        assert_eq!(Cursor::parse("", 2), Ok(Cursor::beginning(2)));
        for bad in [
            "1.2",
            "x.y.z",
            "1.-2.3",
            "1..3",
            "1.2-ff.3",
            "1.2-000000000000000g.3",
        ] {
            assert_eq!(Cursor::parse(bad, 3), Err(InvalidCursor), "{bad}");
        }
    }
}
