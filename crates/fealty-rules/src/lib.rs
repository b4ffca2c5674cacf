//! The earning rules: a purchase and the member's facts in, points out, no I/O
