//! The ledger on the wire.

pub(crate) mod changes;
mod explain;
mod reads;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::pin::Pin;

use fealty_auth::Caller;
use fealty_proto::points::v1::{self as proto, ledger_service_server::LedgerService};
use fealty_server::{Rejection, caller};
use fealty_types::Clock as _;
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{
    balance::Moment,
    service::{Change, Ledger},
};
use crate::{feed::Watched, shard::Answer};

/// Responses of a feed that wait for a slow listener.
const WATCH_QUEUE_LEN: usize = 4;
/// Requests of one stream that are in flight at once: half a lane's queue.
const BATCH_IN_FLIGHT_MAX: usize = 2_048;

#[derive(Clone)]
pub(crate) struct LedgerApi {
    pub(crate) ledger: Ledger,
    pub(crate) shutdown: CancellationToken,
}

/// What a change brought about, for its response.
struct Done {
    transaction: Option<proto::Transaction>,
    replayed: bool,
}

/// The response that tells what a change brought about.
macro_rules! changed {
    ($done:expr, $response:ident) => {{
        let Done {
            transaction,
            replayed,
        } = $done;
        Ok(Response::new(proto::$response {
            transaction,
            replayed,
        }))
    }};
}

impl LedgerApi {
    async fn change(&self, change: Change) -> Result<Done, Status> {
        let caller = change.caller.clone();
        let answer = self.ledger.submit(change).await?;
        Ok(Done {
            transaction: Some(transaction(&caller, &answer)),
            replayed: answer.replayed,
        })
    }

    async fn accrue_one(
        &self,
        caller: &Caller,
        request: proto::BatchAccrueRequest,
    ) -> proto::BatchAccrueResponse {
        use proto::batch_accrue_response::Outcome;
        let accrual = request.accrual.unwrap_or_default();
        let done = match changes::accrue(caller, &accrual) {
            Ok(change) => self.ledger.submit(change).await.map_err(Rejection::from),
            Err(rejection) => Err(rejection),
        };
        let outcome = match done {
            Ok(answer) => Outcome::Accrued(proto::BatchAccrued {
                transaction: answer.transaction.name().to_string(),
                balance: answer.transaction.wallets.first().map(|after| {
                    let currency = after.currency.as_str();
                    wire::balance(currency, &after.buckets, after.sequence, after.inactive_at)
                }),
                replayed: answer.replayed,
            }),
            Err(rejection) => {
                let reason = rejection.reason_name().to_owned();
                let status = Status::from(rejection);
                Outcome::Refusal(proto::BatchRefusal {
                    code: status.code().into(),
                    reason,
                    message: status.message().to_owned(),
                })
            }
        };
        proto::BatchAccrueResponse {
            sequence: request.sequence,
            outcome: Some(outcome),
        }
    }
}

fn transaction(caller: &Caller, answer: &Answer) -> proto::Transaction {
    wire::transaction(caller, &answer.transaction, &answer.chain)
}

/// A stretch of the feed, with the canonical bytes if they are wanted.
fn watched(
    caller: &Caller,
    watched: Watched,
    with_bytes: bool,
) -> proto::WatchTransactionsResponse {
    let transactions = watched.transactions.into_iter().map(|logged| {
        let mut rendered = wire::transaction(caller, &logged.transaction, &logged.chain);
        if with_bytes {
            rendered.canonical_bytes = logged.body;
        }
        rendered
    });
    proto::WatchTransactionsResponse {
        transactions: transactions.collect(),
        cursor: watched.cursor.to_string(),
        behind: watched.behind,
    }
}

#[async_trait]
impl LedgerService for LedgerApi {
    async fn accrue(
        &self,
        request: Request<proto::AccrueRequest>,
    ) -> Result<Response<proto::AccrueResponse>, Status> {
        let change = changes::accrue(caller(&request)?, request.get_ref())?;
        changed!(self.change(change).await?, AccrueResponse)
    }

    async fn redeem(
        &self,
        request: Request<proto::RedeemRequest>,
    ) -> Result<Response<proto::RedeemResponse>, Status> {
        let change = changes::redeem(caller(&request)?, request.get_ref())?;
        changed!(self.change(change).await?, RedeemResponse)
    }

    async fn hold(
        &self,
        request: Request<proto::HoldRequest>,
    ) -> Result<Response<proto::HoldResponse>, Status> {
        let answer = self
            .ledger
            .submit(changes::hold(caller(&request)?, request.get_ref())?)
            .await?;
        Ok(Response::new(proto::HoldResponse {
            transaction: Some(transaction(caller(&request)?, &answer)),
            replayed: answer.replayed,
            hold: answer.transaction.name().to_string(),
        }))
    }

