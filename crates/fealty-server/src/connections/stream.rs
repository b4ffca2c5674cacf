//! One connection: its bytes, its peer, its end.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use fealty_auth::Identity;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Connected;

use super::{
    coalesce::{CallsUnderWay, Coalesced},
    registry::{CallOnConnection, CalledPlace, OpenPlace},
};

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    place: CalledPlace,
    /// Whose client certificate it showed, if that stands for a token.
    pub(crate) identity: Option<Arc<Identity>>,
}

impl Peer {
    /// Counts a call over the connection until the value is dropped.
    pub(crate) fn begin(&self) -> CallOnConnection {
        self.place.begin()
    }
}

#[derive(Debug)]
enum Bytes {
    Plain(Coalesced<TcpStream>),
    Tls(Box<Coalesced<TlsStream<TcpStream>>>),
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    bytes: Bytes,
    peer: Peer,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Kept until the connection is dropped.
    _place: OpenPlace,
}

impl Connection {
    fn of(bytes: Bytes, place: OpenPlace, identity: Option<Arc<Identity>>) -> Self {
        Self {
            bytes,
            peer: Peer {
                place: place.called(),
                identity,
            },
            ended: Box::pin(place.ended().cancelled_owned()),
            _place: place,
        }
    }

    pub(super) fn plain(stream: TcpStream, place: OpenPlace, calls: CallsUnderWay) -> Self {
        Self::of(Bytes::Plain(Coalesced::new(stream, calls)), place, None)
    }

    pub(super) fn tls(
        stream: TlsStream<TcpStream>,
        place: OpenPlace,
        identity: Option<Arc<Identity>>,
        calls: CallsUnderWay,
    ) -> Self {
        let bytes = Bytes::Tls(Box::new(Coalesced::new(stream, calls)));
        Self::of(bytes, place, identity)
    }
}

/// Does it with the bytes, plain or not.
macro_rules! with_bytes {
    ($connection:expr, |$bytes:ident| $do:expr) => {
        match &mut $connection.get_mut().bytes {
            Bytes::Plain(bytes) => {
                let $bytes = Pin::new(bytes);
                $do
            }
            Bytes::Tls(bytes) => {
                let $bytes = Pin::new(&mut **bytes);
                $do
            }
        }
    };
}

impl Connection {
    /// Whether it is to end, whatever its peer does or leaves undone.
    fn is_ended(&mut self, context: &mut Context<'_>) -> bool {
        self.ended.as_mut().poll(context).is_ready()
    }
}

fn aborted<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_ended(context) {
            // Nothing was read: the end.
            return Poll::Ready(Ok(()));
        }
        with_bytes!(self, |bytes| bytes.poll_read(context, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_ended(context) {
            return aborted();
        }
        with_bytes!(self, |bytes| bytes.poll_write(context, buffer))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_ended(context) {
            return aborted();
        }
        with_bytes!(self, |bytes| bytes.poll_write_vectored(context, buffers))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.bytes {
            Bytes::Plain(bytes) => bytes.is_write_vectored(),
            Bytes::Tls(bytes) => bytes.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_ended(context) {
            return aborted();
        }
        with_bytes!(self, |bytes| bytes.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_ended(context) {
            return aborted();
        }
        with_bytes!(self, |bytes| bytes.poll_shutdown(context))
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}
