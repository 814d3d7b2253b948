//! The server of a scenario: ours in this process, somebody's that is up, or a program that is started.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use server::fault::Fault;
use server::{ClientSnapshot, Config, RunningServer, Server};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::program::{Names, Program, fill};
use crate::script::{Command, Ready, Speaks, Target};
use crate::url::{Scheme, StreamUrl, TargetUrl};

/// Between two looks whether a port is open.
const LOOK: Duration = Duration::from_millis(20);
/// How long a server somewhere may take to answer.
const REACH: Duration = Duration::from_secs(10);
/// Directory of recordings in the run directory.
pub const RECORDINGS: &str = "recordings";

/// Why there is no target to test.
#[derive(Debug)]
pub enum TargetError {
    /// The reference server did not start.
    Reference(server::StartError),
    /// A file or a socket that the target needs.
    Io(String, io::Error),
    /// The program could not be started.
    Start(String, io::Error),
    /// It ended before it was ready: how, and its last words.
    Ended(String, String),
    /// It was not ready in time.
    Late(String, Duration),
    /// Nobody answers at a URL.
    Unreachable(String, String),
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference(error) => write!(f, "the reference server did not start: {error}"),
            Self::Io(what, error) => write!(f, "{what}: {error}"),
            Self::Start(line, error) => write!(f, "the target `{line}` could not be started: {error}"),
            Self::Ended(how, words) if words.is_empty() => {
                write!(f, "the target ended before it was ready: {how}")
            }
            Self::Ended(how, words) => {
                write!(f, "the target ended before it was ready: {how}; it said: {words}")
            }
            Self::Late(what, patience) => {
                write!(f, "the target was not ready in {} s: {what}", patience.as_secs_f64())
            }
            Self::Unreachable(url, why) => write!(f, "nobody answers at {url}: {why}"),
        }
    }
}

impl std::error::Error for TargetError {}

/// A server that is up.
#[derive(Debug)]
pub struct Up {
    urls: Vec<TargetUrl>,
    reference: Option<RunningServer>,
    program: Option<Program>,
}

impl Up {
    /// Brings the target of a scenario in the directory `home` up, or looks whether it is. `instead` are URLs to use
    /// instead of what the scenario says; files go into `dir`.
    pub async fn start(
        target: &Target,
        home: &Path,
        instead: &[String],
        dir: &Path,
    ) -> Result<Self, TargetError> {
        match target {
            _ if !instead.is_empty() => Self::running(instead).await,
            Target::Running(urls) => Self::running(urls).await,
            Target::Reference { faults, record } => Self::reference(faults, *record, dir).await,
            Target::Command(command) => Self::command(command, home, dir).await,
        }
    }

    async fn running(urls: &[String]) -> Result<Self, TargetError> {
        let mut parsed = Vec::new();
        for text in urls {
            let unreachable =
                |why: &dyn fmt::Display| TargetError::Unreachable(text.clone(), why.to_string());
            let url = TargetUrl::parse(text).map_err(|e| unreachable(&e))?;
            let address = url.resolve().await.map_err(|e| unreachable(&e))?;
            match timeout(REACH, TcpStream::connect(address)).await {
                Ok(Ok(_)) => parsed.push(url),
                Ok(Err(error)) => return Err(unreachable(&error)),
                Err(_) => return Err(unreachable(&"no answer in 10 s")),
            }
        }
        Ok(Self { urls: parsed, reference: None, program: None })
    }

