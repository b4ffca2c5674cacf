//! Claims that members were brought by others, and what came of them: each claim before the
//! first purchase, and each side given once, for a claim that is there, to whose code it was.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_ledger::{Command, Transaction};
use fealty_postgres::{Database, DatabaseError, PgConnection};
use fealty_program::{Program, ReferralStep, code_attribute};
use fealty_types::{
    AttributeValue, BrandId, Ids, MemberId, Position, ProgramId, ShardId, TransactionPlace,
};

use super::{VerifyError, shard::Shard};
use crate::shard::{
    ActivityName, Shards, activity_key, order_shard,
    store::{
        self,
        referrals::{ReferralState, StoredReferral},
    },
};

/// A claim, as the log has it.
#[derive(BorshSerialize, BorshDeserialize)]
struct Claim {
    program: ProgramId,
    member: MemberId,
    code: String,
}

/// What one side was given for a claim.
#[derive(BorshSerialize, BorshDeserialize)]
struct Side {
    /// Where it stands.
    at: Position,
    program: ProgramId,
    member: MemberId,
    brand: BrandId,
    /// The id of the claim, as callers have it.
    claim: String,
}

impl Side {
    fn claim(&self, ids: Ids) -> Option<TransactionPlace> {
        ids.transaction_place(&self.claim).ok()
    }
}

/// What a shard says of referrals.
#[derive(Default, BorshSerialize, BorshDeserialize)]
pub(super) struct Referrals {
    /// Members who have bought, by number.
    bought: HashSet<i64>,
    /// Claims, by where they stand.
    claims: BTreeMap<Position, Claim>,
    /// Members who have claimed, by number.
    claimed: HashSet<i64>,
    /// What was given to those who were brought.
    referred: Vec<Side>,
    /// What was given to those who brought them.
    referrers: Vec<Side>,
}

impl Referrals {
    /// Takes in a member's transaction that was planned by a programme; what is wrong with it.
    pub(super) fn take(
        &mut self,
        (transaction, number): (&Transaction, i64),
        program: &Program,
    ) -> Result<(), &'static str> {
        let activity = match transaction.command() {
            Some(Command::Purchase(_)) => {
                self.bought.insert(number);
                return Ok(());
            }
            Some(Command::Activity(activity)) if program.referrals.is_some() => activity,
            _ => return Ok(()),
        };
        let (program, member) = (transaction.program.clone(), transaction.member.clone());
        let side = || Side {
            at: transaction.position,
            program: program.clone(),
            member: member.clone(),
            brand: activity.brand.clone(),
            claim: activity.id.to_string(),
        };
        match ReferralStep::of(&activity.of_type) {
            None => {}
            Some(ReferralStep::Claim) => {
                if self.bought.contains(&number) {
                    return Err("it claims that a member is new who has bought before");
                }
                if !self.claimed.insert(number) {
                    return Err("the member has claimed before");
                }
                let Some(AttributeValue::Text(code)) = activity.attributes.get(&code_attribute())
                else {
                    return Err("it claims without a code");
                };
                let claim = Claim {
                    code: code.to_string(),
                    program,
                    member,
                };
                self.claims.insert(transaction.position, claim);
            }
            Some(ReferralStep::Referred) => {
                if !self.bought.contains(&number) {
                    return Err("the member was brought, and has bought nothing");
                }
                self.referred.push(side());
            }
            Some(ReferralStep::Referrer) => self.referrers.push(side()),
        }
        Ok(())
    }

    /// The claims for which who was brought was given something; a side that is of none.
    fn given(&self, (shard, ids): (ShardId, Ids)) -> Result<BTreeSet<Position>, Position> {
        let given = self.referred.iter().map(|side| {
            let claim = side.claim(ids).filter(|claim| claim.shard == shard);
            let claim = claim.ok_or(side.at)?.position;
            let known = self.claims.get(&claim).ok_or(side.at)?;
            let is_theirs = (&known.program, &known.member) == (&side.program, &side.member);
            is_theirs.then_some(claim).ok_or(side.at)
        });
        given.collect()
    }
}

