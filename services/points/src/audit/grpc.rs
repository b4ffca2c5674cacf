//! The auditor's questions.

use std::time::Duration;

use fealty_auth::InReach;
use fealty_ledger::{Account, BucketName};
use fealty_proto::points::v1::{self as wire, audit_service_server::AuditService};
use fealty_server::{Fields, Rejection, Start, Violations, caller};
use fealty_types::Timestamp;
use tonic::{Request, Response, Status, async_trait};

use super::service::Audit;

/// After how long nothing more is written that is stamped with a time: longer than a
/// call may take, and than the clocks of instances may differ.
const SETTLED_AFTER: Duration = Duration::from_mins(1);
/// The longest cursor that is read, in bytes.
const CURSOR_LEN_MAX: usize = 8 * 1024;

pub(crate) struct AuditApi(pub(crate) Audit);

/// A sum on the wire; one beyond 64 bits is a defect, for no currency has so
/// many points.
pub(crate) fn wire_sum(sum: i128) -> Result<i64, Rejection> {
    i64::try_from(sum).map_err(|error| Rejection::internal(&error))
}

/// An account as a caller names it.
fn account(fields: &mut Fields<'_>, asked: Option<&wire::Account>) -> Option<Account> {
    let Some(asked) = asked else {
        fields.add("account", "must be set");
        return None;
    };
    let kind = wire::AccountKind::try_from(asked.kind).ok();
    let unbranded = match kind {
        Some(wire::AccountKind::Pending) => Some(Account::Wallet(BucketName::Pending)),
        Some(wire::AccountKind::Available) => Some(Account::Wallet(BucketName::Available)),
        Some(wire::AccountKind::Held) => Some(Account::Wallet(BucketName::Held)),
        Some(wire::AccountKind::Debt) => Some(Account::Wallet(BucketName::Debt)),
        Some(wire::AccountKind::Gift) => Some(Account::Gift),
        _ => None,
    };
    if let Some(account) = unbranded {
        if !asked.brand.is_empty() {
            fields.add("account.brand", "must be empty for this kind");
        }
        if fields.caller().brands().is_some() {
            fields.deny("account.kind");
            return None;
        }
        return Some(account);
    }
    let branded = match kind {
        Some(wire::AccountKind::Issued) => Account::Issued,
        Some(wire::AccountKind::Redeemed) => Account::Redeemed,
        Some(wire::AccountKind::Expired) => Account::Expired,
        Some(wire::AccountKind::Adjusted) => Account::Adjusted,
        _ => {
            fields.add("account.kind", "must be one of the enum's values");
            return None;
        }
    };
    let brand = fields.brand("account.brand", &asked.brand);
    brand.map(InReach::into_inner).map(branded)
}

/// Where in the log something is asked for: at a cursor, empty for its end or its
/// beginning, or at a time.
pub(crate) fn log_place(
    fields: &mut Fields<'_>,
    (field, cursor): (&str, &str),
    (time_field, time): (&str, Option<prost_types::Timestamp>),
    now: Timestamp,
) -> Option<Start> {
    if cursor.len() > CURSOR_LEN_MAX {
        fields.add(field, "must be a cursor as the service gave it");
        return None;
    }
    match time {
        None => Some(Start::Cursor(cursor.to_owned())),
        Some(_) if !cursor.is_empty() => {
            fields.add(time_field, format!("must not be set where {field} is"));
            None
        }
        Some(time) => {
            let time = fields.time(time_field, time)?;
            // What is being written now may be stamped a moment ago.
            let settled = time.checked_add(SETTLED_AFTER);
            if settled.is_none_or(|settled| settled > now) {
                fields.add(time_field, "must lie at least one minute back");
            }
            Some(Start::Time(time))
        }
    }
}

/// Of rows in order, those of a page after the row of a token, and the token of the next
/// page. A token is the key of the last row of a page.
pub(crate) fn page<R>(
    mut rows: Vec<(String, R)>,
    token: &str,
    size: usize,
) -> Result<(Vec<R>, String), Rejection> {
    if !token.is_empty() {
        let Some(last) = rows.iter().position(|(key, _)| key == token) else {
            let mut violations = Violations::new();
            let rule = "must be a token of the page before, at the same cursor";
            violations.add("page_token", rule);
            return Err(violations.into());
        };
        rows.drain(..=last);
    }
    let more = rows.len() > size;
    rows.truncate(size);
    let next = rows.last().filter(|_| more).map(|(key, _)| key.clone());
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    Ok((rows, next.unwrap_or_default()))
}

