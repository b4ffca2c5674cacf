//! Running programs.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

/// Runs a program, and fails if it does.
pub(crate) fn run(
    program: impl AsRef<OsStr>,
    args: &[impl AsRef<OsStr>],
    variables: &[(&str, &str)],
) -> anyhow::Result<()> {
    let program = program.as_ref();
    let status = Command::new(program)
        .args(args)
        .envs(variables.iter().copied())
        .status()
        .with_context(|| format!("running {}", program.display()))?;
    ensure!(status.success(), "{} failed", program.display());
    Ok(())
}

/// Runs cargo.
pub(crate) fn cargo(args: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<()> {
    run(
        env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        args,
        variables,
    )
}

/// Whether a program is on the path.
pub(crate) fn has(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Where cargo builds.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
