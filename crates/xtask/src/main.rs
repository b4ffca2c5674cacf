//! Development tasks.

#![expect(clippy::print_stderr, reason = "a task speaks to people")]

mod check;
mod clients;
mod install;
mod layers;
mod prepare;
mod sh;

use std::env;

use clap::{Parser, Subcommand};

/// Names a Postgres, or a Citus cluster, for the end-to-end tests.
const GIVEN_DATABASE: &str = "FEALTY_TEST_DATABASE_URL";
/// End-to-end tests that say something of such a Postgres.
const OF_THE_LEDGER: [&str; 10] = [
    "accounts::",
    "contention::",
    "crash::",
    "distributed::",
    "feed::",
    "ledger::",
    "reads::",
    "refunds::",
    "refusals::",
    "tampering::",
];

/// Development tasks.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build, and play real purchases through the three services.
    Demo {
        /// Print one JSON object with the figures as the last line.
        #[arg(long)]
        json: bool,
        /// Leave the services running until Ctrl-C.
        #[arg(long)]
        keep: bool,
    },
    /// Build, and run everything for writing a client until Ctrl-C: the services, with
    /// data that stays, the example programme, and tokens.
    Dev {
        /// Where the data is kept.
        #[arg(long)]
        folder: Option<String>,
    },
    /// Run every test.
    Test {
        /// Only those whose name has this in it.
        filter: Option<String>,
    },
    /// Build for speed, and measure the points ledger on this machine.
    Bench {
        /// Measure for a shorter time.
        #[arg(long)]
        quick: bool,
        /// Print one JSON object with every figure as the last line.
        #[arg(long)]
        json: bool,
        /// Only the measures whose name begins with this.
        #[arg(long)]
        only: Option<String>,
    },
    /// Check format, layers, lints, docs, dependencies, generated files, contracts
    /// and manifests; or one of them.
    Check {
        /// Only this one.
        only: Option<check::Step>,
    },
    /// Generate the `.sqlx` folders from the SQL statements and migrations, and the JSON
    /// Schema of programme files.
    Prepare,
    /// Write down what the contracts promise from now on, if they break nothing that was
    /// promised before.
    Promise,
    /// Make the Python and TypeScript clients of `examples/clients`, where Python and
    /// Node are there.
    Clients,
}

fn main() -> anyhow::Result<()> {
    // The statements are checked against the committed `.sqlx`, not against a
    // database that happens to be configured.
    let offline = [("SQLX_OFFLINE", "true")];
    match Arguments::parse().task {
        Task::Demo { json, keep } => {
            install::servers()?;
            sh::cargo(&["build", "--package", "fealty-cli"], &offline)?;
            let mut args = vec!["demo"];
            args.extend(json.then_some("--json"));
            args.extend(keep.then_some("--keep"));
            sh::run(sh::target_dir().join("debug/fealty"), &args, &[])
        }
        Task::Dev { folder } => {
            install::servers()?;
            sh::cargo(&["build", "--package", "fealty-cli"], &offline)?;
            let mut args = vec!["dev"];
            args.extend(folder.iter().flat_map(|folder| ["--folder", folder]));
            sh::run(sh::target_dir().join("debug/fealty"), &args, &[])
        }
        Task::Test { filter } => {
            install::servers()?;
            // The end-to-end tests run the command that people run.
            sh::cargo(&["build", "--package", "fealty-cli"], &offline)?;
            if env::var_os(GIVEN_DATABASE).is_some() {
                // On a Postgres that is given, those of the ledger, if nothing is said.
                let mut args = vec!["test", "--package", "fealty-tests", "--test", "e2e", "--"];
                // One at a time: some have a server crash that all have.
                args.push("--test-threads=1");
                match filter.as_deref() {
                    Some(filter) => args.push(filter),
                    None => args.extend(OF_THE_LEDGER),
                }
                return sh::cargo(&args, &offline);
            }
            let mut args = vec!["test", "--workspace", "--all-targets"];
            args.extend(filter.as_deref());
            let mut variables = offline.to_vec();
            let made = match filter.as_deref() {
                None | Some("clients") => Some(clients::make()?.display().to_string()),
                Some(_) => None,
            };
            variables.extend(
                made.as_deref()
                    .map(|folder| ("FEALTY_TEST_CLIENTS", folder)),
            );
            sh::cargo(&args, &variables)
        }
        Task::Bench { quick, json, only } => {
            install::servers()?;
            let release = ["build", "--release", "--package", "fealty-cli"];
            sh::cargo(&release, &offline)?;
            let out = sh::target_dir().join("bench").display().to_string();
            let mut args = vec!["bench", "--out", &out];
            args.extend(quick.then_some("--quick"));
            args.extend(json.then_some("--json"));
            args.extend(only.iter().flat_map(|only| ["--only", only]));
            sh::run(sh::target_dir().join("release/fealty"), &args, &[])
        }
        Task::Check { only } => check::run(only),
        Task::Promise => check::promise(),
        Task::Clients => {
            eprintln!("the clients are in {}", clients::make()?.display());
            Ok(())
        }
        Task::Prepare => {
            install::servers()?;
            let root = env::current_dir()?;
            prepare::write(&root)?;
            // The command that prints it is built with the statements above.
            Ok(std::fs::write(
                root.join(prepare::SCHEMA),
                prepare::schema()?,
            )?)
        }
    }
}
