//! The ledger on the wire.

pub(crate) mod changes;
pub(crate) mod explain;
mod reads;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::pin::Pin;

use fealty_auth::Caller;
use fealty_proto::points::v1::{self as proto, ledger_service_server::LedgerService};
use fealty_server::{Rejection, caller, to_wire_time};
use fealty_types::{Clock as _, Ids, TransactionPlace};
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{
    balance::Moment,
    service::{Change, Ledger},
};
use crate::{error::Error, feed::Watched, shard::Answer};

/// Responses of a feed that wait for a slow listener.
const WATCH_QUEUE_LEN: usize = 4;
/// Requests of one stream that are in flight at once: half a lane's queue.
const BATCH_IN_FLIGHT_MAX: usize = 2_048;

#[derive(Clone)]
pub(crate) struct LedgerApi {
    pub(crate) ledger: Ledger,
    pub(crate) shutdown: CancellationToken,
}

/// A call: who makes it, and the ids by which things are told in it.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) ids: Ids,
}

impl<'a> Call<'a> {
    pub(crate) fn of<T>(request: &'a Request<T>, ids: Ids) -> Result<Self, Rejection> {
        let caller = caller(request)?;
        Ok(Self { caller, ids })
    }
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
    fn call<'a, T>(&self, request: &'a Request<T>) -> Result<Call<'a>, Rejection> {
        Call::of(request, self.ledger.shards.ids())
    }

    async fn change(&self, change: Change) -> Result<Done, Status> {
        let caller = change.caller.clone();
        let answer = self.ledger.submit(change).await?;
        Ok(self.done(&caller, &answer))
    }

    fn done(&self, caller: &Caller, answer: &Answer) -> Done {
        let ids = self.ledger.shards.ids();
        let call = Call { caller, ids };
        Done {
            transaction: Some(call.transaction(&answer.transaction)),
            replayed: answer.replayed,
        }
    }

    async fn accrue_one(
        &self,
        caller: &Caller,
        request: proto::BatchAccrueRequest,
    ) -> proto::BatchAccrueResponse {
        use proto::batch_accrue_response::Outcome;
        let accrual = request.accrual.unwrap_or_default();
        let ids = self.ledger.shards.ids();
        let done = match changes::accrue(Call { caller, ids }, &accrual) {
            Ok(change) => self.ledger.submit(change).await.map_err(Rejection::from),
            Err(rejection) => Err(rejection),
        };
        let outcome = match done {
            Ok(answer) => Outcome::Accrued(proto::BatchAccrued {
                transaction: ids.transaction(answer.transaction.place()),
                balance: answer.transaction.wallets.first().map(|after| {
                    let currency = after.currency.as_str();
                    let inactivity = (after.inactivity, after.inactive_at);
                    wire::balance(currency, &after.buckets, after.sequence, inactivity)
                }),
                replayed: answer.replayed,
            }),
            Err(rejection) => Outcome::Refusal(rejection.to_wire()),
        };
        proto::BatchAccrueResponse {
            sequence: request.sequence,
            outcome: Some(outcome),
        }
    }
}

/// A stretch of the feed, with the canonical bytes if they are wanted.
fn watched(call: Call<'_>, watched: Watched, with_bytes: bool) -> proto::WatchTransactionsResponse {
    let transactions = watched.entries.into_iter().map(|logged| {
        let mut rendered = call.logged(&logged);
        if with_bytes {
            rendered.canonical_bytes = logged.body;
        }
        rendered
    });
    proto::WatchTransactionsResponse {
        transactions: transactions.collect(),
        cursor: watched.cursor.to_string(),
        behind: watched.behind,
        known_time: watched.known.map(to_wire_time),
    }
}

#[async_trait]
impl LedgerService for LedgerApi {
    async fn accrue(
        &self,
        request: Request<proto::AccrueRequest>,
    ) -> Result<Response<proto::AccrueResponse>, Status> {
        let change = changes::accrue(self.call(&request)?, request.get_ref())?;
        changed!(self.change(change).await?, AccrueResponse)
    }

    async fn redeem(
        &self,
        request: Request<proto::RedeemRequest>,
    ) -> Result<Response<proto::RedeemResponse>, Status> {
        let change = changes::redeem(self.call(&request)?, request.get_ref())?;
        changed!(self.change(change).await?, RedeemResponse)
    }

    async fn hold(
        &self,
        request: Request<proto::HoldRequest>,
    ) -> Result<Response<proto::HoldResponse>, Status> {
        let change = changes::hold(self.call(&request)?, request.get_ref())?;
        let done = self.change(change).await?;
        let made = done.transaction.as_ref();
        Ok(Response::new(proto::HoldResponse {
            hold: made.map(|made| made.hold.clone()).unwrap_or_default(),
            expiry_time: made.and_then(|made| made.hold_expiry_time),
            transaction: done.transaction,
            replayed: done.replayed,
        }))
    }

