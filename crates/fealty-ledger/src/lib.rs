//! The ledger engine: state and a command in, a transaction out, no I/O
