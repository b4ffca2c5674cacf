//! Programme files at the command line: checked, and refused with their places.

use std::{fs, path::Path, process::Command};

use fealty_auth::Role;
use fealty_cli::{
    apply::{How, apply},
    demo::PROGRAM,
};

use crate::{
    earning::with_rules,
    harness::{ask, club, fealty, purchase},
};

/// What `fealty validate` prints, and whether all is right.
fn validated(path: &Path) -> (String, String, bool) {
    let output = Command::new(fealty())
        .arg("validate")
        .arg("-f")
        .arg(path)
        .output();
    let output = output.expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("a text");
    (
        text(output.stdout),
        text(output.stderr),
        output.status.success(),
    )
}

#[test]
fn validate_says_all_that_is_wrong_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("program.yaml");
    fs::write(&file, PROGRAM).expect("written");
    let (said, _, right) = validated(&file);
    assert_eq!(
        said,
        "record-club is right: 2 earning rules, 0 examples that hold\n"
    );
    assert!(right);

    // A folder whose files are its sections: each thing is placed in its own file.
    let (head, earning) = PROGRAM.split_once("earning:\n").expect("it has rules");
    let earning = format!("earning:\n{earning}");
    let broken = earning.replace(
        "earn: { currency: points,",
        "when: 'purchase.amount > 5'\n    earn: { currency: points,",
    );
    fs::write(&file, head.replace("time_zone: UTC", "time_zone: Mars")).expect("written");
    fs::write(folder.path().join("earning.yaml"), &broken).expect("written");
    fs::write(
        folder.path().join("examples.yaml"),
        "examples:\n  - given: { time: 1997-01-05, amount: 5 }\n    earns: { base: 50 }\n",
    )
    .expect("written");
    let (said, why, right) = validated(folder.path());
    assert!(!right && why.contains("2 things are wrong"), "{why}");
    let place = |name: &str| folder.path().join(name).display().to_string();
    let expected = format!(
        "{}:6:12: time_zone: must be a name of the IANA time zone database\n\
         {}:4:12: earning.base.when: a whole number and money do not go together\n",
        place("program.yaml"),
        place("earning.yaml"),
    );
    assert_eq!(said, expected);

    // An example that does not hold.
    fs::write(&file, head).expect("written");
    fs::write(
        folder.path().join("earning.yaml"),
        earning.replace("points: 10,", "points: 9,"),
    )
    .expect("written");
    let (said, why, right) = validated(folder.path());
    assert!(
        !right && why.contains("1 of 1 examples earn something else"),
        "{why}"
    );
    let expected = format!(
        "{}:2:5: examples.0: it earns base 45, and was to earn base 50\n",
        place("examples.yaml")
    );
    assert_eq!(said, expected);
}

/// What its own examples do not bear out is not applied; nor are other weeks, once
/// something is counted by them.
#[tokio::test(flavor = "multi_thread")]
async fn what_examples_do_not_bear_out_is_not_applied() {
    let fleet = club().await;
    let example =
        "examples:\n  - given: { time: 1997-01-05, amount: 5 }\n    earns: { base: 51 }\n";
    let wrong = apply(fleet.clients(), &format!("{PROGRAM}{example}"), How::Now).await;
    let wrong = format!("{:#}", wrong.expect_err("it is refused"));
    assert!(
        wrong.contains("it earns base 50, and was to earn base 51"),
        "{wrong}"
    );
    let right = example.replace("51", "50");
    apply(fleet.clients(), &format!("{PROGRAM}{right}"), How::Now)
        .await
        .expect("applied");

    let counted = with_rules(
        "counters: { spent: { of: purchase, add: purchase.amount, over: { every: week } } }\n\
         earning: []\n",
    );
    apply(fleet.clients(), &counted, How::Now)
        .await
        .expect("applied");
    let weeks = "time_zone: UTC\ncalendar: { week_starts: sunday }";
    let moved = counted.replace("time_zone: UTC", weeks);
    let wrong = apply(fleet.clients(), &moved, How::Now)
        .await
        .expect_err("it is refused");
    let wrong = format!("{wrong:#}");
    assert!(
        wrong.contains("calendar: over what counters and caps have counted must stay as it is"),
        "{wrong}"
    );
    let longer = "time_zone: UTC\ncalendar: { late_until: 400 days }";
    let longer = counted.replace("time_zone: UTC", longer);
    let wrong = apply(fleet.clients(), &longer, How::Now).await;
    let wrong = format!("{:#}", wrong.expect_err("it is refused"));
    assert!(
        wrong.contains("windows are kept for 396 days, and cannot be got back"),
        "{wrong}"
    );
}

/// What a member of staff asks of a programme at the command line: what a file would change,
/// what was in force and why, what is left of budgets.
#[tokio::test(flavor = "multi_thread")]
async fn a_programme_is_planned_shown_and_told_of() {
    let fleet = club().await;
    let budget = with_rules(
        "budgets: { spring: { currency: points, points: 45 } }\n\
         earning:\n  - { rule: spring, on: purchase, earn: { currency: points, fixed: 10 }, budget: spring }\n",
    );
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("program.yaml");
    fs::write(&file, &budget).expect("written");
    let token = fleet.token(&[Role::Operator]);
    let endpoints = fleet.endpoints().clone();
    let run = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(fealty());
        command.args(arguments);
        for (name, url) in [
            ("FEALTY_POINTS_URL", &endpoints.points),
            ("FEALTY_TIERS_URL", &endpoints.tiers),
            ("FEALTY_REWARDS_URL", &endpoints.rewards),
            ("FEALTY_TOKEN", &token),
        ] {
            command.env(name, url);
        }
        let output = command.output().await.expect("it runs");
        let said = String::from_utf8(output.stdout).expect("a text");
        assert!(output.status.success(), "{said}");
        said
    };
    let path = file.display().to_string();
    let planned = run(&["plan", "-f", &path]).await;
    assert!(planned.contains("+ budgets.spring.points: 45"), "{planned}");
    assert!(
        planned.contains("record-club would get version 2"),
        "{planned}"
    );
    run(&[
        "apply",
        "-f",
        &path,
        "--yes",
        "--now",
        "--note",
        "spring has come",
    ])
    .await;
    let history = run(&["program", "history", "record-club"]).await;
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(lines.len(), 2, "{history}");
    assert!(lines[0].trim_start().starts_with("2 ") && lines[0].ends_with("spring has come"));
    assert_eq!(run(&["program", "show", "record-club"]).await, budget);
    let before = run(&["program", "show", "record-club", "--version", "1"]).await;
    assert_eq!(before, PROGRAM);
    let bought = purchase(1, "anna", 100);
    ask!(fleet.clients().earning(), record_purchase, bought).expect("recorded");
    let told = run(&["program", "budgets", "record-club"]).await;
    let line = told.lines().nth(1).expect("a budget");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words, ["spring", "45", "10", "35", "points"]);
    // Some of it was given in points.
    let other = budget.replace("spring: { currency: points", "spring: { currency: stars");
    let other = other
        .replace(
            "earn: { currency: points, fixed",
            "earn: { currency: stars, fixed",
        )
        .replace("currencies:\n", "currencies:\n  stars: {}\n")
        .replace("issues: [points]", "issues: [points, stars]");
    let wrong = apply(fleet.clients(), &other, How::Now).await;
    let wrong = format!("{:#}", wrong.expect_err("it is refused"));
    assert!(wrong.contains("budgets.spring.currency"), "{wrong}");
}
