//! Accepts connections: a bounded number, and whatever goes wrong with one is no trouble of the others.

use petctl_tls::{Server as Tls, ServerStream};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// Whoever calls has said that it speaks TLS, and which, within this time.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// With this byte begins whatever speaks TLS, and no HTTP.
const TLS_BEGINS: u8 = 0x16;
/// After an accept that failed, as it does where no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection and its place among those that there may be.
pub(super) struct Connection {
    stream: Wire,
    cut: Cut,
    was_cut: Pin<Box<WaitForCancellationFutureOwned>>,
    unsafe_wire: bool,
    _place: OwnedSemaphorePermit,
}

/// What a connection goes over.
enum Wire {
    Plain(TcpStream),
    Tls(Box<ServerStream<TcpStream>>),
}

/// What calls find of their connection among their request's extensions.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) cut: Cut,
    /// It speaks plain text where TLS is to be spoken: nothing is served on it, and that is said.
    pub(super) unsafe_wire: bool,
}

/// Ends a connection whose peer takes nothing more.
///
/// HTTP/2 lets nothing overtake data that the peer has no window for, not even the end of a stream: where the peer does
/// not read, this is the only end there is.
#[derive(Clone, Debug, Default)]
pub(super) struct Cut(CancellationToken);

impl Cut {
    pub(super) fn now(&self) {
        self.0.cancel();
    }
}

impl Connection {
    fn new(stream: Wire, unsafe_wire: bool, place: OwnedSemaphorePermit) -> Self {
        let cut = Cut::default();
        Self {
            stream,
            unsafe_wire,
            was_cut: Box::pin(cut.0.clone().cancelled_owned()),
            cut,
            _place: place,
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.cut.0.is_cancelled() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

/// Accepts until nobody takes the connections any more. More than `limit` at a time wait to be accepted.
pub(super) async fn accept(
    listener: TcpListener,
    limit: usize,
    tls: Option<Tls>,
    connections: mpsc::Sender<Result<Connection, Infallible>>,
) {
    let places = Arc::new(Semaphore::new(limit));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = connections.closed() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                // Without it a message can wait 40 ms for the acknowledgement of the one before.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "can't set TCP_NODELAY");
                }
                let Some(tls) = tls.clone() else {
                    let connection = Connection::new(Wire::Plain(stream), false, place);
                    if connections.send(Ok(connection)).await.is_err() {
                        return;
                    }
                    continue;
                };
                // One that takes its time holds up nobody else.
                let connections = connections.clone();
                tokio::spawn(async move {
                    if let Some(connection) = greet(stream, &tls, place).await {
                        // The server may have stopped meanwhile.
                        let _stopped = connections.send(Ok(connection)).await;
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection; look at the limit on open files (`ulimit -n`)");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Speaks TLS with whoever calls. Who speaks plain text is heard too, to be told so in words that it understands: nothing
/// is served on such a connection.
async fn greet(stream: TcpStream, tls: &Tls, place: OwnedSemaphorePermit) -> Option<Connection> {
    let greeted = tokio::time::timeout(HANDSHAKE, async {
        let mut first = [0];
        // Probes come and go without a word.
        if stream.peek(&mut first).await? == 0 {
            return Ok(None);
        }
        if first != [TLS_BEGINS] {
            return Ok(Some((Wire::Plain(stream), true)));
        }
        let stream = tls.accept(stream).await?;
        Ok::<_, io::Error>(Some((Wire::Tls(Box::new(stream)), false)))
    });
    match greeted.await {
        Ok(Ok(Some((wire, unsafe_wire)))) => Some(Connection::new(wire, unsafe_wire, place)),
        Ok(Ok(None)) => None,
        Ok(Err(error)) => {
            tracing::debug!(%error, "whoever called did not agree on TLS");
            None
        }
        Err(_) => {
            tracing::debug!("whoever called did not say in time how it speaks");
            None
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer {
            cut: self.cut.clone(),
            unsafe_wire: self.unsafe_wire,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Polled until it says so, so that a cut wakes a connection that waits for its peer.
        if self.was_cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        match &mut self.stream {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        match &mut self.stream {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        match &mut self.stream {
            Wire::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Wire::Plain(stream) => stream.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
