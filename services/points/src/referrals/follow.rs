//! What comes of claims: both sides are given once a purchase of who was brought has stood
//! long enough.
//!
//! Instances look, shard by shard, at the claims whose time has come. Two that meet at one do
//! no harm: what each side is given is recorded once. A claim that waits is looked at once a
//! day, and when it is due; once it is decided that both
//! sides are given, no purchase and no return changes that.

use std::time::Duration;

use fealty_ledger::{Activity, Command, Transaction};
use fealty_program::{ProgramVersion, ReferralStep};
use fealty_types::{
    BrandId, Clock as _, MemberId, Metadata, Position, ProgramId, ShardId, Timestamp,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rand::seq::SliceRandom as _;
use tokio_util::sync::CancellationToken;

use super::{Referrals, claim::code_of};
use crate::{
    error::Error,
    ledger::Change,
    plan::{Course, LOOK_AGAIN, Stands},
    shard::store::{
        self,
        head::Sweep,
        log,
        referrals::{ReferralState, StoredReferral},
        rows::VersionRow,
    },
};

const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Claims looked at in one go.
const CLAIMS_MAX: i64 = 200;
/// Claims looked at at once.
const AT_ONCE: usize = 4;
/// Entries of a member read at a time.
const READ_LEN: i64 = 200;
/// When one that could not be looked at is looked at again.
const AGAIN_SOON: Duration = Duration::from_mins(1);
/// The same where the programme, or the ledger, refuses.
const AGAIN_LATER: Duration = Duration::from_hours(24);

/// Whether what another instance does is left to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alone {
    Yes,
    No,
}

/// The version by which claims are judged in a shard, and from when on.
struct Judged {
    applied: ProgramVersion,
    from: Timestamp,
}

