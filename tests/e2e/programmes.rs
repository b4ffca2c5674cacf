//! Programme files at the command line: checked, and refused with their places.

use std::{fs, path::Path, process::Command};

use fealty_cli::{
    apply::{How, apply},
    demo::PROGRAM,
};

use crate::{
    earning::with_rules,
    harness::{club, fealty},
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
        "{}:4:12: time_zone: must be a name of the IANA time zone database\n\
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
