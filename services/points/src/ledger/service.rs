//! What wallets are changed and read by.

use fealty_auth::{Caller, InReach};
use fealty_ledger::{Command, Named, Refusal, Transaction};
use fealty_postgres::Database;
use fealty_program::ProgramVersion;
use fealty_server::{Programs, ServiceClock};
use fealty_types::{BrandId, CurrencyId, MemberId, Metadata, ProgramId, RequestId, ShardId};

use crate::{
    error::Error,
    feed::Feed,
    lane::{BalanceCache, Lanes, Publisher, Work},
    plan::PlanError,
    shard::{Answer, Shards, store, unsealed},
};

/// Changes and reads wallets.
#[derive(Clone)]
pub(crate) struct Ledger {
    pub(crate) programs: Programs,
    pub(crate) database: Database,
    pub(crate) clock: ServiceClock,
    pub(crate) shards: Shards,
    pub(crate) cache: BalanceCache,
    pub(crate) lanes: Lanes,
    pub(crate) publisher: Publisher,
    pub(crate) feed: Feed,
}

/// A change to a member's wallets.
#[derive(Debug)]
pub(crate) struct Change<C = Command> {
    /// Who asks.
    pub(crate) caller: Caller,
    pub(crate) request_id: RequestId,
    /// What it wants to be kept.
    pub(crate) metadata: Metadata,
    pub(crate) program: InReach<ProgramId>,
    pub(crate) member: InReach<MemberId>,
    /// The shard of the hold, transaction or lot that it names.
    pub(crate) named_shard: Option<ShardId>,
    /// The version of the programme that it is meant for, if it says so.
    pub(crate) only_version: Option<i64>,
    pub(crate) command: C,
}

impl<C> Change<C> {
    /// The same change of something else.
    pub(crate) fn map<D>(self, command: impl FnOnce(C) -> D) -> Change<D> {
        Change {
            caller: self.caller,
            request_id: self.request_id,
            metadata: self.metadata,
            program: self.program,
            member: self.member,
            named_shard: self.named_shard,
            only_version: self.only_version,
            command: command(self.command),
        }
    }
}

impl Ledger {
    /// Does what a change asks, once, however often it is sent.
    pub(crate) async fn submit(&self, change: Change) -> Result<Answer, Error> {
        let Change {
            caller,
            request_id,
            mut metadata,
            program,
            member,
            named_shard,
            only_version,
            mut command,
        } = change;
        let hold = command.holds().next().map(Named::Hold);
        if let (Some(named), Some(shard)) = (command.names().or(hold), named_shard) {
            self.programs.newest(&program)?;
            // What another shard holds is none of this member's.
            if self.shards.of(&program, &member) != shard {
                return Err(Error::refused(self.shards, shard, not_found(named)));
            }
            self.check_brand(&caller, shard, named).await?;
        }
        let applied = self.programs.newest(&program)?;
        let plain = (request_id.clone(), metadata.clone(), command.clone());
        let request = (&request_id, &mut metadata);
        let personal = self.seal(&applied, &member, request, &mut command).await?;
        let request = Work::Request {
            caller,
            request_id,
            metadata,
            command,
            only_version,
            personal: personal.clone(),
            declared: applied.program.personal.clone(),
        };
        match self
            .lanes
            .submit(&program, (*member).clone(), request)
            .await
        {
            Err(Error::RequestIdReused { field }) => {
                let (request_id, metadata, command) = &plain;
                let (name, request) = ((&*program, &*member), (request_id, metadata));
                let replayed = self.replayed(name, request, command).await?;
                replayed.ok_or(Error::RequestIdReused { field })
            }
            done => Ok(unsealed(done?, personal.as_ref())),
        }
    }

    /// Checks that what is named is of a brand that the caller speaks for; else it is
    /// as if it were not there. What was written never changes, so no lock is needed.
    async fn check_brand(
        &self,
        caller: &Caller,
        shard: ShardId,
        named: Named,
    ) -> Result<(), Error> {
        let Some(own) = caller.brands() else {
            return Ok(());
        };
        let position = match named {
            Named::Hold(position) | Named::Transaction(position) => position,
            Named::Lot(lot) => lot.position(),
        };
        let row = store::log::transaction_at(self.database.pool(), shard, position).await?;
        let written = row.map(|row| row.transaction()).transpose()?;
        let brand = written.as_ref().and_then(|written| match named {
            Named::Hold(_) | Named::Transaction(_) => brand_of(written),
            Named::Lot(lot) => {
                let mut lots = written.lots.iter();
                lots.find(|terms| terms.lot == lot)
                    .map(|terms| &terms.brand)
            }
        });
        if brand.is_some_and(|brand| own.contains(brand)) {
            return Ok(());
        }
        Err(Error::refused(self.shards, shard, not_found(named)))
    }

    /// The programme in force, if it has the currency.
    pub(super) fn with_currency(
        &self,
        program: &ProgramId,
        currency: &CurrencyId,
    ) -> Result<ProgramVersion, Error> {
        let applied = self.programs.newest(program)?;
        if applied.program.currencies.contains_key(currency) {
            return Ok(applied);
        }
        Err(PlanError::CurrencyNotFound(currency.clone()).into())
    }
}

/// The brand that a transaction is at: the one that was named, or, for a capture,
/// the one that took the points.
fn brand_of(transaction: &Transaction) -> Option<&BrandId> {
    let named = transaction.command().and_then(Command::brand);
    named.or_else(|| {
        let mut transfers = transaction.transfers.iter();
        transfers.find_map(|moved| moved.credit.brand().or_else(|| moved.debit.brand()))
    })
}

fn not_found(named: Named) -> Refusal {
    match named {
        Named::Hold(hold) => Refusal::HoldNotFound { hold },
        Named::Transaction(transaction) => Refusal::TransactionNotFound { transaction },
        Named::Lot(lot) => Refusal::LotNotFound { lot },
    }
}
