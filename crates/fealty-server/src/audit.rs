//! What people did, for those who ask: the audit log on the wire.

use fealty_auth::{InReach, Role};
use fealty_postgres::{
    Database,
    audit_log::{self, AuditEntry, AuditFilter},
};
use fealty_proto::operations::v1::{
    self as wire, audit_log_service_server::AuditLogService as AuditLogServer,
};
use fealty_types::ProgramId;
use tonic::{Request, Response, Status, async_trait};

use crate::{Fields, Rejection, caller, to_wire_time};

pub(crate) struct AuditLogApi(pub(crate) Database);

/// A page asked for.
struct Asked {
    filter: AuditFilter,
    before: i64,
    limit: i64,
}

fn asked(request: &wire::ListAuditEntriesRequest, fields: &mut Fields<'_>) -> Option<Asked> {
    let programs = fields.program_or_all("program", &request.program);
    let mut filter = AuditFilter::default();
    if !request.member.is_empty() {
        match programs.as_ref().and_then(|programs| programs.as_deref()) {
            Some([program]) if !request.program.is_empty() => {
                let member = fields.member("member", Some(program), &request.member);
                filter.member = member.map(InReach::into_inner);
            }
            _ if request.program.is_empty() => {
                fields.add("program", "must be set where `member` is");
            }
            _ => {}
        }
    }
    if !request.subject.is_empty() {
        filter.subject = fields.parse("subject", &request.subject);
    }
    filter.start = request
        .start_time
        .and_then(|time| fields.time("start_time", time));
    filter.end = request
        .end_time
        .and_then(|time| fields.time("end_time", time));
    let limit = fields.page_size("page_size", request.page_size);
    let before = fields.page_token(&request.page_token, |token| {
        let before = i64::from_str_radix(token, 16).ok();
        before.filter(|before| *before > 0)
    });
    filter.programs = programs?.map(|named| {
        let named = named.into_iter().map(InReach::into_inner);
        named.collect::<Vec<ProgramId>>()
    });
    Some(Asked {
        filter,
        before: before?.unwrap_or(i64::MAX),
        limit: i64::try_from(limit?).unwrap_or(i64::MAX),
    })
}

fn render(logged: AuditEntry) -> wire::AuditEntry {
    let AuditEntry {
        number,
        written_at,
        entry,
    } = logged;
    let roles = entry
        .roles
        .iter()
        .filter_map(|role| role.parse::<Role>().ok());
    wire::AuditEntry {
        number,
        write_time: Some(to_wire_time(written_at)),
        subject: entry.subject.to_string(),
        acting_for: entry
            .acting_for
            .map(|whom| whom.to_string())
            .unwrap_or_default(),
        roles: roles.map(|role| role.to_wire().into()).collect(),
        method: entry.method,
        program: entry.program.map(|id| id.to_string()).unwrap_or_default(),
        member: entry.member.map(|id| id.to_string()).unwrap_or_default(),
        reason: entry.reason.unwrap_or_default(),
        before: entry.before.unwrap_or_default(),
        after: entry.after.unwrap_or_default(),
        transaction: entry.transaction.unwrap_or_default(),
    }
}

#[async_trait]
impl AuditLogServer for AuditLogApi {
    async fn list_audit_entries(
        &self,
        request: Request<wire::ListAuditEntriesRequest>,
    ) -> Result<Response<wire::ListAuditEntriesResponse>, Status> {
        let asked = Fields::read(caller(&request)?, |fields| asked(request.get_ref(), fields))?;
        let Asked {
            filter,
            before,
            limit,
        } = asked;
        let entries = audit_log::list(&self.0, &filter, before, limit).await;
        let entries = entries.map_err(Rejection::from)?;
        let is_full = i64::try_from(entries.len()).is_ok_and(|len| len == limit);
        let last = entries.last().filter(|_| is_full);
        let next_page_token = last
            .map(|last| format!("{:x}", last.number))
            .unwrap_or_default();
        Ok(Response::new(wire::ListAuditEntriesResponse {
            entries: entries.into_iter().map(render).collect(),
            next_page_token,
        }))
    }
}
