//! A private Postgres and Redis in a temporary folder, for the demo and the tests
