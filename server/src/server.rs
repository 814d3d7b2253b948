//! Starting, asking and stopping a whole server.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::budget::Budget;
use crate::clock::Clock;
use crate::config::Config;
use crate::driver::Accepting;
use crate::fault;
use crate::hls::Hls;
use crate::hub::{Bounds, Hub};
use crate::limited::Limited;
use crate::record::{self, Recorder};
use crate::registry::{ClientSnapshot, Registry};
use crate::shared::{Shared, StreamSnapshot};
use crate::signal::SHUTDOWN;
use crate::tap::Tap;
use crate::{hls, http, rtmp, rtsp};

/// How long clients may take to say goodbye at a shutdown.
const GOODBYE: Duration = Duration::from_secs(4);
/// What is left of that for answers over HLS that are on their way.
const HLS_LEAVE: Duration = Duration::from_secs(1);
/// How often it is looked whether viewers over HLS have what they need.
const HLS_LOOK: Duration = Duration::from_millis(50);

/// The reference server, before it runs.
#[derive(Debug)]
pub struct Server;

/// A socket that takes connections, in the order they were opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// `rtmp`, `rtsp`, `rtp`, `rtcp`, `hls`, `api`.
    pub protocol: &'static str,
    /// The bound address, with the real port where port 0 was asked for.
    pub address: SocketAddr,
}

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// A socket could not be bound.
    Bind {
        /// `rtmp`, `rtsp`, `rtp`, `rtcp`, `hls`, `api`.
        protocol: &'static str,
        /// The address asked for; for RTCP, which has the port after RTP's, the one that follows from it.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// No file can be made where recordings are to go.
    Record {
        /// The directory.
        directory: std::path::PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The tap's file could not be created.
    Tap {
        /// The file.
        file: std::path::PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { protocol, address, source } => {
                write!(f, "cannot listen for {protocol} on {address}: {source}")
            }
            Self::Record { directory, source } => {
                write!(f, "cannot record into {}: {source}", directory.display())
            }
            Self::Tap { file, source } => write!(f, "cannot write the tap {}: {source}", file.display()),
        }
    }
}

impl std::error::Error for StartError {}

/// A server that runs until it is shut down. Dropping it stops it without waiting for anybody.
#[derive(Debug)]
pub struct RunningServer {
    shared: Arc<Shared>,
    ready: Vec<Ready>,
    stop: watch::Sender<bool>,
    /// Those that take connections of clients.
    listeners: Vec<JoinHandle<()>>,
    /// That of HLS, which stays until its viewers know that the server goes.
    hls: Option<JoinHandle<()>>,
    stop_hls: watch::Sender<bool>,
    /// The API and the second hand.
    others: Vec<JoinHandle<()>>,
    /// Closed when the last connection's task is gone.
    alive: mpsc::Receiver<()>,
}

