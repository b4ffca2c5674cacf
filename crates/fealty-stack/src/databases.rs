//! The databases that services are started over: in a private Postgres, or in one
//! that is given, which may be a Citus cluster.

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{Binaries, Postgres, StackError, io};

/// Parts of each distributed table in a given cluster: enough for several nodes,
/// few enough to be made in a moment.
const CITUS_PARTS: u32 = 8;
const RECOVERY_TIMEOUT: Duration = Duration::from_mins(1);

/// Numbers what this process makes in a given server.
static MADE: AtomicU32 = AtomicU32::new(0);

/// Where databases are made.
#[derive(Debug)]
pub enum Databases {
    /// In a private Postgres.
    Private(Postgres),
    /// In a server that is given.
    Given(Given),
}

impl Databases {
    /// Makes a role that may connect, and nothing else.
    pub fn create_role(&self, name: &str) -> Result<(), StackError> {
        match self {
            Self::Private(postgres) => postgres.create_role(name),
            Self::Given(given) => given.create_role(name),
        }
    }

    /// Makes a database that a role owns.
    pub fn create_database_of(&self, owner: &str, name: &str) -> Result<(), StackError> {
        match self {
            Self::Private(postgres) => postgres.create_database_of(owner, name),
            Self::Given(given) => given.create_database_of(owner, name),
        }
    }

    /// Makes a database of the superuser's, ready for distributed tables where the
    /// server has them.
    pub fn create_database(&self, name: &str) -> Result<(), StackError> {
        match self {
            Self::Private(postgres) => postgres.create_database(name),
            Self::Given(given) => {
                given.create_database_of(&given.user, name)?;
                given.distribute(name)
            }
        }
    }

    /// Readies a database for distributed tables, where the server has them.
    pub fn distribute(&self, name: &str) -> Result<(), StackError> {
        match self {
            Self::Private(_) => Ok(()),
            Self::Given(given) => given.distribute(name),
        }
    }

    /// The URL of a database, for the superuser.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        match self {
            Self::Private(postgres) => postgres.url(database),
            Self::Given(given) => given.url_as(&given.user, database),
        }
    }

    /// The URL of a database, for a role.
    #[must_use]
    pub fn url_as(&self, role: &str, database: &str) -> String {
        match self {
            Self::Private(postgres) => postgres.url_as(role, database),
            Self::Given(given) => given.url_as(role, database),
        }
    }

    /// Stops the private server with a signal, keeping its data; does nothing to a
    /// given one, which is not ours.
    pub fn interrupt(&mut self, signal: &str) {
        if let Self::Private(postgres) = self {
            postgres.interrupt(signal);
        }
    }

    /// Starts the private server again.
    pub fn resume(&mut self) -> Result<(), StackError> {
        match self {
            Self::Private(postgres) => postgres.resume(),
            Self::Given(_) => Ok(()),
        }
    }

    /// Keeps a copy of the private server's data; does nothing to a given one.
    pub fn save_copy(&mut self) -> Result<(), StackError> {
        match self {
            Self::Private(postgres) => postgres.save_copy(),
            Self::Given(_) => Ok(()),
        }
    }

    /// Puts the copy in the place of the private server's data.
    pub fn restore_copy(&mut self) -> Result<(), StackError> {
        match self {
            Self::Private(postgres) => postgres.restore_copy(),
            Self::Given(_) => Ok(()),
        }
    }

    /// Has a server crash and recover: the private one, or one of the given
    /// cluster's workers (its coordinator, if it has none), each in its turn.
    pub fn crash(&mut self) -> Result<(), StackError> {
        match self {
            Self::Private(postgres) => {
                postgres.interrupt("QUIT");
                postgres.resume()
            }
            Self::Given(given) => given.crash(),
        }
    }
}

/// A server that is given, as its superuser; a Citus coordinator, if the database
/// of its URL has the extension.
#[derive(Debug)]
pub struct Given {
    psql: std::path::PathBuf,
    user: String,
    /// `user@` left out: `host:port`.
    address: String,
    /// The database of the URL, where roles are made.
    database: String,
    /// `?…` of the URL.
    settings: String,
    /// Addresses of the workers.
    workers: Vec<String>,
    distributes: bool,
    /// What every name of a database begins with.
    prefix: String,
    made: std::sync::Mutex<Vec<String>>,
    crashes: usize,
}

impl Given {
    /// A server by the URL of one of its databases: `postgres://user@host:port/name`.
    pub fn at(url: &str, binaries: &Binaries) -> Result<Self, StackError> {
        let refused = || StackError::NotStarted {
            server: "the given Postgres",
            log: format!("`{url}` must be postgres://user@host:port/database"),
        };
        let rest = url.split_once("://").ok_or_else(refused)?.1;
        let (user, rest) = rest.split_once('@').ok_or_else(refused)?;
        let (address, rest) = rest.split_once('/').ok_or_else(refused)?;
        let (database, settings) = rest.split_once('?').unwrap_or((rest, ""));
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let mut given = Self {
            psql: binaries.postgres_bin.join("psql"),
            user: user.to_owned(),
            address: address.to_owned(),
            database: database.to_owned(),
            settings: match settings {
                "" => String::new(),
                settings => format!("?{settings}"),
            },
            workers: Vec::new(),
            distributes: false,
            prefix: format!("fealty_test_{}_{number}", std::process::id()),
            made: std::sync::Mutex::default(),
            crashes: 0,
        };
        let known = given.ask(&given.address, database, "SELECT extname FROM pg_extension")?;
        given.distributes = known.lines().any(|extension| extension == "citus");
        if given.distributes {
            let workers = "SELECT nodename || ':' || nodeport FROM pg_dist_node WHERE groupid <> 0";
            let workers = given.ask(&given.address, database, workers)?;
            given.workers = workers.lines().map(str::to_owned).collect();
        }
        Ok(given)
    }

