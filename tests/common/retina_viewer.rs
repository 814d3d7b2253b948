//! An RTSP player that shares no code with ours: the crate retina, in a thread of its own.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use futures_util::StreamExt;
use retina::client::{
    InitialTimestampPolicy, PlayOptions, Session, SessionOptions, SetupOptions, TcpTransportOptions,
    Transport, UdpTransportOptions,
};
use retina::codec::CodecItem;

use super::PATIENCE;
use super::flv::{identity, nal_units, slices_identity};
use super::frames::{Frame, Media};
use super::rtp::{BYE, rtcp};

/// A player that collects frames until every track says goodbye.
pub struct RetinaViewer {
    state: Arc<Mutex<State>>,
    thread: JoinHandle<Result<(), String>>,
}

/// What it has got. Times are ticks of RTP.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Frames in the order in which they came.
    pub media: Media,
    /// Packets that it missed.
    pub lost: u64,
    goodbyes: usize,
}

impl RetinaViewer {
    /// Plays all tracks of `url`; `udp` says over what.
    pub fn start(url: &str, udp: bool) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let (url, theirs) = (url.to_owned(), Arc::clone(&state));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime
                .block_on(async { tokio::time::timeout(PATIENCE, play(&url, udp, &theirs)).await })
                .map_err(|_| "it does not end".to_owned())?
        });
        Self { state, thread }
    }

    /// What it has got by now.
    pub fn now(&self) -> State {
        self.state.lock().unwrap().clone()
    }

    /// Waits for the goodbye.
    #[track_caller]
    pub fn ended_well(self) -> State {
        let result = self.thread.join().unwrap();
        let state = self.state.lock().unwrap().clone();
        result.unwrap_or_else(|error| {
            panic!("retina failed after {} pictures: {error}", state.media.video.len())
        });
        state
    }
}

async fn play(url: &str, udp: bool, state: &Mutex<State>) -> Result<(), String> {
    let text = |error: retina::Error| error.to_string();
    let url = url.parse().map_err(|_| format!("no URL: {url}"))?;
    let mut session = Session::describe(url, SessionOptions::default()).await.map_err(text)?;
    let tracks = session.streams().len();
    for track in 0..tracks {
        let transport = if udp {
            Transport::Udp(UdpTransportOptions::default())
        } else {
            Transport::Tcp(TcpTransportOptions::default())
        };
        session.setup(track, SetupOptions::default().transport(transport)).await.map_err(text)?;
    }
    let options = PlayOptions::default().initial_timestamp(InitialTimestampPolicy::Require);
    let session = session.play(options).await.map_err(text)?;
    let mut frames = session.demuxed().map_err(text)?;
    while let Some(item) = frames.next().await {
        let mut state = state.lock().unwrap();
        match item.map_err(text)? {
            CodecItem::VideoFrame(frame) => {
                let pts = frame.timestamp().timestamp();
                let id = slices_identity(nal_units(frame.data()).into_iter());
                let key = frame.is_random_access_point();
                state.lost += u64::from(frame.loss());
                state.media.video.push(Frame { dts: pts, pts, key, id });
            }
            CodecItem::AudioFrame(frame) => {
                let pts = frame.timestamp().timestamp();
                let id = identity(frame.data());
                state.lost += u64::from(frame.loss());
                state.media.audio.push(Frame { dts: pts, pts, key: true, id });
            }
            CodecItem::Rtcp(compound) => {
                state.goodbyes += rtcp(compound.raw()).iter().filter(|(kind, _)| *kind == BYE).count();
            }
            _ => {}
        }
        if state.goodbyes == tracks {
            break;
        }
    }
    Ok(())
}
