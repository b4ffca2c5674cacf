//! The points service: purchases in, points on a double-entry ledger
