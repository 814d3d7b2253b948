//! A client's TCP connection, with what a run wants of it: a capture, a pace, an end without a word.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use server::tap::{How, Role, Tap, TapConn};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// Bytes the kernel may hold for a client that reads slowly: more would hide that it does.
const SLOW_BUFFER: usize = 32 << 10;
/// Read at a time by a client that reads slowly.
const SLOW_READ: usize = 4 << 10;

/// Where a client goes, and what a run wants of its connections.
#[derive(Clone, Debug)]
pub struct Place {
    /// The server, or a relay before it.
    pub server: SocketAddr,
    /// Where its packets are written.
    pub tap: Option<Tap>,
    /// Bits a second that it reads, at most.
    pub reads: Option<f64>,
    /// Once said, connections that are dropped are reset.
    pub abort: Abort,
    /// Notes from where connections were made.
    pub seen: Seen,
}

/// The client's address of each connection it made. Clones note in the same place.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Vec<SocketAddr>>>);

impl Seen {
    fn note(&self, address: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(address);
    }

    /// All of them, in their order.
    pub fn all(&self) -> Vec<SocketAddr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl From<SocketAddr> for Place {
    fn from(server: SocketAddr) -> Self {
        Self { server, tap: None, reads: None, abort: Abort::default(), seen: Seen::default() }
    }
}

/// Says that a client's connections are to end without a word. Clones say it of the same client.
#[derive(Clone, Debug, Default)]
pub struct Abort(Arc<AtomicBool>);

impl Abort {
    /// From now on; the client's future has to be dropped.
    pub fn say(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_said(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A connection of a client.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    tap: Option<TapConn>,
    /// How it ended, where it did.
    ended: Option<How>,
    pace: Option<Pace>,
    abort: Abort,
}

/// How fast a client reads.
#[derive(Debug)]
struct Pace {
    rate: f64,
    next: Pin<Box<Sleep>>,
}

impl Line {
    /// Connects.
    pub async fn open(place: &Place) -> io::Result<Self> {
        let stream = TcpStream::connect(place.server).await?;
        stream.set_nodelay(true)?;
        let pace = place.reads.map(|rate| Pace { rate, next: Box::pin(tokio::time::sleep(Duration::ZERO)) });
        if pace.is_some() {
            SockRef::from(&stream).set_recv_buffer_size(SLOW_BUFFER)?;
        }
        let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
        place.seen.note(local);
        let tap = place.tap.as_ref().map(|tap| tap.connection(local, remote, Role::Client));
        Ok(Self { stream, tap, ended: None, pace, abort: place.abort.clone() })
    }

    /// The client's side.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// The server's side.
    pub fn remote(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    fn broken(&mut self, error: io::Error) -> io::Error {
        self.ended.get_or_insert(How::ResetByThem);
        error
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let paced = match &mut this.pace {
            Some(pace) => {
                ready!(pace.next.as_mut().poll(cx));
                true
            }
            None => false,
        };
        let mut small = [0; SLOW_READ];
        let before = buffer.filled().len();
        let read = if paced {
            let room = buffer.remaining().min(SLOW_READ);
            let mut piece = ReadBuf::new(small.get_mut(..room).unwrap_or_default());
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut piece));
            buffer.put_slice(piece.filled());
            read
        } else {
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))
        };
        if let Err(error) = read {
            return Poll::Ready(Err(this.broken(error)));
        }
        let arrived = buffer.filled().get(before..).unwrap_or_default();
        let n = arrived.len();
        if n == 0 {
            this.ended.get_or_insert(How::Theirs);
        } else if let Some(tap) = &mut this.tap {
            tap.received(arrived);
        }
        if let Some(pace) = &mut this.pace {
            #[expect(clippy::cast_precision_loss, reason = "a read has fewer bytes than 2^52")]
            let takes = Duration::from_secs_f64(n as f64 * 8.0 / pace.rate);
            pace.next.as_mut().reset(Instant::now() + takes);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match ready!(Pin::new(&mut this.stream).poll_write(cx, bytes)) {
            Ok(n) => {
                if let Some(tap) = &mut this.tap {
                    tap.sent(&[IoSlice::new(bytes)], n);
                }
                Poll::Ready(Ok(n))
            }
            Err(error) => Poll::Ready(Err(this.broken(error))),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ended.get_or_insert(How::Ours);
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut how = self.ended.unwrap_or(How::Ours);
        if self.abort.is_said() {
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
            how = How::ResetByUs;
        }
        if let Some(tap) = self.tap.take() {
            tap.closed(how);
        }
    }
}
