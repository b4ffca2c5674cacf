//! Serving, from the first call to the last.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use fealty_postgres::Database;
use fealty_proto::operations::v1::{
    feed_service_server::FeedServiceServer, test_clock_service_server::TestClockServiceServer,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
    server::HealthReporter,
};

use crate::{
    Operations, ServiceClock,
    coalesce::{CallsUnderWay, Coalesced},
    config::ServerSection,
    observe::ObserveLayer,
    operations::{ClockApi, FeedApi},
};

/// How often the health looks at the database, and how long it waits for it.
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// Between `NOT_SERVING` and the end of accepting: load balancers turn away.
const DRAIN_NOTICE: Duration = Duration::from_millis(200);

/// A service, ready to be served.
pub struct Service {
    /// Its name, for logs.
    pub name: &'static str,
    /// Its own gRPC services.
    pub routes: Routes,
    /// Its database; without it the health is `NOT_SERVING`.
    pub database: Database,
    /// Its clock.
    pub clock: ServiceClock,
    /// What it does for those who run it.
    pub operations: Arc<dyn Operations>,
    /// Cancelled when it is to end; its background work listens too.
    pub shutdown: CancellationToken,
}

/// A service that is being served.
#[derive(Debug)]
pub struct Served {
    /// Where it listens.
    pub address: SocketAddr,
    /// Ends when the service has.
    pub task: JoinHandle<Result<(), tonic::transport::Error>>,
}

/// Serves until the shutdown token is cancelled: from then on health says
/// `NOT_SERVING`, no connection is accepted, and calls in flight are finished,
/// within the grace.
pub async fn serve(service: Service, section: &ServerSection) -> std::io::Result<Served> {
    let listener = TcpListener::bind(section.listen).await?;
    let address = listener.local_addr()?;
    let (health, health_server) = tonic_health::server::health_reporter();
    tokio::spawn(watch_health(
        health,
        service.database.clone(),
        service.shutdown.clone(),
    ));
    let routes = with_operations(&service, health_server)?;
    let ending = {
        let shutdown = service.shutdown.clone();
        async move {
            shutdown.cancelled().await;
            tokio::time::sleep(DRAIN_NOTICE).await;
        }
    };
    let calls = CallsUnderWay::default();
    let server = Server::builder()
        .layer(ObserveLayer::new(calls.clone()))
        .timeout(section.request_timeout())
        .http2_keepalive_interval(Some(Duration::from_secs(30)));
    // A small answer must not wait for the acknowledgement of the one before.
    let incoming = TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .map(move |accepted| accepted.map(|stream| Coalesced::new(stream, calls.clone())));
    let serving: JoinHandle<_> = if section.grpc_web {
        let server = server
            .layer(tonic_web::GrpcWebLayer::new())
            .accept_http1(true);
        tokio::spawn({
            let mut server = server;
            server
                .add_routes(routes)
                .serve_with_incoming_shutdown(incoming, ending)
        })
    } else {
        tokio::spawn({
            let mut server = server;
            server
                .add_routes(routes)
                .serve_with_incoming_shutdown(incoming, ending)
        })
    };
    tracing::info!(service = service.name, %address, "serving");
    let task = tokio::spawn(end_within_grace(
        serving,
        service.shutdown,
        section.shutdown_grace(),
        service.name,
    ));
    Ok(Served { address, task })
}

/// The service's own routes with those that every service has.
fn with_operations<H>(service: &Service, health: HealthServer<H>) -> std::io::Result<Routes>
where
    H: Health,
{
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(fealty_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(std::io::Error::other)?;
    let clock = ClockApi {
        clock: service.clock.clone(),
        operations: Arc::clone(&service.operations),
    };
    let feed = FeedApi(Arc::clone(&service.operations));
    let routes = service.routes.clone();
    Ok(routes
        .add_service(health)
        .add_service(reflection)
        .add_service(FeedServiceServer::new(feed))
        .add_service(TestClockServiceServer::new(clock)))
}

/// Waits until the service has ended, at most until the grace after the
/// shutdown is over.
async fn end_within_grace(
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
    shutdown: CancellationToken,
    grace: Duration,
    name: &'static str,
) -> Result<(), tonic::transport::Error> {
    let abort = serving.abort_handle();
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        ended = serving => {
            tracing::info!(service = name, "ended");
            ended.unwrap_or(Ok(()))
        }
        () = late => {
            tracing::warn!(service = name, "ended with calls in flight: the grace is over");
            abort.abort();
            Ok(())
        }
    }
}

async fn watch_health(health: HealthReporter, database: Database, shutdown: CancellationToken) {
    loop {
        let status = if database.answers(HEALTH_TIMEOUT).await {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        health.set_service_status("", status).await;
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(HEALTH_INTERVAL) => {}
        }
    }
    health
        .set_service_status("", ServingStatus::NotServing)
        .await;
}

/// Completes on SIGTERM or Ctrl-C.
pub async fn shutdown_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        // Without a handler for Ctrl-C the process ends at once, as it should.
        _ = tokio::signal::ctrl_c() => {}
    }
}