impl Server {
    /// Binds every configured socket and starts to serve. Must be called within a tokio runtime.
    pub async fn start(config: Config) -> Result<RunningServer, StartError> {
        let clock = Clock::start();
        let rtmp_listener = bind("rtmp", config.rtmp.listen).await?;
        let rtsp_listener = bind("rtsp", config.rtsp.listen).await?;
        let ports = match &rtsp_listener {
            Some((_, at)) => Some(rtp_ports(at.ip(), config.rtsp.rtp).await?),
            None => None,
        };
        let hls_listener = bind("hls", config.hls.listen).await?;
        let api_listener = bind("api", config.api).await?;
        if let Some(directory) = &config.record.dir {
            let failed = |source| StartError::Record { directory: directory.clone(), source };
            record::can_write(directory).map_err(failed)?;
        }
        let tap = match &config.tap {
            Some(tap) => Some(
                Tap::create(tap, clock)
                    .map_err(|source| StartError::Tap { file: tap.file.clone(), source })?,
            ),
            None => None,
        };
        let ports = ports.map(|(ports, at)| (Arc::new(ports.tapped(tap.as_ref())), at));
        let shared = Arc::new(Shared {
            clock,
            registry: Registry::default(),
            hub: Hub::new(Bounds::from(&config.limits)),
            hls: Hls::default(),
            recorder: Recorder::default(),
            budget: Budget::new(config.limits.open_messages),
            tap,
            rtp: ports.as_ref().map(|(ports, _)| Arc::clone(ports)),
            limited: Limited::default(),
            hls_fault: fault::hls::Breaker::new(&config.faults),
            config,
        });
        let (stop, stopped) = watch::channel(false);
        let (stop_hls, hls_stopped) = watch::channel(false);
        let (breath, alive) = mpsc::channel(1);
        let (ready, listeners, others) = (Vec::new(), Vec::new(), Vec::new());
        let accepting = |listener, shared: &Arc<Shared>| Accepting {
            listener,
            shared: Arc::clone(shared),
            stop: stopped.clone(),
            alive: breath.clone(),
        };
        let hls = None;
        let mut running = RunningServer { shared, ready, stop, stop_hls, listeners, hls, others, alive };
        if let Some((listener, address)) = rtmp_listener {
            let task = rtmp::listen(accepting(listener, &running.shared));
            running.listeners.push(tokio::spawn(task));
            running.ready.push(Ready { protocol: "rtmp", address });
        }
        if let Some(((listener, address), (ports, [rtp, rtcp]))) = rtsp_listener.zip(ports) {
            let shared = &running.shared;
            let arriving = [false, true]
                .map(|rtcp| rtsp::receive(Arc::clone(&ports), rtcp, Arc::clone(shared), stopped.clone()));
            let task = rtsp::listen(accepting(listener, shared), ports);
            running.listeners.push(tokio::spawn(task));
            running.others.extend(arriving.map(tokio::spawn));
            let entry = |(protocol, address)| Ready { protocol, address };
            running.ready.extend([("rtsp", address), ("rtp", rtp), ("rtcp", rtcp)].map(entry));
        }
        if let Some((listener, address)) = hls_listener {
            let accepting = Accepting { stop: hls_stopped, ..accepting(listener, &running.shared) };
            running.hls = Some(tokio::spawn(hls::listen(accepting)));
            running.ready.push(Ready { protocol: "hls", address });
        }
        if let Some((listener, address)) = api_listener {
            let task = http::serve(listener, Arc::clone(&running.shared), stopped.clone());
            running.others.push(tokio::spawn(task));
            running.ready.push(Ready { protocol: "api", address });
        }
        drop(breath);
        attend(&running.shared);
        running.others.push(tokio::spawn(tick(Arc::clone(&running.shared), stopped)));
        Ok(running)
    }
}

/// Has every publisher's stream cut into segments and recorded, as far as that is wanted.
fn attend(shared: &Arc<Shared>) {
    let segments = shared.config.hls.listen.is_some();
    let records = shared.config.record.dir.is_some() && shared.config.record.auto;
    if !segments && !records {
        return;
    }
    // A strong reference would keep the server's state alive for ever: the hub is part of it.
    let (weak, runtime) = (Arc::downgrade(shared), tokio::runtime::Handle::current());
    shared.hub.on_publish(Box::new(move |keep| {
        let Some(shared) = weak.upgrade() else { return };
        let _inside = runtime.enter();
        if segments {
            hls::run(keep(), &shared);
        }
        if records && record::run(keep(), &shared).is_err() {
            tracing::warn!("a stream is not recorded: the recording before it is still being closed");
        }
    }));
}

