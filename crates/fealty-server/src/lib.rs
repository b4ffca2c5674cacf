//! Serving gRPC: configuration, health, reflection, telemetry, clock, shutdown, errors
