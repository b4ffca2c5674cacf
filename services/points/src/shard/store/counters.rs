//! Members' numbers: a packed row for each member that has some.
//!
//! A row is small, for each purchase writes it anew: keys in order, each with its
//! buckets; a bucket is told by its distance from the one before, numbers take as many
//! bytes as they need ([postcard](https://postcard.jamesmunns.com/wire-format)).

use std::collections::BTreeMap;

use fealty_ledger::{CounterBuckets, Counters};
use fealty_postgres::{DatabaseError, PgConnection, StoredRow};
use fealty_types::{MemberId, ProgramId, ShardId};

use super::{rows::CountersRow, stored};

/// A key with its buckets: distance from the one before, value.
type Packed = Vec<(u64, Vec<(i32, i64)>)>;

impl CountersRow {
    /// The row of a member's numbers.
    #[must_use]
    pub(crate) fn new(member_no: i64, counters: &Counters) -> Self {
        let packed = counters.iter().map(|(key, buckets)| {
            let mut before = 0;
            let buckets = buckets.iter().map(|(bucket, value)| {
                let distance = bucket.wrapping_sub(before);
                before = *bucket;
                (distance, *value)
            });
            (key, buckets.collect())
        });
        let packed: Packed = packed.collect();
        Self {
            member_no,
            body: postcard::to_allocvec(&packed).expect("writing to memory does not fail"),
        }
    }

    /// The member's number, and the member's numbers.
    pub(crate) fn into_counters(self) -> Result<(i64, Counters), DatabaseError> {
        let packed: Option<Packed> = postcard::from_bytes(&self.body).ok();
        let packed = StoredRow::of("counters", self.member_no).check("body", packed)?;
        let by_key = packed.into_iter().map(|(key, buckets)| {
            let mut at = 0_i32;
            let buckets = buckets.into_iter().map(|(distance, value)| {
                at = at.wrapping_add(distance);
                (at, value)
            });
            (key, buckets.collect::<CounterBuckets>())
        });
        let by_key: BTreeMap<u64, CounterBuckets> = by_key.collect();
        Ok((self.member_no, Counters::stored(by_key)))
    }
}

/// A member's numbers.
pub(crate) async fn of_member(
    executor: impl sqlx::PgExecutor<'_>,
    shard: ShardId,
    (program, member): (&ProgramId, &MemberId),
) -> Result<Counters, DatabaseError> {
    let row = sqlx::query_as!(
        CountersRow,
        "-- points.counters.of_member
        SELECT c.member_no, c.body FROM members m
        JOIN counters c ON c.shard = m.shard AND c.member_no = m.member_no
        WHERE m.shard = $1 AND m.program = $2 AND m.member = $3",
        stored(shard),
        program.as_str(),
        member.as_str(),
    )
    .fetch_optional(executor)
    .await?;
    let counters = row.map(CountersRow::into_counters).transpose()?;
    Ok(counters.map(|(_, counters)| counters).unwrap_or_default())
}

/// The numbers of all members of a shard that come after one, so many of them.
pub(crate) async fn after(
    connection: &mut PgConnection,
    shard: ShardId,
    member_no: i64,
    len_max: i64,
) -> Result<Vec<(i64, Counters)>, DatabaseError> {
    let rows = sqlx::query_as!(
        CountersRow,
        "-- points.counters.after
        SELECT member_no, body FROM counters WHERE shard = $1 AND member_no > $2
        ORDER BY member_no LIMIT $3",
        stored(shard),
        member_no,
        len_max,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(CountersRow::into_counters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_were_and_take_little_room() {
        let weeks: CounterBuckets = (0..56).map(|week| (20_000 + 7 * week, 5)).collect();
        let by_key = BTreeMap::from([
            (u64::MAX, weeks),
            (
                3,
                CounterBuckets::from([(i32::MIN, i64::MIN), (i32::MAX, i64::MAX)]),
            ),
        ]);
        let counters = Counters::stored(by_key);
        let row = CountersRow::new(7, &counters);
        assert!(row.body.len() < 170, "{} bytes", row.body.len());
        let (number, read) = row.into_counters().expect("it is one");
        assert_eq!((number, read), (7, counters));
    }

    #[test]
    fn what_is_no_row_is_refused() {
        let row = CountersRow {
            member_no: 7,
            body: vec![9, 9, 9],
        };
        assert!(row.into_counters().is_err());
    }
}
