//! Frames to the bytes of files. No I/O, no clock.
//!
//! A fragment is cut at each key frame a second apart, and every two seconds in any case: what a crash can cost.
//! Where a publisher's times jump the file's time goes on (see [`media::mp4::Fragmenter`]); where its codecs change
//! the file ends and another begins.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use media::mp4::{Fragment, Fragmenter, Lengths, carries, init_section};
use media::{Frame, Kind, Track};

use super::flv::Flv;

/// Microseconds between key frames that end a fragment, and between any frames that do.
const KEY: u64 = 1_000_000;
const ANY: u64 = 2_000_000;
/// Bytes after which a fragment ends.
const LARGEST: usize = 8 << 20;
/// Audio frames that wait for the first picture: at 48 kHz more than ten seconds.
const EARLY: usize = 512;

/// What is to be done with the file.
#[derive(Debug)]
pub enum Step {
    /// Begin a file of this extension with these tracks.
    Open(&'static str, Vec<Arc<Track>>),
    /// Append, after which the file holds so many microseconds; then overwrite bytes within.
    Write(Vec<Bytes>, u64, Vec<(u64, Bytes)>),
    /// The file is whole.
    Close,
}

/// One stream's recording.
#[derive(Debug, Default)]
pub struct Session {
    tracks: Vec<Arc<Track>>,
    open: Option<Open>,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Open {
    Mp4 { fragmenter: Fragmenter, lengths: Option<Lengths>, begun: bool, early: VecDeque<Frame> },
    Flv(Flv),
}

impl Session {
    /// A track begins, or its configuration changes.
    pub fn track(&mut self, track: &Arc<Track>) {
        match self.tracks.iter_mut().find(|t| t.kind() == track.kind()) {
            Some(old) => *old = Arc::clone(track),
            None if track.kind() == Kind::Video => self.tracks.insert(0, Arc::clone(track)),
            None => self.tracks.push(Arc::clone(track)),
        }
        let fits = self.tracks.iter().all(|t| carries(t));
        let goes_on = match &mut self.open {
            Some(Open::Mp4 { fragmenter, .. }) => fits && fragmenter.extend(&self.tracks),
            Some(Open::Flv(flv)) => flv.extend(&self.tracks),
            None => false,
        };
        if goes_on {
            return;
        }
        self.finish();
        self.open = if fits {
            let begun =
                |fragmenter| Open::Mp4 { fragmenter, lengths: None, begun: false, early: VecDeque::new() };
            Fragmenter::new(&self.tracks).map(begun)
        } else {
            Some(Open::Flv(Flv::new(&self.tracks)))
        };
    }

    /// Takes a frame.
    pub fn frame(&mut self, frame: &Frame) {
        match &mut self.open {
            None => {}
            Some(Open::Flv(flv)) => flv.frame(frame, &mut self.steps),
            Some(Open::Mp4 { fragmenter, begun, early, .. }) => {
                let key = frame.key && (frame.track.kind() == Kind::Video || !fragmenter.has_video());
                if !*begun && !key {
                    if frame.track.kind() == Kind::Audio {
                        if early.len() >= EARLY {
                            early.pop_front();
                        }
                        early.push_back(frame.clone());
                    }
                    return;
                }
                // A picture may come later than sound of the same time; only what was before it has no place here.
                let mut early = std::mem::take(early);
                early.retain(|sound| sound.dts_ms() >= frame.dts_ms());
                let length = if *begun { fragmenter.length_before(frame) } else { 0 };
                *begun = true;
                if length >= ANY || (key && length >= KEY) || fragmenter.held_bytes() >= LARGEST {
                    self.cut(Some(frame));
                }
                if let Some(Open::Mp4 { fragmenter, .. }) = &mut self.open {
                    fragmenter.push(frame);
                    early.iter().for_each(|sound| fragmenter.push(sound));
                }
            }
        }
    }

    /// The stream is over, or recording it is.
    pub fn finish(&mut self) {
        self.cut(None);
        match self.open.take() {
            Some(Open::Mp4 { lengths: Some(_), .. }) => self.steps.push(Step::Close),
            Some(Open::Flv(flv)) => flv.finish(&mut self.steps),
            _ => {}
        }
    }

    /// What is to be done since the last time.
    pub fn take(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.steps)
    }

    fn cut(&mut self, next: Option<&Frame>) {
        let Some(Open::Mp4 { fragmenter, lengths, .. }) = &mut self.open else { return };
        let edits = lengths.is_none().then(|| fragmenter.begin_at_zero());
        let Some(Fragment { head, data, .. }) = fragmenter.cut(next) else { return };
        let mut bytes = Vec::with_capacity(data.len().saturating_add(2));
        if lengths.is_none() {
            let tracks = fragmenter.tracks();
            let (init, places) = init_section(&tracks, &edits.unwrap_or_default());
            bytes.push(Bytes::from(init));
            *lengths = Some(places);
            self.steps.push(Step::Open("mp4", tracks));
        }
        bytes.push(head);
        bytes.extend(data);
        let each = fragmenter.lengths();
        let micros = each.iter().max().copied().unwrap_or(0);
        let patches = lengths.iter().flat_map(|l| l.patches(&each));
        let patches = patches.map(|(at, value)| (at, Bytes::copy_from_slice(&value))).collect();
        self.steps.push(Step::Write(bytes, micros, patches));
    }
}
