//! `fealty apply`

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use fealty_client::{Deadline, call};
use fealty_proto::program::v1::{
    ApplyProgramRequest, ApplyProgramResponse, ChangeEffect, ProgramMeaning, ProgramVersion,
};

use crate::{
    endpoints::{Clients, Endpoints},
    program_file::ProgramFile,
};

/// Apply a programme file to all three services.
///
/// Shows first what differs from the version in force, and asks. Applying the same
/// file again changes nothing.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The programme file, for example examples/programs/record-club.yaml, or a folder whose
    /// files are its sections.
    #[arg(short, long)]
    file: PathBuf,
    /// Only show what would change.
    #[arg(long)]
    dry_run: bool,
    /// Apply without asking.
    #[arg(short, long)]
    yes: bool,
    /// Why, for those who read the versions later.
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// Show what a programme file would change, and apply nothing.
///
/// Compares it with what is in force, over all three services.
#[derive(Args, Debug)]
pub struct PlanArguments {
    /// The programme file, or a folder whose files are its sections.
    #[arg(short, long)]
    file: PathBuf,
    #[command(flatten)]
    endpoints: Endpoints,
}

const DEADLINE: Duration = Duration::from_secs(30);

/// How a programme is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How<'a> {
    /// It is only compared.
    DryRun,
    /// Whatever was there before.
    Now,
    /// If that version is the newest, 0 for none.
    After {
        /// The version.
        version: i64,
        /// Why.
        note: &'a str,
    },
}

/// A request id that nobody else has.
#[must_use]
pub fn request_id() -> String {
    format!("apply-{}", uuid::Uuid::now_v7().simple())
}

/// Applies a programme's text to all three services, or only compares.
/// Answers with what points said.
pub async fn apply(
    clients: &Clients,
    source: &str,
    how: How<'_>,
) -> anyhow::Result<ApplyProgramResponse> {
    let request_id = request_id();
    let mut answered: Option<ApplyProgramResponse> = None;
    // Points last: by then tiers and rewards know what its feed speaks of.
    for (name, client) in clients.programs().into_iter().rev() {
        let request = ApplyProgramRequest {
            request_id: request_id.clone(),
            source: source.to_owned(),
            dry_run: how == How::DryRun,
            expected_version: match how {
                How::After { version, .. } => Some(version),
                How::DryRun | How::Now => None,
            },
            note: match how {
                How::After { note, .. } => note.to_owned(),
                How::DryRun | How::Now => String::new(),
            },
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

/// Shows what a file would change.
pub async fn plan(arguments: PlanArguments) -> anyhow::Result<()> {
    let PlanArguments { file, endpoints } = arguments;
    let only_shown = Arguments {
        file,
        dry_run: true,
        yes: false,
        note: String::new(),
        endpoints,
    };
    run(only_shown).await
}

/// Runs the subcommand.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let source = ProgramFile::read(&arguments.file)?.text;
    let clients = Clients::connect(&arguments.endpoints)?;
    let compared = apply(&clients, &source, How::DryRun).await?;
    for change in &compared.changes {
        match (change.before.as_str(), change.after.as_str()) {
            ("", after) => println!("+ {}: {after}", change.path),
            (before, "") => println!("- {}: {before}", change.path),
            (before, after) => println!("~ {}: {before} -> {after}", change.path),
        }
    }
    if compared.changes_left_out > 0 {
        println!("… and {} more", compared.changes_left_out);
    }
    show_meanings(&compared.meanings);
    if compared.meanings_left_out > 0 {
        println!("… and {} sentences more", compared.meanings_left_out);
    }
    for note in &compared.notes {
        println!("! {}: {}", note.path, note.message);
    }
    let version = compared.version.clone().unwrap_or_default();
    if compared.changes.is_empty() && compared.changes_left_out == 0 {
        println!("{} is at version {}", version.program, version.version);
        return Ok(());
    }
    if arguments.dry_run {
        println!("{} would get version {}", version.program, version.version);
        return Ok(());
    }
    if !arguments.yes && !confirmed(&version)? {
        bail!("nothing was applied");
    }
    // What was shown is what is applied: not over somebody else's version.
    let how = How::After {
        version: version.version - 1,
        note: &arguments.note,
    };
    let applied = apply(&clients, &source, how).await?;
    let version = applied.version.unwrap_or_default();
    println!("{} is at version {}", version.program, version.version);
    Ok(())
}

/// Says what the changes mean: what is bad for members last, where it is read.
fn show_meanings(meanings: &[ProgramMeaning]) {
    for (effect, heading) in [
        (ChangeEffect::Depends, "it also means:"),
        (ChangeEffect::MembersGain, "members gain:"),
        (ChangeEffect::MembersLose, "members lose:"),
    ] {
        let mut of_effect = meanings.iter().filter(|told| told.effect() == effect);
        if let Some(first) = of_effect.next() {
            println!("{heading}");
            for told in std::iter::once(first).chain(of_effect) {
                println!("  {}", told.message);
            }
        }
    }
}

/// Whether whoever sits there wants it.
fn confirmed(version: &ProgramVersion) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nobody is there to ask: say --yes to apply it");
    }
    print!(
        "make this version {} of {}? [y/N] ",
        version.version, version.program
    );
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
