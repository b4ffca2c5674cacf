//! `fealty audit`

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use fealty_client::{Deadline, call};
use fealty_proto::operations::v1::{AuditEntry, ListAuditEntriesRequest};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::endpoints::{Clients, Endpoints};

const DEADLINE: Duration = Duration::from_secs(30);

/// Show what people did: who applied, adjusted and changed what, before and
/// after, and whom support looked at.
///
/// Asks all three services, and shows the newest first.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Only of this programme.
    #[arg(long)]
    program: Option<String>,
    /// Only about this member; with --program.
    #[arg(long, requires = "program")]
    member: Option<String>,
    /// Only by this caller: the subject of its token.
    #[arg(long)]
    subject: Option<String>,
    /// Only from this time on, for example 2026-11-25T00:00:00Z.
    #[arg(long)]
    since: Option<Timestamp>,
    /// Only before this time.
    #[arg(long)]
    until: Option<Timestamp>,
    /// How many entries to show at the most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    entries: u32,
    /// Print each entry as a JSON object on a line of its own.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// An entry and the service that has it.
struct Entry {
    service: &'static str,
    entry: AuditEntry,
}

impl Entry {
    fn micros(&self) -> i64 {
        let time = self.entry.write_time.unwrap_or_default();
        time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000
    }

    fn time(&self) -> String {
        Timestamp::from_microsecond(self.micros())
            .map(|time| time.to_string())
            .unwrap_or_default()
    }

    fn json(&self) -> Value {
        let entry = &self.entry;
        let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
        let roles: Vec<_> = entry.roles().map(|role| role.as_str_name()).collect();
        json!({
            "service": self.service, "number": entry.number, "time": self.time(),
            "subject": entry.subject, "acting_for": entry.acting_for, "roles": roles,
            "method": entry.method, "program": entry.program, "member": entry.member,
            "reason": entry.reason, "before": parsed(&entry.before),
            "after": parsed(&entry.after), "transaction": entry.transaction,
        })
    }

    fn print(&self) {
        let entry = &self.entry;
        let method = entry.method.rsplit('/').next().unwrap_or_default();
        let whom = if entry.acting_for.is_empty() {
            String::new()
        } else {
            format!(" for {}", entry.acting_for)
        };
        let about = [&entry.program, &entry.member, &entry.transaction];
        let about: Vec<_> = about
            .into_iter()
            .filter(|text| !text.is_empty())
            .map(String::as_str)
            .collect();
        println!(
            "{}  {:<8} {:<16} {}{whom}  {}",
            self.time(),
            self.service,
            method,
            entry.subject,
            about.join(" ")
        );
        for (name, text) in [
            ("reason", &entry.reason),
            ("before", &entry.before),
            ("after", &entry.after),
        ] {
            if !text.is_empty() {
                println!("    {name}: {text}");
            }
        }
    }
}

/// Runs the subcommand.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let wanted = usize::try_from(arguments.entries)?;
    let clients = Clients::connect(&arguments.endpoints)?;
    let wire_time = |time: Option<Timestamp>| {
        time.map(|time| prost_types::Timestamp {
            seconds: time.as_second(),
            nanos: time.subsec_nanosecond(),
        })
    };
    let mut entries = Vec::new();
    for (service, client) in clients.audit_logs() {
        let mut request = ListAuditEntriesRequest {
            program: arguments.program.clone().unwrap_or_default(),
            member: arguments.member.clone().unwrap_or_default(),
            subject: arguments.subject.clone().unwrap_or_default(),
            start_time: wire_time(arguments.since),
            end_time: wire_time(arguments.until),
            page_size: i32::try_from(wanted.min(1_000))?,
            page_token: String::new(),
        };
        let mut read = 0;
        loop {
            let listed = call(Deadline::within(DEADLINE), || {
                let (mut client, request) = (client.clone(), request.clone());
                async move { client.list_audit_entries(request).await }
            });
            let listed = listed
                .await
                .map_err(|status| anyhow::anyhow!("{}", status.message()))
                .with_context(|| format!("the {service} service"))?;
            read += listed.entries.len();
            let listed_entries = listed.entries.into_iter();
            entries.extend(listed_entries.map(|entry| Entry { service, entry }));
            request.page_token = listed.next_page_token;
            if request.page_token.is_empty() || read >= wanted {
                break;
            }
        }
    }
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.micros()));
    for entry in entries.iter().take(wanted) {
        if arguments.json {
            println!("{}", entry.json());
        } else {
            entry.print();
        }
    }
    Ok(())
}