impl Referrals {
    /// Looks at claims until the service ends.
    pub(crate) async fn follow(self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
            let followed = shutdown.run_until_cancelled(self.follow_once(Alone::Yes));
            if let Some(Err(error)) = followed.await {
                tracing::debug!(%error, "referrals were not all looked at");
            }
        }
    }

    /// Looks at all claims whose time has come; answers how many those were.
    pub(crate) async fn follow_all(&self) -> Result<i64, Error> {
        self.follow_once(Alone::No).await
    }

    async fn follow_once(&self, alone: Alone) -> Result<i64, Error> {
        let programs = self.ledger.programs.ids().into_iter();
        let newest = programs.filter_map(|program| self.ledger.programs.newest(&program).ok());
        let offered = newest.filter(|applied| applied.program.referrals.is_some());
        let offered: Vec<ProgramVersion> = offered.collect();
        if offered.is_empty() {
            return Ok(0);
        }
        let mut shards: Vec<ShardId> = self.ledger.shards.all().collect();
        shards.shuffle(&mut rand::rng());
        let (mut looked, mut failed) = (0, None);
        for shard in shards {
            for applied in &offered {
                match self.follow_shard(shard, applied, alone).await {
                    Ok(claims) => looked += claims,
                    // A node that is down keeps no other waiting.
                    Err(error) => failed = Some(error),
                }
            }
        }
        failed.map_or(Ok(looked), Err)
    }

    /// The time, if the clock can be trusted.
    fn now(&self) -> Result<Timestamp, Error> {
        match self.ledger.clock.distrust() {
            None => Ok(self.ledger.clock.now()),
            Some(_) => Err(Error::Unavailable),
        }
    }

    /// Looks at the claims of a programme in a shard, unless another instance does.
    async fn follow_shard(
        &self,
        shard: ShardId,
        applied: &ProgramVersion,
        alone: Alone,
    ) -> Result<i64, Error> {
        let (pool, of) = (self.ledger.database.pool(), (shard, &applied.program.id));
        let now = self.now()?;
        // Most of the time nothing is due, and no lock is needed to see that.
        let due = store::referrals::due(pool, of, now, 1).await?;
        if due.is_empty() {
            return Ok(0);
        }
        let looking = self.look_at_due(shard, &applied.program.id, now);
        match alone {
            Alone::No => looking.await,
            Alone::Yes => {
                let alone = self.ledger.sweep_alone(Sweep::Referrals, shard, looking);
                alone.await
            }
        }
    }

    /// Looks at all that were due at a moment: what is put off is left to a later time.
    async fn look_at_due(
        &self,
        shard: ShardId,
        program: &ProgramId,
        now: Timestamp,
    ) -> Result<i64, Error> {
        let pool = self.ledger.database.pool();
        let mut looked = 0;
        loop {
            let due = store::referrals::due(pool, (shard, program), now, CLAIMS_MAX).await?;
            if due.is_empty() {
                return Ok(looked);
            }
            looked += i64::try_from(due.len()).unwrap_or(i64::MAX);
            let applied = self.ledger.programs.newest(program)?;
            let judged = Judged {
                from: self.begun_at(shard, &applied).await?,
                applied,
            };
            let looks = due.into_iter();
            let looks: Vec<_> = looks
                .map(|referral| self.look_once(shard, &judged, referral))
                .collect();
            let looks = stream::iter(looks).buffer_unordered(AT_ONCE);
            looks.try_collect::<Vec<()>>().await?;
        }
    }

    /// When a version began in a shard; now, where it is only to begin.
    async fn begun_at(&self, shard: ShardId, applied: &ProgramVersion) -> Result<Timestamp, Error> {
        let (pool, program) = (self.ledger.database.pool(), &applied.program.id);
        let history = store::versions::history(pool, shard, Some(program)).await?;
        let mut begun = history.into_iter().rev();
        let begun = begun.find(|row| i64::from(row.version) == applied.version);
        let begun = begun.map(VersionRow::into_version).transpose()?;
        let now = self.now()?;
        Ok(begun.map_or(now, |(_, begun)| begun.begun_at))
    }

    /// Looks at a claim, and notes when to look again.
    async fn look_once(
        &self,
        shard: ShardId,
        judged: &Judged,
        mut referral: StoredReferral,
    ) -> Result<(), Error> {
        let looked_at = self.now()?;
        let look_at = match self.look(shard, judged, &mut referral, looked_at).await {
            Ok(look_at) => look_at,
            Err(error) => {
                let (program, claim) = (&referral.program, referral.claim);
                if error.is_passing() {
                    tracing::debug!(%error, %program, %shard, %claim, "a referral waits");
                } else {
                    tracing::warn!(%error, %program, %shard, %claim, "a referral waits");
                }
                after_error(&error, looked_at)
            }
        };
        // By a clock that is not trusted by now, nothing is put off.
        self.now()?;
        let pool = self.ledger.database.pool();
        Ok(store::referrals::put(pool, shard, &referral, look_at).await?)
    }

    /// Looks at a claim; answers when to look again.
    async fn look(
        &self,
        shard: ShardId,
        judged: &Judged,
        referral: &mut StoredReferral,
        now: Timestamp,
    ) -> Result<Timestamp, Error> {
        let pool = self.ledger.database.pool();
        let claim = log::transaction_at(pool, shard, referral.claim).await?;
        let claim = claim.map(|row| row.transaction()).transpose()?;
        let claim = claim.ok_or(Error::Defect)?;
        let again = LOOK_AGAIN.after(now, &judged.applied.program.calendar.zone);
        if referral.state == ReferralState::Waiting {
            match self.stands(shard, &claim, (judged, referral)).await? {
                Stands::Void => {
                    (referral.state, referral.due_at) = (ReferralState::Void, None);
                    return Ok(now);
                }
                Stands::NotBought => {
                    referral.due_at = None;
                    return Ok(again);
                }
                Stands::From(due) => referral.due_at = Some(due),
            }
        }
        let due = referral.due_at.ok_or(Error::Defect)?;
        if due > now {
            return Ok(due.min(again));
        }
        let version = judged.applied.version;
        if self.ledger.programs.newest(&referral.program)?.version != version {
            return Err(Error::Unavailable);
        }
        // It is decided, whatever comes between the two sides.
        referral.state = ReferralState::Giving;
        store::referrals::put(pool, shard, referral, now).await?;
        self.give(&claim, (version, due)).await?;
        referral.state = ReferralState::Given;
        Ok(now)
    }

    /// How a claim stands, by what was written to its member since.
    async fn stands(
        &self,
        shard: ShardId,
        claim: &Transaction,
        (judged, referral): (&Judged, &mut StoredReferral),
    ) -> Result<Stands, Error> {
        let pool = self.ledger.database.pool();
        let number = store::members::number(pool, shard, &claim.program, &claim.member);
        let number = number.await?.ok_or(Error::Defect)?;
        let program = &judged.applied.program;
        let offered = program.referrals.as_ref();
        let offered = offered.ok_or(Error::ReferralsNotOffered)?;
        let mut course = Course::new(claim.written_at, (program, offered, judged.from));
        let mut after = referral.read_to;
        'read: loop {
            let rows = log::page_on(pool, (shard, number), after, READ_LEN).await?;
            for row in &rows {
                after = Position::new(row.position);
                if !course.take(&row.transaction()?) {
                    break 'read;
                }
            }
            if i64::try_from(rows.len()).is_ok_and(|len| len < READ_LEN) {
                break;
            }
        }
        let stands = course.stands();
        if stands == Stands::NotBought {
            // What has come back does not come again, and what was too little stays so.
            referral.read_to = after;
        }
        Ok(stands)
    }

    /// Has both sides given what the rules say: first who was brought, then who brought.
    async fn give(
        &self,
        claim: &Transaction,
        (version, due): (i64, Timestamp),
    ) -> Result<(), Error> {
        let ids = self.ledger.shards.ids();
        let (code, brand) = code_of(claim)
            .zip(claim.command().and_then(Command::brand))
            .ok_or(Error::Defect)?;
        let referrer = ids.referrer(&claim.program, &code);
        let referrer = referrer.map_err(|_| Error::Defect)?;
        let sides = [
            (ReferralStep::Referred, claim.member.clone()),
            (ReferralStep::Referrer, referrer),
        ];
        for (step, member) in sides {
            self.record((claim, step), member, (brand, version, due))
                .await?;
        }
        Ok(())
    }

    /// Records a side, once: at the brand that the claim was made at, whatever the programme
    /// says by now, so that it is the same activity.
    async fn record(
        &self,
        (claim, step): (&Transaction, ReferralStep),
        member: MemberId,
        (brand, version, due): (&BrandId, i64, Timestamp),
    ) -> Result<(), Error> {
        let claim_id = self.ledger.shards.ids().transaction(claim.place());
        // Another one each time: what makes it one is the activity's id.
        let request_id = format!(
            "{}-{claim_id}-{}",
            step.activity(),
            self.ledger.clock.now().micros()
        );
        let caller = self.itself.clone();
        let program = caller.program(claim.program.clone());
        let program = program.map_err(|_| Error::Defect)?;
        let member = caller.member(&program, member);
        let change = Change {
            request_id: request_id.parse().map_err(|_| Error::Defect)?,
            metadata: Metadata::default(),
            program,
            member: member.map_err(|_| Error::Defect)?,
            named_shard: None,
            // Under another version it might be another activity of that name.
            only_version: Some(version),
            command: Command::Activity(Activity {
                brand: brand.clone(),
                of_type: step.activity(),
                id: claim_id.parse().map_err(|_| Error::Defect)?,
                occurred_at: Some(due),
                attributes: [].into(),
            }),
            caller,
        };
        match self.ledger.submit(change).await {
            Ok(_) | Err(Error::ActivityAlreadyRecorded { .. }) => Ok(()),
            Err(Error::VersionMoved { .. }) => Err(Error::Unavailable),
            Err(error) => Err(error),
        }
    }
}

/// When to look again at one that failed.
fn after_error(error: &Error, now: Timestamp) -> Timestamp {
    let again = if error.is_passing() {
        AGAIN_SOON
    } else {
        AGAIN_LATER
    };
    now.checked_add(again).unwrap_or(now)
}