    async fn capture(
        &self,
        request: Request<proto::CaptureRequest>,
    ) -> Result<Response<proto::CaptureResponse>, Status> {
        let change = changes::capture(self.call(&request)?, request.get_ref())?;
        changed!(self.change(change).await?, CaptureResponse)
    }

    async fn release(
        &self,
        request: Request<proto::ReleaseRequest>,
    ) -> Result<Response<proto::ReleaseResponse>, Status> {
        let change = changes::release(self.call(&request)?, request.get_ref())?;
        changed!(self.change(change).await?, ReleaseResponse)
    }

    async fn extend_hold(
        &self,
        request: Request<proto::ExtendHoldRequest>,
    ) -> Result<Response<proto::ExtendHoldResponse>, Status> {
        let change = changes::extend_hold(self.call(&request)?, request.get_ref())?;
        let done = self.change(change).await?;
        let extended = done.transaction.as_ref();
        Ok(Response::new(proto::ExtendHoldResponse {
            expiry_time: extended.and_then(|extended| extended.hold_expiry_time),
            transaction: done.transaction,
            replayed: done.replayed,
        }))
    }

    async fn get_hold(
        &self,
        request: Request<proto::GetHoldRequest>,
    ) -> Result<Response<proto::GetHoldResponse>, Status> {
        let call = self.call(&request)?;
        let (program, member, place) = reads::hold(call, request.get_ref())?;
        let read = self.ledger.hold(&program, &member, place).await?;
        Ok(Response::new(proto::GetHoldResponse {
            hold: Some(call.hold(place.shard, &read)),
        }))
    }

    async fn list_holds(
        &self,
        request: Request<proto::ListHoldsRequest>,
    ) -> Result<Response<proto::ListHoldsResponse>, Status> {
        let call = self.call(&request)?;
        let asked = reads::holds(call, request.get_ref())?;
        let (program, member) = (&asked.program, &asked.member);
        let (holds, next) = self
            .ledger
            .holds(program, member, asked.after, asked.limit)
            .await?;
        let shard = self.ledger.shards.of(program, member);
        Ok(Response::new(proto::ListHoldsResponse {
            holds: holds.iter().map(|read| call.hold(shard, read)).collect(),
            next_page_token: reads::page_token(call.ids, next),
        }))
    }

    async fn reverse(
        &self,
        request: Request<proto::ReverseRequest>,
    ) -> Result<Response<proto::ReverseResponse>, Status> {
        let Done {
            transaction,
            replayed,
        } = self
            .change(changes::reverse(self.call(&request)?, request.get_ref())?)
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
        let change = changes::adjust(self.call(&request)?, request.get_ref())?;
        changed!(self.change(change).await?, AdjustResponse)
    }

    async fn extend_lot(
        &self,
        request: Request<proto::ExtendLotRequest>,
    ) -> Result<Response<proto::ExtendLotResponse>, Status> {
        let change = changes::extend(self.call(&request)?, request.get_ref())?;
        changed!(self.change(change).await?, ExtendLotResponse)
    }

    async fn reinstate_lot(
        &self,
        request: Request<proto::ReinstateLotRequest>,
    ) -> Result<Response<proto::ReinstateLotResponse>, Status> {
        let change = changes::reinstate(self.call(&request)?, request.get_ref())?;
        changed!(self.change(change).await?, ReinstateLotResponse)
    }

    async fn activate_points(
        &self,
        request: Request<proto::ActivatePointsRequest>,
    ) -> Result<Response<proto::ActivatePointsResponse>, Status> {
        let asked = changes::activate(self.call(&request)?, request.get_ref())?;
        let change = self.ledger.activation(asked).await?;
        changed!(self.change(change).await?, ActivatePointsResponse)
    }

