//! The ledger.

use std::pin::Pin;

use fealty_ledger::{Command, Named, Refusal};
use fealty_proto::points::v1::{self as wire, ledger_service_server::LedgerService};
use fealty_server::Rejection;
use fealty_types::{Clock as _, ShardId};
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{
    explain,
    parse::{self, Target},
    render,
};
use crate::{
    app::{Answer, App, Moment},
    error::Error,
};

/// Responses of a feed that wait for a slow listener.
const WATCH_QUEUE_LEN: usize = 4;
/// Requests of one stream that are in flight at once: half a lane's queue.
const BATCH_IN_FLIGHT_MAX: usize = 2_048;

#[derive(Clone)]
pub(super) struct LedgerApi {
    pub(super) app: App,
    pub(super) shutdown: CancellationToken,
}

impl LedgerApi {
    async fn submit(&self, target: Target, command: Command) -> Result<Answer, Rejection> {
        if let (Some(named), Some(shard)) = (command.names(), target.named_shard) {
            self.app.programs.newest(&target.program)?;
            // What another shard holds is none of this member's.
            if self.app.shard(&target.program, &target.member) != shard {
                return Err(Error::Ledger(not_found(named)).rejection(shard));
            }
        }
        self.app
            .submit(&target.program, target.member, target.request_id, command)
            .await
    }

    async fn accrue_one(&self, request: wire::BatchAccrueRequest) -> wire::BatchAccrueResponse {
        use wire::batch_accrue_response::Outcome;
        let accrual = request.accrual.unwrap_or_default();
        let done = match parse::accrue(&accrual) {
            Ok((target, command)) => self.submit(target, command).await,
            Err(rejection) => Err(rejection),
        };
        let outcome = match done {
            Ok(answer) => Outcome::Accrued(wire::BatchAccrued {
                transaction: answer.transaction.name().to_string(),
                balance: answer.transaction.wallets.first().map(|after| {
                    let currency = after.currency.as_str();
                    render::balance(currency, &after.buckets, after.sequence, after.inactive_at)
                }),
                replayed: answer.replayed,
            }),
            Err(rejection) => {
                let reason = rejection.reason_name().to_owned();
                let status = Status::from(rejection);
                Outcome::Refusal(wire::BatchRefusal {
                    code: status.code().into(),
                    reason,
                    message: status.message().to_owned(),
                })
            }
        };
        wire::BatchAccrueResponse {
            sequence: request.sequence,
            outcome: Some(outcome),
        }
    }
}

fn not_found(named: Named) -> Refusal {
    match named {
        Named::Hold(hold) => Refusal::HoldNotFound { hold },
        Named::Transaction(transaction) => Refusal::TransactionNotFound { transaction },
        Named::Lot(lot) => Refusal::LotNotFound { lot },
    }
}

fn transaction(answer: &Answer) -> wire::Transaction {
    render::transaction(&answer.transaction, &answer.chain)
}

#[async_trait]
impl LedgerService for LedgerApi {
    async fn accrue(
        &self,
        request: Request<wire::AccrueRequest>,
    ) -> Result<Response<wire::AccrueResponse>, Status> {
        let (target, command) = parse::accrue(request.get_ref())?;
        let answer = self.submit(target, command).await?;
        Ok(Response::new(wire::AccrueResponse {
            transaction: Some(transaction(&answer)),
            replayed: answer.replayed,
        }))
    }

    async fn redeem(
        &self,
        request: Request<wire::RedeemRequest>,
    ) -> Result<Response<wire::RedeemResponse>, Status> {
        let (target, command) = parse::redeem(request.get_ref())?;
        let answer = self.submit(target, command).await?;
        Ok(Response::new(wire::RedeemResponse {
            transaction: Some(transaction(&answer)),
            replayed: answer.replayed,
        }))
    }

    async fn hold(
        &self,
        request: Request<wire::HoldRequest>,
    ) -> Result<Response<wire::HoldResponse>, Status> {
        let (target, command) = parse::hold(request.get_ref())?;
        let answer = self.submit(target, command).await?;
        Ok(Response::new(wire::HoldResponse {
            transaction: Some(transaction(&answer)),
            replayed: answer.replayed,
            hold: answer.transaction.name().to_string(),
        }))
    }

    async fn capture(
        &self,
        request: Request<wire::CaptureRequest>,
    ) -> Result<Response<wire::CaptureResponse>, Status> {
        let (target, command) = parse::capture(request.get_ref())?;
        let answer = self.submit(target, command).await?;
        Ok(Response::new(wire::CaptureResponse {
            transaction: Some(transaction(&answer)),
            replayed: answer.replayed,
        }))
    }

