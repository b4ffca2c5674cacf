//! A programme as it is applied: with its text, and under a number.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::Program;

/// A version of a programme.
#[derive(Clone, Debug)]
pub struct ProgramVersion {
    /// Its number, from 1.
    pub version: i64,
    /// What it says.
    pub program: Arc<Program>,
    /// SHA-256 of the text that is stored under that number: the ledger's logs name it
    /// where the version begins.
    pub text_digest: [u8; 32],
}

/// A programme together with the text it was read from.
#[derive(Clone, Debug)]
pub struct ProgramSource {
    /// The meaning.
    pub program: Arc<Program>,
    /// The text.
    pub source: String,
    /// SHA-256 of the meaning, in hexadecimal: equal for texts that differ
    /// only in layout and comments.
    pub digest: String,
    /// SHA-256 of the text.
    pub text_digest: [u8; 32],
}

/// SHA-256 of a programme's text.
#[must_use]
pub fn text_digest(source: &str) -> [u8; 32] {
    Sha256::digest(source).into()
}

impl ProgramSource {
    /// The programme under a number.
    #[must_use]
    pub fn numbered(&self, version: i64) -> ProgramVersion {
        ProgramVersion {
            version,
            program: Arc::clone(&self.program),
            text_digest: self.text_digest,
        }
    }
}
