//! How far a consumer has read a service's log.

use std::{fmt, str::FromStr};

/// A place in all logs of a service: for each shard the position of the last
/// entry that was taken, 0 for none.
///
/// Callers get and return it as one opaque token, its `Display`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Vec<i64>);

/// A token that is no cursor of this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a cursor as the service gave it")]
pub struct InvalidCursor;

impl Cursor {
    /// Before the first entry of every shard.
    #[must_use]
    pub fn beginning(shards: usize) -> Self {
        Self(vec![0; shards])
    }

    /// After these positions, one for each shard.
    #[must_use]
    pub fn new(positions: Vec<i64>) -> Self {
        Self(positions)
    }

    /// The position of the last entry taken, for each shard.
    #[must_use]
    pub fn positions(&self) -> &[i64] {
        &self.0
    }

    /// Moves one shard forward to `position`.
    pub fn advance(&mut self, shard: usize, position: i64) {
        self.0[shard] = position;
    }

    /// Entries before it, in all shards together.
    #[must_use]
    pub fn entries(&self) -> i64 {
        self.0.iter().sum()
    }

    /// Reads a token for a log of `shards` shards; an empty one is the beginning.
    pub fn parse(token: &str, shards: usize) -> Result<Self, InvalidCursor> {
        if token.is_empty() {
            return Ok(Self::beginning(shards));
        }
        let cursor: Self = token.parse()?;
        if cursor.0.len() == shards {
            Ok(cursor)
        } else {
            Err(InvalidCursor)
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shard, position) in self.0.iter().enumerate() {
            if shard > 0 {
                f.write_str(".")?;
            }
            write!(f, "{position:x}")?;
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(token: &str) -> Result<Self, InvalidCursor> {
        token
            .split('.')
            .map(|part| match i64::from_str_radix(part, 16) {
                Ok(position) if position >= 0 => Ok(position),
                _ => Err(InvalidCursor),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_token() {
        let cursor = Cursor::new(vec![0, 7, 1_000_000]);
        assert_eq!(Cursor::parse(&cursor.to_string(), 3), Ok(cursor));
        assert_eq!(Cursor::parse("", 2), Ok(Cursor::beginning(2)));
        for bad in ["1.2", "x.y.z", "1.-2.3", "1..3"] {
            assert_eq!(Cursor::parse(bad, 3), Err(InvalidCursor), "{bad}");
        }
    }
}
