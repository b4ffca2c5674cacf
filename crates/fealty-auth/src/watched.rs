//! Files that change while the service runs: keys, certificates, tokens. In
//! Kubernetes they are links that are moved, so what counts is the content.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretSlice};

/// How often a file is looked at.
pub const LOOKED_AT_EVERY: Duration = Duration::from_secs(2);
/// The longest file that is read, in bytes.
const LEN_MAX: u64 = 16 * 1024 * 1024;

/// A file, and what it said last.
#[derive(Debug)]
pub struct WatchedFile {
    path: PathBuf,
    content: SecretSlice<u8>,
}

impl WatchedFile {
    /// Reads a file.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            content: read(path)?.into(),
        })
    }

    /// What it said when it was last read.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        self.content.expose_secret()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it again; whether it says something else now. What cannot be read is
    /// as it was.
    pub fn read_again(&mut self) -> bool {
        match read(&self.path) {
            Ok(content) if content != self.content() => {
                self.content = content.into();
                true
            }
            Ok(_) => false,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "a file cannot be read again");
                false
            }
        }
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > LEN_MAX {
        return Err(std::io::Error::other("the file is longer than 16 MiB"));
    }
    std::fs::read(path)
}
