//! Traces and metrics, as a collector in this process gets them by OTLP.

use std::sync::{Arc, Mutex};

use fealty_auth::Role;
use fealty_proto::rewards::v1::RedeemRequest as RedeemRewardRequest;
use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::any_value::Value,
};
use tonic::{Request, Response, Status, async_trait, transport::server::TcpIncoming};

use crate::harness::{CLUB, accrual, accrue, club_with, until};

/// A span: the service, its name, its trace.
type Span = (String, String, Vec<u8>);

#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    metrics: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.spans.lock().expect("no test panics with it");
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|resource| resource.attributes);
            let service = attributes
                .into_iter()
                .flatten()
                .find(|attribute| attribute.key == "service.name")
                .and_then(|attribute| match attribute.value?.value? {
                    Value::StringValue(name) => Some(name),
                    _ => None,
                })
                .unwrap_or_default();
            for span in resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
            {
                spans.push((service.clone(), span.name, span.trace_id));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let mut metrics = self.metrics.lock().expect("no test panics with it");
        let scopes = request
            .into_inner()
            .resource_metrics
            .into_iter()
            .flat_map(|r| r.scope_metrics);
        metrics.extend(
            scopes
                .flat_map(|scope| scope.metrics)
                .map(|metric| metric.name),
        );
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_caller_through_rewards_and_points() {
    let collector = Collector::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let server = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(collector.clone()))
        .add_service(MetricsServiceServer::new(collector.clone()))
        .serve_with_incoming(TcpIncoming::from(listener));
    let server = tokio::spawn(server);
    let fleet = club_with(&[
        ("FEALTY_TELEMETRY_OTLP_ENDPOINT", endpoint),
        ("FEALTY_TELEMETRY_METRICS_INTERVAL_MS", "200".to_owned()),
    ])
    .await;
    accrue(fleet.clients(), accrual("gift", "anna", 1_000))
        .await
        .expect("points");
    let mut request = Request::new(RedeemRewardRequest {
        request_id: "traced".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        reward: "ten-off".to_owned(),
    });
    // The caller's own trace, as any OpenTelemetry client would send it.
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01")
        .parse()
        .expect("ASCII");
    request.metadata_mut().insert("traceparent", parent);
    let token = format!("Bearer {}", fleet.token(&[Role::Checkout]));
    let token = token.parse().expect("ASCII");
    request.metadata_mut().insert("authorization", token);
    // Not through the fleet's client, which would send its own.
    let channel = tonic::transport::Endpoint::from_shared(fleet.endpoints().rewards.clone())
        .expect("a URL")
        .connect()
        .await
        .expect("it connects");
    let mut client =
        fealty_proto::rewards::v1::redemption_service_client::RedemptionServiceClient::new(channel);
    client.redeem(request).await.expect("redeemed");
    let wanted = [
        ("rewards", "fealty.rewards.v1.RedemptionService/Redeem"),
        ("points", "fealty.points.v1.LedgerService/Hold"),
        ("points", "fealty.points.v1.LedgerService/Capture"),
    ];
    until("the trace is whole", || async {
        let spans = collector.spans.lock().expect("no test panics with it");
        wanted.iter().all(|(service, name)| {
            spans
                .iter()
                .any(|(of, called, id)| of == service && called == name && *id == trace_id(trace))
        })
    })
    .await;
    until("metrics arrive", || async {
        let metrics = collector.metrics.lock().expect("no test panics with it");
        [
            "rpc.server.call.duration",
            "fealty.lane.batch.length",
            "fealty.points.moved",
        ]
        .iter()
        .all(|wanted| metrics.iter().any(|name| name == wanted))
    })
    .await;
    server.abort();
}

/// 32 hexadecimal digits as 16 bytes.
fn trace_id(hex: &str) -> Vec<u8> {
    let id = u128::from_str_radix(hex, 16).expect("hexadecimal digits");
    id.to_be_bytes().to_vec()
}