    async fn capture(
        &self,
        request: Request<proto::CaptureRequest>,
    ) -> Result<Response<proto::CaptureResponse>, Status> {
        let change = changes::capture(caller(&request)?, request.get_ref())?;
        changed!(self.change(change).await?, CaptureResponse)
    }

    async fn release(
        &self,
        request: Request<proto::ReleaseRequest>,
    ) -> Result<Response<proto::ReleaseResponse>, Status> {
        let change = changes::release(caller(&request)?, request.get_ref())?;
        changed!(self.change(change).await?, ReleaseResponse)
    }

    async fn reverse(
        &self,
        request: Request<proto::ReverseRequest>,
    ) -> Result<Response<proto::ReverseResponse>, Status> {
        let Done {
            transaction,
            replayed,
        } = self
            .change(changes::reverse(caller(&request)?, request.get_ref())?)
            .await?;
        let outcome = transaction.as_ref().and_then(|done| done.reversal.clone());
        Ok(Response::new(proto::ReverseResponse {
            transaction,
            replayed,
            outcome,
        }))
    }

    async fn adjust(
        &self,
        request: Request<proto::AdjustRequest>,
    ) -> Result<Response<proto::AdjustResponse>, Status> {
        let change = changes::adjust(caller(&request)?, request.get_ref())?;
        changed!(self.change(change).await?, AdjustResponse)
    }

    async fn extend_lot(
        &self,
        request: Request<proto::ExtendLotRequest>,
    ) -> Result<Response<proto::ExtendLotResponse>, Status> {
        let change = changes::extend(caller(&request)?, request.get_ref())?;
        changed!(self.change(change).await?, ExtendLotResponse)
    }

    async fn reinstate_lot(
        &self,
        request: Request<proto::ReinstateLotRequest>,
    ) -> Result<Response<proto::ReinstateLotResponse>, Status> {
        let change = changes::reinstate(caller(&request)?, request.get_ref())?;
        changed!(self.change(change).await?, ReinstateLotResponse)
    }

    async fn activate_points(
        &self,
        request: Request<proto::ActivatePointsRequest>,
    ) -> Result<Response<proto::ActivatePointsResponse>, Status> {
        let change = changes::activate(caller(&request)?, request.get_ref())?;
        changed!(self.change(change).await?, ActivatePointsResponse)
    }

    async fn transfer(
        &self,
        request: Request<proto::TransferRequest>,
    ) -> Result<Response<proto::TransferResponse>, Status> {
        let change = changes::transfer(caller(&request)?, request.get_ref())?;
        let transferred = self.ledger.transfer(change).await?;
        Ok(Response::new(proto::TransferResponse {
            transaction: Some(transaction(caller(&request)?, &transferred.answer)),
            replayed: transferred.answer.replayed,
            recipient_transaction: transferred.recipient.to_string(),
        }))
    }

    type BatchAccrueStream =
        Pin<Box<dyn Stream<Item = Result<proto::BatchAccrueResponse, Status>> + Send>>;

