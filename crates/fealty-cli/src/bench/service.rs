//! The points service as a process of its own.

use std::time::Duration;

use anyhow::Context as _;
use fealty_auth::{Grant, Role};
use fealty_client::{Channel, Credentials};
use fealty_stack::{Supervised, free_port};
use tokio::time::Instant;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::Sizing;
use crate::{
    load::callers::CONNECTIONS,
    token::{Keys, grant},
};

const START_DEADLINE: Duration = Duration::from_secs(30);

/// Whom the service serves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Callers {
    /// Whoever shows a token.
    Known,
    /// Anybody.
    Anybody,
}

/// A running points service.
pub(super) struct Service {
    process: Supervised,
    folder: tempfile::TempDir,
    /// Connections for its callers.
    pub(super) channels: Vec<Channel>,
    /// A connection for an operator.
    pub(super) operator: Channel,
}

/// Waits until a server answers that it serves.
pub(super) async fn until_answered(client: &HealthClient<Channel>) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        let request = HealthCheckRequest {
            service: String::new(),
        };
        let answer = client.clone().check(request).await;
        match answer {
            Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => return Ok(()),
            _ if Instant::now() > deadline => anyhow::bail!("a server does not answer"),
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

impl Service {
    /// Starts it over a database and a Redis, with the bench's programme.
    pub(super) async fn start(
        database: String,
        redis: String,
        callers: Callers,
        sizing: Sizing,
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        let folder = tempfile::tempdir()?;
        let keys = Keys::make(&folder.path().join("keys"))?;
        let program = std::env::current_exe()?;
        let env = [
            ("FEALTY_SERVER_LISTEN", format!("127.0.0.1:{port}")),
            ("FEALTY_DATABASE_URL", database),
            ("FEALTY_CACHE_URL", redis),
            (
                "FEALTY_LEDGER_BATCHES_IN_FLIGHT",
                sizing.batches_in_flight.to_string(),
            ),
        ];
        let asks: Vec<(&str, String)> = match callers {
            Callers::Known => keys.variables().into(),
            Callers::Anybody => vec![("FEALTY_SERVER_INSECURE", "true".to_owned())],
        };
        let env = env.into_iter().chain(asks);
        let env: Vec<_> = env.map(|(key, value)| (key.to_owned(), value)).collect();
        let token = |role| -> anyhow::Result<Credentials> {
            match callers {
                Callers::Known => Ok(Credentials::token(keys.sign(&Grant {
                    programs: vec![
                        "bench".to_owned(),
                        "rules".to_owned(),
                        "month".to_owned(),
                        "record-club".to_owned(),
                    ],
                    brands: vec!["shop".to_owned(), "record-shop".to_owned()],
                    ..grant("bench", &[role])
                })?)),
                Callers::Anybody => Ok(Credentials::default()),
            }
        };
        let till = token(Role::Checkout)?;
        let log = folder.path().join("log");
        let args = ["serve", "points"];
        let process = Supervised::start(&program, args, env, &log, "TERM", None)?;
        let url = format!("http://127.0.0.1:{port}");
        let channels = (0..CONNECTIONS).map(|_| Ok(fealty_client::connect(&url, &till)?));
        let channels: Vec<Channel> = channels.collect::<anyhow::Result<_>>()?;
        until_answered(&HealthClient::new(channels[0].clone()))
            .await
            .with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
        let operator = fealty_client::connect(&url, &token(Role::Operator)?)?;
        super::apply(&operator).await?;
        Ok(Self {
            process,
            folder,
            channels,
            operator,
        })
    }

    /// The most memory it has had, in MiB.
    pub(super) fn peak_memory_mb(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid()))?;
        let kib: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|line| line.trim().split(' ').next()?.parse().ok())
            .context("the service's memory cannot be read")?;
        Ok(kib / 1_024)
    }

    /// Ends it.
    pub(super) fn stop(mut self) {
        self.process.stop();
        drop(self.folder);
    }
}
