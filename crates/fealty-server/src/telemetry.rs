//! Logs to standard error; traces and metrics by OTLP where that is asked for.

use std::{
    io::IsTerminal as _,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry::{KeyValue, global, trace::TracerProvider as _};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
    propagation::TraceContextPropagator,
    trace::SdkTracerProvider,
};
use tracing_subscriber::{
    EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::config::{LogFormat, TelemetrySection};

/// Whether traces and metrics of the process go to a collector.
static EXPORTED: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_exported() -> bool {
    EXPORTED.load(Ordering::Relaxed)
}

/// Telemetry of the process, to be ended before it ends.
#[derive(Debug, Default)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
}

/// Telemetry that could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none.
    #[error("telemetry.log_filter")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The endpoint is none.
    #[error("telemetry.otlp_endpoint")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

impl Telemetry {
    /// Sets up the process's logs, traces and metrics. To be called once, in
    /// a Tokio runtime; where a subscriber is set already, it stays.
    pub fn start(
        service: &'static str,
        section: &TelemetrySection,
    ) -> Result<Self, TelemetryError> {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let filter = EnvFilter::try_new(&section.log_filter)?;
        let logs = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        let logs = match section.log_format {
            LogFormat::Json => logs
                .json()
                .with_current_span(true)
                .with_filter(filter)
                .boxed(),
            LogFormat::Pretty => logs.with_filter(filter).boxed(),
        };
        let mut telemetry = Self::default();
        let mut traced = None;
        if let Some(endpoint) = &section.otlp_endpoint {
            let resource = Resource::builder()
                .with_service_name(service)
                .with_attribute(KeyValue::new("service.namespace", "fealty"))
                .build();
            let exporter = SpanExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .build()?;
            let traces = SdkTracerProvider::builder()
                .with_batch_exporter(exporter)
                .with_resource(resource.clone())
                .build();
            let exporter = MetricExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .build()?;
            let reader = PeriodicReader::builder(exporter)
                .with_interval(Duration::from_millis(section.metrics_interval_ms))
                .build();
            let metrics = SdkMeterProvider::builder()
                .with_reader(reader)
                .with_resource(resource)
                .build();
            global::set_meter_provider(metrics.clone());
            EXPORTED.store(true, Ordering::Relaxed);
            let layer = tracing_opentelemetry::layer()
                .with_tracer(traces.tracer("fealty"))
                // Its own exports must not make spans to export.
                .with_filter(EnvFilter::new("info,h2=off,hyper=off,tonic=off,tower=off"));
            traced = Some(layer);
            telemetry = Self {
                traces: Some(traces),
                metrics: Some(metrics),
            };
        }
        // A second service in the process finds the first one's subscriber.
        let _ = tracing_subscriber::registry()
            .with(logs)
            .with(traced)
            .try_init();
        Ok(telemetry)
    }

    /// Sends what has not been sent. Blocks.
    pub fn end(self) {
        if let Some(Err(error)) = self.traces.map(|traces| traces.shutdown()) {
            tracing::warn!(%error, "the last traces were not sent");
        }
        if let Some(Err(error)) = self.metrics.map(|metrics| metrics.shutdown()) {
            tracing::warn!(%error, "the last metrics were not sent");
        }
    }
}
