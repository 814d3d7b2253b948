//! One client of a scenario, from its coming to its end.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use nix::sys::signal::Signal;
use server::tap::Tap;
use session::rtmp::Reason;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::program::Program;
use crate::client::{
    Abort, ClientConfig, ClientError, ClientRole, How, Place, Prepared, Seen, Viewed, publish, publish_rtsp,
    told, watch, watch_hls, watch_retina, watch_rml, watch_rtsp,
};
use crate::feed::Feed;
use crate::relay::{Plan, Relay};
use crate::sample::Clip;
use crate::script::{Client, Media, Net, Role, Speaks, With};
use crate::url::StreamUrl;

/// How a client's visit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It left when it was told to, or when its media was over.
    Left,
    /// The server told it that the stream is over.
    Told,
    /// The server said no.
    Refused(String),
    /// The connection was lost, or the program failed.
    Lost(String),
    /// It was gone without a word, as the scenario wanted.
    Aborted,
}

/// One client and what is known of it.
#[derive(Debug)]
pub struct Actor {
    /// Its place in the scenario.
    pub client: usize,
    /// Its name; of a crowd with a number behind it.
    pub name: String,
    /// Where it came from, for each connection: how its sessions are found in the capture.
    pub seen: Seen,
    /// The address it took for the server's, where nobody else used that.
    pub through: Option<SocketAddr>,
    /// Its end, once there is one.
    pub ending: Option<Ending>,
    net: watch::Sender<Net>,
    relay: Option<Relay>,
    running: Option<Running>,
}

/// A client on its way.
#[derive(Debug)]
struct Running {
    task: JoinHandle<Ending>,
    stop: watch::Sender<bool>,
    frozen: watch::Sender<bool>,
    abort: Abort,
    /// Signals for a program.
    signals: Option<watch::Sender<Option<Signal>>>,
    aborted: bool,
    /// The server has answered a publisher of ours; never of a program.
    answered: watch::Receiver<bool>,
}

/// What clients share.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Where packets are written.
    pub tap: Option<Tap>,
    /// Directory of the run.
    pub dir: PathBuf,
    /// Directory of the scenario.
    pub home: PathBuf,
    /// Grows everything random.
    pub seed: u64,
    /// What they call themselves.
    pub agent: String,
}

impl Actor {
    /// A client that has not come yet.
    pub fn new(client: usize, name: String, net: Net) -> Self {
        let (net, _) = watch::channel(net);
        Self {
            client,
            name,
            seen: Seen::default(),
            through: None,
            ending: None,
            net,
            relay: None,
            running: None,
        }
    }

    /// Comes. `relayed` is whether its path has behaviours, or it is not ours.
    pub async fn come(
        &mut self,
        client: &Client,
        url: &StreamUrl,
        stage: &Stage,
        relayed: bool,
    ) -> Result<(), String> {
        if self.running.is_some() {
            return Ok(());
        }
        let mut server = url.resolve().await.map_err(|e| e.to_string())?;
        let mut url = url.clone();
        if relayed && self.relay.is_none() {
            let plan = Plan {
                upstream: server,
                rtsp: client.speaks == Speaks::Rtsp,
                net: self.net.subscribe(),
                seed: stage.seed,
                tap: stage.tap.clone(),
            };
            self.relay = Some(Relay::start(plan).await.map_err(|e| format!("no relay: {e}"))?);
        }
        if let Some(relay) = &self.relay {
            server = relay.address();
            self.through = Some(server);
            url = StreamUrl { host: server.ip().to_string(), port: server.port(), ..url };
        }
        let abort = Abort::default();
        let tap = stage.tap.clone().filter(|_| self.relay.is_none());
        let place = Place { server, tap, reads: client.reads, abort: abort.clone(), seen: self.seen.clone() };
        let (stop, stopped) = watch::channel(false);
        let (frozen, freeze) = watch::channel(false);
        let (answer, answered) = watch::channel(false);
        let mut signals = None;
        let task = match &client.with {
            With::Program(line) => {
                let program = start(line, client, &url, stage, &self.name)?;
                let (signal, heard) = watch::channel(None);
                signals = Some(signal);
                tokio::spawn(attend(program, stopped, heard))
            }
            _ => {
                let visit =
                    visit(client.clone(), url, place, stage.clone(), self.name.clone(), (stopped, answer));
                tokio::spawn(gated(visit, freeze))
            }
        };
        self.ending = None;
        self.running = Some(Running { task, stop, frozen, abort, signals, aborted: false, answered });
        Ok(())
    }

