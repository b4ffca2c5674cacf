//! Everything that can be checked without running the services.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, ensure};

use clap::ValueEnum;

use crate::{install, layers, prepare, sh};

/// What the contracts have promised, in `proto`: an image that grows, and that no commit
/// takes anything from.
const PROMISED: &str = "promised.binpb";
/// The buf of npm that is run.
pub(crate) const BUF: &str = "@bufbuild/buf@1.75.0";
const CARGO_DENY: &str = "0.20.2";

/// One of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Whether the code is formatted.
    Format,
    /// What may name what.
    Layers,
    /// Lints, as errors.
    Clippy,
    /// The documentation, without broken links.
    Docs,
    /// Licences and sources of dependencies.
    Dependencies,
    /// Whether the committed `.sqlx` folders are what the statements give.
    Generated,
    /// The contracts' style, and that they break nothing that was promised.
    Contracts,
    /// The Kubernetes manifests.
    Manifests,
}

/// Runs all checks, or one.
pub(crate) fn run(only: Option<Step>) -> anyhow::Result<()> {
    for step in Step::value_variants() {
        if only.is_none_or(|only| only == *step) {
            eprintln!("== {step:?}");
            step.run().with_context(|| format!("checking {step:?}"))?;
        }
    }
    Ok(())
}

impl Step {
    fn run(self) -> anyhow::Result<()> {
        let offline = ("SQLX_OFFLINE", "true");
        match self {
            Self::Format => sh::cargo(&["fmt", "--all", "--check"], &[]),
            Self::Layers => layers::check(),
            Self::Clippy => {
                let args = [
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--locked",
                    "--",
                    "-D",
                    "warnings",
                ];
                sh::cargo(&args, &[offline])
            }
            Self::Docs => {
                let variables = [offline, ("RUSTDOCFLAGS", "-D warnings")];
                sh::cargo(&["doc", "--workspace", "--no-deps", "--locked"], &variables)
            }
            Self::Dependencies => deny(),
            Self::Generated => drift(),
            Self::Contracts => contracts(),
            Self::Manifests => manifests(),
        }
    }
}

fn deny() -> anyhow::Result<()> {
    if !sh::has("cargo-deny") {
        eprintln!("installing cargo-deny {CARGO_DENY}");
        sh::cargo(
            &[
                "install",
                "--locked",
                "--quiet",
                "cargo-deny",
                "--version",
                CARGO_DENY,
            ],
            &[],
        )?;
    }
    // It reads every locked package, those for other machines among them.
    sh::cargo(&["fetch", "--locked"], &[])?;
    // Advisories need a database that is fetched; see deny.toml.
    sh::cargo(
        &[
            "deny",
            "--offline",
            "--locked",
            "check",
            "bans",
            "licenses",
            "sources",
        ],
        &[],
    )
}

/// The committed `.sqlx` folders are what the statements give, and the schema what the
/// programme's forms give.
fn drift() -> anyhow::Result<()> {
    install::servers()?;
    let committed = fs::read_to_string(sh::root().join(prepare::SCHEMA))?;
    ensure!(
        committed == prepare::schema()?,
        "{} is not what programme files look like: run `cargo xtask prepare`",
        prepare::SCHEMA
    );
    let fresh = sh::target_dir().join("sqlx-fresh");
    prepare::write(&fresh)?;
    for (_, folder, _) in prepare::CRATES {
        let committed = files(&sh::root().join(folder).join(".sqlx"))?;
        let generated = files(&fresh.join(folder).join(".sqlx"))?;
        ensure!(
            committed == generated,
            "{folder}/.sqlx is not what its statements give: run `cargo xtask prepare`"
        );
    }
    Ok(())
}

fn files(folder: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        files.push((name, fs::read_to_string(&path)?));
    }
    files.sort();
    Ok(files)
}

fn contracts() -> anyhow::Result<()> {
    ensure!(buf(&["lint"])?.success(), "buf lint failed");
    let kept = buf(&["breaking", "--against", PROMISED])?;
    ensure!(
        kept.success(),
        "the contracts break what was promised: callers must not have to change"
    );
    let fresh = sh::target_dir().join("contracts.binpb");
    build_contracts(&fresh)?;
    ensure!(
        fs::read(&fresh)? == fs::read(sh::root().join("proto").join(PROMISED))?,
        "the contracts promise more than is written down: run `cargo xtask promise`"
    );
    Ok(())
}

/// Writes down what the contracts promise from now on, if they break nothing that was
/// promised before.
pub(crate) fn promise() -> anyhow::Result<()> {
    let proto = sh::root().join("proto");
    if proto.join(PROMISED).exists() {
        let kept = buf(&["breaking", "--against", PROMISED])?;
        ensure!(
            kept.success(),
            "the contracts break what was promised: nothing is written"
        );
    }
    build_contracts(&proto.join(PROMISED))
}

/// The contracts as one image, without comments.
fn build_contracts(to: &Path) -> anyhow::Result<()> {
    let to = std::path::absolute(to)?.display().to_string();
    let built = buf(&["build", "--exclude-source-info", "--output", &to])?;
    ensure!(built.success(), "buf build failed");
    Ok(())
}

fn buf(args: &[&str]) -> anyhow::Result<std::process::ExitStatus> {
    if !sh::has("npx") {
        install::packages("npm", "npx, which runs buf,")?;
    }
    Command::new("npx")
        .args(["--yes", "--package", BUF, "buf"])
        .args(args)
        .current_dir(sh::root().join("proto"))
        .status()
        .context("running buf")
}

/// What the manifests must have is a test of the end-to-end package; here
/// kustomize builds them, where it is to be had.
fn manifests() -> anyhow::Result<()> {
    for overlay in ["dev", "production"] {
        let folder = sh::root().join("k8s/overlays").join(overlay);
        if !sh::has("kubectl") {
            eprintln!("no kubectl: {} is not built", folder.display());
            continue;
        }
        let built = Command::new("kubectl")
            .arg("kustomize")
            .arg(&folder)
            .output()
            .context("running kubectl")?;
        let told = String::from_utf8_lossy(&built.stderr).into_owned();
        ensure!(built.status.success(), "{}: {told}", folder.display());
    }
    Ok(())
}
