//! Connections: taken, made safe, counted, and ended.
//!
//! Handshakes are made beside the loop that accepts, so a slow one holds nobody
//! up. There are as many connections as are allowed; one more ends the one that
//! has been idle longest, before all others one on which nobody called who may. So
//! whoever only opens connections, or shows no token, loses his own.

mod coalesce;
mod registry;
mod stream;
mod tls;

use std::{io, sync::Arc, time::Duration};

use fealty_auth::Tokens;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

pub(crate) use coalesce::CallsUnderWay;
pub(crate) use registry::{CallOnConnection, Connections};
pub(crate) use stream::{Connection, Peer};
pub(crate) use tls::Tls;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that wait to be served.
const ACCEPTED_QUEUE_LEN: usize = 256;
/// How long to wait where the system has no more files to open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How connections are taken.
pub(crate) struct Acceptor {
    /// With TLS, if at all.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Who may show a client certificate.
    pub(crate) tokens: Option<Arc<Tokens>>,
    /// Those that are open.
    pub(crate) connections: Connections,
    /// The calls of the whole server.
    pub(crate) calls: CallsUnderWay,
}

impl Acceptor {
    /// Takes connections until nobody wants them; then stops listening.
    pub(crate) fn accept(self, listener: TcpListener) -> ReceiverStream<io::Result<Connection>> {
        let (taker, taken) = mpsc::channel(ACCEPTED_QUEUE_LEN);
        tokio::spawn(async move {
            let taking = Arc::new(self);
            loop {
                let accepted = tokio::select! {
                    () = taker.closed() => return,
                    accepted = listener.accept() => accepted,
                };
                let stream = match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "no connection can be taken");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                let (taking, taker) = (Arc::clone(&taking), taker.clone());
                tokio::spawn(async move {
                    match tokio::time::timeout(HANDSHAKE_TIMEOUT, taking.open(stream)).await {
                        Ok(Ok(Some(connection))) => {
                            // Nobody wants it when the service ends.
                            let _ = taker.send(Ok(connection)).await;
                        }
                        Ok(Ok(None)) => tracing::debug!("there are too many connections"),
                        Ok(Err(error)) => tracing::debug!(%error, "a connection was not made"),
                        Err(_) => tracing::debug!("a handshake took too long"),
                    }
                });
            }
        });
        ReceiverStream::new(taken)
    }

    /// Makes a connection of a stream; `None` if there are too many, or it lost its
    /// place before it was made.
    async fn open(&self, stream: TcpStream) -> io::Result<Option<Connection>> {
        // A small answer must not wait for the acknowledgement of the one before.
        stream.set_nodelay(true)?;
        let Some(place) = self.connections.open() else {
            return Ok(None);
        };
        let Some(tls) = &self.tls else {
            return Ok(Some(Connection::plain(stream, place, self.calls.clone())));
        };
        let ended = place.ended();
        let stream = tokio::select! {
            stream = tls.accept(stream) => stream?,
            () = ended.cancelled() => return Ok(None),
        };
        let certificates = stream.get_ref().1.peer_certificates();
        let shown = certificates.and_then(|shown| shown.first());
        let identity = self.tokens.as_ref().zip(shown).and_then(|(tokens, shown)| {
            let (names, expires_at_s) = tls::names(shown)?;
            tokens.certificate(&names, expires_at_s).map(Arc::new)
        });
        let calls = self.calls.clone();
        Ok(Some(Connection::tls(stream, place, identity, calls)))
    }
}
