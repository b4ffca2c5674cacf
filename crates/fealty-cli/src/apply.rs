//! `fealty apply`

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;
use fealty_client::{Deadline, call};
use fealty_proto::program::v1::{ApplyProgramRequest, ApplyProgramResponse};

use crate::endpoints::{Clients, Endpoints};

/// Apply a programme file to all three services.
///
/// Shows first what differs from the version in force. Applying the same file
/// again changes nothing.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The programme file, for example examples/programs/record-club.yaml.
    #[arg(short, long)]
    file: PathBuf,
    /// Only show what would change.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    endpoints: Endpoints,
}

const DEADLINE: Duration = Duration::from_secs(30);

/// Applies a programme's text to all three services, or only compares.
/// Answers with what points said.
pub async fn apply(
    clients: &Clients,
    source: &str,
    validate_only: bool,
) -> anyhow::Result<ApplyProgramResponse> {
    let mut answered: Option<ApplyProgramResponse> = None;
    // Points last: by then tiers and rewards know what its feed speaks of.
    for (name, client) in clients.programs().into_iter().rev() {
        let request = ApplyProgramRequest {
            source: source.to_owned(),
            validate_only,
        };
        let applied = call(Deadline::within(DEADLINE), || {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.apply_program(request).await }
        });
        let applied = applied
            .await
            .map_err(|status| anyhow::anyhow!("{}", status.message()))
            .with_context(|| format!("the {name} service refuses the programme"))?;
        let version = |answer: &ApplyProgramResponse| answer.version.as_ref().map(|v| v.version);
        if let Some(before) = &answered
            && version(before) != version(&applied)
        {
            bail!(
                "the services are at different versions of the programme: {before:?}, {applied:?}"
            );
        }
        answered = Some(applied);
    }
    answered.context("there are three services")
}

/// Runs the subcommand.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let source = std::fs::read_to_string(&arguments.file)
        .with_context(|| format!("reading {}", arguments.file.display()))?;
    let clients = Clients::connect(&arguments.endpoints)?;
    let compared = apply(&clients, &source, true).await?;
    for change in &compared.changes {
        match (change.before.as_str(), change.after.as_str()) {
            ("", after) => println!("+ {}: {after}", change.path),
            (before, "") => println!("- {}: {before}", change.path),
            (before, after) => println!("~ {}: {before} -> {after}", change.path),
        }
    }
    let unchanged = compared.changes.is_empty();
    let applied = if arguments.dry_run {
        compared
    } else {
        apply(&clients, &source, false).await?
    };
    let version = applied.version.unwrap_or_default();
    if arguments.dry_run && !unchanged {
        println!("{} would get version {}", version.program, version.version);
    } else {
        println!("{} is at version {}", version.program, version.version);
    }
    Ok(())
}
