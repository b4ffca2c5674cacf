//! The three services as three processes over a private stack.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use fealty_auth::{Grant, Role};
use fealty_client::{Credentials, Deadline, call};
use fealty_proto::operations::v1::{GetFeedStatusRequest, feed_service_client::FeedServiceClient};
use fealty_stack::{Stack, Supervised, free_port, without_knobs};
use tokio::sync::{Mutex, RwLock};

use crate::{
    endpoints::{Clients, Endpoints, Shown},
    token::{Keys, grant},
};

const START_DEADLINE: Duration = Duration::from_mins(1);
/// The role that owns the tables.
const OWNER: &str = "fealty_owner";
/// The role that the services connect as; it owns no table.
const SERVICE_ROLE: &str = "fealty_service";
/// A key for a demo's vouchers; a real one is a secret.
const DEMO_VOUCHER_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// A key for a demo's checkpoints; a real one is a secret.
const DEMO_CHECKPOINT_KEY: &str =
    "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

/// Roles for whoever plays a shop and what stands behind it, in one.
const SHOP: [Role; 2] = [Role::Checkout, Role::Service];
/// Roles for whoever plays the office, in one.
const OFFICE: [Role; 3] = [Role::Operator, Role::Finance, Role::Auditor];

/// What a fleet stands on besides its stack.
#[derive(Debug)]
pub struct Ground {
    /// Where points, tiers and rewards listen.
    pub ports: [u16; 3],
    /// Who signs the tokens that they take.
    pub keys: Keys,
    /// Whether they run by a clock that is set.
    pub test_clock: bool,
}

/// One of the services, as a process.
#[derive(Debug)]
pub struct RunningService {
    name: &'static str,
    port: u16,
    env: BTreeMap<String, String>,
    test_clock: bool,
    process: Mutex<Process>,
}

/// A process and the folder of its log, which its supervisor removes.
#[derive(Debug)]
struct Process {
    supervised: Supervised,
    log: PathBuf,
}

/// The three services and what they stand on. All of it ends with this value.
#[derive(Debug)]
pub struct Fleet {
    program: PathBuf,
    services: Vec<RunningService>,
    endpoints: Endpoints,
    clients: Clients,
    keys: Keys,
    /// Keys and the services' tokens are in it, unless they are kept; held to the end.
    folder: Option<tempfile::TempDir>,
    /// The Postgres and Redis.
    pub stack: RwLock<Stack>,
    points_database_url: String,
    owner_database_url: String,
    service_database_url: String,
}

impl Fleet {
    /// Starts the services with the `fealty` command at `program`, and waits
    /// until they answer.
    pub async fn start(program: &Path, stack: Stack) -> anyhow::Result<Self> {
        Self::start_with(program, stack, &[]).await
    }

    /// Starts the services with further variables of the environment.
    pub async fn start_with(
        program: &Path,
        stack: Stack,
        variables: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("fealty-keys-").tempdir()?;
        let ground = Ground {
            ports: [free_port()?, free_port()?, free_port()?],
            keys: Keys::make(folder.path())?,
            test_clock: true,
        };
        let mut fleet = Self::start_on(program, stack, ground, variables).await?;
        fleet.folder = Some(folder);
        Ok(fleet)
    }

    /// Starts the services on ground that may have been there before.
    pub async fn start_on(
        program: &Path,
        stack: Stack,
        ground: Ground,
        variables: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let Ground {
            ports,
            keys,
            test_clock,
        } = ground;
        let names = [
            fealty_points::NAME,
            fealty_tiers::NAME,
            fealty_rewards::NAME,
        ];
        let [points, tiers, rewards] = ports.map(|port| format!("http://127.0.0.1:{port}"));
        let endpoints = Endpoints {
            points,
            tiers,
            rewards,
            shown: Shown::default(),
        };
        make_databases(&stack, names)?;
        let mut prepared = Vec::new();
        for (name, port) in names.into_iter().zip(ports) {
            let mut env = environment(name, port, &stack, &endpoints, variables);
            show_and_ask(&mut env, &keys, name)?;
            let migrating = migrate(program, name, &env)?;
            prepared.push((name, port, env, migrating));
        }
        // As in production: the tables belong to one role, and the services
        // connect as another.
        let mut services = Vec::new();
        for (name, port, mut env, migrating) in prepared {
            let migrated = migrating.wait_with_output().await?;
            anyhow::ensure!(
                migrated.status.success(),
                "the tables of {name}: {}",
                String::from_utf8_lossy(&migrated.stderr)
            );
            let url = stack.postgres.url_as(SERVICE_ROLE, name);
            env.insert("FEALTY_DATABASE_URL".to_owned(), url);
            env.insert("FEALTY_DATABASE_MIGRATE".to_owned(), "false".to_owned());
            let process = Mutex::new(start(program, name, &env, test_clock)?);
            services.push(RunningService {
                name,
                port,
                env,
                test_clock,
                process,
            });
        }
        let token = |roles| anyhow::Ok(Credentials::token(keys.sign(&grant("everybody", roles))?));
        let clients = Clients::connect_apart(&endpoints, &token(&SHOP)?, &token(&OFFICE)?)?;
        let fleet = Self {
            program: program.to_owned(),
            services,
            endpoints,
            clients,
            points_database_url: stack.postgres.url(fealty_points::NAME),
            owner_database_url: stack.postgres.url_as(OWNER, fealty_points::NAME),
            service_database_url: stack.postgres.url_as(SERVICE_ROLE, fealty_points::NAME),
            keys,
            folder: None,
            stack: RwLock::new(stack),
        };
        for service in &fleet.services {
            fleet.wait_for(service.name).await?;
        }
        Ok(fleet)
    }