    async fn reference(faults: &[&'static Fault], record: bool, dir: &Path) -> Result<Self, TargetError> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut config = Config { api: Some(any), ..Config::default() };
        config.rtmp.listen = Some(any);
        config.rtsp.listen = Some(any);
        config.rtsp.rtp = 0;
        config.hls.listen = Some(any);
        config.record.dir = record.then(|| dir.join(RECORDINGS));
        config.faults = faults.to_vec();
        let server = Server::start(config).await.map_err(TargetError::Reference)?;
        let schemes = [("rtmp", "rtmp"), ("rtsp", "rtsp"), ("hls", "http")];
        let urls = server.ready().iter().filter_map(|ready| {
            let (_, scheme) = schemes.iter().find(|(protocol, _)| *protocol == ready.protocol)?;
            TargetUrl::parse(&format!("{scheme}://{}", ready.address)).ok()
        });
        Ok(Self { urls: urls.collect(), reference: Some(server), program: None })
    }

    async fn command(command: &Command, here: &Path, dir: &Path) -> Result<Self, TargetError> {
        let home = dir.join("target");
        let failed = |what: &Path| {
            let what = what.display().to_string();
            move |error| TargetError::Io(what, error)
        };
        std::fs::create_dir_all(&home).map_err(failed(&home))?;
        let home = home.canonicalize().map_err(failed(&home))?;
        let mut names = Names::new();
        let ports =
            free_ports(command.ports.len()).map_err(|e| TargetError::Io("a free port".to_owned(), e))?;
        for (name, port) in command.ports.iter().zip(ports) {
            names.insert(name, port.to_string());
        }
        names.insert("dir", home.display().to_string());
        let here = here.canonicalize().unwrap_or_else(|_| here.to_owned());
        names.insert("here", here.display().to_string());
        for (name, content) in &command.files {
            let file = home.join(name);
            std::fs::write(&file, fill(content, &names)).map_err(failed(&file))?;
        }
        let started = Program::start(&command.line, &names, &home, &dir.join("target.log"));
        let mut program = started.map_err(|error| TargetError::Start(fill(&command.line, &names), error))?;
        let ready = ready(&command.ready, &names, &mut program);
        let outcome = timeout(command.patience, ready).await;
        let urls = command.urls.iter().filter_map(|url| TargetUrl::parse(&fill(url, &names)).ok());
        match outcome {
            Ok(Ok(())) => Ok(Self { urls: urls.collect(), reference: None, program: Some(program) }),
            Ok(Err(how)) => Err(TargetError::Ended(how, program.last_words())),
            Err(_) => {
                program.end().await;
                let waited_for = match &command.ready {
                    Ready::Tcp(port) => format!("nobody listens on port {}", fill(port, &names)),
                    Ready::Line(words) => format!("it did not print {words:?}"),
                };
                Err(TargetError::Late(waited_for, command.patience))
            }
        }
    }

    /// Where a stream is for clients of a protocol; none where the target does not speak it.
    pub fn stream(&self, speaks: Speaks, path: &str) -> Option<StreamUrl> {
        let scheme = match speaks {
            Speaks::Rtmp => Scheme::Rtmp,
            Speaks::Rtsp => Scheme::Rtsp,
            Speaks::Hls => Scheme::Http,
        };
        self.urls.iter().find(|url| url.scheme() == scheme).map(|url| url.stream(path))
    }

    /// The reference server, where it is one.
    pub fn server(&self) -> Option<&RunningServer> {
        self.reference.as_ref()
    }

    /// Whether a program that was started has ended.
    pub fn is_over(&mut self) -> bool {
        self.program.as_mut().is_some_and(Program::is_over)
    }

    /// Waits until the target ends by itself, which it should not; says how it did.
    pub async fn died(&mut self) -> String {
        match &mut self.program {
            Some(program) => {
                let how = program.ended().await;
                format!("the target ended: {how}; it said: {}", program.last_words())
            }
            None => std::future::pending().await,
        }
    }

    /// Ends what was started; the reference server's last word on every client.
    pub async fn end(self) -> Vec<ClientSnapshot> {
        if let Some(mut program) = self.program {
            program.end().await;
        }
        match self.reference {
            Some(server) => server.shutdown().await,
            None => Vec::new(),
        }
    }
}

/// Ports that nobody used just now; all are held until the last is found, so that they differ.
fn free_ports(n: usize) -> io::Result<Vec<u16>> {
    let held: io::Result<Vec<TcpListener>> =
        (0..n).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    held?.iter().map(|listener| listener.local_addr().map(|address| address.port())).collect()
}

async fn ready(ready: &Ready, names: &Names<'_>, program: &mut Program) -> Result<(), String> {
    match ready {
        Ready::Line(words) => program.says(words).await,
        Ready::Tcp(port) => {
            let port: u16 = fill(port, names).parse().map_err(|_| format!("{port:?} is no port"))?;
            loop {
                if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
                    return Ok(());
                }
                // A port tells nobody when it opens.
                let next = Instant::now() + LOOK;
                tokio::select! {
                    how = program.ended() => return Err(how),
                    () = sleep(next - Instant::now()) => {}
                }
            }
        }
    }
}
