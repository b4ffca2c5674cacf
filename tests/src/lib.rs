//! End-to-end tests over the three services