    /// Who signs the tokens that the services take.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// A token for roles that reach everything.
    ///
    /// # Panics
    /// If it cannot be signed, which would be a defect.
    #[must_use]
    pub fn token(&self, roles: &[Role]) -> String {
        let signed = self.keys.sign(&grant("somebody", roles));
        signed.expect("the key was made for it")
    }

    /// Connections to the services, with a token for a grant.
    pub fn clients_as(&self, grant: &Grant) -> anyhow::Result<Clients> {
        let token = Credentials::token(self.keys.sign(grant)?);
        Clients::connect_with(&self.endpoints, &token)
    }

    /// Connections to the services, by a shop and an office that may do everything.
    #[must_use]
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Where the services are.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The points service's database, as the owner of its tables.
    #[must_use]
    pub fn owner_database_url(&self) -> &str {
        &self.owner_database_url
    }

    /// The points service's database, as the server's superuser.
    #[must_use]
    pub fn points_database_url(&self) -> &str {
        &self.points_database_url
    }

    /// The points service's database, as the service connects to it.
    #[must_use]
    pub fn service_database_url(&self) -> &str {
        &self.service_database_url
    }

    fn service(&self, name: &str) -> anyhow::Result<&RunningService> {
        self.services
            .iter()
            .find(|service| service.name == name)
            .context("no such service")
    }

    /// Sends a service's process a signal: `KILL`, `TERM`.
    pub async fn signal(&self, name: &str, signal: &str) -> anyhow::Result<()> {
        self.service(name)?
            .process
            .lock()
            .await
            .supervised
            .signal(signal);
        Ok(())
    }

    /// Whether a service's process runs.
    pub async fn is_running(&self, name: &str) -> anyhow::Result<bool> {
        Ok(self
            .service(name)?
            .process
            .lock()
            .await
            .supervised
            .is_running())
    }

    /// Starts a service again that has ended.
    pub async fn restart(&self, name: &str) -> anyhow::Result<()> {
        let service = self.service(name)?;
        let mut process = service.process.lock().await;
        *process = start(
            &self.program,
            service.name,
            &service.env,
            service.test_clock,
        )?;
        drop(process);
        self.wait_for(service.name).await
    }

    /// What a service has logged since it was last started.
    pub async fn log(&self, name: &str) -> anyhow::Result<String> {
        let process = self.service(name)?.process.lock().await;
        Ok(std::fs::read_to_string(&process.log).unwrap_or_default())
    }

    async fn wait_for(&self, name: &'static str) -> anyhow::Result<()> {
        let channels = self.clients.channels();
        let (_, channel) = channels
            .into_iter()
            .find(|(known, _)| *known == name)
            .context("no such service")?;
        let status = call(Deadline::within(START_DEADLINE), || {
            let mut client = FeedServiceClient::new(channel.clone());
            async move { client.get_feed_status(GetFeedStatusRequest {}).await }
        });
        if let Err(status) = status.await {
            let log = self.log(name).await?;
            let tail: Vec<&str> = log.lines().rev().take(5).collect();
            anyhow::bail!(
                "the {name} service does not answer: {status}: {}",
                tail.join(" | ")
            );
        }
        Ok(())
    }

