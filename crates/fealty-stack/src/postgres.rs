//! A private Postgres.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{Binaries, StackError, Supervised, free_port, io, user::User};
use std::os::unix::process::CommandExt as _;

const START_TIMEOUT: Duration = Duration::from_mins(1);
/// The role that owns everything.
const SUPERUSER: &str = "fealty";
/// The cluster's folder in the server's.
const DATA: &str = "data";
/// A copy of it.
const COPY: &str = "data.copy";

/// Whether commits reach the disk before they are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// They do, as in production.
    Synced,
    /// They do not: a killed server loses nothing, a machine without power
    /// may. For tests.
    Unsynced,
}

/// A private Postgres with a superuser `fealty`, on a Unix socket and a free
/// port of the loopback address.
#[derive(Debug)]
pub struct Postgres {
    process: Option<Supervised>,
    binaries: Binaries,
    user: Option<User>,
    folder: PathBuf,
    port: u16,
    durability: Durability,
    settings: &'static [&'static str],
    /// Whether the folder stays when the server ends.
    keeps: bool,
}

impl Postgres {
    /// Makes a cluster and starts it. Blocks until it answers.
    pub fn start(binaries: &Binaries, durability: Durability) -> Result<Self, StackError> {
        Self::start_with(binaries, durability, &[])
    }

