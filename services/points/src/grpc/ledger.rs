//! The ledger.

use std::pin::Pin;

use fealty_proto::points::v1::{self as wire, ledger_service_server::LedgerService};
use fealty_server::{Rejection, Violations};
use fealty_types::{ShardId, TransactionName};
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, async_trait};

use super::{
    parse::{self, Target},
    render,
};
use crate::{
    app::{Answer, App},
    error::Error,
};
use fealty_ledger::Command;

/// Responses of a feed that wait for a slow listener.
const WATCH_QUEUE_LEN: usize = 4;

pub(super) struct LedgerApi {
    pub(super) app: App,
    pub(super) shutdown: CancellationToken,
}

impl LedgerApi {
    async fn submit(&self, target: Target, command: Command) -> Result<Answer, Rejection> {
        self.app
            .submit(&target.program, target.member, target.request_id, command)
            .await
    }

    /// A hold of another shard is none of this member's.
    async fn submit_for_hold(
        &self,
        target: Target,
        hold: TransactionName,
        command: Command,
    ) -> Result<Answer, Rejection> {
        self.app.programs.newest(&target.program)?;
        if self.app.shard(&target.program, &target.member) != hold.shard {
            let refusal = fealty_ledger::Refusal::HoldNotFound {
                hold: hold.position,
            };
            return Err(Error::Ledger(refusal).rejection(hold.shard));
        }
        self.submit(target, command).await
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
        let transaction = Some(transaction(&answer));
        Ok(Response::new(wire::AccrueResponse {
            transaction,
            replayed: answer.replayed,
        }))
    }

    async fn redeem(
        &self,
        request: Request<wire::RedeemRequest>,
    ) -> Result<Response<wire::RedeemResponse>, Status> {
        let (target, command) = parse::redeem(request.get_ref())?;
        let answer = self.submit(target, command).await?;
        let transaction = Some(transaction(&answer));
        Ok(Response::new(wire::RedeemResponse {
            transaction,
            replayed: answer.replayed,
        }))
    }

    async fn hold(
        &self,
        request: Request<wire::HoldRequest>,
    ) -> Result<Response<wire::HoldResponse>, Status> {
        let (target, command) = parse::hold(request.get_ref())?;
        let answer = self.submit(target, command).await?;
        let hold = render::name(answer.transaction.shard, answer.transaction.position);
        let transaction = Some(transaction(&answer));
        Ok(Response::new(wire::HoldResponse {
            transaction,
            replayed: answer.replayed,
            hold,
        }))
    }

    async fn capture(
        &self,
        request: Request<wire::CaptureRequest>,
    ) -> Result<Response<wire::CaptureResponse>, Status> {
        let (target, hold, command) = parse::capture(request.get_ref())?;
        let answer = self.submit_for_hold(target, hold, command).await?;
        let transaction = Some(transaction(&answer));
        Ok(Response::new(wire::CaptureResponse {
            transaction,
            replayed: answer.replayed,
        }))
    }

    async fn release(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseResponse>, Status> {
        let (target, hold, command) = parse::release(request.get_ref())?;
        let answer = self.submit_for_hold(target, hold, command).await?;
        let transaction = Some(transaction(&answer));
        Ok(Response::new(wire::ReleaseResponse {
            transaction,
            replayed: answer.replayed,
        }))
    }

    async fn get_balance(
        &self,
        request: Request<wire::GetBalanceRequest>,
    ) -> Result<Response<wire::GetBalanceResponse>, Status> {
        let (program, member, currency, strong) = parse::balance(request.get_ref())?;
        let read = self
            .app
            .balance(&program, &member, &currency, strong)
            .await?;
        let shard: ShardId = self.app.shard(&program, &member);
        let wallet = &read.wallet;
        Ok(Response::new(wire::GetBalanceResponse {
            balance: Some(render::balance(
                currency.as_str(),
                &wallet.buckets,
                wallet.sequence,
            )),
            transaction: read
                .position
                .map(|p| render::name(shard, p))
                .unwrap_or_default(),
            cached: read.cached,
        }))
    }

    async fn list_transactions(
        &self,
        request: Request<wire::ListTransactionsRequest>,
    ) -> Result<Response<wire::ListTransactionsResponse>, Status> {
        let (program, member, before, limit) = parse::list(request.get_ref())?;
        let page = self
            .app
            .transactions(&program, &member, before, limit)
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

    type WatchTransactionsStream =
        Pin<Box<dyn Stream<Item = Result<wire::WatchTransactionsResponse, Status>> + Send>>;

    async fn watch_transactions(
        &self,
        request: Request<wire::WatchTransactionsRequest>,
    ) -> Result<Response<Self::WatchTransactionsStream>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        if request.cursor.len() > 8 * 1024 {
            violations.add("cursor", "must be a cursor as the service gave it");
        }
        violations.finish(Some(()))?;
        let anywhere = ShardId::new(0);
        let cursor = self
            .app
            .cursor(&request.cursor)
            .await
            .map_err(|error| error.rejection(anywhere))?;
        let (listener, responses) = mpsc::channel(WATCH_QUEUE_LEN);
        tokio::spawn(self.app.clone().watch(cursor, listener));
        let with_bytes = request.include_canonical_bytes;
        let responses = ReceiverStream::new(responses).map(move |response| {
            let (logged, cursor) = response.map_err(|error| error.rejection(anywhere))?;
            let transactions = logged.into_iter().map(|logged| {
                let mut rendered = render::transaction(&logged.transaction, &logged.chain);
                if with_bytes {
                    rendered.canonical_bytes = logged.body;
                }
                rendered
            });
            Ok(wire::WatchTransactionsResponse {
                transactions: transactions.collect(),
                cursor: cursor.to_string(),
            })
        });
        // A feed has no end of its own; when the service drains, it ends.
        let responses = responses.take_until(self.shutdown.clone().cancelled_owned());
        Ok(Response::new(Box::pin(responses)))
    }
}
