//! Claims that members were brought by others, and what came of them: each claim before the
//! first purchase, and each side given once, for a claim that is there, to whose code it was.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_ledger::{Command, Transaction};
use fealty_postgres::{Database, DatabaseError};
use fealty_program::{Program, ReferralStep, code_attribute};
use fealty_types::{
    AttributeValue, BrandId, Ids, MemberId, Position, ProgramId, ShardId, Timestamp,
    TransactionPlace,
};

use super::VerifyError;
use crate::{
    plan::{bought_at, is_before_claim},
    shard::{
        ActivityName, Shards, activity_key, order_shard,
        store::{
            self,
            referrals::{ReferralState, StoredReferral},
        },
    },
};

/// A claim, as the log has it.
#[derive(BorshSerialize, BorshDeserialize)]
struct Claim {
    program: ProgramId,
    member: MemberId,
    brand: BrandId,
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
    /// Members who have claimed, by number: where, and when.
    claimed: HashMap<i64, (Position, Timestamp)>,
    /// Claims of members who had bought before, which was told later.
    void: BTreeSet<Position>,
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
                if let (Some((claim, claimed_at)), Some(bought_at)) =
                    (self.claimed.get(&number), bought_at(transaction))
                    && is_before_claim(bought_at, *claimed_at)
                {
                    self.void.insert(*claim);
                }
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
                let claimed = (transaction.position, transaction.written_at);
                if self.claimed.insert(number, claimed).is_some() {
                    return Err("the member has claimed before");
                }
                let Some(AttributeValue::Text(code)) = activity.attributes.get(&code_attribute())
                else {
                    return Err("it claims without a code");
                };
                let claim = Claim {
                    code: code.to_string(),
                    brand: activity.brand.clone(),
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

    /// What is kept of claims must be what the log says; else where it is not, and how.
    pub(super) fn compare(
        &self,
        of: (ShardId, Ids),
        stored: Vec<StoredReferral>,
    ) -> Result<(), (Position, &'static str)> {
        let (rows, stored) = (stored.len(), stored.into_iter());
        let stored: HashMap<Position, StoredReferral> =
            stored.map(|referral| (referral.claim, referral)).collect();
        let given = self.given(of);
        let given = given.map_err(|at| (at, "the member has made no such claim"))?;
        for (position, claim) in &self.claims {
            let kept = stored.get(position);
            let kept = kept
                .filter(|kept| (&kept.program, &kept.member) == (&claim.program, &claim.member));
            let Some(kept) = kept else {
                return Err((*position, "the claim is not kept as it stands here"));
            };
            let is_right = match kept.state {
                ReferralState::Waiting | ReferralState::Giving => true,
                ReferralState::Given => given.contains(position),
                ReferralState::Void => self.void.contains(position),
            };
            if !is_right {
                return Err((*position, "what is kept of the claim did not come of it"));
            }
        }
        match stored.keys().find(|at| !self.claims.contains_key(at)) {
            None if rows > stored.len() => {
                Err((Position::new(0), "a claim is kept more than once"))
            }
            None => Ok(()),
            Some(at) => Err((*at, "a claim is kept that is not in the log")),
        }
    }
}

/// Both sides over all shards: who was given something for having brought a member is the one
/// whose code that member claimed, the member was given its side, and where both are said to be
/// given they are.
#[derive(Default)]
pub(super) struct Brought {
    shards: BTreeMap<ShardId, OfShard>,
    /// The claims for which those were given something who brought a member.
    brought: HashSet<String>,
}

/// What a shard says of both sides.
struct OfShard {
    /// Up to where it was verified.
    through: Position,
    claims: BTreeMap<Position, Claim>,
    /// The claims for which who was brought was given something.
    referred: HashSet<String>,
    referrers: Vec<Side>,
}

impl Brought {
    pub(super) fn add(&mut self, shard: ShardId, through: Position, referrals: Referrals) {
        let referred = referrals.referred.into_iter().map(|side| side.claim);
        let brought = referrals.referrers.iter().map(|side| side.claim.clone());
        self.brought.extend(brought);
        let of_shard = OfShard {
            through,
            claims: referrals.claims,
            referred: referred.collect(),
            referrers: referrals.referrers,
        };
        self.shards.insert(shard, of_shard);
    }

    pub(super) async fn check(
        &self,
        database: &Database,
        shards: Shards,
    ) -> Result<(), VerifyError> {
        let different = |shard: ShardId, position: Position, what: &str| VerifyError::Difference {
            shard,
            position,
            what: what.to_owned(),
        };
        for (shard, of_shard) in &self.shards {
            for side in &of_shard.referrers {
                let wrong = self.wrong(database, shards, side).await?;
                if let Some(what) = wrong {
                    return Err(different(*shard, side.at, what));
                }
            }
            if let Some(at) = self.not_brought(database, shards, *shard).await? {
                let what = "both sides are said to be given, and who brought the member was not";
                return Err(different(*shard, at, what));
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
        let Some(theirs) = self.shards.get(&place.shard) else {
            return Ok(NONE);
        };
        // What was claimed since that shard was looked at is verified the next time.
        if place.position > theirs.through {
            return Ok(None);
        }
        let Some(claim) = theirs.claims.get(&place.position) else {
            return Ok(NONE);
        };
        let whose = ids.referrer(&claim.program, &claim.code);
        if claim.program != side.program || whose.as_ref() != Ok(&side.member) {
            return Ok(Some("another member's code was claimed"));
        }
        let of = (&side.program, &side.brand, &*side.claim);
        let is_given = theirs.referred.contains(&side.claim)
            || is_stored(database, shards, ReferralStep::Referred, of).await?;
        Ok((!is_given).then_some("the member who was brought was given nothing"))
    }

    /// The first claim of a shard for which both sides are said to be given, and who brought the
    /// member was not.
    async fn not_brought(
        &self,
        database: &Database,
        shards: Shards,
        shard: ShardId,
    ) -> Result<Option<Position>, DatabaseError> {
        let Some(of_shard) = self.shards.get(&shard) else {
            return Ok(None);
        };
        let stored = store::referrals::of_shard(database.pool(), shard).await?;
        let given = stored.into_iter();
        let given = given.filter(|referral| referral.state == ReferralState::Given);
        for referral in given {
            let position = referral.claim;
            let Some(claim) = of_shard.claims.get(&position) else {
                continue;
            };
            let id = shards
                .ids()
                .transaction(TransactionPlace { shard, position });
            let of = (&claim.program, &claim.brand, &*id);
            let is_given = self.brought.contains(&id)
                || is_stored(database, shards, ReferralStep::Referrer, of).await?;
            if !is_given {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }
}

/// Whether a side was given for a claim, by what is stored by now.
async fn is_stored(
    database: &Database,
    shards: Shards,
    step: ReferralStep,
    (program, brand, claim): (&ProgramId, &BrandId, &str),
) -> Result<bool, DatabaseError> {
    let Ok(id) = claim.parse() else {
        return Ok(false);
    };
    let name = ActivityName {
        brand: brand.clone(),
        of_type: step.activity(),
        id,
    };
    let key = activity_key(program, &name);
    let holder = store::orders::holder(database.pool(), order_shard(key, shards), key).await?;
    Ok(holder.is_some())
}
