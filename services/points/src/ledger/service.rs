//! What wallets are changed and read by.

use fealty_auth::{Caller, InReach};
use fealty_ledger::{Command, Named, Refusal};
use fealty_postgres::Database;
use fealty_program::ProgramVersion;
use fealty_server::{Programs, ServiceClock};
use fealty_types::{CurrencyId, MemberId, ProgramId, RequestId, ShardId};

use crate::{
    error::Error,
    feed::Feed,
    lane::{BalanceCache, Lanes, Publisher},
    plan::PlanError,
    shard::{Answer, Shards},
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
    pub(crate) program: InReach<ProgramId>,
    pub(crate) member: InReach<MemberId>,
    /// The shard of the hold, transaction or lot that it names.
    pub(crate) named_shard: Option<ShardId>,
    pub(crate) command: C,
}

impl Ledger {
    /// Does what a change asks, once, however often it is sent.
    pub(crate) async fn submit(&self, change: Change) -> Result<Answer, Error> {
        let Change {
            caller,
            request_id,
            program,
            member,
            named_shard,
            command,
        } = change;
        if let (Some(named), Some(shard)) = (command.names(), named_shard) {
            self.programs.newest(&program)?;
            // What another shard holds is none of this member's.
            if self.shards.of(&program, &member) != shard {
                let refusal = not_found(named);
                return Err(Error::Ledger { shard, refusal });
            }
        }
        self.lanes
            .submit(caller, &program, member.into_inner(), request_id, command)
            .await
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

fn not_found(named: Named) -> Refusal {
    match named {
        Named::Hold(hold) => Refusal::HoldNotFound { hold },
        Named::Transaction(transaction) => Refusal::TransactionNotFound { transaction },
        Named::Lot(lot) => Refusal::LotNotFound { lot },
    }
}
