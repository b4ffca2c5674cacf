//! A version of a programme that keeps other tiers' points than the one before: it is to
//! begin in every shard in which that matters, also where nobody asks for anything.

use std::time::Duration;

use fealty_postgres::PgConnection;
use fealty_program::Program;
use fealty_server::{OnApply, ProgramsError, ServiceClock, async_trait};
use fealty_types::Clock as _;

use crate::shard::store::tier_changes;

/// After how long every instance plans by a new version.
const KNOWN_EVERYWHERE: Duration = Duration::from_secs(5);

/// Has such a version begin in every shard.
pub(crate) struct Renewal {
    pub(crate) clock: ServiceClock,
}

#[async_trait]
impl OnApply for Renewal {
    async fn apply(
        &self,
        connection: &mut PgConnection,
        before: Option<&Program>,
        after: &Program,
    ) -> Result<(), ProgramsError> {
        let before = before.into_iter().flat_map(Program::waivers);
        if before.eq(after.waivers()) {
            return Ok(());
        }
        let now = self.clock.now();
        let due_at = now.checked_add(KNOWN_EVERYWHERE).unwrap_or(now);
        Ok(tier_changes::note_one_of_each_shard(connection, &after.id, due_at).await?)
    }
}
