//! `fealty validate`

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use fealty_program::{Program, ProgramErrors};

use crate::program_file::ProgramFile;

/// Check a programme file, without any service.
///
/// Says all that is wrong with it, each with file, line and column; then asks its rules for
/// what its examples earn.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The programme file, or a folder whose files are its sections.
    #[arg(short, long, default_value = "program.yaml")]
    file: PathBuf,
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let file = ProgramFile::read(&arguments.file)?;
    let wrong = |errors: &ProgramErrors| {
        for error in errors.iter() {
            let (path, message) = (&error.path, &error.message);
            match error.location {
                Some((line, column)) => {
                    println!("{}:{column}: {path}: {message}", file.place(line));
                }
                None => println!("{}: {path}: {message}", arguments.file.display()),
            }
        }
        errors.iter().count()
    };
    let parsed = match Program::parse(&file.text) {
        Ok(parsed) => parsed,
        Err(errors) => match wrong(&errors) {
            1 => bail!("one thing is wrong"),
            count => bail!("{count} things are wrong"),
        },
    };
    let examples = parsed.program.examples.len();
    if let Err(errors) = parsed.check_examples() {
        let failed = wrong(&errors);
        bail!("{failed} of {examples} examples earn something else");
    }
    for note in parsed.program.notes() {
        let place = match parsed.place(&note.path) {
            Some((line, column)) => format!("{}:{column}: ", file.place(line)),
            None => String::new(),
        };
        println!("! {place}{}: {}", note.path, note.message);
    }
    let rules = parsed.program.earning.rules.rules().len();
    println!(
        "{} is right: {rules} earning rules, {examples} examples that hold",
        parsed.program.id
    );
    Ok(())
}
