//! The page for newcomers: every command of it is run, and prints what the page says.

use std::{fmt::Write as _, path::Path, process::Command, time::SystemTime};

use fealty_auth::Role;
use fealty_cli::demo::Fleet;

use crate::harness::{fealty, set_time, stack};

const PAGE: &str = include_str!("../../docs/first-programme.md");
/// Stands for what is another each time.
const ANYTHING: char = '…';

/// A step of the page: what is typed, and what is printed then.
#[derive(Debug)]
struct Step {
    typed: String,
    printed: Option<String>,
}

/// The blocks of the page, each with its language.
fn blocks() -> Vec<(&'static str, String)> {
    let mut blocks = Vec::new();
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let block = lines.by_ref().take_while(|line| *line != "```");
            blocks.push((language, block.collect::<Vec<_>>().join("\n")));
        }
    }
    blocks
}

fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (language, text) in blocks() {
        match language {
            "sh" => steps.push(Step {
                typed: text,
                printed: None,
            }),
            "text" => {
                let step = steps.last_mut().expect("it is of a step");
                let before = step.printed.replace(text);
                assert_eq!(before, None, "what is printed is told once");
            }
            "console" => assert_eq!(text, "cargo xtask dev", "which this test does itself"),
            other => panic!("what is `{other}` for?"),
        }
    }
    steps
}

/// Whether a line is as the page has it.
fn is_as_told(line: &str, told: &str) -> bool {
    let mut rest = line;
    for (at, part) in told.split(ANYTHING).enumerate() {
        let found = if at == 0 {
            rest.starts_with(part).then_some(0)
        } else {
            rest.find(part)
        };
        let Some(found) = found else { return false };
        rest = &rest[found + part.len()..];
    }
    rest.is_empty() || told.ends_with(ANYTHING)
}

/// Runs all steps in one shell, as somebody types them; answers with what each printed.
fn typed(fleet: &Fleet, folder: &Path, steps: &[Step]) -> Vec<String> {
    const END: &str = "the step ends here";
    let mut script = String::new();
    for step in steps {
        writeln!(script, "{}\necho '{END}'", step.typed).expect("to memory");
    }
    let file = folder.join("typed.sh");
    std::fs::write(&file, script).expect("written");
    let bin = fealty();
    let bin = bin.parent().expect("a folder").display();
    let path = std::env::var("PATH").expect("there is one");
    let endpoints = fleet.endpoints();
    let shell = Command::new("bash")
        .args(["-c", "exec bash typed.sh 2>&1"])
        .current_dir(folder)
        .env("PATH", format!("{bin}:{path}"))
        .env("FEALTY_TOKEN", fleet.token(&[Role::Operator]))
        .env("FEALTY_POINTS_URL", &endpoints.points)
        .env("FEALTY_TIERS_URL", &endpoints.tiers)
        .env("FEALTY_REWARDS_URL", &endpoints.rewards)
        .env("FEALTY_DATABASE_URL", fleet.points_database_url())
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("bash runs");
    let printed = String::from_utf8(shell.stdout).expect("text");
    let end = format!("{END}\n");
    let each = printed.split(&end).map(str::to_owned);
    each.take(steps.len()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_programme_is_as_the_page_says() {
    let steps = steps();
    assert!(steps.len() > 8, "{steps:?}");
    let fleet = Fleet::start(&fealty(), stack().await).await;
    let fleet = fleet.expect("the services start");
    // The page has the clock of whoever reads it.
    let now = SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("after it")
        .as_secs();
    set_time(&fleet, i64::try_from(now).expect("small")).await;
    let folder = tempfile::tempdir().expect("a folder");
    let printed = tokio::task::block_in_place(|| typed(&fleet, folder.path(), &steps));
    assert_eq!(printed.len(), steps.len(), "{printed:?}");
    for (step, printed) in steps.iter().zip(printed) {
        let told = step.printed.as_deref().unwrap_or_default();
        let (lines, told): (Vec<&str>, Vec<&str>) =
            (printed.lines().collect(), told.lines().collect());
        let same = lines.len() == told.len()
            && lines
                .iter()
                .zip(&told)
                .all(|(line, told)| is_as_told(line, told));
        assert!(
            same,
            "typed:\n{}\n\nprinted:\n{printed}\n\nand the page says:\n{}",
            step.typed,
            told.join("\n")
        );
    }
}