    async fn release(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseResponse>, Status> {
        let (target, command) = parse::release(request.get_ref())?;
        let answer = self.submit(target, command).await?;
        Ok(Response::new(wire::ReleaseResponse {
            transaction: Some(transaction(&answer)),
            replayed: answer.replayed,
        }))
    }

    async fn reverse(
        &self,
        request: Request<wire::ReverseRequest>,
    ) -> Result<Response<wire::ReverseResponse>, Status> {
        let (target, command) = parse::reverse(request.get_ref())?;
        let answer = self.submit(target, command).await?;
        let outcome = transaction(&answer).reversal;
        Ok(Response::new(wire::ReverseResponse {
            transaction: Some(transaction(&answer)),
            replayed: answer.replayed,
            outcome,
        }))
    }

    async fn adjust(
        &self,
        request: Request<wire::AdjustRequest>,
    ) -> Result<Response<wire::AdjustResponse>, Status> {
        let (target, command) = parse::adjust(request.get_ref())?;
        let answer = self.submit(target, command).await?;
        Ok(Response::new(wire::AdjustResponse {
            transaction: Some(transaction(&answer)),
            replayed: answer.replayed,
        }))
    }

    async fn extend_lot(
        &self,
        request: Request<wire::ExtendLotRequest>,
    ) -> Result<Response<wire::ExtendLotResponse>, Status> {
        let (target, command) = parse::extend(request.get_ref())?;
        let answer = self.submit(target, command).await?;
        Ok(Response::new(wire::ExtendLotResponse {
            transaction: Some(transaction(&answer)),
            replayed: answer.replayed,
        }))
    }

    async fn reinstate_lot(
        &self,
        request: Request<wire::ReinstateLotRequest>,
    ) -> Result<Response<wire::ReinstateLotResponse>, Status> {
        let (target, command) = parse::reinstate(request.get_ref())?;
        let answer = self.submit(target, command).await?;
        Ok(Response::new(wire::ReinstateLotResponse {
            transaction: Some(transaction(&answer)),
            replayed: answer.replayed,
        }))
    }

    async fn activate_points(
        &self,
        request: Request<wire::ActivatePointsRequest>,
    ) -> Result<Response<wire::ActivatePointsResponse>, Status> {
        let (target, command) = parse::activate(request.get_ref())?;
        let answer = self.submit(target, command).await?;
        Ok(Response::new(wire::ActivatePointsResponse {
            transaction: Some(transaction(&answer)),
            replayed: answer.replayed,
        }))
    }

    async fn transfer(
        &self,
        request: Request<wire::TransferRequest>,
    ) -> Result<Response<wire::TransferResponse>, Status> {
        let (target, command) = parse::transfer(request.get_ref())?;
        let transferred = self
            .app
            .transfer(&target.program, target.member, target.request_id, command)
            .await?;
        Ok(Response::new(wire::TransferResponse {
            transaction: Some(transaction(&transferred.answer)),
            replayed: transferred.answer.replayed,
            recipient_transaction: transferred.recipient.to_string(),
        }))
    }

    type BatchAccrueStream =
        Pin<Box<dyn Stream<Item = Result<wire::BatchAccrueResponse, Status>> + Send>>;

    async fn batch_accrue(
        &self,
        request: Request<Streaming<wire::BatchAccrueRequest>>,
    ) -> Result<Response<Self::BatchAccrueStream>, Status> {
        let api = self.clone();
        // The stream is read as fast as answers are taken: a slow reader holds
        // the writer back.
        let answers = request
            .into_inner()
            .take_until(self.shutdown.clone().cancelled_owned())
            .map(move |request| {
                let api = api.clone();
                async move { Ok(api.accrue_one(request?).await) }
            })
            .buffer_unordered(BATCH_IN_FLIGHT_MAX);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn get_balance(
        &self,
        request: Request<wire::GetBalanceRequest>,
    ) -> Result<Response<wire::GetBalanceResponse>, Status> {
        let asked = parse::balance(request.get_ref(), self.app.clock.now())?;
        let (program, member, currency) = (&asked.program, &asked.member, &asked.currency);
        let read = match asked.moment {
            Moment::Now => {
                let strong = asked.strong;
                self.app.balance(program, member, currency, strong).await?
            }
            moment => {
                self.app
                    .balance_at(program, member, currency, moment)
                    .await?
            }
        };
        let shard: ShardId = self.app.shard(program, member);
        Ok(Response::new(wire::GetBalanceResponse {
            balance: Some(render::wallet(currency.as_str(), &read.wallet)),
            transaction: read
                .position
                .map(|p| render::name(shard, p))
                .unwrap_or_default(),
            cached: read.cached,
        }))
    }

    async fn batch_get_balances(
        &self,
        request: Request<wire::BatchGetBalancesRequest>,
    ) -> Result<Response<wire::BatchGetBalancesResponse>, Status> {
        let (program, members, currency, strong) = parse::balances(request.get_ref())?;
        let reads = self
            .app
            .balances(&program, &members, &currency, strong)
            .await?;
        let balances = members.iter().zip(reads).map(|(member, read)| {
            let balance = Some(render::wallet(currency.as_str(), &read.wallet));
            wire::MemberBalance {
                member: member.to_string(),
                balance,
                cached: read.cached,
            }
        });
        Ok(Response::new(wire::BatchGetBalancesResponse {
            balances: balances.collect(),
        }))
    }

    async fn list_lots(
        &self,
        request: Request<wire::ListLotsRequest>,
    ) -> Result<Response<wire::ListLotsResponse>, Status> {
        let asked = parse::lots(request.get_ref())?;
        let (program, member) = (&asked.program, &asked.member);
        let (lots, next) = self
            .app
            .lots(program, member, &asked.currency, asked.after, asked.limit)
            .await?;
        let shard = self.app.shard(program, member);
        Ok(Response::new(wire::ListLotsResponse {
            lots: lots
                .iter()
                .map(|lot| render::open_lot(shard, lot))
                .collect(),
            next_page_token: parse::lots_token(next),
        }))
    }

    async fn get_transaction(
        &self,
        request: Request<wire::GetTransactionRequest>,
    ) -> Result<Response<wire::GetTransactionResponse>, Status> {
        let (program, by) = parse::get(request.get_ref())?;
        let logged = self.app.transaction(&program, &by).await?;
        Ok(Response::new(wire::GetTransactionResponse {
            transaction: Some(render::transaction(&logged.transaction, &logged.chain)),
        }))
    }

    async fn list_transactions(
        &self,
        request: Request<wire::ListTransactionsRequest>,
    ) -> Result<Response<wire::ListTransactionsResponse>, Status> {
        let asked = parse::list(request.get_ref())?;
        let page = self
            .app
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
            .map(|logged| render::transaction(&logged.transaction, &logged.chain));
        Ok(Response::new(wire::ListTransactionsResponse {
            transactions: rendered.collect(),
            next_page_token: parse::page_token(page.next),
        }))
    }

    async fn explain_transaction(
        &self,
        request: Request<wire::ExplainTransactionRequest>,
    ) -> Result<Response<wire::ExplainTransactionResponse>, Status> {
        let (program, name) = parse::explain(request.get_ref())?;
        let explained = self.app.explain(&program, name).await?;
        Ok(Response::new(explain::explanation(&explained)))
    }

    type WatchTransactionsStream =
        Pin<Box<dyn Stream<Item = Result<wire::WatchTransactionsResponse, Status>> + Send>>;

    async fn watch_transactions(
        &self,
        request: Request<wire::WatchTransactionsRequest>,
    ) -> Result<Response<Self::WatchTransactionsStream>, Status> {
        let request = request.into_inner();
        let filter = parse::feed_filter(&request)?;
        let anywhere = ShardId::new(0);
        let cursor = self
            .app
            .cursor(&request.cursor)
            .await
            .map_err(|error| error.rejection(anywhere))?;
        let (listener, responses) = mpsc::channel(WATCH_QUEUE_LEN);
        tokio::spawn(self.app.clone().watch(cursor, filter, listener));
        let with_bytes = request.include_canonical_bytes;
        let responses = ReceiverStream::new(responses).map(move |response| {
            let watched = response.map_err(|error| error.rejection(anywhere))?;
            let transactions = watched.transactions.into_iter().map(|logged| {
                let mut rendered = render::transaction(&logged.transaction, &logged.chain);
                if with_bytes {
                    rendered.canonical_bytes = logged.body;
                }
                rendered
            });
            Ok(wire::WatchTransactionsResponse {
                transactions: transactions.collect(),
                cursor: watched.cursor.to_string(),
                behind: watched.behind,
            })
        });
        // A feed has no end of its own; when the service drains, it ends.
        let responses = responses.take_until(self.shutdown.clone().cancelled_owned());
        Ok(Response::new(Box::pin(responses)))
    }
}
