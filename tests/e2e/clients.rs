//! Clients that buf made for other languages make the README's first calls.
//! `cargo xtask test` makes them where Python and Node are there.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use fealty_auth::Role;
use fealty_cli::token::grant;

use crate::harness::club;

/// What both print.
const CALLS: [&str; 3] = [
    "points: 499",
    "the same again: replayed",
    "refused: REQUEST_ID_REUSED amount",
];

/// The folder of a language's client, if it was made; who makes it says why it was not.
fn client(language: &str, made: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("FEALTY_TEST_CLIENTS").map(PathBuf::from);
    let folder = folder.map(|folder| folder.join(language));
    folder.filter(|folder| folder.join(made).exists())
}

/// What a client prints that calls a fleet's points service.
async fn told(folder: &Path, program: &Path, script: &str) -> Vec<String> {
    let fleet = club().await;
    let token = fleet.keys().sign(&grant("till", &[Role::Checkout]));
    let address = fleet.endpoints().points.replace("http://", "");
    let output = Command::new(program)
        .arg(script)
        .current_dir(folder)
        .env("PYTHONPATH", "gen")
        .env("FEALTY_POINTS", address)
        .env("FEALTY_TOKEN", token.expect("a token"))
        .output()
        .expect("it runs");
    let failed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{failed}");
    let told = String::from_utf8(output.stdout).expect("text");
    told.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_makes_the_first_calls_and_lists_the_services() {
    let Some(folder) = client("python", "gen/fealty") else {
        return;
    };
    let told = told(&folder, &folder.join("venv/bin/python"), "first_calls.py").await;
    assert_eq!(told[..3], CALLS);
    // By version v1alpha of reflection, which is all that grpcio-reflection speaks.
    let services: Vec<&str> = told[3].split(' ').collect();
    for service in ["LedgerService", "EarningService", "AdjustmentService"] {
        let name = format!("fealty.points.v1.{service}");
        assert!(services.contains(&&*name), "{name}: {services:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typescript_client_makes_the_first_calls() {
    let Some(folder) = client("typescript", "out/first_calls.js") else {
        return;
    };
    let told = told(&folder, Path::new("node"), "out/first_calls.js").await;
    assert_eq!(told, CALLS);
}
