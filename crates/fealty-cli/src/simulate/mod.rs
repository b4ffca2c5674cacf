//! `fealty simulate`

mod chart;
mod page;
mod table;

use std::{io::Write as _, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use clap::Args;
use fealty_points::simulation::{Judge, Judges, Options, Report, simulate};
use fealty_postgres::{Database, Limits};
use fealty_program::{Program, ProgramVersion};
use fealty_tiers::Histories;
use fealty_types::{MemberId, TierId, Timestamp};
use indicatif::{ProgressBar, ProgressStyle};

use crate::program_file::ProgramFile;

/// Play the log of a programme under a changed file, and say what it would have cost.
///
/// Reads the points service's database, or a copy of it, and writes nothing. Members stand where
/// they stood at `--since`; from then on the file counts, with the purchases, activities, returns
/// and redemptions that were recorded. Says what is given, by whom and by which rule, what is
/// owed and when it goes, and who gains and who loses.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The programme file, or a folder whose files are its sections.
    #[arg(short, long)]
    file: PathBuf,
    /// From when on it counts: a date of the programme's calendar, such as 2026-01-01, or a
    /// moment, such as 2026-01-01T12:00:00Z; from the log's beginning, if nothing is said.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// URL of the points service's database, or of a copy of it.
    #[arg(long, env = "FEALTY_DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Write the report as JSON to this file; `-` prints it instead of the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as a page for a browser to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Connections to the database.
const CONNECTIONS: u32 = 4;

/// Runs the subcommand.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let file = ProgramFile::read(&arguments.file)?;
    let changed = match Program::parse(&file.text) {
        Ok(changed) => changed,
        Err(errors) => {
            let name = arguments.file.display();
            anyhow::bail!("{errors}\n`fealty validate -f {name}` says all that is wrong with it");
        }
    };
    let since = arguments.since.as_deref();
    let since = since
        .map(|text| moment(text, &changed.program))
        .transpose()?;
    let options = Options {
        changed,
        since,
        judges: judges(),
    };
    let report = play(&arguments.database_url, options).await?;
    if let Some(path) = &arguments.html {
        let page = page::page(&report).into_string();
        std::fs::write(path, page).with_context(|| format!("writing {}", path.display()))?;
    }
    match &arguments.json {
        Some(path) if path.as_os_str() == "-" => {
            let mut out = std::io::stdout().lock();
            serde_json::to_writer_pretty(&mut out, &report)?;
            writeln!(out)?;
            return Ok(());
        }
        Some(path) => {
            let json = serde_json::to_vec_pretty(&report)?;
            std::fs::write(path, json).with_context(|| format!("writing {}", path.display()))?;
        }
        None => {}
    }
    print!("{}", table::table(&report));
    for path in arguments.html.iter().chain(&arguments.json) {
        println!("written: {}", path.display());
    }
    Ok(())
}

async fn play(database_url: &str, options: Options) -> anyhow::Result<Report> {
    let database = Database::open_within(database_url, CONNECTIONS, Limits::LONG_READ).await?;
    let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template(
        "playing {bar:40} {pos}/{len} transactions, {per_sec}, {eta} left",
    )?);
    let progress = bar.clone();
    let played = simulate(&database, options, move |played, all| {
        progress.set_length(u64::try_from(all).unwrap_or_default());
        progress.set_position(u64::try_from(played).unwrap_or_default());
    })
    .await;
    bar.finish_and_clear();
    Ok(played?)
}

/// The moment that a text says: itself, or the beginning of a day of the programme's calendar.
fn moment(text: &str, program: &Program) -> anyhow::Result<Timestamp> {
    if let Ok(moment) = text.parse() {
        return Ok(Timestamp::new(moment));
    }
    let date: jiff::civil::Date = text.parse().with_context(|| {
        format!(
            "--since {text}: must be a date, as 2026-01-01, or a moment, as 2026-01-01T00:00:00Z"
        )
    })?;
    let zone = program.calendar.zone.clone();
    Ok(Timestamp::new(date.to_zoned(zone)?.timestamp()))
}

/// Tiers as the tiers service judges them.
struct ByTiers(Histories);

impl Judge for ByTiers {
    fn spent(&mut self, member: &MemberId, spent: (Timestamp, i64), now: Timestamp) {
        self.0.spent(member, spent, now);
    }

    fn now_under(&mut self, version: &ProgramVersion, at: Timestamp) {
        self.0.now_under(Arc::clone(&version.program), at);
    }

    fn changes(&mut self, member: &MemberId, until: Timestamp) -> Vec<(Timestamp, TierId)> {
        self.0.changes(member, until)
    }
}

/// Tiers as the tiers service judges them, under any version of a programme.
#[must_use]
pub fn judges() -> Judges {
    Arc::new(|version| Box::new(ByTiers(Histories::under(Arc::clone(&version.program)))))
}
