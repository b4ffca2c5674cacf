//! Finding the servers' programs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The oldest Postgres that will do.
const POSTGRES_MAJOR_MIN: u32 = 15;

/// What is needed of it.
const NEEDED: [&str; 4] = ["postgres", "initdb", "pg_isready", "createdb"];

/// Where the servers' programs are.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// Folder of `postgres`, `initdb` and the like.
    pub postgres_bin: PathBuf,
    /// The program `redis-server`.
    pub redis_server: PathBuf,
}

/// Programs that are missing on this machine.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "missing: {}. On Debian and Ubuntu: apt-get install -y postgresql redis-server \
     (`cargo xtask` does it by itself)",
    .what.join(" and ")
)]
pub struct MissingBinaries {
    /// What is missing.
    pub what: Vec<String>,
}

impl Binaries {
    /// Looks on the path and where Debian, Red Hat and Homebrew put them.
    pub fn find() -> Result<Self, MissingBinaries> {
        match (find_postgres(), find_on_path("redis-server")) {
            (Some(postgres_bin), Some(redis_server)) => Ok(Self {
                postgres_bin,
                redis_server,
            }),
            (postgres, redis) => {
                let mut what = Vec::new();
                if postgres.is_none() {
                    what.push(format!("Postgres {POSTGRES_MAJOR_MIN} or newer"));
                }
                if redis.is_none() {
                    what.push("redis-server".to_owned());
                }
                Err(MissingBinaries { what })
            }
        }
    }
}

fn path_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect())
        .unwrap_or_default();
    folders.extend(
        [
            "/usr/bin",
            "/usr/local/bin",
            "/usr/sbin",
            "/opt/homebrew/bin",
        ]
        .map(PathBuf::from),
    );
    folders
}

fn find_on_path(program: &str) -> Option<PathBuf> {
    path_folders()
        .into_iter()
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// The folder with the newest Postgres that has what is needed.
fn find_postgres() -> Option<PathBuf> {
    let mut folders = Vec::new();
    for parent in ["/usr/lib/postgresql", "/opt/homebrew/opt"] {
        for version in fs::read_dir(parent).into_iter().flatten().flatten() {
            folders.push(version.path().join("bin"));
        }
    }
    folders.extend(
        fs::read_dir("/usr")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with("pgsql-")
                    .then(|| entry.path().join("bin"))
            }),
    );
    folders.extend(path_folders());
    folders
        .into_iter()
        .filter(|folder| NEEDED.iter().all(|program| folder.join(program).is_file()))
        .filter_map(|folder| Some((major_version(&folder)?, folder)))
        .filter(|(major, _)| *major >= POSTGRES_MAJOR_MIN)
        .max_by_key(|(major, _)| *major)
        .map(|(_, folder)| folder)
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0)` is 15.
fn major_version(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_once("(PostgreSQL) ")?.1;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
