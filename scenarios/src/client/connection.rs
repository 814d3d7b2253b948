//! A client endpoint on a TCP socket.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use session::Time;
use session::rtmp::Reason;
use session::{rtmp, rtsp};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use super::line::{Line, Place};
use super::until;
use crate::feed::FeedError;

/// Read at a time.
const READ: usize = 64 * 1024;
/// How long a server may take to close after a goodbye.
const LINGER: Duration = Duration::from_secs(1);

/// Why a client ended before its time.
#[derive(Debug)]
pub enum ClientError {
    /// The socket failed.
    Io(io::Error),
    /// The session closed.
    Closed(Reason),
    /// There is nothing to publish, or nothing more that could be read.
    Feed(FeedError),
    /// An RTSP server said no.
    Refused {
        /// To which request.
        method: &'static str,
        /// Its status code.
        status: u16,
        /// Its reason phrase.
        reason: String,
    },
    /// The server offers nothing that this client could take.
    Unusable(&'static str),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Closed(reason) => write!(f, "{reason}"),
            Self::Feed(error) => write!(f, "{error}"),
            Self::Refused { method, status, reason } => {
                write!(f, "the server answers {method} with {status} {reason}")?;
                refusal(*status).map_or(Ok(()), |why| write!(f, ": {why}"))
            }
            Self::Unusable(why) => f.write_str(why),
        }
    }
}

/// What a refusal means for a client like ours.
fn refusal(status: u16) -> Option<&'static str> {
    Some(match status {
        401 => "it wants a user name and a password, which this program has not",
        403 => "the name is taken, or this client may not",
        404 => "there is no such stream",
        405 | 501 => "it does not take this from clients",
        415 => "it cannot carry these codecs",
        453 | 503 => "it has no room",
        461 => "it does not take this transport; another one may do",
        _ => return None,
    })
}

impl std::error::Error for ClientError {}

impl From<FeedError> for ClientError {
    fn from(error: FeedError) -> Self {
        Self::Feed(error)
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A sans-IO endpoint, whatever it speaks.
pub trait Endpoint {
    /// What it can be told to do.
    type Action;
    /// What it tells.
    type Event;
    /// Takes bytes that arrived; none at the end of the stream.
    fn take(&mut self, now: Time, bytes: Option<&[u8]>);
    /// The time it asked for has come.
    fn tick(&mut self, now: Time);
    /// Does what its driver wants.
    fn act(&mut self, now: Time, action: Self::Action);
    /// Its next output.
    fn poll(&mut self) -> Option<Output<Self::Event>>;
}

/// One output of an endpoint.
#[derive(Debug)]
pub enum Output<E> {
    /// Bytes for the socket.
    Send(Bytes),
    /// An event for the driver.
    Event(E),
    /// When to tick.
    WakeAt(Time),
    /// The end.
    Close(Reason),
}

macro_rules! endpoint {
    ($protocol:ident) => {
        impl Endpoint for $protocol::Client {
            type Action = $protocol::Action;
            type Event = $protocol::Event;

            fn take(&mut self, now: Time, bytes: Option<&[u8]>) {
                self.handle(now, bytes.map_or($protocol::Input::Closed, $protocol::Input::Bytes));
            }

            fn tick(&mut self, now: Time) {
                self.handle(now, $protocol::Input::Tick);
            }

            fn act(&mut self, now: Time, action: Self::Action) {
                self.handle(now, $protocol::Input::Do(action));
            }

            fn poll(&mut self) -> Option<Output<Self::Event>> {
                Some(match self.poll()? {
                    $protocol::Output::Send(bytes) => Output::Send(bytes),
                    $protocol::Output::Event(event) => Output::Event(event),
                    $protocol::Output::WakeAt(at) => Output::WakeAt(at),
                    $protocol::Output::Close(reason) => Output::Close(reason),
                })
            }
        }
    };
}

endpoint!(rtmp);
endpoint!(rtsp);

/// A connected client.
#[derive(Debug)]
pub struct Connection<C: Endpoint> {
    stream: Line,
    client: C,
    epoch: Instant,
    events: VecDeque<C::Event>,
    out: VecDeque<u8>,
    wake: Option<Instant>,
    closed: Option<Reason>,
    scratch: Vec<u8>,
}

impl<C: Endpoint> Connection<C> {
    /// Connects and lets an endpoint begin, for which it is now [`Time::default`].
    pub async fn open(place: &Place, client: C) -> io::Result<Self> {
        let stream = Line::open(place).await?;
        let mut this = Self {
            stream,
            client,
            epoch: Instant::now(),
            events: VecDeque::new(),
            out: VecDeque::new(),
            wake: None,
            closed: None,
            scratch: vec![0; READ],
        };
        this.drain();
        Ok(this)
    }

    /// The client's side of the connection.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.stream.local()
    }

    /// The server's side of the connection.
    pub fn remote(&self) -> io::Result<SocketAddr> {
        self.stream.remote()
    }

    /// Time since the connection was made.
    pub fn age(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Bytes that wait for the socket.
    pub fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Lets the endpoint do something; its bytes leave with the next [`event`](Self::event) or
    /// [`flush`](Self::flush).
    pub fn act(&mut self, action: C::Action) {
        let now = self.now();
        self.client.act(now, action);
        self.drain();
    }

    /// The next event, while bytes go both ways. Cancelling it loses nothing.
    pub async fn event(&mut self) -> Result<C::Event, ClientError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if self.out.is_empty()
                && let Some(reason) = &self.closed
            {
                return Err(ClientError::Closed(reason.clone()));
            }
            self.turn().await?;
        }
    }

