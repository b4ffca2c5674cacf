//! The auditor's questions.

use fealty_proto::points::v1::{self as wire, audit_service_server::AuditService};
use fealty_server::{Rejection, Violations};
use fealty_types::ProgramId;
use tonic::{Request, Response, Status, async_trait};

use crate::app::App;

pub(super) struct AuditApi(pub(super) App);

fn kind(stored: &str) -> wire::AccountKind {
    match stored {
        "pending" => wire::AccountKind::Pending,
        "available" => wire::AccountKind::Available,
        "held" => wire::AccountKind::Held,
        "debt" => wire::AccountKind::Debt,
        "issued" => wire::AccountKind::Issued,
        "redeemed" => wire::AccountKind::Redeemed,
        "expired" => wire::AccountKind::Expired,
        _ => wire::AccountKind::Unspecified,
    }
}

#[async_trait]
impl AuditService for AuditApi {
    async fn get_trial_balance(
        &self,
        request: Request<wire::GetTrialBalanceRequest>,
    ) -> Result<Response<wire::GetTrialBalanceResponse>, Status> {
        let mut violations = Violations::new();
        let program = violations.parse("program", &request.get_ref().program);
        let program: ProgramId = violations.finish(program)?;
        let (rows, cursor) = self.0.trial_balance(&program).await?;
        let accounts = rows.into_iter().map(|row| {
            let total = |sum: i128| i64::try_from(sum).map_err(|error| Rejection::internal(&error));
            Ok(wire::AccountTotals {
                currency: row.currency,
                account: Some(wire::Account {
                    kind: kind(&row.kind).into(),
                    brand: row.brand,
                }),
                debits: total(row.debits)?,
                credits: total(row.credits)?,
            })
        });
        Ok(Response::new(wire::GetTrialBalanceResponse {
            accounts: accounts.collect::<Result<_, Rejection>>()?,
            cursor: cursor.to_string(),
        }))
    }

    async fn get_log_heads(
        &self,
        _: Request<wire::GetLogHeadsRequest>,
    ) -> Result<Response<wire::GetLogHeadsResponse>, Status> {
        let heads = self.0.log_heads().await?;
        let heads = (0..).zip(heads).map(|(shard, head)| wire::LogHead {
            shard,
            position: head.position.get(),
            chain: head.chain.to_vec(),
        });
        Ok(Response::new(wire::GetLogHeadsResponse {
            heads: heads.collect(),
        }))
    }
}
