//! Codes, and who claims to have been brought by one.

use fealty_auth::InReach;
use fealty_ledger::{Activity, Command, Transaction};
use fealty_postgres::DatabaseError;
use fealty_program::{ProgramVersion, ReferralStep, code_attribute};
use fealty_types::{
    AttributeValue, BrandId, MemberId, Position, ProgramId, Timestamp, TransactionPlace,
};

use super::Referrals;
use crate::{
    error::Error,
    ledger::Change,
    plan::{ENTRIES_OF_NEW_MAX, NotNew, why_not_new},
    shard::{
        Answer, referral_id, request_key,
        store::{self, log, referrals::StoredReferral},
    },
};

/// What is asked to be claimed.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// The code of who brought the member, and who that is.
    pub(crate) code: String,
    pub(crate) referrer: MemberId,
}

/// A referral, with its claim.
#[derive(Debug)]
pub(crate) struct Referral {
    pub(crate) stored: StoredReferral,
    /// The code by which it was claimed.
    pub(crate) code: String,
    pub(crate) claimed_at: Timestamp,
    /// Where the claim stands.
    pub(crate) place: TransactionPlace,
}

impl Referrals {
    /// The code of a member.
    pub(crate) fn code(
        &self,
        program: &InReach<ProgramId>,
        member: &InReach<MemberId>,
    ) -> Result<String, Error> {
        let applied = self.ledger.programs.newest(program)?;
        if applied.program.referrals.is_none() {
            return Err(Error::ReferralsNotOffered);
        }
        Ok(self.ledger.shards.ids().referral_code(program, member))
    }

    /// Claims that a member was brought by another.
    pub(crate) async fn claim(&self, change: Change<Claim>) -> Result<(Answer, Referral), Error> {
        let (program, member) = (change.program.clone(), change.member.clone());
        let applied = self.ledger.programs.newest(&program)?;
        let brand = self.brand_of(&change, &applied).await?;
        let id = referral_id(&program, &member);
        let mut claim = change.map(|claim| {
            let code = claim.code.parse().expect("short, of letters and digits");
            Command::Activity(Activity {
                brand,
                of_type: ReferralStep::Claim.activity(),
                id,
                occurred_at: None,
                attributes: [(code_attribute(), AttributeValue::Text(code))].into(),
            })
        });
        // Nobody else's activity of that name, under another version, may be taken for it.
        claim.only_version = Some(applied.version);
        let answer = match self.ledger.submit(claim).await {
            Err(Error::ActivityAlreadyRecorded { .. }) => {
                self.may_claim(&program, &member).await?;
                return Err(Error::Unavailable);
            }
            // Another version began meanwhile, or the same request was done under one with
            // another brand: what there is is looked at anew.
            Err(Error::VersionMoved { .. } | Error::RequestIdReused { field: "brand" }) => {
                return Err(Error::Unavailable);
            }
            answer => answer?,
        };
        Ok((answer, self.of(&program, &member).await?))
    }

    /// What a member has claimed.
    pub(crate) async fn of(
        &self,
        program: &InReach<ProgramId>,
        member: &InReach<MemberId>,
    ) -> Result<Referral, Error> {
        self.ledger.programs.newest(program)?;
        let (pool, shard) = (
            self.ledger.database.pool(),
            self.ledger.shards.of(program, member),
        );
        let stored = store::referrals::of(pool, shard, (program, member)).await?;
        let stored = stored.ok_or_else(|| Error::ReferralNotFound((**member).clone()))?;
        let row = log::transaction_at(pool, shard, stored.claim).await?;
        let claim = row.map(|row| row.transaction()).transpose()?;
        let claim = claim.as_ref();
        let claim = claim.and_then(|claim| Some((code_of(claim)?, claim.written_at)));
        let (code, claimed_at) = claim.ok_or(Error::Defect)?;
        let place = TransactionPlace {
            shard,
            position: stored.claim,
        };
        Ok(Referral {
            stored,
            code,
            claimed_at,
            place,
        })
    }

