//! Further instances of the points service on a database.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use fealty_auth::Role;
use fealty_cli::token::{Keys, grant};
use fealty_client::{Channel, Credentials, connect};
use fealty_stack::{Supervised, free_port};
use tokio::{sync::Mutex, time::Instant};

use crate::harness::fealty;

/// Has a points service work as over several nodes.
pub(crate) const DISTRIBUTED: (&str, &str) = ("FEALTY_LEDGER_PLACEMENT", "distributed");

/// A points service that is killed and started again.
pub(crate) struct Instance {
    port: u16,
    env: BTreeMap<String, String>,
    folder: tempfile::TempDir,
    process: Mutex<Option<Supervised>>,
    /// Calls of a till, and of a service.
    pub(crate) channel: Channel,
    /// Calls of an operator.
    pub(crate) operator: Channel,
}

impl Instance {
    pub(crate) fn new(database: &str, redis: &str, test_clock: bool) -> Self {
        Self::with(database, redis, test_clock, &[])
    }

    /// One with further variables of the environment.
    pub(crate) fn with(
        database: &str,
        redis: &str,
        test_clock: bool,
        variables: &[(&str, &str)],
    ) -> Self {
        let port = free_port().expect("a port");
        let folder = tempfile::tempdir().expect("a folder");
        let keys = Keys::make(&folder.path().join("keys")).expect("a key");
        let url = format!("http://127.0.0.1:{port}");
        let channel = |roles: &[Role]| {
            let token = keys.sign(&grant("instance", roles)).expect("a token");
            connect(&url, &Credentials::token(token)).expect("a URL")
        };
        let (channel, operator) = (
            channel(&[Role::Checkout, Role::Service]),
            channel(&[Role::Operator]),
        );
        let env = [
            ("FEALTY_SERVER_LISTEN", format!("127.0.0.1:{port}")),
            ("FEALTY_DATABASE_URL", database.to_owned()),
            ("FEALTY_CACHE_URL", redis.to_owned()),
            ("FEALTY_SERVER_TEST_CLOCK", test_clock.to_string()),
        ];
        let mut env: BTreeMap<String, String> =
            env.map(|(key, value)| (key.to_owned(), value)).into();
        env.extend(keys.variables().map(|(key, value)| (key.to_owned(), value)));
        for (key, value) in variables {
            env.insert((*key).to_owned(), (*value).to_owned());
        }
        let instance = Self {
            port,
            env,
            folder,
            process: Mutex::new(None),
            channel,
            operator,
        };
        *instance.process.try_lock().expect("nobody has it") = Some(instance.run());
        instance
    }

    fn run(&self) -> Supervised {
        let log: PathBuf = self.folder.path().join(format!("{}.log", self.port));
        let args = ["serve", "points"];
        Supervised::start(&fealty(), args, self.env.clone(), &log, "KILL", None).expect("it runs")
    }

    /// Kills it, and starts it again.
    pub(crate) async fn kill(&self) {
        let mut process = self.process.lock().await;
        if let Some(killed) = process.take() {
            killed.signal("KILL");
            let deadline = Instant::now() + Duration::from_secs(10);
            while killed.is_running() {
                assert!(Instant::now() < deadline, "it survives SIGKILL");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        *process = Some(self.run());
    }
}
