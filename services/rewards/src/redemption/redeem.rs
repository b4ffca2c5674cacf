//! Redeeming a reward, step by step. Each step can be the last one that a
//! process does; `recovery` goes on from there.

use fealty_auth::{Caller, InReach};
use fealty_postgres::{
    Database, PgConnection,
    audit_log::{self, NewAuditEntry},
    run,
};
use fealty_program::Reward;
use fealty_server::{Programs, ServiceClock, audit_entry};
use fealty_types::{Clock as _, MemberId, ProgramId, RequestId, RewardId, Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::{
    state::{Redemption, State},
    store as redemptions,
    voucher::{VoucherCode, VoucherKey},
};
use crate::{
    catalog::store as stock,
    error::Error,
    points_client::{PointsClient, PointsToHold},
};

/// Why a redemption is refused.
pub type RedeemError = Error;

/// How long whoever works on a redemption has it to itself.
pub(super) const LEASE_S: f64 = 15.0;

/// A redemption as a caller asks for it.
#[derive(Debug)]
pub(crate) struct AskedFor {
    pub(crate) program: InReach<ProgramId>,
    pub(crate) member: InReach<MemberId>,
    pub(crate) request_id: RequestId,
    pub(crate) reward: RewardId,
}

/// What there is once a redemption was asked for.
#[derive(Debug)]
pub enum Begun {
    /// It is to be worked on, by this caller.
    Leased(Redemption),
    /// It was issued before, for the same request.
    Issued(Redemption),
}

/// Redeems rewards.
#[derive(Clone)]
pub struct Redemptions {
    /// The programmes.
    pub programs: Programs,
    pub(super) database: Database,
    clock: ServiceClock,
    points: PointsClient,
    key: VoucherKey,
}

impl Redemptions {
    pub(crate) fn new(
        programs: Programs,
        database: Database,
        clock: ServiceClock,
        points: PointsClient,
        key: VoucherKey,
    ) -> Self {
        Self {
            programs,
            database,
            clock,
            points,
            key,
        }
    }

    /// Redeems a reward; the redemption is issued when this answers. `true` if
    /// it was before, for the same request.
    pub(crate) async fn redeem(
        &self,
        caller: &Caller,
        asked: AskedFor,
    ) -> Result<(Redemption, bool), Error> {
        let AskedFor {
            program,
            member,
            request_id,
            reward,
        } = asked;
        let applied = self.programs.newest(&program)?;
        let terms = applied.program.rewards.get(&reward);
        let terms = terms.ok_or_else(|| Error::RewardNotFound(reward.clone()))?;
        let brand = caller.brand(terms.accepted_by.clone());
        let brand = brand.map_err(|_| Error::AnothersReward(reward.clone()))?;
        let asked = Redemption {
            id: new_id(self.clock.now()),
            program: program.into_inner(),
            member: member.into_inner(),
            request_id,
            reward,
            currency: terms.currency.clone(),
            points: terms.points,
            brand: brand.into_inner(),
            state: State::Requested,
            hold: None,
            reason: None,
            voucher_sealed: None,
            requested_at: self.clock.now(),
            issued_at: None,
            attempt: 1,
            asked_by: Some(caller.whom().unwrap_or(caller.subject()).clone()),
            leased_by: Some(new_lease()),
        };
        let recorded = caller.is_person().then(|| NewAuditEntry {
            program: Some(asked.program.clone()),
            member: Some(asked.member.clone()),
            after: Some(
                json!({ "redemption": asked.id.to_string(), "reward": asked.reward }).to_string(),
            ),
            ..audit_entry(caller)
        });
        let begun = self.begin(asked, terms, recorded.as_ref()).await?;
        if recorded.is_some() {
            caller.mark_recorded();
        }
        match begun {
            Begun::Issued(redemption) => Ok((redemption, true)),
            Begun::Leased(redemption) => Ok((self.finish(redemption).await?, false)),
        }
    }

    /// Step 1: reserves stock and stores the redemption.
    /// What people ask for is recorded with it.
    pub async fn begin(
        &self,
        asked: Redemption,
        terms: &Reward,
        recorded: Option<&NewAuditEntry>,
    ) -> Result<Begun, Error> {
        let begun: Result<Option<Begun>, Error> =
            run!(self.database, "begin_redemption", |connection| async {
                if redemptions::insert(connection, &asked, LEASE_S).await? {
                    reserve(connection, &asked, terms).await?;
                    if let Some(entry) = recorded {
                        audit_log::append(&mut *connection, entry).await?;
                    }
                    return Ok(Some(Begun::Leased(asked.clone())));
                }
                let (program, member) = (&asked.program, &asked.member);
                let known =
                    redemptions::by_request(&mut *connection, program, member, &asked.request_id);
                let Some(known) = known.await? else {
                    return Ok(None);
                };
                if known.reward != asked.reward {
                    return Err(Error::RequestIdReused);
                }
                match known.state {
                    State::Issued => Ok(Some(Begun::Issued(known))),
                    State::Requested | State::Held => {
                        let (id, lease) = (Some(known.id), new_lease());
                        let taken = redemptions::take_over(&mut *connection, id, lease, LEASE_S, 1);
                        Ok(taken.await?.pop().map(Begun::Leased))
                    }
                    State::Refused | State::Released => {
                        let mut again = Redemption {
                            id: known.id,
                            attempt: known.attempt,
                            ..asked.clone()
                        };
                        if !redemptions::begin_again(connection, &again, LEASE_S).await? {
                            return Ok(None);
                        }
                        reserve(connection, &again, terms).await?;
                        if let Some(entry) = recorded {
                            audit_log::append(&mut *connection, entry).await?;
                        }
                        again.attempt += 1;
                        Ok(Some(Begun::Leased(again)))
                    }
                }
            });
        begun?.ok_or(Error::InProgress)
    }

    /// Goes on with a leased redemption until it is issued or undone.
    pub async fn finish(&self, mut redemption: Redemption) -> Result<Redemption, Error> {
        let (id, lease) = (redemption.id, redemption.leased_by);
        let finished = async {
            if redemption.state == State::Requested {
                self.hold(&mut redemption).await?;
            }
            self.capture(&redemption).await?;
            self.issue(&mut redemption).await?;
            Ok(redemption)
        };
        let finished: Result<Redemption, Error> = finished.await;
        if matches!(finished, Err(Error::PointsUnavailable)) {
            // The caller's next try, or recovery, need not wait for the lease.
            redemptions::give_up_lease(self.database.pool(), id, lease).await?;
        }
        finished
    }

    /// Step 2: holds the points and makes the voucher.
    pub async fn hold(&self, redemption: &mut Redemption) -> Result<(), Error> {
        let asked = PointsToHold {
            request_id: redemption.hold_request(),
            program: &redemption.program,
            member: &redemption.member,
            brand: &redemption.brand,
            currency: &redemption.currency,
            points: redemption.points,
            reference: redemption.id.to_string(),
            acting_for: redemption.asked_by.as_ref(),
        };
        let hold = match self.points.hold(asked).await {
            Ok(hold) => hold,
            Err(error) => return Err(self.undo(redemption, State::Refused, error).await?),
        };
        let code = VoucherCode::from_random(rand::random());
        let sealed = self.key.seal(&code, rand::random());
        let hash = self.key.hash(&code);
        let pool = self.database.pool();
        if !redemptions::hold(pool, redemption, &hold, &hash, &sealed).await? {
            self.release_stale(redemption, &hold).await?;
            return Err(Error::InProgress);
        }
        redemption.state = State::Held;
        redemption.hold = Some(hold);
        redemption.voucher_sealed = Some(sealed);
        Ok(())
    }

    /// Releases a hold that was made when another had the redemption. Whoever is at the
    /// same attempt has the same hold; of an attempt that is over nobody will use it.
    async fn release_stale(&self, redemption: &Redemption, hold: &str) -> Result<(), Error> {
        let Redemption {
            program,
            member,
            request_id,
            ..
        } = redemption;
        let pool = self.database.pool();
        let now = redemptions::by_request(pool, program, member, request_id).await?;
        let is_used = now.is_some_and(|now| {
            let is_over = matches!(now.state, State::Refused | State::Released);
            now.attempt == redemption.attempt && !is_over
        });
        if !is_used {
            self.release(redemption, hold).await?;
        }
        Ok(())
    }

    /// Releases a hold; one that has ended already is refused, and is as good.
    async fn release(&self, redemption: &Redemption, hold: &str) -> Result<(), Error> {
        let (program, member) = (&redemption.program, &redemption.member);
        let asked_by = redemption.asked_by.as_ref();
        let request = redemption.release_request();
        let released = self
            .points
            .release(request, program, member, hold, asked_by);
        match released.await {
            Ok(()) | Err(Error::Points(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Step 3: captures the points.
    pub async fn capture(&self, redemption: &Redemption) -> Result<(), Error> {
        let hold = redemption.hold.as_deref().unwrap_or_default();
        let (program, member) = (&redemption.program, &redemption.member);
        let asked_by = redemption.asked_by.as_ref();
        let request = redemption.capture_request();
        let captured = self
            .points
            .capture(request, program, member, hold, asked_by);
        match captured.await {
            Ok(()) => Ok(()),
            Err(error) => {
                if matches!(error, Error::Points(_)) {
                    // From here on nobody captures it, however late.
                    self.release(redemption, hold).await?;
                }
                Err(self.undo(redemption, State::Released, error).await?)
            }
        }
    }

    /// Step 4: the voucher is the member's.
    pub async fn issue(&self, redemption: &mut Redemption) -> Result<(), Error> {
        let now = self.clock.now();
        let issued: Result<bool, Error> =
            run!(self.database, "issue_redemption", |connection| async {
                let issued = redemptions::issue(connection, redemption, now).await?;
                if issued {
                    let Redemption {
                        program, reward, ..
                    } = &*redemption;
                    stock::settle(connection, program, reward, true).await?;
                }
                Ok(issued)
            });
        if !issued? {
            return Err(Error::InProgress);
        }
        redemption.state = State::Issued;
        redemption.issued_at = Some(now);
        Ok(())
    }

    /// Undoes a redemption that the points service refuses, and answers with
    /// the error for the caller; one of which nobody knows what happened stays.
    async fn undo(&self, redemption: &Redemption, to: State, error: Error) -> Result<Error, Error> {
        let Error::Points(rejection) = &error else {
            return Ok(error);
        };
        let reason = rejection.reason_name();
        let undone: Result<bool, Error> =
            run!(self.database, "undo_redemption", |connection| async {
                let undone = redemptions::undo(connection, redemption, to, reason).await?;
                if undone {
                    let Redemption {
                        program, reward, ..
                    } = redemption;
                    stock::settle(connection, program, reward, false).await?;
                }
                Ok(undone)
            });
        undone?;
        Ok(error)
    }

    /// The code of an issued voucher.
    pub(super) fn voucher_code(&self, redemption: &Redemption) -> Option<VoucherCode> {
        if redemption.state != State::Issued {
            return None;
        }
        self.key.open(redemption.voucher_sealed.as_deref()?)
    }

    /// Reads a redemption.
    pub(crate) async fn redemption(
        &self,
        program: &InReach<ProgramId>,
        member: &InReach<MemberId>,
        id: Uuid,
    ) -> Result<Redemption, Error> {
        self.programs.newest(program)?;
        let found = redemptions::by_id(self.database.pool(), program, member, id).await?;
        found.ok_or(Error::RedemptionNotFound(id))
    }
}

/// Reserves one of the reward.
async fn reserve(
    connection: &mut PgConnection,
    asked: &Redemption,
    terms: &Reward,
) -> Result<(), Error> {
    let (program, reward) = (&asked.program, &asked.reward);
    // Rewards without a limit are counted as well: one may be set later.
    let limit = terms.stock.unwrap_or(i64::MAX);
    if stock::reserve(connection, program, reward, limit).await? {
        return Ok(());
    }
    let taken = stock::taken(connection, program).await?;
    let taken = taken
        .into_iter()
        .find(|(id, _)| id == reward.as_str())
        .map(|(_, taken)| taken);
    if taken.is_none_or(|taken| taken.issued >= limit) {
        return Err(Error::SoldOut(reward.clone()));
    }
    Err(Error::StockContended(reward.clone()))
}

/// A new token for a lease.
pub(super) fn new_lease() -> Uuid {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid()
}

/// A new id, in order of time.
fn new_id(now: Timestamp) -> Uuid {
    let millis = u64::try_from(now.micros() / 1_000).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid()
}