    async fn batch_accrue(
        &self,
        request: Request<Streaming<proto::BatchAccrueRequest>>,
    ) -> Result<Response<Self::BatchAccrueStream>, Status> {
        let api = self.clone();
        let caller = caller(&request)?.clone();
        // The stream is read as fast as answers are taken: a slow reader holds
        // the writer back.
        let answers = request
            .into_inner()
            .take_until(self.shutdown.clone().cancelled_owned())
            .map(move |request| {
                let (api, caller) = (api.clone(), caller.clone());
                async move { Ok(api.accrue_one(&caller, request?).await) }
            })
            .buffer_unordered(BATCH_IN_FLIGHT_MAX);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn get_balance(
        &self,
        request: Request<proto::GetBalanceRequest>,
    ) -> Result<Response<proto::GetBalanceResponse>, Status> {
        let asked = reads::balance(
            caller(&request)?,
            request.get_ref(),
            self.ledger.clock.now(),
        )?;
        let (program, member, currency) = (&asked.program, &asked.member, &asked.currency);
        let read = match asked.moment {
            Moment::Now => {
                let source = asked.source;
                self.ledger
                    .balance(program, member, currency, source)
                    .await?
            }
            moment => {
                self.ledger
                    .balance_at(program, member, currency, moment)
                    .await?
            }
        };
        let shard = self.ledger.shards.of(program, member);
        Ok(Response::new(proto::GetBalanceResponse {
            balance: Some(wire::wallet(currency.as_str(), &read.wallet)),
            transaction: read
                .position
                .map(|p| wire::name(shard, p))
                .unwrap_or_default(),
            cached: read.cached,
        }))
    }

    async fn batch_get_balances(
        &self,
        request: Request<proto::BatchGetBalancesRequest>,
    ) -> Result<Response<proto::BatchGetBalancesResponse>, Status> {
        let reads::BalancesAsked {
            program,
            members,
            currency,
            source,
        } = reads::balances(caller(&request)?, request.get_ref())?;
        let reads = self
            .ledger
            .balances(&program, &members, &currency, source)
            .await?;
        let balances = members.iter().zip(reads).map(|(member, read)| {
            let balance = Some(wire::wallet(currency.as_str(), &read.wallet));
            proto::MemberBalance {
                member: member.to_string(),
                balance,
                cached: read.cached,
            }
        });
        Ok(Response::new(proto::BatchGetBalancesResponse {
            balances: balances.collect(),
        }))
    }

    async fn list_lots(
        &self,
        request: Request<proto::ListLotsRequest>,
    ) -> Result<Response<proto::ListLotsResponse>, Status> {
        let asked = reads::lots(caller(&request)?, request.get_ref())?;
        let (program, member) = (&asked.program, &asked.member);
        let (lots, next) = self
            .ledger
            .lots(program, member, &asked.currency, asked.after, asked.limit)
            .await?;
        let shard = self.ledger.shards.of(program, member);
        Ok(Response::new(proto::ListLotsResponse {
            lots: lots.iter().map(|lot| wire::open_lot(shard, lot)).collect(),
            next_page_token: reads::lots_token(next),
        }))
    }

    async fn get_transaction(
        &self,
        request: Request<proto::GetTransactionRequest>,
    ) -> Result<Response<proto::GetTransactionResponse>, Status> {
        let (program, by) = reads::get(caller(&request)?, request.get_ref())?;
        let logged = self
            .ledger
            .transaction(caller(&request)?, &program, &by)
            .await?;
        Ok(Response::new(proto::GetTransactionResponse {
            transaction: Some(wire::transaction(
                caller(&request)?,
                &logged.transaction,
                &logged.chain,
            )),
        }))
    }

    async fn list_transactions(
        &self,
        request: Request<proto::ListTransactionsRequest>,
    ) -> Result<Response<proto::ListTransactionsResponse>, Status> {
        let caller = caller(&request)?;
        let asked = reads::list(caller, request.get_ref())?;
        let page = self
            .ledger
            .transactions(
                &asked.program,
                &asked.member,
                asked.before,
                asked.limit,
                &asked.filter,
            )
            .await?;
        let rendered = page
            .transactions
            .iter()
            .map(|logged| wire::transaction(caller, &logged.transaction, &logged.chain));
        Ok(Response::new(proto::ListTransactionsResponse {
            transactions: rendered.collect(),
            next_page_token: reads::page_token(page.next),
        }))
    }

    async fn explain_transaction(
        &self,
        request: Request<proto::ExplainTransactionRequest>,
    ) -> Result<Response<proto::ExplainTransactionResponse>, Status> {
        let caller = caller(&request)?;
        let (program, name) = reads::explain(caller, request.get_ref())?;
        let explained = self.ledger.explain(caller, &program, name).await?;
        Ok(Response::new(explain::explanation(caller, &explained)))
    }

    type WatchTransactionsStream =
        Pin<Box<dyn Stream<Item = Result<proto::WatchTransactionsResponse, Status>> + Send>>;

    async fn watch_transactions(
        &self,
        request: Request<proto::WatchTransactionsRequest>,
    ) -> Result<Response<Self::WatchTransactionsStream>, Status> {
        let caller = caller(&request)?.clone();
        let filter = reads::feed_filter(&caller, request.get_ref())?;
        let request = request.into_inner();
        let cursor = self.ledger.feed.cursor(&request.cursor).await?;
        let (listener, responses) = mpsc::channel(WATCH_QUEUE_LEN);
        tokio::spawn(self.ledger.feed.clone().watch(cursor, filter, listener));
        let with_bytes = request.include_canonical_bytes;
        let responses = ReceiverStream::new(responses)
            .map(move |response| Ok(watched(&caller, response?, with_bytes)));
        // A feed has no end of its own; when the service drains, it ends.
        let responses = responses.take_until(self.shutdown.clone().cancelled_owned());
        Ok(Response::new(Box::pin(responses)))
    }
}
