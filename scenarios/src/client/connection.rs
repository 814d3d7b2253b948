//! A client endpoint on a TCP socket.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use session::Time;
use session::rtmp::{Action, Client, ClientConfig, Event, Input, Output, Reason};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::feed::FeedError;

/// Read at a time.
const READ: usize = 64 * 1024;

/// Why a client ended before its time.
#[derive(Debug)]
pub enum ClientError {
    /// The socket failed.
    Io(io::Error),
    /// The session closed.
    Closed(Reason),
    /// There is nothing to publish, or nothing more that could be read.
    Feed(FeedError),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Closed(reason) => write!(f, "{reason}"),
            Self::Feed(error) => write!(f, "{error}"),
        }
    }
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

/// A connected client.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    client: Client,
    epoch: Instant,
    events: VecDeque<Event>,
    out: VecDeque<u8>,
    wake: Option<Instant>,
    closed: Option<Reason>,
    scratch: Vec<u8>,
}

impl Connection {
    /// Connects and begins the handshake; `seed` grows its random bytes.
    pub async fn open(server: SocketAddr, config: ClientConfig, seed: u64) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let client = Client::new(config, seed, Time::default());
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
    pub fn act(&mut self, action: Action) {
        let now = self.now();
        self.client.handle(now, Input::Do(action));
        self.drain();
    }

    /// The next event, while bytes go both ways. Cancelling it loses nothing.
    pub async fn event(&mut self) -> Result<Event, ClientError> {
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
                self.client.handle(now, Input::Tick);
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
                self.client.handle(now, Input::Closed);
            }
            Ok(n) => self.client.handle(now, Input::Bytes(&self.scratch[..n])),
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
