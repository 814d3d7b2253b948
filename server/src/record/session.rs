//! Frames to the bytes of files. No I/O, no clock.
//!
//! A fragment is cut at each key frame a second apart, and every two seconds in any case: what a crash can cost.
//! Where a publisher's times jump the file's time goes on (see [`media::mp4::Fragmenter`]); where its codecs or their
//! configuration change the file ends, and another begins with the next key frame.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use media::mp4::{Fragment, Fragmenter, Lengths, carries, file_head};
use media::{Frame, Kind, Track};

use ::session::Time;

use super::flv::Flv;
use super::step::Step;

/// Microseconds between key frames that end a fragment, and between any frames that do.
const KEY: u64 = 1_000_000;
const ANY: u64 = 2_000_000;
/// And before sound, where pictures stay away.
const AWAY: u64 = 4_000_000;
/// Bytes after which a fragment ends.
const LARGEST: usize = 8 << 20;
/// Frames after which a fragment ends.
const MOST_FRAMES: usize = 20_000;
/// Audio frames that wait for the first picture: at 48 kHz more than ten seconds.
const EARLY: usize = 512;

/// One stream's recording.
#[derive(Debug, Default)]
pub struct Session {
    now: Time,
    tracks: Vec<Arc<Track>>,
    open: Option<Open>,
    /// The file that follows from the next key frame on.
    next: Option<Mp4>,
    steps: Vec<Step>,
}

#[derive(Debug)]
// There are few of them, and one of the two is nearly always the larger.
#[allow(clippy::large_enum_variant)]
enum Open {
    Mp4(Mp4),
    Flv(Flv),
}

#[derive(Debug)]
struct Mp4 {
    fragmenter: Fragmenter,
    /// The edits of its tracks, from the first cut on.
    edits: Option<Vec<u64>>,
    /// Where the file says how long it is, once it is begun.
    lengths: Option<Lengths>,
    begun: Option<Time>,
    early: VecDeque<Frame>,
}

impl Session {
    /// What time it is from now on.
    pub fn at(&mut self, now: Time) {
        self.now = now;
    }

    /// A track begins, or its configuration changes.
    pub fn track(&mut self, track: &Arc<Track>) {
        match self.tracks.iter_mut().find(|t| t.kind() == track.kind()) {
            Some(old) => *old = Arc::clone(track),
            None if track.kind() == Kind::Video => self.tracks.insert(0, Arc::clone(track)),
            None => self.tracks.push(Arc::clone(track)),
        }
        let fits = self.tracks.iter().all(|t| carries(t));
        let goes_on = match &mut self.open {
            Some(Open::Mp4(mp4)) => fits && mp4.fragmenter.extend(&self.tracks),
            Some(Open::Flv(flv)) => flv.extend(&self.tracks),
            None => false,
        };
        if goes_on {
            self.next = None;
            return;
        }
        if let Some(Open::Mp4(mp4)) = &self.open
            && fits
            && mp4.begun.is_some()
            && mp4.fragmenter.has_video()
        {
            // A file begins with a key frame: until then what goes on goes on in this one.
            let early = self.next.take().map(|next| next.early).unwrap_or_default();
            self.next = Fragmenter::new(&self.tracks).map(|fragmenter| Mp4 { early, ..Mp4::new(fragmenter) });
            return;
        }
        self.finish();
        self.open = if fits {
            Fragmenter::new(&self.tracks).map(|fragmenter| Open::Mp4(Mp4::new(fragmenter)))
        } else {
            Some(Open::Flv(Flv::new(&self.tracks)))
        };
    }

    /// Takes a frame.
    pub fn frame(&mut self, frame: &Frame) {
        if let Some(mut next) = self.next.take() {
            if frame.key && frame.track.kind() == Kind::Video {
                self.finish();
                self.open = Some(Open::Mp4(next));
            } else {
                // What the open file takes has its place there.
                let held = matches!(&self.open, Some(Open::Mp4(mp4)) if mp4.fragmenter.holds(frame));
                if frame.track.kind() == Kind::Audio && !held {
                    next.frame(frame, self.now, &mut self.steps);
                }
                self.next = Some(next);
            }
        }
        match &mut self.open {
            None => {}
            Some(Open::Flv(flv)) => flv.frame(frame, self.now, &mut self.steps),
            Some(Open::Mp4(mp4)) => mp4.frame(frame, self.now, &mut self.steps),
        }
    }

    /// The stream is over, or recording it is.
    pub fn finish(&mut self) {
        self.next = None;
        match self.open.take() {
            Some(Open::Mp4(mp4)) => mp4.finish(&mut self.steps),
            Some(Open::Flv(flv)) => flv.finish(&mut self.steps),
            None => {}
        }
    }

    /// What is to be done since the last time.
    pub fn take(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.steps)
    }
}

impl Mp4 {
    fn new(fragmenter: Fragmenter) -> Self {
        Self { fragmenter, edits: None, lengths: None, begun: None, early: VecDeque::new() }
    }

    fn frame(&mut self, frame: &Frame, now: Time, steps: &mut Vec<Step>) {
        let leads = frame.track.kind() == Kind::Video || !self.fragmenter.has_video();
        let key = frame.key && leads;
        if self.begun.is_none() && !key {
            if frame.track.kind() == Kind::Audio {
                if self.early.len() >= EARLY {
                    self.early.pop_front();
                }
                self.early.push_back(frame.clone());
            }
            return;
        }
        // A picture may come later than sound of the same time; only what was before it has no place here.
        let mut early = std::mem::take(&mut self.early);
        early.retain(|sound| sound.dts_ms() >= frame.dts_ms());
        let length = self.begun.map_or(0, |_| self.fragmenter.length_before(frame));
        self.begun.get_or_insert(now);
        // Sound does not cut pictures short, unless those stay away.
        let any = if leads { ANY } else { AWAY };
        let full = self.fragmenter.held() >= MOST_FRAMES || self.fragmenter.held_bytes() >= LARGEST;
        if length >= any || (key && length >= KEY) || full {
            self.cut(Some(frame));
        }
        self.fragmenter.push(frame);
        early.iter().for_each(|sound| self.fragmenter.push(sound));
        self.write(steps);
    }

    fn finish(mut self, steps: &mut Vec<Step>) {
        self.cut(None);
        self.write(steps);
        if self.lengths.is_some() {
            steps.push(Step::Close);
        }
    }

    fn cut(&mut self, next: Option<&Frame>) {
        let fragmenter = &mut self.fragmenter;
        self.edits.get_or_insert_with(|| fragmenter.begin_at_zero());
        fragmenter.cut(next);
    }

    /// Writes what is finished.
    fn write(&mut self, steps: &mut Vec<Step>) {
        while let Some(Fragment { head, data, .. }) = self.fragmenter.take() {
            let mut bytes = Vec::with_capacity(data.len().saturating_add(2));
            if self.lengths.is_none() {
                let tracks = self.fragmenter.tracks();
                let (head, places) = file_head(&tracks, self.edits.as_deref().unwrap_or_default());
                bytes.push(Bytes::from(head));
                self.lengths = Some(places);
                steps.push(Step::Open("mp4", tracks, self.begun.unwrap_or_default()));
            }
            bytes.push(head);
            bytes.extend(data);
            let each = self.fragmenter.lengths();
            let micros = each.iter().max().copied().unwrap_or(0);
            let patches = self.lengths.iter().flat_map(|l| l.patches(&each));
            let patches = patches.map(|(at, value)| (at, Bytes::copy_from_slice(&value))).collect();
            steps.push(Step::Write(bytes, micros, patches));
        }
    }
}
