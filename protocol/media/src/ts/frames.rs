//! Frames of the first video and the first audio stream of a transport stream, in the order of their decoding times.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use wire::codec::annex_b;
use wire::codec::avc::NalType;
use wire::ts::RATE;

use super::{Demuxer, Event, Kind, Unit as Packet};
use crate::adts::Splitter;
use crate::clock::rescale;
use crate::describe::describe;
use crate::frame::{Codec, Frame, Track, Unit};
use crate::sets::Following;

/// Frames of one stream that wait for the other's; more wait for nobody.
const WAITING: usize = 512;
/// Streams that are named as left out.
const NAMED: usize = 32;

/// Takes bytes and gives units.
#[derive(Debug, Default)]
pub struct Reader {
    demuxer: Demuxer,
    streams: Streams,
}

#[derive(Debug, Default)]
struct Streams {
    video: Option<Video>,
    audio: Option<Audio>,
    left_out: Vec<(u16, String)>,
    over: bool,
}

#[derive(Debug)]
struct Video {
    pid: u16,
    sets: Following,
    track: Option<Arc<Track>>,
    /// Decoding time of the latest picture, and how long the one before lasted.
    last: Option<(i64, i64)>,
    ready: VecDeque<Unit>,
}

#[derive(Debug)]
struct Audio {
    pid: u16,
    splitter: Splitter,
    ready: VecDeque<Unit>,
}

impl Reader {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn data(&mut self, bytes: &[u8]) {
        let Self { demuxer, streams } = self;
        demuxer.data(bytes, |event| streams.event(&event));
    }

    /// No more bytes come.
    pub fn finish(&mut self) {
        let Self { demuxer, streams } = self;
        demuxer.finish(|event| streams.event(&event));
        streams.over = true;
    }

    /// The next track or frame; none where more bytes are needed first, or none come.
    pub fn next_unit(&mut self) -> Option<Unit> {
        let Streams { video, audio, over, .. } = &mut self.streams;
        let of = |unit: &Unit| match unit {
            Unit::Frame(frame) => Some(rescale(frame.dts, frame.track.clock, 1_000_000)),
            Unit::Track(_) | Unit::Metadata(_) => None,
        };
        let (video, audio) =
            (video.as_mut().map(|video| &mut video.ready), audio.as_mut().map(|audio| &mut audio.ready));
        let mut queues: Vec<&mut VecDeque<Unit>> = video.into_iter().chain(audio).collect();
        // A track goes before its frames at once.
        if let Some(queue) =
            queues.iter_mut().find(|queue| queue.front().is_some_and(|unit| of(unit).is_none()))
        {
            return queue.pop_front();
        }
        let full = queues.iter().any(|queue| queue.len() >= WAITING);
        if !*over && !full && queues.iter().any(|queue| queue.is_empty()) {
            return None;
        }
        let first = queues.iter_mut().filter(|queue| !queue.is_empty());
        first.min_by_key(|queue| queue.front().and_then(of)).and_then(|queue| queue.pop_front())
    }

    /// Streams that are left out, and why.
    pub fn left_out(&self) -> Vec<String> {
        self.streams.left_out.iter().map(|(_, words)| words.clone()).collect()
    }
}

impl Streams {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Stream(pid, kind) => self.stream(*pid, *kind),
            Event::Unit(unit) => {
                if let Some(video) = self.video.as_mut().filter(|video| video.pid == unit.pid) {
                    video.unit(unit);
                } else if let Some(audio) = self.audio.as_mut().filter(|audio| audio.pid == unit.pid) {
                    let Audio { splitter, ready, .. } = audio;
                    let time = unit.dts.or(unit.pts).map(|time| (time, RATE));
                    splitter.data(unit.data, time, |unit| ready.push_back(unit));
                }
            }
            _ => {}
        }
    }

    fn stream(&mut self, pid: u16, kind: Kind) {
        let known = self.video.as_ref().is_some_and(|video| video.pid == pid)
            || self.audio.as_ref().is_some_and(|audio| audio.pid == pid)
            || self.left_out.iter().any(|(known, _)| *known == pid);
        if known {
            return;
        }
        let why = match kind {
            Kind::H264 if self.video.is_none() => {
                let (sets, ready) = (Following::default(), VecDeque::new());
                self.video = Some(Video { pid, sets, track: None, last: None, ready });
                return;
            }
            Kind::Adts if self.audio.is_none() => {
                self.audio = Some(Audio { pid, splitter: Splitter::new(), ready: VecDeque::new() });
                return;
            }
            Kind::H264 | Kind::Adts => "a stream has one track of each kind, and this is not the first",
            Kind::Data(_) => "neither pictures nor sound",
            _ => "a codec we do not carry from MPEG-TS",
        };
        if self.left_out.len() < NAMED {
            let name = kind.name().unwrap_or("unknown");
            self.left_out.push((pid, format!("PID {pid} ({name}): {why}")));
        }
    }
}

impl Video {
    /// A PES packet holds one picture, as H.222.0 §2.14 has it.
    fn unit(&mut self, unit: &Packet<'_>) {
        let mut payload = BytesMut::with_capacity(unit.data.len());
        let (mut picture, mut key) = (false, false);
        let mut changed: Vec<&[u8]> = Vec::new();
        for nal in annex_b(unit.data) {
            let kind = NalType::of(nal).unwrap_or(NalType(0));
            match kind {
                NalType::SPS | NalType::PPS => {
                    if self.sets.sets.take(nal) {
                        changed.push(nal);
                    }
                }
                // Delimiters, ends and filler have no place in a sample (ISO 14496-15 §5.3.2).
                NalType(9..=12) => {}
                _ => {
                    let Ok(length) = u32::try_from(nal.len()) else { continue };
                    payload.put_u32(length);
                    payload.put_slice(nal);
                    picture |= kind.is_vcl();
                    key |= kind == NalType::IDR;
                }
            }
        }
        if picture && let Some(config) = self.sets.picture(key, &payload, 4) {
            let description = describe(Codec::H264, &config, None);
            let track = Track { codec: Codec::H264, config, clock: RATE, flv_flags: None, description };
            let track = Arc::new(track);
            self.track = Some(Arc::clone(&track));
            self.ready.push_back(Unit::Track(track));
        } else if !changed.is_empty() {
            // The track goes on as it is until the next key picture: what changes before that stays where it came.
            let mut whole = BytesMut::with_capacity(unit.data.len());
            for nal in changed {
                whole.put_u32(u32::try_from(nal.len()).unwrap_or(0));
                whole.put_slice(nal);
            }
            whole.put_slice(&payload);
            payload = whole;
        }
        // Without its parameter sets a picture cannot be decoded.
        let Some(track) = self.track.clone().filter(|_| picture) else { return };
        let (dts, step) = match (unit.dts.or(unit.pts), self.last) {
            (Some(dts), Some((last, _))) => (dts, dts.saturating_sub(last)),
            (Some(dts), None) => (dts, 0),
            (None, Some((last, step))) => (last.saturating_add(step), step),
            (None, None) => (0, 0),
        };
        self.last = Some((dts, step));
        let pts = unit.pts.unwrap_or(dts);
        let payload: Bytes = payload.freeze();
        self.ready.push_back(Unit::Frame(Frame { track, dts, pts, key, payload }));
    }
}