/// Opens a listening socket. All addresses of a machine without IPv6 are those of IPv4.
async fn bind(
    protocol: &'static str,
    address: Option<SocketAddr>,
) -> Result<Option<(TcpListener, SocketAddr)>, StartError> {
    let Some(address) = address else { return Ok(None) };
    let failed = |source| StartError::Bind { protocol, address, source };
    let listener = match TcpListener::bind(address).await {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && !is_kept(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        result => result,
    }
    .map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok(Some((listener, bound)))
}

/// True where the address exists and is not for us: another one would serve half of who asks.
fn is_kept(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

/// Opens the pair of UDP ports for RTP and RTCP, and says their addresses.
async fn rtp_ports(ip: IpAddr, port: u16) -> Result<(rtsp::Ports, [SocketAddr; 2]), StartError> {
    let failed =
        |(protocol, port, source)| StartError::Bind { protocol, address: SocketAddr::new(ip, port), source };
    let ports = rtsp::Ports::bind(ip, port).await.map_err(failed)?;
    let addresses = ports.addresses();
    Ok((ports, addresses))
}

/// The second hand: rates, expiry of ended clients, rings nobody fills any more.
async fn tick(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = every.tick() => {
                let now = shared.clock.now();
                shared.registry.tick(now);
                shared.hub.tick(now, shared.config.limits.viewer_stall);
                shared.hls.viewers.tick(&shared.registry, now);
                shared.hls.tick(now);
            }
            _ = stop.wait_for(|stop| *stop) => return,
        }
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

    /// The bound address of the RTSP listener.
    pub fn rtsp(&self) -> Option<SocketAddr> {
        self.listening("rtsp")
    }

    /// The bound address of the HLS listener.
    pub fn hls(&self) -> Option<SocketAddr> {
        self.listening("hls")
    }

    /// The bound address of the API.
    pub fn api(&self) -> Option<SocketAddr> {
        self.listening("api")
    }

    fn listening(&self, protocol: &str) -> Option<SocketAddr> {
        self.ready.iter().find(|r| r.protocol == protocol).map(|r| r.address)
    }

    /// The server's clock, of which [`ClientSnapshot::connected`] and the like are points.
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// Clients that publish or play, and those that ended within the last minute.
    pub fn clients(&self) -> Vec<ClientSnapshot> {
        self.shared.clients()
    }

    /// The metrics, as `/metrics` tells them.
    pub fn metrics(&self) -> String {
        http::metrics(&self.shared)
    }

    /// Streams that have a publisher or viewers.
    pub fn streams(&self) -> Vec<StreamSnapshot> {
        self.shared.streams()
    }

    /// The tap, where there is one: other sockets of the program may write to it as well.
    pub fn tap(&self) -> Option<&Tap> {
        self.shared.tap.as_ref()
    }

    /// Takes no new clients, hands viewers what is on its way, tells everybody, and closes the tap. Takes a few
    /// seconds at most, however slow a client is. Returns the last numbers of every client, as
    /// [`clients`](Self::clients) would after the end.
    pub async fn shutdown(mut self) -> Vec<ClientSnapshot> {
        let _ = self.stop.send(true);
        let deadline = tokio::time::Instant::now().checked_add(GOODBYE);
        let deadline = deadline.unwrap_or_else(tokio::time::Instant::now);
        // Once nobody makes connections any more, those there are can be told, all of them.
        end(&mut self.listeners, deadline).await;
        self.shared.registry.each(|client| client.signal.raise(SHUTDOWN));
        // Who watches over HLS reads it in the list, which has to be there for that.
        self.shared.hls.close();
        let patience = deadline.checked_sub(HLS_LEAVE).unwrap_or(deadline);
        while self.shared.hls.viewers.are_waited_for(self.shared.clock.now())
            && tokio::time::timeout_at(patience, tokio::time::sleep(HLS_LOOK)).await.is_ok()
        {}
        let _ = self.stop_hls.send(true);
        end(self.hls.as_mut_slice(), deadline).await;
        let _ = tokio::time::timeout_at(deadline, self.alive.recv()).await;
        self.shared.hls.viewers.end(&self.shared.registry, self.shared.clock.now());
        end(&mut self.others, deadline).await;
        self.shared.recorder.finish().await;
        if let Some(tap) = self.shared.tap.clone() {
            let _ = tokio::task::spawn_blocking(move || tap.close()).await;
        }
        self.shared.clients()
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        let _ = self.stop_hls.send(true);
        for task in self.listeners.iter().chain(&self.hls).chain(&self.others) {
            task.abort();
        }
        self.shared.registry.each(|client| client.signal.raise(SHUTDOWN));
    }
}

/// Waits for tasks that were told to end, and ends those that have not at the deadline.
async fn end(tasks: &mut [JoinHandle<()>], deadline: tokio::time::Instant) {
    for task in tasks {
        if tokio::time::timeout_at(deadline, &mut *task).await.is_err() {
            task.abort();
        }
    }
}
