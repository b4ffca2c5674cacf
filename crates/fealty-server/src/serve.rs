//! Serving, from the first call to the last.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use fealty_auth::{AccessTable, Tokens};
use fealty_postgres::Database;
use fealty_proto::operations::v1::{
    audit_log_service_server::{self, AuditLogServiceServer},
    feed_service_server::{self, FeedServiceServer},
    test_clock_service_server::{self, TestClockServiceServer},
};
use http::{HeaderName, HeaderValue, Method};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::Server};
use tonic_health::pb::health_server::{Health, HealthServer};
use tower::layer::util::{Identity, Stack};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{
    Operations, ServiceClock, Troubles,
    audit::AuditLogApi,
    authenticate::AuthenticateLayer,
    config::{ConfigError, LimitsSection, ServerSection, TlsSection},
    connections::{Acceptor, CallsUnderWay, Connections, Tls},
    gate::{Authentication, Gate},
    health,
    observe::ObserveLayer,
    operations::{ClockApi, FeedApi},
    rates::Rates,
    refusals::RefusalsLayer,
};

/// The longest request, in bytes, but for those with a programme's file.
pub const REQUEST_LEN_MAX: usize = 1024 * 1024;
/// What every service serves.
const EVERY_SERVICES: [&str; 3] = [
    audit_log_service_server::SERVICE_NAME,
    feed_service_server::SERVICE_NAME,
    test_clock_service_server::SERVICE_NAME,
];
/// How long a browser remembers that it may call.
const CORS_MAX_AGE: Duration = Duration::from_hours(1);
/// Files that the process needs besides connections: the database's, the logs.
const OTHER_FILES: usize = 256;

/// Between `NOT_SERVING` and the end of accepting: load balancers turn away.
const DRAIN_NOTICE: Duration = Duration::from_millis(200);

/// A service, ready to be served.
pub struct Service {
    /// Its name, for logs.
    pub name: &'static str,
    /// Its own gRPC services.
    pub routes: Routes,
    /// Their full names, for reflection.
    pub services: &'static [&'static str],
    /// Its database; without it the health is `NOT_SERVING`.
    pub database: Database,
    /// Its clock.
    pub clock: ServiceClock,
    /// What keeps its parts from their work.
    pub troubles: Troubles,
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

/// How a service serves.
#[derive(Clone, Copy, Debug)]
pub struct Serving<'a> {
    /// Where and how.
    pub server: &'a ServerSection,
    /// Whom it serves.
    pub auth: &'a fealty_auth::Settings,
    /// With which certificates.
    pub tls: &'a TlsSection,
    /// How much.
    pub limits: &'a LimitsSection,
}

