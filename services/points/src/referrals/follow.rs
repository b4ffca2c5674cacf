//! What comes of claims: both sides are given once a purchase of who was brought has stood
//! long enough.
//!
//! Every instance looks, shard by shard, at the claims whose time has come. Two that meet at
//! one do no harm: what each side is given is recorded once. A claim is looked at no later
//! than anything that is bought after the last look could be due, and then again when it is.

use std::time::Duration;

use fealty_ledger::{Activity, Cause, Command, Returned, Transaction, taken_back};
use fealty_postgres::DatabaseError;
use fealty_program::{Period, Program, ReferralStep, Referrals as Offered};
use fealty_types::{BrandId, Clock as _, MemberId, Metadata, Position, ShardId, Timestamp};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rand::seq::SliceRandom as _;
use tokio_util::sync::CancellationToken;

use super::{Referrals, claim::code_of};
use crate::{
    error::Error,
    ledger::Change,
    shard::store::{
        self, log,
        referrals::{ReferralState, StoredReferral},
    },
};

const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Claims looked at in one go.
const CLAIMS_MAX: i64 = 200;
/// Claims looked at at once.
const AT_ONCE: usize = 32;
/// Entries of a member read at a time.
const READ_LEN: i64 = 200;
/// How far the clocks of tills may be behind.
const CLOCKS_DIFFER: Duration = Duration::from_hours(1);
/// When one that could not be looked at is looked at again.
const AGAIN_SOON: Duration = Duration::from_mins(1);
/// The same where the programme, or the ledger, refuses.
const AGAIN_LATER: Period = Period::Days(1);

/// How a claim stands.
enum Stands {
    /// No purchase counts yet.
    NotBought,
    /// One counts, from then on.
    From(Timestamp),
    /// The member had bought before.
    Void,
}