    /// Changes its path.
    pub fn net(&self, net: Net) {
        self.net.send_replace(net);
    }

    /// Under which addresses the server knows it, for each of its own.
    pub fn sides(&self) -> Vec<(SocketAddr, SocketAddr)> {
        self.relay.as_ref().map(Relay::sides).unwrap_or_default()
    }

    /// Says goodbye.
    pub fn stop(&self) {
        if let Some(running) = &self.running {
            running.frozen.send_replace(false);
            running.stop.send_replace(true);
        }
    }

    /// Is gone without a word.
    pub fn abort(&mut self) {
        if let Some(running) = &mut self.running {
            running.aborted = true;
            running.abort.say();
            match &running.signals {
                Some(signals) => drop(signals.send_replace(Some(Signal::SIGKILL))),
                None => running.task.abort(),
            }
        }
    }

    /// Loses its connections. Whether it comes back is its own matter.
    pub fn reset(&self) {
        if let Some(relay) = &self.relay {
            relay.reset();
        }
    }

    /// Packets that its path lost; none where it has no path of its own.
    pub fn lost_on_path(&self) -> Option<u64> {
        self.relay.as_ref().map(Relay::lost)
    }

    /// Does nothing, or goes on.
    pub fn freeze(&self, still: bool) {
        if let Some(running) = &self.running {
            running.frozen.send_replace(still);
            if let Some(signals) = &running.signals {
                let signal = if still { Signal::SIGSTOP } else { Signal::SIGCONT };
                signals.send_replace(Some(signal));
            }
        }
    }

    /// Whether it came and has not ended.
    pub fn is_here(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.task.is_finished())
    }

    /// Whether it is a publisher of ours that the server has not answered yet.
    pub fn is_unanswered(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.signals.is_none() && !*running.answered.borrow())
    }

    /// Waits for its end, where it came. Cancelling it loses nothing.
    pub async fn end(&mut self) {
        let Some(running) = &mut self.running else { return };
        let ending = match (&mut running.task).await {
            _ if running.aborted => Ending::Aborted,
            Ok(ending) => ending,
            Err(error) => Ending::Lost(format!("the client itself failed: {error}")),
        };
        self.ending = Some(ending);
        self.running = None;
    }
}

/// Lets a future go on only while it is not frozen.
async fn gated<F: Future>(future: F, mut frozen: watch::Receiver<bool>) -> F::Output {
    let mut future = pin!(future);
    loop {
        if frozen.wait_for(|still| !*still).await.is_err() {
            return future.await;
        }
        let over = async { frozen.wait_for(|still| *still).await.is_err() };
        tokio::select! {
            output = &mut future => return output,
            gone = over => {
                if gone {
                    return future.await;
                }
            }
        }
    }
}

/// Everything one of our clients does, its returns included.
async fn visit(
    client: Client,
    url: StreamUrl,
    place: Place,
    stage: Stage,
    name: String,
    (mut stop, answer): (watch::Receiver<bool>, watch::Sender<bool>),
) -> Ending {
    let mut left = client.reconnect.map_or(0, |again| again.times);
    loop {
        let ending = once(&client, &url, place.clone(), &stage, &name, (stop.clone(), answer.clone())).await;
        answer.send_replace(true);
        // A viewer that is told of the end cannot know whether there is more to come.
        let lost = matches!(ending, Ending::Lost(_) | Ending::Refused(_) | Ending::Told);
        let Some(again) = client.reconnect.filter(|_| lost && left > 0) else { return ending };
        left -= 1;
        tokio::select! {
            () = tokio::time::sleep(again.after) => {}
            () = told(&mut stop) => return ending,
        }
    }
}