/// A service that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It is not configured as it must be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Whom it serves is not configured as it must be.
    #[error(transparent)]
    Auth(#[from] fealty_auth::SettingsError),
    /// An RPC does not say who may call it.
    #[error(transparent)]
    Access(#[from] fealty_auth::AccessError),
    /// It cannot listen, or its contracts cannot be told.
    #[error("serving")]
    Io(#[from] std::io::Error),
}

/// Checks that it is said who may call: whoever shows a token, or everybody, if
/// that is meant.
fn check_callers(server: &ServerSection, auth: &fealty_auth::Settings) -> Result<(), ServeError> {
    auth.check()?;
    let ServerSection {
        insecure, listen, ..
    } = server;
    let told = match (insecure, auth.is_set()) {
        (true, _) if !listen.ip().is_loopback() => format!(
            "server.insecure serves everybody, so server.listen must be an address of loopback, \
             not {listen}"
        ),
        (true, true) => "server.insecure and [auth] cannot both be set".to_owned(),
        (false, false) => "who may call is not said: set auth.issuer and auth.jwks_file or \
                           auth.jwks_url, or, on loopback, server.insecure"
            .to_owned(),
        _ => return Ok(()),
    };
    Err(ConfigError::new(told).into())
}

impl Serving<'_> {
    /// Says what is wrong with it, as far as that is seen without serving.
    pub fn check(&self) -> Result<(), ServeError> {
        check_callers(self.server, self.auth)?;
        drop(self.cors()?);
        self.tls.check()?;
        Ok(())
    }

    /// What decides who may call.
    async fn gate(&self, service: &Service) -> Result<Arc<Gate>, ServeError> {
        let gate = Arc::new(Gate {
            table: AccessTable::read(fealty_proto::FILE_DESCRIPTOR_SET)?,
            authentication: self.authentication(&service.shutdown).await?,
            rates: Rates::new(self.limits),
            database: service.database.clone(),
            clock: service.clock.clone(),
        });
        let (forgetting, shutdown) = (Arc::clone(&gate), service.shutdown.clone());
        tokio::spawn(async move { forgetting.rates.forget(shutdown).await });
        Ok(gate)
    }

    /// What takes connections.
    fn acceptor(
        &self,
        gate: &Gate,
        calls: &CallsUnderWay,
        shutdown: &CancellationToken,
    ) -> Result<Acceptor, ServeError> {
        let connections = Connections::new(self.connections_max());
        let [first_call, age, grace] = [
            self.limits.first_call_s,
            self.limits.connection_age_s,
            self.limits.connection_age_grace_s,
        ]
        .map(Duration::from_secs);
        let ending = connections.clone();
        tokio::spawn(ending.end_overdue(first_call, age + grace, shutdown.clone()));
        let tokens = match &gate.authentication {
            Authentication::By(tokens) => Some(Arc::clone(tokens)),
            Authentication::Off(_) => None,
        };
        Ok(Acceptor {
            tls: Tls::open(self.tls, self.server, shutdown)?,
            tokens,
            connections,
            calls: calls.clone(),
        })
    }

    /// What speaks HTTP/2 over them.
    fn server(&self, calls: CallsUnderWay) -> Server<Stack<ObserveLayer, Identity>> {
        Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .http2_max_header_list_size(self.limits.metadata_len_max)
            .max_concurrent_streams(self.limits.streams_max)
            // Callers are asked to connect anew; what is left after the grace ends by
            // its place, for tonic's own grace would leave the asking out.
            .max_connection_age(Duration::from_secs(self.limits.connection_age_s))
            .layer(ObserveLayer::new(calls))
    }

    /// How callers are known.
    async fn authentication(
        &self,
        shutdown: &CancellationToken,
    ) -> Result<Authentication, ServeError> {
        check_callers(self.server, self.auth)?;
        if self.server.insecure {
            tracing::warn!("everybody is served, without a token");
            return Ok(Authentication::Off(Arc::new(
                fealty_auth::Identity::anybody(),
            )));
        }
        let tokens = Arc::new(Tokens::new(self.auth.clone())?);
        let following = fealty_auth::keep_fresh(Arc::clone(&tokens)).await?;
        let shutdown = shutdown.clone();
        tokio::spawn(async move { shutdown.run_until_cancelled(following).await });
        Ok(Authentication::By(tokens))
    }

    /// Connections at once: as many as are configured, or as the system lets a
    /// process open.
    fn connections_max(&self) -> usize {
        let wanted = self.limits.connections_max;
        let files = u64::try_from(wanted.saturating_add(OTHER_FILES)).unwrap_or(u64::MAX);
        let files = rlimit::increase_nofile_limit(files).unwrap_or(1_024);
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        let max = wanted.min(files.saturating_sub(OTHER_FILES)).max(1);
        if max < wanted {
            tracing::warn!(
                max,
                "the system lets the process open fewer files than wanted"
            );
        }
        max
    }

    fn cors(&self) -> Result<CorsLayer, ConfigError> {
        let origins = self.server.cors_origins.split(',').map(str::trim);
        let origins = origins.filter(|origin| !origin.is_empty()).map(|origin| {
            let told = "server.cors_origins must be origins as https://app.example.com";
            let has_scheme = origin.starts_with("https://") || origin.starts_with("http://");
            HeaderValue::from_str(origin)
                .ok()
                .filter(|_| has_scheme && !origin.ends_with('/'))
                .ok_or_else(|| ConfigError::new(told))
        });
        let origins: Vec<HeaderValue> = origins.collect::<Result<_, _>>()?;
        let name = HeaderName::from_static;
        Ok(CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods([Method::POST])
            .allow_headers([
                http::header::AUTHORIZATION,
                http::header::CONTENT_TYPE,
                name("grpc-timeout"),
                name("x-grpc-web"),
                name("x-user-agent"),
            ])
            .expose_headers([
                name("grpc-status"),
                name("grpc-message"),
                name("grpc-status-details-bin"),
            ])
            .max_age(CORS_MAX_AGE))
    }
}

/// Serves until the shutdown token is cancelled: from then on health says
/// `NOT_SERVING`, no connection is accepted, and calls in flight are finished,
/// within the grace.
pub async fn serve(service: Service, serving: Serving<'_>) -> Result<Served, ServeError> {
    let section = serving.server;
    let gate = serving.gate(&service).await?;
    let cors = serving.cors()?;
    let calls = CallsUnderWay::default();
    let acceptor = serving.acceptor(&gate, &calls, &service.shutdown)?;
    let listener = TcpListener::bind(section.listen).await?;
    let address = listener.local_addr()?;
    let (reporter, health_server) = tonic_health::server::health_reporter();
    let watched = (service.database.clone(), service.clock.clone());
    let watching = health::watch(
        reporter,
        watched,
        service.troubles.clone(),
        service.shutdown.clone(),
    );
    tokio::spawn(watching);
    let mut routes = with_operations(&service, health_server);
    if section.reflection {
        routes = with_reflection(routes, &service)?;
    }
    let server = serving.server(calls);
    let authenticate = AuthenticateLayer(gate);
    let refusals = RefusalsLayer {
        timeout: section.request_timeout(),
    };
    let incoming = acceptor.accept(listener);
    let ending = {
        let shutdown = service.shutdown.clone();
        async move {
            shutdown.cancelled().await;
            tokio::time::sleep(DRAIN_NOTICE).await;
        }
    };
    let task: JoinHandle<_> = if section.grpc_web {
        let mut server = server
            .accept_http1(true)
            .layer(cors)
            .layer(tonic_web::GrpcWebLayer::new())
            .layer(refusals)
            .layer(authenticate);
        let router = server.add_routes(routes);
        tokio::spawn(router.serve_with_incoming_shutdown(incoming, ending))
    } else {
        let mut server = server.layer(refusals).layer(authenticate);
        let router = server.add_routes(routes);
        tokio::spawn(router.serve_with_incoming_shutdown(incoming, ending))
    };
    tracing::info!(service = service.name, %address, "serving");
    let task = tokio::spawn(end_within_grace(
        task,
        service.shutdown,
        section.shutdown_grace(),
        service.name,
    ));
    Ok(Served { address, task })
}

/// The service's own routes with those that every service has.
fn with_operations<H: Health>(service: &Service, health: HealthServer<H>) -> Routes {
    let clock = ClockApi {
        clock: service.clock.clone(),
        operations: Arc::clone(&service.operations),
        database: service.database.clone(),
    };
    let feed = FeedApi(Arc::clone(&service.operations));
    let audit_log = AuditLogApi(service.database.clone());
    let routes = service.routes.clone();
    routes
        .add_service(health)
        .add_service(FeedServiceServer::new(feed).max_decoding_message_size(REQUEST_LEN_MAX))
        .add_service(
            AuditLogServiceServer::new(audit_log).max_decoding_message_size(REQUEST_LEN_MAX),
        )
        .add_service(TestClockServiceServer::new(clock).max_decoding_message_size(REQUEST_LEN_MAX))
}

/// Routes with those that tell the contracts.
fn with_reflection(routes: Routes, service: &Service) -> std::io::Result<Routes> {
    let contracts = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(fealty_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health");
        let served = service.services.iter().chain(&EVERY_SERVICES);
        served.fold(builder, |builder, name| builder.with_service_name(*name))
    };
    let reflection = contracts().build_v1().map_err(std::io::Error::other)?;
    // grpcurl and others still ask by the older name.
    let older = contracts().build_v1alpha().map_err(std::io::Error::other)?;
    Ok(routes.add_service(reflection).add_service(older))
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
