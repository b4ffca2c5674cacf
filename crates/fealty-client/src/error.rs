//! Why no connection can be made.

use std::path::PathBuf;

use tonic::transport;

/// A connection that cannot be made as it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is none.
    #[error("`{0}` is no address as http://host:port or https://host:port")]
    Url(String),
    /// A file cannot be read.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// There is a certificate without a key, or a key without a certificate.
    #[error("a client certificate and its key must be set together")]
    HalfIdentity,
    /// The token has characters that cannot be sent.
    #[error("the token is none")]
    Token,
    /// What TLS is made of is no good.
    #[error("TLS")]
    Tls(#[from] transport::Error),
}
