//! A client endpoint on a TCP socket.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use session::Time;
use session::rtmp::Reason;
use session::{rtmp, rtsp};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::Instant;

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
    stream: TcpStream,
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
    pub async fn open(server: SocketAddr, client: C) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
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
        self.stream.local_addr()
    }

    /// The server's side of the connection.
    pub fn remote(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
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

    /// One step: reads, writes, or minds the timer.
    async fn turn(&mut self) -> Result<(), ClientError> {
        let interest = match self.out.is_empty() {
            true => Interest::READABLE,
            false => Interest::READABLE | Interest::WRITABLE,
        };
        let alarm = async {
            match self.wake {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = self.stream.ready(interest) => {
                let ready = ready?;
                if ready.is_writable() {
                    self.write()?;
                }
                if ready.is_readable() || ready.is_read_closed() {
                    self.read()?;
                }
            }
            () = alarm => {
                self.wake = None;
                let now = self.now();
                self.client.tick(now);
            }
        }
        self.drain();
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.try_write(self.out.as_slices().0) {
                Ok(n) => drop(self.out.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let now = self.now();
        match self.stream.try_read(&mut self.scratch) {
            Ok(0) => {
                // Nobody is left to take what waits.
                self.out.clear();
                self.client.take(now, None);
            }
            Ok(n) => self.client.take(now, Some(&self.scratch[..n])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
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
