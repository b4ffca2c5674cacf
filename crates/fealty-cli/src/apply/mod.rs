//! `fealty apply`

mod schedule;

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::Args;
use fealty_client::{Channel, Deadline, call, may_help};
use fealty_proto::program::v1::{
    ApplyProgramRequest, ApplyProgramResponse, ChangeEffect, ProgramMeaning, ProgramVersion,
    program_service_client::ProgramServiceClient,
};
use fealty_server::from_wire_time;
use fealty_types::Timestamp;
use tonic::{Code, Status};

use crate::{
    endpoints::{Clients, Endpoints},
    program_file::ProgramFile,
};
use schedule::Scheduling;

pub use schedule::withdraw;

/// Apply a programme file to all three services.
///
/// Shows first what differs from the version in force, and asks. The new version comes into force
/// on all three at one moment, a minute ahead or as `--at` says: if one of them cannot be told in
/// time, nothing begins and the moment moves. The first version of a programme begins at once.
/// Applying the same file again changes nothing.
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
    /// When it comes into force, such as 2026-12-01T00:00:00Z or 2026-12-01T00:00-05:00.
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "now")]
    at: Option<Timestamp>,
    /// At once, one service after the other: for trying things out.
    #[arg(long)]
    now: bool,
    /// Do not wait until it has begun.
    #[arg(long, conflicts_with = "now")]
    no_wait: bool,
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
/// How long a service is waited for that may be away.
const COMPARE_DEADLINE: Duration = Duration::from_secs(5);

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

/// Asks a service to apply a file, or to compare it, until it answers or the time is over.
async fn ask(
    client: &ProgramServiceClient<Channel>,
    request: &ApplyProgramRequest,
    within: Duration,
) -> Result<ApplyProgramResponse, Status> {
    call(Deadline::within(within), || {
        let (mut client, request) = (client.clone(), request.clone());
        async move { client.apply_program(request).await }
    })
    .await
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
            begin_time: None,
        };
        let applied = ask(&client, &request, DEADLINE).await;
        answered = Some(taken(name, answered.as_ref(), applied)?);
    }
    answered.context("there are three services")
}

/// Compares a programme's text with what is in force; answers with what points said, and the
/// services that did not answer.
async fn compare(
    clients: &Clients,
    source: &str,
) -> anyhow::Result<(ApplyProgramResponse, Vec<&'static str>)> {
    let (mut answered, mut silent) = (None, Vec::new());
    for (name, client) in clients.programs().into_iter().rev() {
        let request = ApplyProgramRequest {
            request_id: request_id(),
            source: source.to_owned(),
            dry_run: true,
            ..ApplyProgramRequest::default()
        };
        match ask(&client, &request, COMPARE_DEADLINE).await {
            Err(status) if is_away(&status) && name != "points" => silent.push(name),
            compared => answered = Some(taken(name, answered.as_ref(), compared)?),
        }
    }
    Ok((answered.context("there are three services")?, silent))
}

/// Whether a service did not answer, and may later.
fn is_away(status: &Status) -> bool {
    may_help(status) || status.code() == Code::DeadlineExceeded
}

/// What a service answered, which must be at the same version as one before it.
fn taken(
    name: &str,
    before: Option<&ApplyProgramResponse>,
    answer: Result<ApplyProgramResponse, Status>,
) -> anyhow::Result<ApplyProgramResponse> {
    let answer = answer
        .map_err(|status| anyhow::anyhow!("{}", status.message()))
        .with_context(|| format!("the {name} service refuses the programme"))?;
    let version = |answer: &ApplyProgramResponse| answer.version.as_ref().map(|v| v.version);
    if let Some(before) = before
        && version(before) != version(&answer)
    {
        let (before, now) = (version(before), version(&answer));
        bail!("the services are at different versions of the programme: {before:?}, {now:?}");
    }
    Ok(answer)
}

/// Shows what a file would change.
pub async fn plan(arguments: PlanArguments) -> anyhow::Result<()> {
    let PlanArguments { file, endpoints } = arguments;
    let only_shown = Arguments {
        file,
        dry_run: true,
        yes: false,
        note: String::new(),
        at: None,
        now: false,
        no_wait: false,
        endpoints,
    };
    run(only_shown).await
}

/// Runs the subcommand.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let source = ProgramFile::read(&arguments.file)?.text;
    let clients = Clients::connect(&arguments.endpoints)?;
    let asked = Instant::now();
    let (compared, silent) = compare(&clients, &source).await?;
    for name in silent {
        println!("{name} does not answer: what it has in force was not compared");
    }
    show(&compared);
    let version = compared.version.clone().unwrap_or_default();
    if compared.changes.is_empty() && compared.changes_left_out == 0 {
        println!("{} is at version {}", version.program, version.version);
        return Ok(());
    }
    if arguments.dry_run {
        println!("{} would get version {}", version.program, version.version);
        return Ok(());
    }
    let known = schedule::versions(&clients, &version.program).await;
    // One that was never applied is not known.
    let scheduled = known.ok().and_then(|known| known.scheduled);
    let is_same = |scheduled: &ProgramVersion| scheduled.digest == version.digest;
    let scheduled = match scheduled {
        Some(scheduled) if is_same(&scheduled) && !arguments.now && arguments.at.is_none() => {
            scheduled
        }
        Some(scheduled) if arguments.now || !is_same(&scheduled) => bail!(
            "version {} is scheduled: `fealty program withdraw {} --version {}` takes it back",
            scheduled.version,
            scheduled.program,
            scheduled.version
        ),
        _ => {
            if !arguments.yes && !confirmed(&version)? {
                bail!("nothing was applied");
            }
            // What was shown is what is applied: not over somebody else's version.
            let after = version.version - 1;
            if arguments.now || (after == 0 && arguments.at.is_none()) {
                return at_once(&clients, &source, (after, &arguments.note)).await;
            }
            let scheduling = Scheduling {
                source: &source,
                after,
                note: &arguments.note,
                at: arguments.at,
                // A dry run tells what the service's clock says.
                now: (moment_of(&version)?, asked),
            };
            scheduling
                .schedule(&clients, |why| println!("{why}"))
                .await?
        }
    };
    let (program, number) = (&scheduled.program, scheduled.version);
    let moment = moment_of(&scheduled)?;
    println!("{program}: version {number} comes into force at {moment}");
    if !arguments.no_wait {
        schedule::wait(&clients, &scheduled).await?;
        println!("{program} is at version {number}");
    }
    Ok(())
}

/// Shows what differs, and what it means.
fn show(compared: &ApplyProgramResponse) {
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
}

/// Applies a file to one service after the other.
async fn at_once(
    clients: &Clients,
    source: &str,
    (version, note): (i64, &str),
) -> anyhow::Result<()> {
    let applied = apply(clients, source, How::After { version, note }).await?;
    let version = applied.version.unwrap_or_default();
    println!("{} is at version {}", version.program, version.version);
    Ok(())
}

/// When a version comes into force, or did.
fn moment_of(version: &ProgramVersion) -> anyhow::Result<Timestamp> {
    let moment = version.effective_time.context("a version has a moment")?;
    Ok(from_wire_time(moment)?)
}

/// Reads a moment.
fn moment(text: &str) -> Result<Timestamp, String> {
    let moment = text.parse().map(Timestamp::new);
    moment.map_err(|_| "must be a moment, as 2026-12-01T00:00:00Z".to_owned())
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
