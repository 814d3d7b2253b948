//! Starting, asking and stopping a whole server.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use session::Time;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::Config;
use crate::registry::{ClientSnapshot, Registry, StreamTraffic};

/// The reference server, before it runs.
#[derive(Debug)]
pub struct Server;

/// A socket that takes connections, in the order they were opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// `rtmp`, `api`.
    pub protocol: &'static str,
    /// The bound address, with the real port where port 0 was asked for.
    pub address: SocketAddr,
}

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// A socket could not be bound.
    Bind {
        /// `rtmp`, `api`.
        protocol: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The tap's file could not be created.
    Tap {
        /// The file.
        file: std::path::PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { protocol, address, source } => {
                write!(f, "cannot listen for {protocol} on {address}: {source}")
            }
            Self::Tap { file, source } => write!(f, "cannot write the tap {}: {source}", file.display()),
        }
    }
}

impl std::error::Error for StartError {}

/// A stream's numbers at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSnapshot {
    /// Its path.
    pub path: String,
    /// Who publishes it; `None` while viewers wait for a publisher.
    pub publisher: Option<PublisherSnapshot>,
    /// What is published.
    pub tracks: Vec<Arc<media::Track>>,
    /// Viewers at the moment.
    pub viewers: usize,
    /// Bytes and rates.
    pub traffic: StreamTraffic,
    /// When its publisher began.
    pub started: Option<Time>,
}

/// Who publishes a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublisherSnapshot {
    /// The client's id.
    pub id: String,
    /// Its protocol.
    pub protocol: model::Protocol,
    /// Its address and port.
    pub address: SocketAddr,
}

/// What all tasks of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    pub(crate) registry: Registry,
}

impl Shared {
    pub(crate) fn clients(&self) -> Vec<ClientSnapshot> {
        self.registry.clients(self.clock.now())
    }

    pub(crate) fn streams(&self) -> Vec<StreamSnapshot> {
        Vec::new()
    }
}

/// A server that runs until it is shut down. Dropping it stops it without telling anybody.
#[derive(Debug)]
pub struct RunningServer {
    shared: Arc<Shared>,
    ready: Vec<Ready>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Binds every configured socket and starts to serve. Must be called within a tokio runtime.
    pub async fn start(config: Config) -> Result<RunningServer, StartError> {
        let (stop, _) = watch::channel(false);
        let shared = Arc::new(Shared { clock: Clock::start(), config, registry: Registry::default() });
        Ok(RunningServer { shared, ready: Vec::new(), stop, tasks: Vec::new() })
    }
}

impl RunningServer {
    /// The listening sockets, in the order they were opened.
    pub fn ready(&self) -> &[Ready] {
        &self.ready
    }

    /// The bound address of the RTMP listener.
    pub fn rtmp(&self) -> Option<SocketAddr> {
        self.listening("rtmp")
    }

    /// The bound address of the API.
    pub fn api(&self) -> Option<SocketAddr> {
        self.listening("api")
    }

    fn listening(&self, protocol: &str) -> Option<SocketAddr> {
        self.ready.iter().find(|r| r.protocol == protocol).map(|r| r.address)
    }

    /// The server's time, of which [`ClientSnapshot::connected`] and the like are points.
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// Clients that publish or play, and those that ended within the last minute.
    pub fn clients(&self) -> Vec<ClientSnapshot> {
        self.shared.clients()
    }

    /// Streams that have a publisher or viewers.
    pub fn streams(&self) -> Vec<StreamSnapshot> {
        self.shared.streams()
    }

    /// Tells viewers and publishers that the server goes, lets them have what is on its way, closes the tap.
    /// Takes no longer than a few seconds, however slow a client is. The last numbers of every client are
    /// returned, as [`clients`](Self::clients) would give them after the end.
    pub async fn shutdown(self) -> Vec<ClientSnapshot> {
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = tokio::time::timeout(Duration::from_secs(5), task).await;
        }
        self.shared.clients()
    }
}