    /// An event that is there already.
    pub fn heard(&mut self) -> Option<C::Event> {
        self.events.pop_front()
    }

    /// Why the endpoint is through, where it is.
    pub fn closed(&self) -> Option<&Reason> {
        self.closed.as_ref()
    }

    /// Waits until every byte is with the kernel.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        while !self.out.is_empty() {
            self.turn().await?;
        }
        Ok(())
    }

    /// Sends what waits, says that nothing more follows, and listens until the server has closed too, so that nothing
    /// unread makes a reset of a good end. A server may take its time for that, but not for ever.
    pub async fn leave(&mut self) -> Result<(), ClientError> {
        self.flush().await?;
        self.stream.shutdown().await?;
        let listen = async { while self.stream.read(&mut self.scratch).await.is_ok_and(|n| n > 0) {} };
        let _ = tokio::time::timeout(LINGER, listen).await;
        Ok(())
    }

    /// One step: reads, writes, or minds the timer. Cancelling it loses nothing; there is nothing to wait for once the
    /// endpoint is [`closed`](Self::closed).
    pub async fn turn(&mut self) -> Result<(), ClientError> {
        let wake = self.wake;
        tokio::select! {
            moved = poll_fn(|cx| self.poll_bytes(cx)) => moved?,
            () = until(wake) => {
                self.wake = None;
                let now = self.now();
                self.client.tick(now);
            }
        }
        self.drain();
        Ok(())
    }

    /// Bytes in either direction; pending where none move.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut moved = false;
        while !self.out.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, self.out.as_slices().0) {
                Poll::Ready(Ok(n)) => drop(self.out.drain(..n)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
            moved = true;
        }
        let now = self.now();
        let mut buffer = ReadBuf::new(&mut self.scratch);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                // Nobody is left to take what waits.
                self.out.clear();
                self.client.take(now, None);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(())) => {
                self.client.take(now, Some(buffer.filled()));
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending if moved => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.client.poll() {
            match output {
                Output::Send(bytes) => self.out.extend(bytes),
                Output::Event(event) => self.events.push_back(event),
                Output::WakeAt(at) => self.wake = Some(self.epoch + at.since(Time::default())),
                Output::Close(reason) => self.closed = Some(reason),
            }
        }
    }

    fn now(&self) -> Time {
        Time::default().after(self.epoch.elapsed())
    }
}