impl Referrals {
    /// Looks at claims until the service ends.
    pub(crate) async fn follow(self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
            if let Err(error) = self.follow_once().await {
                tracing::debug!(%error, "referrals were not all looked at");
            }
        }
    }

    /// Looks at all claims whose time has come; answers how many those were.
    pub(crate) async fn follow_once(&self) -> Result<i64, Error> {
        let programs = self.ledger.programs.ids().into_iter();
        let offered = programs.filter(|program| {
            let applied = self.ledger.programs.newest(program);
            applied.is_ok_and(|applied| applied.program.referrals.is_some())
        });
        let offered: Vec<String> = offered.map(|program| program.to_string()).collect();
        if offered.is_empty() {
            return Ok(0);
        }
        let mut shards: Vec<ShardId> = self.ledger.shards.all().collect();
        shards.shuffle(&mut rand::rng());
        let (mut looked, mut failed) = (0, None);
        for shard in shards {
            match self.follow_shard(shard, &offered).await {
                Ok(claims) => looked += claims,
                // A node that is down keeps no other waiting.
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(looked), Err)
    }

    async fn follow_shard(&self, shard: ShardId, offered: &[String]) -> Result<i64, Error> {
        let (pool, mut looked) = (self.ledger.database.pool(), 0);
        loop {
            let now = self.ledger.clock.now();
            let of = (shard, offered);
            let due = store::referrals::due(pool, of, now, CLAIMS_MAX).await?;
            if due.is_empty() {
                return Ok(looked);
            }
            looked += i64::try_from(due.len()).unwrap_or(i64::MAX);
            let looks = due.into_iter();
            let looks: Vec<_> = looks
                .map(|referral| self.look_once(shard, referral, now))
                .collect();
            let looks = stream::iter(looks).buffer_unordered(AT_ONCE);
            looks.try_collect::<Vec<()>>().await?;
        }
    }

    /// Looks at a claim, and notes when to look again.
    async fn look_once(
        &self,
        shard: ShardId,
        mut referral: StoredReferral,
        now: Timestamp,
    ) -> Result<(), Error> {
        let look_at = match self.look(shard, &mut referral, now).await {
            Ok(look_at) => look_at,
            Err(error) => {
                let program = &referral.program;
                tracing::warn!(%error, %program, claim = %referral.claim, "a referral waits");
                after_error(&error, now)
            }
        };
        let pool = self.ledger.database.pool();
        Ok(store::referrals::put(pool, shard, &referral, look_at).await?)
    }

    /// Looks at a claim; answers when to look again.
    async fn look(
        &self,
        shard: ShardId,
        referral: &mut StoredReferral,
        now: Timestamp,
    ) -> Result<Timestamp, Error> {
        let applied = self.ledger.programs.newest(&referral.program)?;
        let Some(offered) = &applied.program.referrals else {
            return Ok(AGAIN_LATER.after(now, &applied.program.calendar.zone));
        };
        let pool = self.ledger.database.pool();
        let claim = log::transaction_at(pool, shard, referral.claim).await?;
        let claim = claim.map(|row| row.transaction()).transpose()?;
        let claim = claim.ok_or(Error::Defect)?;
        referral.due_at = None;
        match self
            .stands(shard, &claim, (&applied.program, offered))
            .await?
        {
            Stands::Void => {
                referral.state = ReferralState::Void;
                Ok(now)
            }
            Stands::NotBought => {
                let zone = &applied.program.calendar.zone;
                Ok(offered.returns_within.after(now, zone))
            }
            Stands::From(due) => {
                referral.due_at = Some(due);
                if due > now {
                    return Ok(due);
                }
                self.give(&claim, due).await?;
                referral.state = ReferralState::Given;
                Ok(now)
            }
        }
    }

    /// How a claim stands, by what was written to its member since.
    async fn stands(
        &self,
        shard: ShardId,
        claim: &Transaction,
        (program, offered): (&Program, &Offered),
    ) -> Result<Stands, Error> {
        let pool = self.ledger.database.pool();
        let name = (&claim.program, &claim.member);
        let number = store::members::number(pool, shard, name.0, name.1).await?;
        let number = number.ok_or(Error::Defect)?;
        let claimed_at = claim.written_at;
        let mut after = claim.position;
        loop {
            let rows = log::page_on(pool, (shard, number), after, READ_LEN).await?;
            let Some(last) = rows.last() else {
                return Ok(Stands::NotBought);
            };
            after = Position::new(last.position);
            for row in rows {
                let written = row.transaction()?;
                let Some(bought_at) = bought_at(&written) else {
                    continue;
                };
                if later(bought_at, CLOCKS_DIFFER) < claimed_at {
                    return Ok(Stands::Void);
                }
                if self.is_kept(shard, &written, offered).await? {
                    let zone = &program.calendar.zone;
                    let from = bought_at.max(claimed_at);
                    return Ok(Stands::From(offered.returns_within.after(from, zone)));
                }
            }
        }
    }

    /// Whether as much of a purchase is left as must be.
    async fn is_kept(
        &self,
        shard: ShardId,
        written: &Transaction,
        offered: &Offered,
    ) -> Result<bool, DatabaseError> {
        let Some(Command::Purchase(purchase)) = written.command() else {
            return Ok(false);
        };
        let pool = self.ledger.database.pool();
        let reversal = store::reversals::of(pool, shard, written.position).await?;
        let returned = store::returns::of(pool, shard, written.position).await?;
        // One of which all points were taken back by hand is as one that came back.
        let takes_all = |reversal| taken_back(written, Some(reversal), &[]).is_empty();
        if !written.lots.is_empty() && reversal.as_ref().is_some_and(takes_all) {
            return Ok(false);
        }
        let left = returned.map_or(purchase.amount, |returned: Returned| {
            returned.rest(purchase).amount
        });
        Ok(left.minor_units() >= offered.minimum.minor_units())
    }

    /// Has both sides given what the rules say: first who was brought, then who brought.
    async fn give(&self, claim: &Transaction, due: Timestamp) -> Result<(), Error> {
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
            self.record((claim, step), member, (brand, due)).await?;
        }
        Ok(())
    }

    /// Records a side, once: at the brand that the claim was made at, whatever the programme
    /// says by now, so that it is the same activity.
    async fn record(
        &self,
        (claim, step): (&Transaction, ReferralStep),
        member: MemberId,
        (brand, due): (&BrandId, Timestamp),
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
            only_version: None,
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
            Err(error) => Err(error),
        }
    }
}

/// When a purchase was made, if a transaction is one.
fn bought_at(written: &Transaction) -> Option<Timestamp> {
    let Cause::Request {
        command: Command::Purchase(_),
        facts: Some(facts),
        ..
    } = &written.cause
    else {
        return None;
    };
    Some(facts.of_purchase()?.purchased_at)
}

fn later(moment: Timestamp, by: Duration) -> Timestamp {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    let later = moment.micros().saturating_add(micros);
    Timestamp::from_micros(later).unwrap_or(moment)
}

/// When to look again at one that failed.
fn after_error(error: &Error, now: Timestamp) -> Timestamp {
    if error.is_passing() {
        later(now, AGAIN_SOON)
    } else {
        later(now, Duration::from_hours(24))
    }
}
