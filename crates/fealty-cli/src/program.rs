//! `fealty program`

use std::time::Duration;

use clap::{Args, Subcommand};
use fealty_client::{Deadline, call};
use fealty_proto::{
    points::v1::ListBudgetsRequest,
    program::v1::{GetProgramRequest, ListVersionsRequest, ProgramVersion},
};
use fealty_server::from_wire_time;

use crate::{
    apply,
    endpoints::{Clients, Endpoints},
};

/// Look at programmes: their files, their versions, their budgets, and how to write one.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the file of a version, as it was applied.
    Show(Show),
    /// List the versions, newest first: when each came into force, who applied it, and why.
    History(History),
    /// List the budgets, and how much of each is used.
    Budgets(Budgets),
    /// Take back a version that is scheduled and has not begun.
    Withdraw(Withdraw),
    /// Print the JSON Schema of programme files, by which editors complete and check.
    Schema,
}

/// Print a version.
#[derive(Args, Debug)]
pub struct Show {
    /// The programme's id.
    program: String,
    /// The version; the newest, if nothing is said.
    #[arg(long)]
    version: Option<i64>,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// List the versions.
#[derive(Args, Debug)]
pub struct History {
    /// The programme's id.
    program: String,
    /// How many at the most.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// List the budgets.
#[derive(Args, Debug)]
pub struct Budgets {
    /// The programme's id.
    program: String,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// Take back a version.
#[derive(Args, Debug)]
pub struct Withdraw {
    /// The programme's id.
    program: String,
    /// The version.
    #[arg(long)]
    version: i64,
    #[command(flatten)]
    endpoints: Endpoints,
}

const DEADLINE: Duration = Duration::from_secs(10);

/// Runs the subcommand.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Show(show) => self::show(show).await,
        Command::History(history) => self::history(history).await,
        Command::Budgets(budgets) => self::budgets(budgets).await,
        Command::Withdraw(withdraw) => self::withdraw(withdraw).await,
        Command::Schema => {
            print!("{}", fealty_program::schema());
            Ok(())
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` takes")]
fn told(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}

async fn show(show: Show) -> anyhow::Result<()> {
    let clients = Clients::connect(&show.endpoints)?;
    let [(_, client), ..] = clients.programs();
    let request = GetProgramRequest {
        program: show.program,
        version: show.version,
    };
    let read = call(Deadline::within(DEADLINE), || {
        let (mut client, request) = (client.clone(), request.clone());
        async move { client.get_program(request).await }
    });
    let read = read.await.map_err(told)?;
    print!("{}", read.source);
    if !read.source.ends_with('\n') {
        println!();
    }
    Ok(())
}

async fn history(history: History) -> anyhow::Result<()> {
    let clients = Clients::connect(&history.endpoints)?;
    let [(_, client), ..] = clients.programs();
    let (mut left, mut page_token) = (history.limit, String::new());
    while left > 0 {
        let request = ListVersionsRequest {
            program: history.program.clone(),
            page_size: i32::try_from(left.min(1_000)).unwrap_or(1_000),
            page_token,
        };
        let read = call(Deadline::within(DEADLINE), || {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.list_versions(request).await }
        });
        let page = read.await.map_err(told)?;
        if let Some(scheduled) = page.scheduled.filter(|_| left == history.limit) {
            println!("{}  (to come)", line(&scheduled));
        }
        for version in &page.versions {
            println!("{}", line(version));
        }
        left = left.saturating_sub(page.versions.len());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    Ok(())
}

/// A version in one line.
fn line(version: &ProgramVersion) -> String {
    let ProgramVersion {
        version: number,
        actor,
        note,
        ..
    } = version;
    let since = version.effective_time.map(from_wire_time);
    let since = match since {
        Some(Ok(since)) => since.to_string(),
        _ => "-".to_owned(),
    };
    let note = if note.is_empty() {
        String::new()
    } else {
        format!("  {note}")
    };
    format!("{number:>6}  {since}  {actor}{note}")
}

async fn withdraw(withdraw: Withdraw) -> anyhow::Result<()> {
    let Withdraw {
        program,
        version,
        endpoints,
    } = withdraw;
    let clients = Clients::connect(&endpoints)?;
    if !apply::withdraw(&clients, &program, version).await? {
        anyhow::bail!("version {version} of {program} is not scheduled");
    }
    println!("version {version} of {program} does not begin");
    Ok(())
}

async fn budgets(budgets: Budgets) -> anyhow::Result<()> {
    let clients = Clients::connect(&budgets.endpoints)?;
    let request = ListBudgetsRequest {
        program: budgets.program,
    };
    let read = call(Deadline::within(DEADLINE), || {
        let (mut client, request) = (clients.earning(), request.clone());
        async move { client.list_budgets(request).await }
    });
    let read = read.await.map_err(told)?;
    println!(
        "{:<24} {:>16} {:>16} {:>16}  currency",
        "budget", "points", "used", "left"
    );
    for budget in &read.budgets {
        let ends = budget.end_time.map(from_wire_time);
        let ends = match ends {
            Some(Ok(ends)) => format!(", until {ends}"),
            _ => String::new(),
        };
        println!(
            "{:<24} {:>16} {:>16} {:>16}  {}{ends}",
            budget.budget, budget.points, budget.used, budget.left, budget.currency
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_told_in_one_line() {
        let version = ProgramVersion {
            program: "club".to_owned(),
            version: 7,
            effective_time: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 0,
            }),
            actor: "ines".to_owned(),
            note: "double jazz".to_owned(),
            ..ProgramVersion::default()
        };
        assert_eq!(
            line(&version),
            "     7  2023-11-14T22:13:20Z  ines  double jazz"
        );
    }
}