    fn name(&self, database: &str) -> String {
        format!("{}_{database}", self.prefix)
    }

    fn url_as(&self, role: &str, database: &str) -> String {
        let (address, name) = (&self.address, self.name(database));
        format!("postgres://{role}@{address}/{name}{}", self.settings)
    }

    /// Runs a statement on a node as the superuser; answers with its rows.
    fn ask(&self, address: &str, database: &str, statement: &str) -> Result<String, StackError> {
        let (user, settings) = (&self.user, &self.settings);
        let url = format!("postgres://{user}@{address}/{database}{settings}");
        ask(&self.psql, &url, statement)
    }

    fn create_role(&self, name: &str) -> Result<(), StackError> {
        let known = format!("SELECT 1 FROM pg_roles WHERE rolname = '{name}'");
        if !self.ask(&self.address, &self.database, &known)?.is_empty() {
            return Ok(());
        }
        let made = self.ask(
            &self.address,
            &self.database,
            &format!("CREATE ROLE {name} LOGIN"),
        );
        match made {
            // Another test was quicker.
            Err(_) if !self.ask(&self.address, &self.database, &known)?.is_empty() => Ok(()),
            made => made.map(drop),
        }
    }

    fn create_database_of(&self, owner: &str, name: &str) -> Result<(), StackError> {
        let name = self.name(name);
        self.ask(
            &self.address,
            &self.database,
            &format!("CREATE DATABASE {name} OWNER {owner}"),
        )?;
        self.remember(name);
        Ok(())
    }

    fn remember(&self, name: String) {
        self.made
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(name);
    }

    fn distribute(&self, name: &str) -> Result<(), StackError> {
        if !self.distributes {
            return Ok(());
        }
        let name = self.name(name);
        let owner = "SELECT datdba::regrole FROM pg_database WHERE datname = current_database()";
        let owner = self.ask(&self.address, &name, owner)?;
        let create = format!("CREATE DATABASE {name} OWNER {}", owner.trim());
        for worker in &self.workers {
            self.ask(worker, &self.database, &create)?;
            self.ask(worker, &name, "CREATE EXTENSION citus")?;
        }
        self.ask(&self.address, &name, "CREATE EXTENSION citus")?;
        let parts = format!("ALTER DATABASE {name} SET citus.shard_count = {CITUS_PARTS}");
        self.ask(&self.address, &name, &parts)?;
        let host_and_port = |address: &str| {
            let (host, port) = address.rsplit_once(':').unwrap_or((address, "5432"));
            format!("'{host}', {port}")
        };
        let coordinator = host_and_port(&self.address);
        let statement = format!("SELECT citus_set_coordinator_host({coordinator})");
        self.ask(&self.address, &name, &statement)?;
        for worker in &self.workers {
            let worker = host_and_port(worker);
            self.ask(
                &self.address,
                &name,
                &format!("SELECT citus_add_node({worker})"),
            )?;
        }
        Ok(())
    }

    /// Kills a backend, upon which its server ends all others and recovers.
    fn crash(&mut self) -> Result<(), StackError> {
        let node = match self.workers.len() {
            0 => self.address.clone(),
            len => self.workers[self.crashes % len].clone(),
        };
        self.crashes += 1;
        // The shell's parent is the backend.
        let killed = "COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'";
        // It is answered by a lost connection.
        let _ = self.ask(&node, &self.database, killed);
        let deadline = Instant::now() + RECOVERY_TIMEOUT;
        while let Err(error) = self.ask(&node, &self.database, "SELECT 1") {
            if Instant::now() > deadline {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        let made = std::mem::take(
            &mut *self
                .made
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        for name in made {
            for node in [&self.address].into_iter().chain(&self.workers) {
                // What cannot be dropped stays; its name says what made it.
                let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                let _ = self.ask(node, &self.database, &drop);
            }
        }
    }
}

fn ask(psql: &Path, url: &str, statement: &str) -> Result<String, StackError> {
    let asked = Command::new(psql)
        .args([
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            url,
            "-c",
            statement,
        ])
        .output()
        .map_err(io("running psql"))?;
    if asked.status.success() {
        return Ok(String::from_utf8_lossy(&asked.stdout).into_owned());
    }
    Err(StackError::NotStarted {
        server: "the given Postgres",
        log: String::from_utf8_lossy(&asked.stderr).into_owned(),
    })
}