    async fn gift(
        &self,
        request: Request<proto::GiftRequest>,
    ) -> Result<Response<proto::GiftResponse>, Status> {
        let call = self.call(&request)?;
        let change = changes::gift(call, request.get_ref())?;
        let given = self.ledger.give(change).await?;
        Ok(Response::new(proto::GiftResponse {
            transaction: Some(call.transaction(&given.answer.transaction)),
            replayed: given.answer.replayed,
            recipient_transaction: call.ids.transaction(given.recipient),
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
        let call = self.call(&request)?;
        let asked = reads::balance(call, request.get_ref(), self.ledger.clock.now())?;
        let (program, member, currency) = (&asked.program, &asked.member, &asked.currency);
        let read = match asked.moment {
            Moment::Now => {
                let from = (asked.source, asked.min_position);
                self.ledger.balance(program, member, currency, from).await?
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
                .map(|position| call.ids.transaction(TransactionPlace { shard, position }))
                .unwrap_or_default(),
            cached: read.cached,
        }))
    }

    async fn list_balances(
        &self,
        request: Request<proto::ListBalancesRequest>,
    ) -> Result<Response<proto::ListBalancesResponse>, Status> {
        let call = self.call(&request)?;
        let (program, member) = reads::overview(call, request.get_ref())?;
        let read = self.ledger.overview(&program, &member).await?;
        let shard = self.ledger.shards.of(&program, &member);
        let wallets = read.iter();
        let wallets = wallets.map(|(currency, read)| call.overview(shard, currency, read));
        Ok(Response::new(proto::ListBalancesResponse {
            wallets: wallets.collect(),
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
        } = reads::balances(self.call(&request)?, request.get_ref())?;
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
        let call = self.call(&request)?;
        let asked = reads::lots(call, request.get_ref())?;
        let (program, member) = (&asked.program, &asked.member);
        let (lots, next) = self
            .ledger
            .lots(program, member, &asked.currency, asked.after, asked.limit)
            .await?;
        let shard = self.ledger.shards.of(program, member);
        Ok(Response::new(proto::ListLotsResponse {
            lots: lots
                .iter()
                .map(|lot| wire::open_lot(call.ids, shard, lot))
                .collect(),
            next_page_token: reads::lots_token(call.ids, next),
        }))
    }

    async fn get_transaction(
        &self,
        request: Request<proto::GetTransactionRequest>,
    ) -> Result<Response<proto::GetTransactionResponse>, Status> {
        let call = self.call(&request)?;
        let (program, by) = reads::get(call, request.get_ref())?;
        let transaction = self.ledger.transaction(call.caller, &program, &by).await?;
        Ok(Response::new(proto::GetTransactionResponse {
            transaction: Some(call.transaction(&transaction)),
        }))
    }

    async fn list_transactions(
        &self,
        request: Request<proto::ListTransactionsRequest>,
    ) -> Result<Response<proto::ListTransactionsResponse>, Status> {
        let call = self.call(&request)?;
        let asked = reads::list(call, request.get_ref())?;
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
            .map(|transaction| call.transaction(transaction));
        Ok(Response::new(proto::ListTransactionsResponse {
            transactions: rendered.collect(),
            next_page_token: reads::page_token(call.ids, page.next),
        }))
    }

    async fn explain_transaction(
        &self,
        request: Request<proto::ExplainTransactionRequest>,
    ) -> Result<Response<proto::ExplainTransactionResponse>, Status> {
        let call = self.call(&request)?;
        let (program, place) = reads::explain(call, request.get_ref())?;
        let explained = self.ledger.explain(call.caller, &program, place).await?;
        Ok(Response::new(explain::explanation(call, &explained)))
    }

    async fn poll_transactions(
        &self,
        request: Request<proto::PollTransactionsRequest>,
    ) -> Result<Response<proto::PollTransactionsResponse>, Status> {
        let call = self.call(&request)?;
        let asked = request.get_ref();
        let (start, filter) = (asked.start.as_ref(), asked.filter.as_ref());
        let (start, filter, wait) = reads::feed(call.caller, start, filter, asked.wait)?;
        let place = self.ledger.feed.start(&start).await?;
        let polled = self.ledger.feed.poll(place, filter, wait);
        let polled = tokio::select! {
            polled = polled => polled?,
            () = self.shutdown.cancelled() => return Err(Error::Ending.into()),
        };
        let told = watched(call, polled, asked.include_canonical_bytes);
        Ok(Response::new(proto::PollTransactionsResponse {
            transactions: told.transactions,
            cursor: told.cursor,
            behind: told.behind,
            known_time: told.known_time,
        }))
    }

    type WatchTransactionsStream =
        Pin<Box<dyn Stream<Item = Result<proto::WatchTransactionsResponse, Status>> + Send>>;

    async fn watch_transactions(
        &self,
        request: Request<proto::WatchTransactionsRequest>,
    ) -> Result<Response<Self::WatchTransactionsStream>, Status> {
        let caller = caller(&request)?.clone();
        let request = request.into_inner();
        let (start, filter) = (request.start.as_ref(), request.filter.as_ref());
        let (start, filter, _) = reads::feed(&caller, start, filter, None)?;
        let place = self.ledger.feed.start(&start).await?;
        let (listener, responses) = mpsc::channel(WATCH_QUEUE_LEN);
        tokio::spawn(self.ledger.feed.clone().watch(place, filter, listener));
        let (with_bytes, ids) = (request.include_canonical_bytes, self.ledger.shards.ids());
        let responses = ReceiverStream::new(responses).map(move |response| {
            let call = Call {
                caller: &caller,
                ids,
            };
            Ok(watched(call, response?, with_bytes))
        });
        // A feed has no end of its own; when the service drains, it ends.
        let responses = responses.take_until(self.shutdown.clone().cancelled_owned());
        Ok(Response::new(Box::pin(responses)))
    }
}