    /// A line for each service that can be pasted into a shell.
    pub fn grpcurl_lines(&self) -> anyhow::Result<Vec<String>> {
        let calls = [
            (
                r#"{"program":"record-club","member":"00001","currency":"points"}"#,
                "fealty.points.v1.LedgerService/GetBalance",
            ),
            (
                r#"{"program":"record-club","member":"00001"}"#,
                "fealty.tiers.v1.TierService/GetStatus",
            ),
            (
                r#"{"program":"record-club","member":"00001"}"#,
                "fealty.rewards.v1.CatalogService/ListRewards",
            ),
        ];
        let token = self.keys.sign(&grant("demo", &[Role::Operator]))?;
        let mut lines = vec![format!("TOKEN={token}")];
        lines.extend(
            self.services
                .iter()
                .zip(calls)
                .map(|(service, (data, method))| {
                    format!(
                        "grpcurl -plaintext -H \"authorization: Bearer $TOKEN\" -d '{data}' \
                 127.0.0.1:{} {method}",
                        service.port
                    )
                }),
        );
        Ok(lines)
    }
}

/// Makes the roles, and a database for each service.
fn make_databases(stack: &Stack, names: [&str; 3]) -> anyhow::Result<()> {
    stack.postgres.create_role(OWNER)?;
    stack.postgres.create_role(SERVICE_ROLE)?;
    for name in names {
        stack.postgres.create_database_of(OWNER, name)?;
        if name == fealty_points::NAME {
            stack.postgres.distribute(name)?;
        }
    }
    Ok(())
}

/// What a service is told by its environment, as the owner of its tables.
fn environment(
    name: &str,
    port: u16,
    stack: &Stack,
    endpoints: &Endpoints,
    variables: &[(&str, String)],
) -> BTreeMap<String, String> {
    // Only points has a ledger and a cache.
    let of_points =
        |key: &str| key.starts_with("FEALTY_LEDGER_") || key.starts_with("FEALTY_CACHE_");
    let known = |key: &str| name == fealty_points::NAME || !of_points(key);
    let mut env: BTreeMap<String, String> = variables
        .iter()
        .filter(|(key, _)| known(key))
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    let mut set = |key: &str, value: String| {
        env.entry(format!("FEALTY_{key}")).or_insert(value);
    };
    set("SERVER_LISTEN", format!("127.0.0.1:{port}"));
    set("DATABASE_URL", stack.postgres.url_as(OWNER, name));
    set("DATABASE_SERVICE_ROLE", SERVICE_ROLE.to_owned());
    match name {
        fealty_points::NAME => {
            set("CACHE_URL", stack.redis.url());
            set("TIERS_URL", endpoints.tiers.clone());
            set("CHECKPOINTS_KEY", DEMO_CHECKPOINT_KEY.to_owned());
        }
        fealty_rewards::NAME => {
            set("POINTS_URL", endpoints.points.clone());
            set("VOUCHERS_KEY", DEMO_VOUCHER_KEY.to_owned());
        }
        _ => {
            set("POINTS_URL", endpoints.points.clone());
        }
    }
    env
}

/// Has a service take the keys' tokens, and show one of its own.
fn show_and_ask(env: &mut BTreeMap<String, String>, keys: &Keys, name: &str) -> anyhow::Result<()> {
    let token = keys.service_token_file(name)?;
    let shows = ("FEALTY_CREDENTIALS_TOKEN_FILE", token.display().to_string());
    for (key, value) in keys.variables().into_iter().chain([shows]) {
        env.entry(key.to_owned()).or_insert(value);
    }
    Ok(())
}

/// Begins to bring a service's tables up to date.
fn migrate(
    program: &Path,
    name: &str,
    env: &BTreeMap<String, String>,
) -> std::io::Result<tokio::process::Child> {
    let mut command = std::process::Command::new(program);
    without_knobs(&mut command)
        .args(["serve", name, "--migrate-only"])
        .envs(env)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true).spawn()
}

fn start(
    program: &Path,
    name: &str,
    env: &BTreeMap<String, String>,
    test_clock: bool,
) -> anyhow::Result<Process> {
    let folder = tempfile::Builder::new()
        .prefix(&format!("fealty-{name}-"))
        .tempdir()?
        .keep();
    let log = folder.join("log");
    let mut args = vec!["serve", name];
    args.extend(test_clock.then_some("--test-clock"));
    let supervised = Supervised::start(program, args, env.clone(), &log, "TERM", Some(&folder))?;
    Ok(Process { supervised, log })
}
