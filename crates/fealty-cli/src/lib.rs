//! The fealty command
