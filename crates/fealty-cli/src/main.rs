//! The `fealty` command.

use clap::{Parser, Subcommand};
use fealty_cli::{
    apply, audit, bench, demo, dev, import, load, member, program, serve, simulate, token,
    validate, verify,
};

/// A batch makes and drops thousands of small values on several threads, which
/// the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Points, tiers and rewards on a double-entry ledger that anyone can check.
///
/// Three gRPC services keep the books: points (purchases in, points out), tiers
/// (the status that purchases give) and rewards (what points buy). See it all
/// at work with `fealty demo`.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Validate(validate::Arguments),
    Plan(apply::PlanArguments),
    Apply(apply::Arguments),
    Simulate(simulate::Arguments),
    #[command(subcommand)]
    Import(import::Command),
    #[command(subcommand)]
    Program(program::Command),
    Audit(audit::Arguments),
    Demo(demo::Arguments),
    Bench(bench::Arguments),
    Load(load::Arguments),
    Verify(verify::Arguments),
    Checkpoint(verify::CheckpointArguments),
    Dev(dev::Arguments),
    #[command(subcommand)]
    Member(member::Command),
    #[command(subcommand)]
    Token(token::Command),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Validate(arguments) => validate::run(&arguments),
        Command::Plan(arguments) => apply::plan(arguments).await,
        Command::Apply(arguments) => apply::run(arguments).await,
        Command::Simulate(arguments) => simulate::run(arguments).await,
        Command::Import(command) => import::run(command).await,
        Command::Program(command) => program::run(command).await,
        Command::Audit(arguments) => audit::run(arguments).await,
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Bench(arguments) => bench::run(arguments).await,
        Command::Load(arguments) => load::run(arguments).await,
        Command::Verify(arguments) => verify::run(arguments).await,
        Command::Checkpoint(arguments) => verify::checkpoint(arguments).await,
        Command::Dev(arguments) => dev::run(arguments).await,
        Command::Member(command) => member::run(command).await,
        Command::Token(command) => token::run(command),
    }
}