    /// Makes a cluster and starts it with further settings: `name=value`.
    pub fn start_with(
        binaries: &Binaries,
        durability: Durability,
        settings: &'static [&'static str],
    ) -> Result<Self, StackError> {
        let user = User::to_drop_to();
        let folder = private_folder("fealty-postgres-", user)?;
        make_cluster(binaries, user, &folder.join(DATA))?;
        let mut postgres = Self {
            process: None,
            binaries: binaries.clone(),
            user,
            folder,
            port: free_port()?,
            durability,
            settings,
            keeps: false,
        };
        postgres.resume()?;
        Ok(postgres)
    }

    /// Starts the server whose data is in a folder, which stays when it ends; makes a
    /// cluster there first, if there is none.
    pub fn start_in(binaries: &Binaries, folder: &Path) -> Result<Self, StackError> {
        let user = User::to_drop_to();
        fs::create_dir_all(folder).map_err(io(format!("making {}", folder.display())))?;
        if let Some(user) = user {
            chown(folder, Some(user.uid), Some(user.gid)).map_err(io("handing over a folder"))?;
        }
        let data = folder.join(DATA);
        if !data.exists() {
            // Under its name only when it is whole: making it may be broken off.
            let made = folder.join("data.new");
            if made.exists() {
                fs::remove_dir_all(&made).map_err(io(format!("removing {}", made.display())))?;
            }
            make_cluster(binaries, user, &made)?;
            fs::rename(&made, &data).map_err(io(format!("making {}", data.display())))?;
        }
        let mut postgres = Self {
            process: None,
            binaries: binaries.clone(),
            user,
            folder: folder.to_owned(),
            port: free_port()?,
            durability: Durability::Synced,
            settings: &[],
            keeps: true,
        };
        postgres.resume()?;
        Ok(postgres)
    }

    /// Stops the server, keeping its data: `INT` is a fast shutdown, `QUIT`
    /// an immediate one, as if it had crashed.
    pub fn interrupt(&mut self, signal: &str) {
        if let Some(process) = &self.process {
            process.signal(signal);
            let deadline = Instant::now() + START_TIMEOUT;
            while process.is_running() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Starts the server again, or for the first time.
    pub fn resume(&mut self) -> Result<(), StackError> {
        let fsync = match self.durability {
            Durability::Synced => "fsync=on",
            Durability::Unsynced => "fsync=off",
        };
        let log = self.folder.join("postgres.log");
        let data = self.folder.join(DATA);
        let settings = [
            fsync,
            "listen_addresses=127.0.0.1",
            "max_connections=400",
            "shared_buffers=256MB",
            "max_wal_size=4GB",
            "checkpoint_timeout=15min",
        ];
        let mut args: Vec<String> = vec![
            "-D".to_owned(),
            data.display().to_string(),
            "-p".to_owned(),
            self.port.to_string(),
            "-k".to_owned(),
            self.folder.display().to_string(),
        ];
        args.extend(
            settings
                .iter()
                .chain(self.settings)
                .flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()]),
        );
        // The one before must be gone, but must not take the folder with it.
        if let Some(ended) = self.process.take() {
            std::mem::forget(ended);
        }
        let program = self.binaries.postgres_bin.join("postgres");
        let process = Supervised::start_as(
            self.user,
            &program,
            args,
            [],
            &log,
            // One that is kept ends by checkpoint, so that it starts at once.
            if self.keeps { "INT" } else { "QUIT" },
            (!self.keeps).then_some(&*self.folder),
        )?;
        self.process = Some(process);
        let deadline = Instant::now() + START_TIMEOUT;
        while !self.answers() {
            if Instant::now() > deadline
                || !self.process.as_ref().is_some_and(Supervised::is_running)
            {
                let log = fs::read_to_string(&log).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(5).collect();
                return Err(StackError::NotStarted {
                    server: "postgres",
                    log: tail.join(" | "),
                });
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Keeps a copy of all its data, as a backup would have it. It does not answer meanwhile.
    pub fn save_copy(&mut self) -> Result<(), StackError> {
        self.interrupt("INT");
        self.copy(DATA, COPY)?;
        self.resume()
    }

    /// Puts the copy in the place of its data: what was committed since is lost.
    pub fn restore_copy(&mut self) -> Result<(), StackError> {
        self.interrupt("INT");
        self.copy(COPY, DATA)?;
        self.resume()
    }

    fn copy(&self, from: &str, to: &str) -> Result<(), StackError> {
        let to = self.folder.join(to);
        if to.exists() {
            fs::remove_dir_all(&to).map_err(io(format!("removing {}", to.display())))?;
        }
        let copied = Command::new("cp")
            .arg("-a")
            .args([&self.folder.join(from), &to])
            .output()
            .map_err(io("running cp"))?;
        if copied.status.success() {
            return Ok(());
        }
        Err(StackError::NotStarted {
            server: "cp",
            log: String::from_utf8_lossy(&copied.stderr).into_owned(),
        })
    }

    fn answers(&self) -> bool {
        Command::new(self.binaries.postgres_bin.join("pg_isready"))
            .args(["-q", "-h"])
            .arg(&self.folder)
            .args([
                "-p",
                &self.port.to_string(),
                "-d",
                "postgres",
                "-U",
                SUPERUSER,
            ])
            .status()
            .is_ok_and(|status| status.success())
    }

    /// The URL of one of its databases, over its Unix socket.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_as(SUPERUSER, database)
    }

    /// The URL of one of its databases, for a role of its own.
    #[must_use]
    pub fn url_as(&self, role: &str, database: &str) -> String {
        format!(
            "postgres://{role}@localhost:{}/{database}?host={}",
            self.port,
            self.folder.display()
        )
    }

    /// Folder of `psql` and `pgbench`.
    #[must_use]
    pub fn bin(&self) -> &Path {
        &self.binaries.postgres_bin
    }

    /// Makes a database.
    pub fn create_database(&self, name: &str) -> Result<(), StackError> {
        self.create("createdb", &[name])
    }

    /// Makes a database that a role owns.
    pub fn create_database_of(&self, owner: &str, name: &str) -> Result<(), StackError> {
        self.create("createdb", &["--owner", owner, name])
    }

    /// Makes a role that may connect, and nothing else.
    pub fn create_role(&self, name: &str) -> Result<(), StackError> {
        self.create("createuser", &[name])
    }

    fn create(&self, program: &'static str, args: &[&str]) -> Result<(), StackError> {
        let made = Command::new(self.binaries.postgres_bin.join(program))
            .arg("-h")
            .arg(&self.folder)
            .args(["-p", &self.port.to_string(), "-U", SUPERUSER])
            .args(args)
            .env("LC_ALL", "C")
            .output()
            .map_err(io(format!("running {program}")))?;
        let log = String::from_utf8_lossy(&made.stderr).into_owned();
        // In data that is kept it was made before.
        if made.status.success() || (self.keeps && log.contains("already exists")) {
            return Ok(());
        }
        Err(StackError::NotStarted {
            server: program,
            log,
        })
    }
}

/// Makes a cluster in a folder that is not there yet.
fn make_cluster(binaries: &Binaries, user: Option<User>, data: &Path) -> Result<(), StackError> {
    let mut initdb = Command::new(binaries.postgres_bin.join("initdb"));
    initdb.args([
        "--no-sync",
        "--no-instructions",
        "-A",
        "trust",
        "-U",
        SUPERUSER,
        "-E",
        "UTF8",
        "--locale=C",
        "-D",
    ]);
    initdb.arg(data).current_dir("/");
    if let Some(user) = user {
        initdb.uid(user.uid).gid(user.gid);
    }
    let made = initdb.output().map_err(io("running initdb"))?;
    if !made.status.success() {
        let log = String::from_utf8_lossy(&made.stderr).into_owned();
        return Err(StackError::NotStarted {
            server: "initdb",
            log,
        });
    }
    Ok(())
}

/// A new folder in the temporary folder, that user's alone.
pub(crate) fn private_folder(prefix: &str, user: Option<User>) -> Result<PathBuf, StackError> {
    let folder = tempfile::Builder::new()
        .prefix(prefix)
        .tempdir()
        .map_err(io("making a temporary folder"))?
        .keep();
    if let Some(user) = user {
        chown(&folder, Some(user.uid), Some(user.gid)).map_err(io("handing over a folder"))?;
    }
    Ok(folder)
}