async fn once(
    client: &Client,
    url: &StreamUrl,
    place: Place,
    stage: &Stage,
    name: &str,
    (stop, on_air): (watch::Receiver<bool>, watch::Sender<bool>),
) -> Ending {
    let agent = format!("{} {name}", stage.agent);
    let seed = stage.seed ^ hash(name);
    let (frames, _) = watch::channel(0);
    let plain = url.plain();
    let over = |of_end| if of_end { Ending::Told } else { Ending::Left };
    let seen = |viewed: Viewed| over(viewed.told_of_end);
    let rtmp = |role| {
        let (app, name) = url.app_and_name();
        let tc_url = format!("rtmp://{}/{app}", url.authority());
        ClientConfig { app, name, tc_url, ..ClientConfig::new(role, "", "", &agent) }
    };
    let result = match (client.role, client.speaks) {
        (Role::Publisher, speaks) => {
            let feed = match feed(client) {
                Ok(feed) => feed,
                Err(why) => return Ending::Lost(why),
            };
            let how = How { again: client.again, account: false, length: client.length };
            let published = match speaks {
                Speaks::Rtsp => match Prepared::new(feed) {
                    Ok(feed) => {
                        let who = (plain.as_str(), agent.as_str());
                        publish_rtsp(place, who, client.over, seed, feed, how, on_air, stop).await
                    }
                    Err(error) => Err(error.into()),
                },
                _ => publish(place, rtmp(ClientRole::Publish), seed, feed, how, on_air, stop).await,
            };
            published.map(|_| Ending::Left)
        }
        (Role::Viewer, Speaks::Rtmp) if client.with == With::RmlRtmp => {
            watch_rml(place, url, stop).await.map(|told| over(told.of_end))
        }
        (Role::Viewer, Speaks::Rtmp) => {
            watch(place, rtmp(ClientRole::Play), seed, frames, stop).await.map(seen)
        }
        (Role::Viewer, Speaks::Rtsp) if client.with == With::Retina => {
            watch_retina(&plain, client.over, stop).await.map(|told| over(told.of_end))
        }
        (Role::Viewer, Speaks::Rtsp) => {
            let ssrc = u32::try_from(seed & 0x7fff_ffff).unwrap_or(0) + 1;
            watch_rtsp(place, (&plain, &agent), client.over, ssrc, frames, stop).await.map(seen)
        }
        (Role::Viewer, Speaks::Hls) => watch_hls(place, &url.path, &agent, frames, stop).await.map(seen),
    };
    match result {
        Ok(ending) => ending,
        Err(error) if is_refusal(&error) => Ending::Refused(error.to_string()),
        Err(error) => Ending::Lost(error.to_string()),
    }
}

/// Whether the server said no, rather than went away.
fn is_refusal(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { .. } => true,
        ClientError::Closed(reason) => matches!(reason, Reason::Refused(_)),
        _ => false,
    }
}

fn feed(client: &Client) -> Result<Feed, String> {
    match &client.media {
        Media::Sample => Clip::sample().map(Feed::clip).map_err(|e| e.to_string()),
        Media::File(file) => Feed::file(file).map_err(|e| e.to_string()),
    }
}

/// A number that belongs to a name (FNV-1a).
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

fn start(line: &str, client: &Client, url: &StreamUrl, stage: &Stage, name: &str) -> Result<Program, String> {
    let media = match &client.media {
        Media::File(file) => file.clone(),
        Media::Sample => {
            let file = stage.dir.join("sample.flv");
            if client.role == Role::Publisher && !file.exists() {
                std::fs::write(&file, crate::sample::FILE).map_err(|e| format!("{}: {e}", file.display()))?;
            }
            file
        }
    };
    let whole = |path: PathBuf| path.canonicalize().unwrap_or(path).display().to_string();
    let url = match client.speaks {
        Speaks::Hls => format!("{}/index.m3u8", url.plain()),
        _ => url.plain(),
    };
    let names = BTreeMap::from([
        ("url", url),
        ("media", whole(media)),
        ("dir", whole(stage.dir.clone())),
        ("here", whole(stage.home.clone())),
    ]);
    Program::start(line, &names, &stage.dir, &stage.dir.join(format!("{name}.log")))
        .map_err(|error| format!("`{line}` could not be started: {error}"))
}

/// Stays with a program until it ends.
async fn attend(
    mut program: Program,
    mut stop: watch::Receiver<bool>,
    mut signals: watch::Receiver<Option<Signal>>,
) -> Ending {
    loop {
        tokio::select! {
            status = program.wait() => {
                return match status {
                    Ok(status) if status.success() => Ending::Left,
                    Ok(status) => Ending::Lost(format!("{status}; it said: {}", program.last_words())),
                    Err(error) => Ending::Lost(error.to_string()),
                };
            }
            () = told(&mut stop) => {
                program.signal(Signal::SIGCONT);
                program.end().await;
                return Ending::Left;
            }
            Ok(()) = signals.changed() => {
                if let Some(signal) = *signals.borrow_and_update() {
                    program.signal(signal);
                }
            }
        }
    }
}

/// How long a viewer may take to notice the end of the stream, or a publisher to say goodbye.
pub const PATIENCE: Duration = Duration::from_secs(15);
