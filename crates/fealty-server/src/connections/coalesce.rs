//! Answers that are ready together leave in one write.
//!
//! A commit answers many callers at once. HTTP/2 would flush the connection
//! after each of them: one system call for each answer, the dearest part of a
//! small one. Here a connection that is to be flushed lets the tasks that are
//! ready run first, as long as other calls are under way. Alone, an answer
//! leaves at once; there is no timer.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};

/// What is written at once at the most.
const BUFFER_LEN: usize = 16 * 1_024;

/// How many calls of a server are under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallsUnderWay(Arc<AtomicUsize>);

impl CallsUnderWay {
    /// Counts a call until the value is dropped.
    pub(crate) fn begin(&self) -> CallUnderWay {
        self.0.fetch_add(1, Ordering::Relaxed);
        CallUnderWay(self.clone())
    }

    fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// A call that is under way.
#[derive(Debug)]
pub(crate) struct CallUnderWay(CallsUnderWay);

impl Drop for CallUnderWay {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection whose answers are coalesced.
#[derive(Debug)]
pub(crate) struct Coalesced<S> {
    stream: BufWriter<S>,
    calls: CallsUnderWay,
    /// Whether others had their turn since a flush was asked for.
    yielded: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Coalesced<S> {
    pub(crate) fn new(stream: S, calls: CallsUnderWay) -> Self {
        Self {
            stream: BufWriter::with_capacity(BUFFER_LEN, stream),
            calls,
            yielded: false,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Coalesced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Coalesced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.yielded && self.calls.any() && !self.stream.buffer().is_empty() {
            self.yielded = true;
            // A task that wakes itself goes to the end of the queue.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.yielded = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    async fn connected(calls: &CallsUnderWay) -> (Coalesced<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).await.expect("it connects");
        let (server, _) = listener.accept().await.expect("it connects");
        (Coalesced::new(server, calls.clone()), client)
    }

    #[tokio::test]
    async fn a_flush_lets_others_write_first_and_then_sends_all() {
        let calls = CallsUnderWay::default();
        let other = calls.begin();
        let (mut server, mut client) = connected(&calls).await;
        server.write_all(b"one ").await.expect("written");
        let waker = std::task::Waker::noop();
        let mut context = Context::from_waker(waker);
        assert!(Pin::new(&mut server).poll_flush(&mut context).is_pending());
        server.write_all(b"two").await.expect("written");
        assert!(
            client.try_read(&mut [0; 8]).is_err(),
            "nothing has left yet"
        );
        server.flush().await.expect("sent");
        let mut read = [0; 7];
        client.read_exact(&mut read).await.expect("it arrives");
        assert_eq!(&read, b"one two");
        drop(other);
        server.write_all(b"alone").await.expect("written");
        assert!(Pin::new(&mut server).poll_flush(&mut context).is_ready());
    }

    #[tokio::test]
    async fn what_is_longer_than_the_buffer_and_the_end_arrive_whole() {
        let (mut server, mut client) = connected(&CallsUnderWay::default()).await;
        let long = vec![7; 5 * BUFFER_LEN + 3];
        let sent = long.clone();
        let sending = tokio::spawn(async move {
            server.write_all(&sent).await.expect("written");
            server.shutdown().await.expect("ended");
        });
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.expect("it arrives");
        sending.await.expect("no panic");
        assert!(read == long);
    }
}
