//! The live part of the demo: who comes when, and what each of them saw.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use server::config::{Config, TapConfig};
use server::{ClientSnapshot, Server};
use session::rtmp::{ClientConfig, ClientRole};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{CAPTURE, DemoError, Options, PATH, RECORDINGS};
use crate::account::Times;
use crate::client::{self, ClientError, How, Published, Viewed, publish, watch, watch_hls, watch_rtsp};
use crate::feed::Feed;
use crate::sample::Clip;

/// Where the demo stands.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Since the publisher went on air.
    pub elapsed: Duration,
    /// The planned air time.
    pub total: Duration,
    /// The viewers, in the order they come.
    pub viewers: Vec<Watching>,
    /// Bits per second from the server to all viewers, over the last seconds.
    pub bps_out: u64,
}

/// A viewer at a moment.
#[derive(Clone, Debug)]
pub struct Watching {
    /// Its name in the report.
    pub name: &'static str,
    /// Frames it got; `None` before it came.
    pub frames: Option<u64>,
    /// It has left, or was told of the end.
    pub gone: bool,
}

/// A viewer's part: its name, what it speaks, and when it comes and goes, in hundredths of the air time.
struct Part {
    name: &'static str,
    over: Over,
    comes: Option<u32>,
    leaves: Option<u32>,
}

/// What a viewer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Rtmp,
    Rtsp(client::Over),
    Hls,
}

impl Over {
    /// What becomes of the publisher's times on the way.
    pub fn times(self) -> Times {
        match self {
            Self::Rtmp => Times::Kept,
            Self::Rtsp(_) => Times::Rebuilt,
            Self::Hls => Times::Shifted,
        }
    }
}

const TCP: Over = Over::Rtsp(client::Over::Tcp);
const UDP: Over = Over::Rtsp(client::Over::Udp);

/// One comes before the publisher, some soon, others into the middle of a group of pictures; two leave early.
const PARTS: [Part; 9] = [
    Part { name: "first in line", over: Over::Rtmp, comes: None, leaves: None },
    Part { name: "control room", over: UDP, comes: Some(8), leaves: None },
    Part { name: "wall screen", over: TCP, comes: Some(12), leaves: None },
    Part { name: "guest", over: Over::Rtmp, comes: Some(20), leaves: Some(70) },
    Part { name: "browser", over: Over::Hls, comes: Some(25), leaves: None },
    Part { name: "passer-by", over: UDP, comes: Some(33), leaves: Some(85) },
    Part { name: "late viewer", over: Over::Rtmp, comes: Some(43), leaves: None },
    Part { name: "late screen", over: TCP, comes: Some(52), leaves: None },
    Part { name: "phone", over: Over::Hls, comes: Some(30), leaves: None },
];

/// How many viewers come.
pub const VIEWERS: usize = PARTS.len();

/// How long a viewer may take to notice the end of the stream.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of it.
pub(super) struct Played {
    pub published: Published,
    pub viewers: Vec<Seen>,
    /// The server's last word on every client.
    pub clients: Vec<ClientSnapshot>,
    pub ended: session::Time,
    /// The wall time at which the server began.
    pub began: std::time::SystemTime,
    pub events: Vec<Value>,
}

/// A viewer's account.
pub(super) struct Seen {
    pub name: &'static str,
    pub over: Over,
    pub leaves_early: bool,
    pub viewed: Viewed,
}

/// A viewer on its way.
struct Running {
    name: &'static str,
    over: Over,
    leaves_early: bool,
    leave: watch::Sender<bool>,
    frames: watch::Receiver<u64>,
    task: JoinHandle<Result<Viewed, ClientError>>,
}

