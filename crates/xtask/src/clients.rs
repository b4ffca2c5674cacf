//! The clients of `examples/clients`, made by buf from the contracts.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

use crate::{check::BUF, sh};

/// Makes the clients of the languages that are installed here; answers with the folder
/// that they lie in.
pub(crate) fn make() -> anyhow::Result<PathBuf> {
    let folder = sh::target_dir().join("clients");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let folder = folder.canonicalize()?;
    if !sh::has("npx") {
        eprintln!("no npx: the clients are not made, for it runs buf");
        return Ok(folder);
    }
    python(&folder.join("python"))?;
    typescript(&folder.join("typescript"))?;
    Ok(folder)
}

fn example(language: &str) -> PathBuf {
    sh::root().join("examples/clients").join(language)
}

fn python(folder: &Path) -> anyhow::Result<()> {
    let venv = Command::new("python3")
        .args(["-c", "import venv, ensurepip"])
        .output();
    if !venv.is_ok_and(|tried| tried.status.success()) {
        eprintln!("no python3 with venv: the Python client is not made");
        return Ok(());
    }
    copy("python", folder, &["requirements.txt", "first_calls.py"])?;
    let bin = folder.join("venv/bin");
    if !is_installed(folder, "requirements.txt") {
        let venv = folder.join("venv");
        sh::run("python3", &["-m", "venv", &venv.to_string_lossy()], &[])?;
        let requirements = folder.join("requirements.txt");
        let args = ["install", "--quiet", "--requirement"].map(str::to_owned);
        let args = args.into_iter().chain([requirements.display().to_string()]);
        sh::run(bin.join("pip"), &args.collect::<Vec<_>>(), &[])?;
        installed(folder, "requirements.txt")?;
    }
    generate("python", &folder.join("gen"), &bin, &["--path", "fealty"])
}

fn typescript(folder: &Path) -> anyhow::Result<()> {
    let files = ["package.json", "tsconfig.json", "first_calls.ts"];
    copy("typescript", folder, &files)?;
    let npm = |args: &[&str]| -> anyhow::Result<()> {
        let status = Command::new("npm").args(args).current_dir(folder).status();
        ensure!(status.context("running npm")?.success(), "npm failed");
        Ok(())
    };
    let bin = folder.join("node_modules/.bin");
    if !is_installed(folder, "package.json") {
        npm(&["install", "--silent", "--no-fund", "--no-audit"])?;
        installed(folder, "package.json")?;
    }
    generate("typescript", folder, &bin, &[])?;
    npm(&["run", "--silent", "build"])
}

/// Copies an example's files.
fn copy(language: &str, folder: &Path, files: &[&str]) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for file in files {
        let from = example(language).join(file);
        fs::copy(&from, folder.join(file)).with_context(|| from.display().to_string())?;
    }
    Ok(())
}

/// Where a copy of a list of packages lies once they are installed.
fn marker(folder: &Path, list: &str) -> PathBuf {
    folder.join(format!("{list}.installed"))
}

fn is_installed(folder: &Path, list: &str) -> bool {
    let wanted = fs::read(folder.join(list)).ok();
    wanted.is_some() && fs::read(marker(folder, list)).ok() == wanted
}

fn installed(folder: &Path, list: &str) -> anyhow::Result<()> {
    fs::copy(folder.join(list), marker(folder, list))?;
    Ok(())
}

/// Runs buf, with a language's plugins on the path.
fn generate(language: &str, out: &Path, plugins: &Path, args: &[&str]) -> anyhow::Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let paths = env::split_paths(&path);
    let path = env::join_paths([plugins.to_owned()].into_iter().chain(paths))?;
    let status = Command::new("npx")
        .args(["--yes", "--package", BUF, "buf", "generate", "--template"])
        .arg(example(language).join("buf.gen.yaml"))
        .args(args)
        .arg("--output")
        .arg(out)
        .current_dir(sh::root().join("proto"))
        .env("PATH", path)
        .status();
    ensure!(
        status.context("running buf")?.success(),
        "buf generate failed"
    );
    Ok(())
}
