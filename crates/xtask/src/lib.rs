//! Development tasks
