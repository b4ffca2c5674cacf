//! The Rust client: deadlines, and retries with the same request id
