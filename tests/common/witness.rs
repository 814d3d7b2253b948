//! Viewers on every protocol that must not lose a frame while something else goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::flv::{self, AUDIO, Tag, VIDEO};
use super::frames::{Frame, framemd5, parts};
use super::peer::Peer;
use super::rml::{Publisher, Viewer};
use super::server::Server;
use super::{clip, wait_until};

/// Milliseconds of the clip, and pictures from one key frame to the next.
const CLIP: u32 = 8_000;
const GROUP: usize = 50;

/// The clip, published again and again in real time, and its viewers over RTMP, RTSP and HLS.
pub struct Witnesses {
    directory: PathBuf,
    publisher: JoinHandle<Vec<Tag>>,
    over: Arc<AtomicBool>,
    rtmp: Viewer,
    rtsp: (Peer, PathBuf),
    hls: (Peer, PathBuf),
}

/// What ffmpeg keeps of pictures so that they can be compared across protocols: the slices. Parameter sets travel in other
/// places in RTP than in FLV.
const SLICES: &str = "h264_mp4toannexb,filter_units=pass_types=1-5";

fn reads(directory: &Path, name: &str, before: &[&str], input: &str, after: &[&str]) -> (Peer, PathBuf) {
    let out = directory.join(format!("{name}.framemd5"));
    let mut arguments = vec!["-hide_banner", "-nostdin"];
    arguments.extend(before);
    arguments.extend(["-i", input, "-c", "copy"]);
    arguments.extend(after);
    arguments.extend(["-flush_packets", "1", "-y", "-f", "framemd5", out.to_str().unwrap()]);
    (Peer::start(directory, name, "ffmpeg", &arguments), out)
}

fn ids(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(|f| f.id.as_str()).collect()
}

/// Sends the clip again and again, each message when it is due, with the time that `stamp` makes of that.
fn publish(mut publisher: Publisher, over: &AtomicBool, stamp: fn(u32) -> u32) -> Vec<Tag> {
    let clip = flv::tags(&clip()).into_iter().filter(|t| t.kind == VIDEO || t.kind == AUDIO);
    let clip: Vec<Tag> = clip.collect();
    let (began, mut sent) = (Instant::now(), Vec::new());
    for round in 0u32.. {
        // What configures decoders is sent once.
        for tag in clip.iter().filter(|t| round == 0 || !t.is_config()) {
            let due = round * CLIP + tag.time;
            std::thread::sleep(Duration::from_millis(due.into()).saturating_sub(began.elapsed()));
            let tag = Tag { time: stamp(due), ..tag.clone() };
            publisher.send(&tag).unwrap();
            sent.push(tag);
        }
        if over.load(Ordering::Relaxed) {
            break;
        }
    }
    publisher.finish().unwrap();
    sent
}

impl Witnesses {
    /// Publishes on `live/KEY`, and has everybody watch.
    pub fn start(directory: &Path, server: &Server, key: &str) -> Self {
        Self::with_times(directory, server, key, |time| time)
    }

    /// The same with other times than those of the clip.
    pub fn with_times(directory: &Path, server: &Server, key: &str, stamp: fn(u32) -> u32) -> Self {
        let path = format!("live/{key}");
        let publisher = Publisher::start(server.rtmp, "live", key).unwrap();
        let rtmp = Viewer::start(server.rtmp, "live", key).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&over);
        let publisher = std::thread::spawn(move || publish(publisher, &theirs, stamp));
        wait_until("two tracks", || {
            let mut streams = server.list("streams").into_iter();
            streams.any(|s| s["path"] == *path && s["tracks"].as_array().is_some_and(|t| t.len() == 2))
        });
        let url = format!("rtsp://{}/{path}", server.rtsp.unwrap());
        let after = ["-bsf:v", SLICES, "-copyts"];
        let rtsp = reads(directory, "rtsp-witness", &["-rtsp_transport", "tcp"], &url, &after);
        let url = format!("http://{}/{path}/index.m3u8", server.hls);
        let hls = reads(directory, "hls-witness", &["-live_start_index", "0"], &url, &["-copyts"]);
        let witnesses = Self { directory: directory.into(), publisher, over, rtmp, rtsp, hls };
        for (who, (_, file)) in [("RTSP", &witnesses.rtsp), ("HLS", &witnesses.hls)] {
            wait_until(&format!("the first picture over {who}"), || !framemd5(file).video.is_empty());
        }
        witnesses
    }

    /// Everybody gets further pictures.
    #[track_caller]
    pub fn goes_on(&self, when: &str) {
        let pictures = |file: &Path| framemd5(file).video.len();
        let (rtmp, rtsp) = (self.rtmp.now().pictures(), pictures(&self.rtsp.1));
        self.rtmp.wait(&format!("more {when}"), |state| state.pictures() > rtmp + 5);
        wait_until(&format!("pictures over RTSP {when}"), || pictures(&self.rtsp.1) > rtsp + 5);
    }

    /// Waits for so many pictures over RTMP.
    #[track_caller]
    pub fn wait_pictures(&self, count: usize) {
        self.rtmp.wait_pictures(count);
    }

    /// When the clip is over for this time, so is the stream: everybody has to have every frame from where they came on.
    /// Returns what was sent.
    #[track_caller]
    pub fn end(self) -> Vec<Tag> {
        self.over.store(true, Ordering::Relaxed);
        let sent = self.publisher.join().unwrap();
        let whole = flv::media(&sent);
        let seen = parts("over RTMP", &whole, &flv::media(&self.rtmp.watched().tags));
        assert_eq!((seen.video.first, seen.video.end), (0, whole.video.len()));
        assert_eq!((seen.audio.first, seen.audio.end), (0, whole.audio.len()));
        for (who, name, (peer, out), after) in
            [("RTSP", "source-slices", self.rtsp, &["-bsf:v", SLICES][..]), ("HLS", "source", self.hls, &[])]
        {
            peer.ended_well();
            let (reader, source) = reads(&self.directory, name, &[], clip().to_str().unwrap(), after);
            reader.ended_well();
            let (source, got) = (framemd5(&source), framemd5(&out));
            let rounds = whole.video.len() / source.video.len();
            let from = until_the_end(&format!("{who}, video"), &source.video, rounds, &got.video);
            assert_eq!(from % GROUP, 0, "{who}: begins with a key frame");
            until_the_end(&format!("{who}, audio"), &source.audio, rounds, &got.audio);
        }
        sent
    }
}

/// The frames of `source`, `rounds` times, from one of them on to the last; returns from which.
#[track_caller]
fn until_the_end(who: &str, source: &[Frame], rounds: usize, got: &[Frame]) -> usize {
    let whole = ids(source).repeat(rounds);
    let got = ids(got);
    assert!(!got.is_empty() && got.len() <= whole.len(), "{who}: {} of {} frames", got.len(), whole.len());
    let from = whole.len() - got.len();
    let differs = whole[from..].iter().zip(&got).position(|(a, b)| a != b);
    assert_eq!(differs, None, "{who}: frames are missing or others; {} of {} came", got.len(), whole.len());
    from
}