/// An account for the wire.
pub(crate) fn render_account(account: &Account) -> wire::Account {
    let kind = match account {
        Account::Wallet(BucketName::Pending) => wire::AccountKind::Pending,
        Account::Wallet(BucketName::Available) => wire::AccountKind::Available,
        Account::Wallet(BucketName::Held) => wire::AccountKind::Held,
        Account::Wallet(BucketName::Debt) => wire::AccountKind::Debt,
        Account::Issued(_) => wire::AccountKind::Issued,
        Account::Redeemed(_) => wire::AccountKind::Redeemed,
        Account::Expired(_) => wire::AccountKind::Expired,
        Account::Adjusted(_) => wire::AccountKind::Adjusted,
        Account::Gift => wire::AccountKind::Gift,
    };
    wire::Account {
        kind: kind.into(),
        brand: account.brand().map(ToString::to_string).unwrap_or_default(),
    }
}

#[async_trait]
impl AuditService for AuditApi {
    async fn get_trial_balance(
        &self,
        request: Request<wire::GetTrialBalanceRequest>,
    ) -> Result<Response<wire::GetTrialBalanceResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let (program, at, size) = Fields::read(caller, |fields| {
            let at = ("cursor", &*request.cursor);
            let at = log_place(fields, at, ("time", request.time), self.0.now());
            let program = fields.program("program", &request.program);
            let size = fields.page_size("page_size", request.page_size);
            Some((program?, at?, size?))
        })?;
        let at = self.0.place(&at).await?;
        let (accounts, cursor) = self.0.trial_balance(&program, &at, caller.brands()).await?;
        let accounts = accounts.into_iter().map(|((currency, account), sums)| {
            let (kind, brand) = (account.kind(), account.brand());
            let brand = brand.map(ToString::to_string).unwrap_or_default();
            let row = wire::AccountTotals {
                currency: currency.to_string(),
                account: Some(render_account(&account)),
                debits: wire_sum(sums.debits)?,
                credits: wire_sum(sums.credits)?,
            };
            Ok((format!("{currency}/{kind}/{brand}"), row))
        });
        let accounts = accounts.collect::<Result<_, Rejection>>()?;
        let (accounts, next_page_token) = page(accounts, &request.page_token, size)?;
        Ok(Response::new(wire::GetTrialBalanceResponse {
            accounts,
            cursor: cursor.to_string(),
            next_page_token,
        }))
    }

    async fn get_account_balance(
        &self,
        request: Request<wire::GetAccountBalanceRequest>,
    ) -> Result<Response<wire::GetAccountBalanceResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let (program, currency, account) = Fields::read(caller, |fields| {
            let program = fields.program("program", &request.program);
            let currency = fields.parse("currency", &request.currency);
            let account = account(fields, request.account.as_ref());
            Some((program?, currency?, account?))
        })?;
        let (totals, cursor) = self.0.account(&program, &currency, &account).await?;
        let mut response = wire::GetAccountBalanceResponse {
            cursor: cursor.to_string(),
            ..wire::GetAccountBalanceResponse::default()
        };
        for (key, sums) in totals.rows() {
            let issuer = wire::IssuerTotals {
                issuer: key.issuer.to_string(),
                debits: wire_sum(sums.debits)?,
                credits: wire_sum(sums.credits)?,
            };
            response.debits += issuer.debits;
            response.credits += issuer.credits;
            response.issuers.push(issuer);
        }
        Ok(Response::new(response))
    }

    async fn get_checkpoint(
        &self,
        _: Request<wire::GetCheckpointRequest>,
    ) -> Result<Response<wire::GetCheckpointResponse>, Status> {
        let checkpoint = self.0.checkpoint().await?;
        Ok(Response::new(wire::GetCheckpointResponse {
            note: checkpoint.note,
            verifier_key: checkpoint.verifier_key.to_string(),
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