    /// The brand at which a claim stands: that of the programme in force, if the member may
    /// claim. Where the same request has claimed before, the answer is the same whatever the
    /// programme says by now.
    async fn brand_of(
        &self,
        change: &Change<Claim>,
        applied: &ProgramVersion,
    ) -> Result<BrandId, Error> {
        if let Some(brand) = self.brand_before(change).await? {
            return Ok(brand);
        }
        let referrals = applied.program.referrals.as_ref();
        let (program, member) = (&change.program, &change.member);
        let may_claim = async {
            let referrals = referrals.ok_or(Error::ReferralsNotOffered)?;
            self.may_claim(program, member).await?;
            let referrer = &change.command.referrer;
            self.was_there_before(program, (referrer, member)).await?;
            Ok(referrals.brand.clone())
        };
        match may_claim.await {
            Ok(brand) => Ok(brand),
            // The request may just have been done, sent before.
            Err(refused) => self.brand_before(change).await?.ok_or(refused),
        }
    }

    /// Refuses a member who has claimed or bought, without a lock: what was written stays, so
    /// whoever is refused here is refused under it.
    async fn may_claim(&self, program: &ProgramId, member: &MemberId) -> Result<(), Error> {
        let (pool, shards) = (self.ledger.database.pool(), self.ledger.shards);
        let shard = shards.of(program, member);
        let number = store::members::number(pool, shard, program, member).await?;
        let Some(number) = number else {
            return Ok(());
        };
        let end = Position::new(i64::MAX);
        let rows = log::page(pool, shard, number, end, ENTRIES_OF_NEW_MAX).await?;
        let stored: Result<Vec<Transaction>, DatabaseError> =
            rows.iter().map(log::Row::transaction).collect();
        let why = why_not_new(stored?.iter(), &referral_id(program, member));
        why.map_or(Ok(()), |why| Err(Error::not_new(shards, why)))
    }

    /// The brand of the claim that the same request made before, if it did.
    async fn brand_before(&self, change: &Change<Claim>) -> Result<Option<BrandId>, Error> {
        let (program, member) = (&change.program, &change.member);
        let shard = self.ledger.shards.of(program, member);
        let key = request_key(program, member, &change.request_id);
        let row = log::by_request(self.ledger.database.pool(), shard, key).await?;
        let before = row.map(|row| row.transaction()).transpose()?;
        let activity = before.as_ref().and_then(Transaction::command);
        Ok(match activity {
            Some(Command::Activity(activity)) => Some(activity.brand.clone()),
            _ => None,
        })
    }

    /// Refuses where who brings a member came later than the member, or is not there: so nobody
    /// brings one another, whatever the way round. The first entry of a member never changes.
    async fn was_there_before(
        &self,
        program: &ProgramId,
        (referrer, member): (&MemberId, &MemberId),
    ) -> Result<(), Error> {
        let came = self.came_at(program, referrer).await?;
        let Some(came) = came else {
            return Err(Error::ReferralNotNew(NotNew::NobodyThere));
        };
        match self.came_at(program, member).await? {
            Some(member_came) if member_came <= came => {
                Err(Error::ReferralNotNew(NotNew::ThereBefore))
            }
            _ => Ok(()),
        }
    }

    /// When something was first written to a member.
    async fn came_at(
        &self,
        program: &ProgramId,
        member: &MemberId,
    ) -> Result<Option<Timestamp>, Error> {
        let pool = self.ledger.database.pool();
        let shard = self.ledger.shards.of(program, member);
        let number = store::members::number(pool, shard, program, member).await?;
        let Some(number) = number else {
            return Ok(None);
        };
        let rows = log::page_on(pool, (shard, number), Position::new(0), 1).await?;
        let first = rows.first().map(log::Row::transaction).transpose()?;
        Ok(first.map(|first| first.written_at))
    }
}

/// The code by which a claim was made.
pub(super) fn code_of(claim: &Transaction) -> Option<String> {
    let Command::Activity(activity) = claim.command()? else {
        return None;
    };
    match activity.attributes.get(&code_attribute())? {
        AttributeValue::Text(code) => Some(code.to_string()),
        _ => None,
    }
}