/// What is kept of claims must be what the log says.
pub(super) async fn compare(
    connection: &mut PgConnection,
    shard: &Shard,
    ids: Ids,
) -> Result<(), VerifyError> {
    let stored = store::referrals::of_shard(&mut *connection, shard.shard).await?;
    let stored: HashMap<Position, StoredReferral> = stored
        .into_iter()
        .map(|referral| (referral.claim, referral))
        .collect();
    let of_log = &shard.referrals;
    let given = of_log.given((shard.shard, ids));
    let given = given.map_err(|at| shard.difference(at, "the member has made no such claim"))?;
    for (position, claim) in &of_log.claims {
        let kept = stored.get(position);
        let kept =
            kept.filter(|kept| (&kept.program, &kept.member) == (&claim.program, &claim.member));
        let Some(kept) = kept else {
            return Err(shard.difference(*position, "the claim is not kept as it stands here"));
        };
        if kept.state == ReferralState::Given && !given.contains(position) {
            return Err(shard.difference(*position, "nothing was given for this claim"));
        }
    }
    match stored.keys().find(|at| !of_log.claims.contains_key(at)) {
        None => Ok(()),
        Some(at) => Err(shard.difference(*at, "a claim is kept that is not in the log")),
    }
}

/// Both sides over all shards: who was given something for having brought a member is the one
/// whose code that member claimed, and the member was given its side.
#[derive(Default)]
pub(super) struct Brought {
    shards: BTreeMap<ShardId, (Position, Referrals)>,
}

impl Brought {
    pub(super) fn add(&mut self, shard: &mut Shard) {
        let referrals = std::mem::take(&mut shard.referrals);
        self.shards.insert(shard.shard, (shard.position, referrals));
    }

    pub(super) async fn check(
        &self,
        database: &Database,
        shards: Shards,
    ) -> Result<(), VerifyError> {
        for (shard, (_, referrals)) in &self.shards {
            for side in &referrals.referrers {
                let wrong = self.wrong(database, shards, side).await?;
                if let Some(what) = wrong {
                    return Err(VerifyError::Difference {
                        shard: *shard,
                        position: side.at,
                        what: what.to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    /// What is wrong with what somebody was given for having brought a member, if something is.
    async fn wrong(
        &self,
        database: &Database,
        shards: Shards,
        side: &Side,
    ) -> Result<Option<&'static str>, DatabaseError> {
        const NONE: Option<&str> = Some("it names no claim");
        let ids = shards.ids();
        let Some(place) = side.claim(ids) else {
            return Ok(NONE);
        };
        let Some((through, theirs)) = self.shards.get(&place.shard) else {
            return Ok(NONE);
        };
        // What was claimed since that shard was looked at is verified the next time.
        if place.position > *through {
            return Ok(None);
        }
        let Some(claim) = theirs.claims.get(&place.position) else {
            return Ok(NONE);
        };
        let whose = ids.referrer(&claim.program, &claim.code);
        if claim.program != side.program || whose.as_ref() != Ok(&side.member) {
            return Ok(Some("another member's code was claimed"));
        }
        let mut given = theirs.referred.iter();
        let is_given = given.any(|given| given.claim == side.claim)
            || is_stored(database, shards, side).await?;
        Ok((!is_given).then_some("the member who was brought was given nothing"))
    }
}

/// Whether who was brought was given its side for a claim, by what is stored by now.
async fn is_stored(
    database: &Database,
    shards: Shards,
    side: &Side,
) -> Result<bool, DatabaseError> {
    let Ok(id) = side.claim.parse() else {
        return Ok(false);
    };
    let name = ActivityName {
        brand: side.brand.clone(),
        of_type: ReferralStep::Referred.activity(),
        id,
    };
    let key = activity_key(&side.program, &name);
    let holder = store::orders::holder(database.pool(), order_shard(key, shards), key).await?;
    Ok(holder.is_some())
}
