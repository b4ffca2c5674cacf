//! End-to-end tests over the three services: see `e2e`.