pub(super) async fn play(
    options: &Options,
    mut progress: impl FnMut(&Moment),
    interrupted: watch::Receiver<bool>,
) -> Result<Played, DemoError> {
    let clip = Clip::sample().map_err(DemoError::Clip)?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config { api: Some(any), ..Config::default() };
    config.rtmp.listen = Some(any);
    config.rtsp.listen = Some(any);
    config.rtsp.rtp = 0;
    config.hls.listen = Some(any);
    config.record.dir = Some(options.out.join(RECORDINGS));
    config.tap = Some(TapConfig { file: options.out.join(CAPTURE), snap: 0, size: 0 });
    let began = std::time::SystemTime::now();
    let server = Server::start(config).await.map_err(DemoError::Server)?;
    let clock = server.clock();
    let listening =
        |protocol: &str| server.ready().iter().find(|r| r.protocol == protocol).map_or(any, |r| r.address);
    let (address, rtsp, hls) = (listening("rtmp"), listening("rtsp"), listening("hls"));
    let mut script = Script {
        address,
        rtsp,
        hls,
        seed: options.seed,
        running: Vec::new(),
        events: Vec::new(),
        begin: None,
    };
    for ready in server.ready() {
        script.tell(json!({ "event": "listening", "protocol": ready.protocol, "address": ready.address }));
    }

    for part in PARTS.iter().filter(|p| p.comes.is_none()) {
        script.join(part);
    }
    let (on_air, mut is_on_air) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let publisher = script.client(ClientRole::Publish, "demo publisher");
    let how = How { again: true, account: true, length: None };
    let feed = Feed::clip(clip);
    let publisher = tokio::spawn(publish(address, publisher, options.seed, feed, how, on_air, stopped));
    // An error here means that the publisher is gone; its own error says more.
    let _ = is_on_air.wait_for(|on| *on).await;
    script.begin = Some(Instant::now());
    script.tell(json!({ "event": "on_air", "path": PATH }));

    let begin = Instant::now();
    let at = |percent: u32| begin + options.air_time * percent / 100;
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut plan: Vec<(Instant, usize, bool)> = Vec::new();
    for (i, part) in PARTS.iter().enumerate() {
        plan.extend(part.comes.map(|p| (at(p), i, true)));
        plan.extend(part.leaves.map(|p| (at(p), i, false)));
    }
    plan.sort_by_key(|step| step.0);
    let mut plan = plan.into_iter().peekable();
    while begin.elapsed() < options.air_time && !publisher.is_finished() && !*interrupted.borrow() {
        ticks.tick().await;
        while let Some((_, i, comes)) = plan.next_if(|step| step.0 <= Instant::now()) {
            if comes {
                script.join(&PARTS[i]);
            } else {
                script.leave(PARTS[i].name);
            }
        }
        let bps_out = server.streams().iter().map(|s| s.traffic.bps_out).sum();
        progress(&script.moment(begin.elapsed(), options.air_time, bps_out));
    }

    stop.send_replace(true);
    let published = ended("the publisher", publisher.await)?;
    script.tell(json!({ "event": "off_air", "frames": published.account.marks.len() }));
    let mut viewers = Vec::new();
    for mut running in script.running {
        // One that came when the publisher had just left waits for the next one: it is sent home.
        let outcome = match tokio::time::timeout(PATIENCE, &mut running.task).await {
            Ok(outcome) => outcome,
            Err(_) => {
                running.leave.send_replace(true);
                running.task.await
            }
        };
        let viewed = ended(running.name, outcome)?;
        viewers.push(Seen {
            name: running.name,
            over: running.over,
            leaves_early: running.leaves_early,
            viewed,
        });
    }
    let ended = clock.now();
    let clients = server.shutdown().await;
    Ok(Played { published, viewers, clients, ended, began, events: script.events })
}

fn ended<T>(
    name: &'static str,
    outcome: Result<Result<T, ClientError>, tokio::task::JoinError>,
) -> Result<T, DemoError> {
    match outcome {
        Ok(result) => result.map_err(|e| DemoError::Client(name, e)),
        Err(error) => Err(DemoError::Client(name, ClientError::Io(std::io::Error::other(error)))),
    }
}

struct Script {
    address: SocketAddr,
    rtsp: SocketAddr,
    hls: SocketAddr,
    seed: u64,
    running: Vec<Running>,
    events: Vec<Value>,
    begin: Option<Instant>,
}

impl Script {
    fn tell(&mut self, mut event: Value) {
        if let Value::Object(fields) = &mut event {
            let at = self.begin.map(|b| (b.elapsed().as_secs_f64() * 1000.0).round() / 1000.0);
            fields.insert("at_s".to_owned(), json!(at));
        }
        self.events.push(event);
    }

    fn client(&self, role: ClientRole, name: &str) -> ClientConfig {
        let agent = format!("{} {name}", super::GENERATOR);
        ClientConfig::new(role, &self.address.to_string(), PATH, &agent)
    }

    fn join(&mut self, part: &Part) {
        let (leave, leaves) = watch::channel(false);
        let (count, frames) = watch::channel(0);
        self.seed += 1;
        let task = match part.over {
            Over::Rtmp => {
                let config = self.client(ClientRole::Play, part.name);
                tokio::spawn(watch(self.address, config, self.seed, count, leaves))
            }
            Over::Rtsp(over) => {
                let (rtsp, agent) = (self.rtsp, format!("{} {}", super::GENERATOR, part.name));
                let ssrc = u32::try_from(self.seed & 0x7fff_ffff).unwrap_or(0) + 1;
                let url = format!("rtsp://{rtsp}/{PATH}");
                tokio::spawn(async move { watch_rtsp(rtsp, (&url, &agent), over, ssrc, count, leaves).await })
            }
            Over::Hls => {
                let (hls, agent) = (self.hls, format!("{} {}", super::GENERATOR, part.name));
                tokio::spawn(async move { watch_hls(hls, PATH, &agent, count, leaves).await })
            }
        };
        let leaves_early = part.leaves.is_some();
        self.running.push(Running { name: part.name, over: part.over, leaves_early, leave, frames, task });
        self.tell(json!({ "event": "join", "viewer": part.name }));
    }

    fn leave(&mut self, name: &str) {
        for running in self.running.iter().filter(|r| r.name == name) {
            running.leave.send_replace(true);
        }
        self.tell(json!({ "event": "leave", "viewer": name }));
    }

    fn moment(&self, elapsed: Duration, total: Duration, bps_out: u64) -> Moment {
        let viewers = PARTS.iter().map(|part| {
            let running = self.running.iter().find(|r| r.name == part.name);
            Watching {
                name: part.name,
                frames: running.map(|r| *r.frames.borrow()),
                gone: running.is_some_and(|r| r.task.is_finished()),
            }
        });
        Moment { elapsed, total, viewers: viewers.collect(), bps_out }
    }
}
