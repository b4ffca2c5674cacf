//! What bounds the service on this machine: pgbench's TPC-B, and an empty call.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use fealty_client::Credentials;
use fealty_stack::{Postgres, Supervised, free_port};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{
    Scale,
    measured::{self, Measured},
    say,
};
use crate::load::callers::CONNECTIONS;

/// Settings of the bench's Postgres, besides `fsync=on`.
pub(super) const SETTINGS: &[&str] = &[
    "shared_buffers=2GB",
    "min_wal_size=4GB",
    "max_wal_size=16GB",
    "synchronous_commit=on",
];

/// Rows of pgbench: 1,000,000 accounts, so that 32 clients seldom meet.
const SCALE: &str = "10";

/// Makes 4 GiB of segments for the write-ahead log to be used again, as a server
/// has that has run for a while. A new one makes each as it needs it, 16 MiB of
/// zeros, while every commit waits.
pub(super) fn age(postgres: &Postgres) -> anyhow::Result<()> {
    eprintln!("making segments for the write-ahead log");
    let switch = "DO $$ BEGIN FOR i IN 1..256 LOOP \
                  PERFORM pg_logical_emit_message(false, 'bench', ''); PERFORM pg_switch_wal(); \
                  END LOOP; END $$";
    let aged = Command::new(postgres.bin().join("psql"))
        .args(["-Xqc", switch, "-c", "CHECKPOINT"])
        .arg(postgres.url("postgres"))
        .output()
        .context("running psql")?;
    ensure!(
        aged.status.success(),
        "segments could not be made: {}",
        String::from_utf8_lossy(&aged.stderr)
    );
    Ok(())
}

/// pgbench on a database of its own.
pub(super) struct Pgbench {
    program: std::path::PathBuf,
    url: String,
}

impl Pgbench {
    pub(super) fn prepare(postgres: &Postgres) -> anyhow::Result<Self> {
        postgres.create_database("tpcb")?;
        let pgbench = Self {
            program: postgres.bin().join("pgbench"),
            url: postgres.url("tpcb"),
        };
        let made = Command::new(&pgbench.program)
            .args(["-q", "-i", "-s", SCALE, &pgbench.url])
            .output()
            .context("running pgbench")?;
        ensure!(made.status.success(), "pgbench could not make its tables");
        Ok(pgbench)
    }

    /// TPC-B with 1, 8 and 32 clients.
    pub(super) fn measure(&self, measure: Duration) -> anyhow::Result<Vec<Measured>> {
        let mut measured = Vec::new();
        for clients in [1, 8, 32] {
            let log = tempfile::tempdir()?;
            let prefix = log.path().join("log");
            let output = Command::new(&self.program)
                .args(["-c", &clients.to_string(), "-j", "2", "-n", "-l"])
                .args(["-T", &measure.as_secs().to_string()])
                .arg("--log-prefix")
                .arg(&prefix)
                .arg(&self.url)
                .output()
                .context("running pgbench")?;
            ensure!(output.status.success(), "pgbench failed");
            let mut times = Vec::new();
            for file in std::fs::read_dir(log.path())? {
                // client, number, microseconds, …
                for line in std::fs::read_to_string(file?.path())?.lines() {
                    times.extend(line.split(' ').nth(2).and_then(|us| us.parse::<u32>().ok()));
                }
            }
            let name = format!("tpcb_{clients}");
            let of = Measured::of(&name, clients, measure, &mut times);
            say(&of);
            measured.push(of);
        }
        Ok(measured)
    }
}

/// Serves nothing but health checks: an empty call.
pub(super) async fn serve_empty(port: u16) -> anyhow::Result<()> {
    let (_, health) = tonic_health::server::health_reporter();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let incoming = tonic::transport::server::TcpIncoming::bind(address)?.with_nodelay(Some(true));
    tonic::transport::Server::builder()
        .add_service(health)
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}

/// Measures an empty call.
pub(super) async fn empty_call(
    name: &str,
    callers: usize,
    scale: Scale,
) -> anyhow::Result<Measured> {
    let port = free_port()?;
    let folder = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let args = ["bench", "serve-empty", &port.to_string()].map(str::to_owned);
    let log = folder.path().join("log");
    let server = Supervised::start(&program, args, [], &log, "TERM", None)?;
    let url = format!("http://127.0.0.1:{port}");
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            Ok(HealthClient::new(fealty_client::connect(
                &url,
                &Credentials::default(),
            )?))
        })
        .collect::<anyhow::Result<_>>()?;
    super::service::until_answered(&clients[0]).await?;
    let measured = measured::measure(name, callers, scale, move |caller, _| {
        let mut client = clients[caller % CONNECTIONS].clone();
        async move {
            let request = HealthCheckRequest {
                service: String::new(),
            };
            client.check(request).await.map(drop)
        }
    })
    .await;
    drop(server);
    Ok(measured)
}
