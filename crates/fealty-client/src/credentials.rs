//! What a caller shows, and whom it believes.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use secrecy::{ExposeSecret as _, SecretString};
use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, ClientTlsConfig, Identity},
};

use crate::ConnectError;

/// How often the token's file is looked at.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(2);

/// What a caller shows, and whom it believes.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Its token.
    pub token: Option<SecretString>,
    /// Or the file that it stands in; read again when it changes.
    pub token_file: Option<PathBuf>,
    /// Certificates to believe, PEM, of servers at `https://`; otherwise those of
    /// the web.
    pub ca_file: Option<PathBuf>,
    /// Its client certificate, PEM.
    pub certificate_file: Option<PathBuf>,
    /// That certificate's key.
    pub key_file: Option<PathBuf>,
}

impl Credentials {
    /// A token alone.
    #[must_use]
    pub fn token(token: impl Into<String>) -> Self {
        Self {
            token: Some(token.into().into()),
            ..Self::default()
        }
    }

    /// Reads the files that TLS needs.
    pub(crate) fn tls(&self) -> Result<TlsFiles, ConnectError> {
        let read = |path: &Option<PathBuf>| path.as_deref().map(read).transpose();
        let identity = match (read(&self.certificate_file)?, read(&self.key_file)?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(ConnectError::HalfIdentity),
        };
        Ok(TlsFiles {
            ca: read(&self.ca_file)?,
            identity,
        })
    }
}

/// What TLS is made of.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    ca: Option<String>,
    identity: Option<(String, String)>,
}

impl TlsFiles {
    /// TLS towards a server of that name.
    pub(crate) fn config(&self, name: &str) -> ClientTlsConfig {
        let mut config = ClientTlsConfig::new().domain_name(name);
        config = match &self.ca {
            Some(ca) => config.ca_certificate(Certificate::from_pem(ca)),
            None => config.with_webpki_roots(),
        };
        if let Some((certificate, key)) = &self.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        config
    }
}

fn read(path: &Path) -> Result<String, ConnectError> {
    std::fs::read_to_string(path).map_err(|error| ConnectError::File {
        path: path.to_owned(),
        error,
    })
}

/// The token as it is sent. It is not marked as sensitive: that would have it sent
/// whole with every call, where HTTP/2 else sends one byte for what it sent before;
/// a token is too long to be guessed by that.
pub(crate) type SentToken = Arc<ArcSwapOption<MetadataValue<Ascii>>>;

fn sent(token: &str) -> Result<MetadataValue<Ascii>, ConnectError> {
    let value = format!("Bearer {}", token.trim()).parse();
    value.map_err(|_| ConnectError::Token)
}

/// The token to send; where it stands in a file, it follows that.
pub(crate) fn token(credentials: &Credentials) -> Result<SentToken, ConnectError> {
    let token = SentToken::default();
    // A variable that is there and empty says that there is none.
    let is_there = |text: &&SecretString| !text.expose_secret().is_empty();
    if let Some(text) = credentials.token.as_ref().filter(is_there) {
        token.store(Some(Arc::new(sent(text.expose_secret())?)));
    } else if let Some(path) = &credentials.token_file {
        let text = read(path)?;
        token.store(Some(Arc::new(sent(&text)?)));
        tokio::spawn(follow(path.clone(), text, Arc::downgrade(&token)));
    }
    Ok(token)
}

/// Takes a new token from the file, until nobody sends it.
async fn follow(
    path: PathBuf,
    mut known: String,
    token: Weak<ArcSwapOption<MetadataValue<Ascii>>>,
) {
    loop {
        tokio::time::sleep(LOOKED_AT_EVERY).await;
        let Some(token) = token.upgrade() else {
            return;
        };
        match read(&path).map(|text| (sent(&text), text)) {
            Ok((Ok(value), text)) if text != known => {
                token.store(Some(Arc::new(value)));
                known = text;
            }
            Ok((Ok(_), _)) => {}
            Ok((Err(error), _)) | Err(error) => {
                tracing::warn!(%error, "the last token is sent on");
            }
        }
    }
}
