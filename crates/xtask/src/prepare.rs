//! The `.sqlx` folders: what Postgres says of each SQL statement, so that the
//! workspace builds and is checked without a database. And the JSON Schema of programme
//! files, for editors.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, ensure};
use fealty_stack::{Binaries, Durability, Postgres};

use crate::sh;

/// Crates with SQL: package, folder, and the service whose tables it needs.
pub(crate) const CRATES: [(&str, &str, &str); 4] = [
    ("fealty-postgres", "crates/fealty-postgres", "points"),
    ("fealty-points", "services/points", "points"),
    ("fealty-tiers", "services/tiers", "tiers"),
    ("fealty-rewards", "services/rewards", "rewards"),
];

/// Where the JSON Schema of programme files is kept.
pub(crate) const SCHEMA: &str = "docs/program.schema.json";

/// The JSON Schema of programme files, as the command prints it.
pub(crate) fn schema() -> anyhow::Result<String> {
    let offline = [("SQLX_OFFLINE", "true")];
    sh::cargo(&["build", "--package", "fealty-cli"], &offline)?;
    let printed = Command::new(sh::target_dir().join("debug/fealty"))
        .args(["program", "schema"])
        .output()
        .context("running fealty")?;
    ensure!(printed.status.success(), "`fealty program schema` failed");
    Ok(String::from_utf8(printed.stdout)?)
}

/// Writes the `.sqlx` folders below `into`, which may be another folder than
/// the workspace's.
pub(crate) fn write(into: &Path) -> anyhow::Result<()> {
    let postgres = Postgres::start(&Binaries::find()?, Durability::Unsynced)?;
    for service in ["points", "tiers", "rewards"] {
        postgres.create_database(service)?;
        let own = format!("services/{service}/migrations");
        for folder in ["crates/fealty-postgres/migrations", &own] {
            let mut files: Vec<_> = fs::read_dir(sh::root().join(folder))?
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<_, _>>()?;
            files.sort();
            for file in files {
                let applied = Command::new(postgres.bin().join("psql"))
                    .args([
                        "-q",
                        "-1",
                        "-v",
                        "ON_ERROR_STOP=1",
                        "-d",
                        &postgres.url(service),
                        "-f",
                    ])
                    .arg(&file)
                    .status()
                    .context("running psql")?;
                ensure!(applied.success(), "{} failed", file.display());
            }
        }
    }
    for (package, folder, service) in CRATES {
        let sqlx = into.join(folder).join(".sqlx");
        if sqlx.exists() {
            fs::remove_dir_all(&sqlx)?;
        }
        fs::create_dir_all(&sqlx)?;
        // The macros write while they are expanded, so they must be.
        touch(&sh::root().join(folder).join("src/lib.rs"))?;
        let sqlx = sqlx.display().to_string();
        let url = postgres.url(service);
        let variables = [
            ("SQLX_OFFLINE", "false"),
            ("SQLX_OFFLINE_DIR", &*sqlx),
            ("DATABASE_URL", &*url),
        ];
        sh::cargo(&["check", "--package", package], &variables)?;
    }
    // A service's check expands what it depends on as well.
    let (_, shared, _) = CRATES[0];
    for entry in fs::read_dir(into.join(shared).join(".sqlx"))? {
        let name = entry?.file_name();
        for (_, folder, _) in &CRATES[1..] {
            let copy = into.join(folder).join(".sqlx").join(&name);
            if copy.exists() {
                fs::remove_file(copy)?;
            }
        }
    }
    Ok(())
}

/// Gives a file the time of now, as a file just made has it.
fn touch(path: &Path) -> anyhow::Result<()> {
    let made = sh::target_dir().join(".touch");
    fs::write(&made, "")?;
    let now = fs::metadata(&made)?.modified()?;
    fs::File::options()
        .append(true)
        .open(path)?
        .set_modified(now)?;
    Ok(())
}
