//! The tracks of a transport stream, from its PES packets.

use std::collections::BTreeMap;

use media::ts::{Event, Kind, Unit};
use model::TrackKind;
use wire::codec::{annex_b, avc, hevc};

use super::sound;
use super::unit::frame;
use crate::finding::{Note, Notes};
use crate::flow::At;
use crate::track::rtp::jitter::Jitter;
use crate::track::{Network, Stats, codec};

/// Tracks followed.
const MAX_TRACKS: usize = 32;

/// The tracks of one or more transport streams after each other.
#[derive(Debug, Default)]
pub struct Tracks {
    tracks: BTreeMap<(u16, Kind), Track>,
    /// Which kind a PID has now.
    kinds: BTreeMap<u16, Kind>,
    first_picture_ns: Option<i64>,
    first_sound_ns: Option<i64>,
    /// Tables that cannot be read, and bytes that are no packets: how often, and where first.
    bad_tables: (u64, Option<At>),
    skipped: u64,
}

/// Which kind each PID of one of several streams has.
#[derive(Debug, Default)]
pub(in crate::track) struct Kinds(BTreeMap<u16, Kind>);

#[derive(Debug)]
struct Track {
    stats: Stats,
    seen_sps: bool,
    sound: sound::Rest,
    packets: u64,
    lost: u64,
    lost_at: Option<At>,
    repeated: u64,
    jitter: Jitter,
    clocked: bool,
}

impl Track {
    fn new(kind: Kind) -> Self {
        let mut stats = Stats::new(match kind.is_video() {
            Some(true) => TrackKind::Video,
            Some(false) => TrackKind::Audio,
            None => TrackKind::Data,
        });
        stats.info.codec = kind.name().map(str::to_owned);
        if matches!(kind, Kind::EncryptedH264 | Kind::EncryptedAdts) {
            stats.declare("encryption", "SAMPLE-AES");
        }
        if kind == Kind::Opus {
            stats.info.sample_rate = Some(48_000);
        }
        Self {
            stats,
            seen_sps: false,
            sound: sound::Rest::default(),
            packets: 0,
            lost: 0,
            lost_at: None,
            repeated: 0,
            jitter: Jitter::default(),
            clocked: false,
        }
    }
}

impl Tracks {
    fn of(&mut self, pid: u16) -> Option<&mut Track> {
        let kind = *self.kinds.get(&pid)?;
        self.tracks.get_mut(&(pid, kind))
    }

    /// Takes what was found in the packet at this place.
    pub fn event(&mut self, at: At, event: &Event<'_>) {
        match event {
            Event::Stream(pid, kind) => {
                if self.tracks.len() < MAX_TRACKS || self.tracks.contains_key(&(*pid, *kind)) {
                    self.kinds.insert(*pid, *kind);
                    self.tracks.entry((*pid, *kind)).or_insert_with(|| Track::new(*kind));
                }
            }
            Event::Packet(pid) => {
                if let Some(track) = self.of(*pid) {
                    track.packets = track.packets.saturating_add(1);
                }
            }
            Event::Lost(pid, packets) => {
                if let Some(track) = self.of(*pid) {
                    track.lost = track.lost.saturating_add(u64::from(*packets));
                    track.lost_at.get_or_insert(at);
                    track.stats.lost();
                    track.sound.cut();
                }
            }
            Event::Repeated(pid) => {
                if let Some(track) = self.of(*pid) {
                    track.repeated = track.repeated.saturating_add(1);
                }
            }
            Event::Clock(pid, ticks, jumps) => {
                if let Some(track) = self.of(*pid) {
                    if *jumps {
                        track.jitter = Jitter::default();
                    }
                    track.clocked = true;
                    // The clock's low 32 bits wrap like those of an RTP timestamp.
                    let base = ((ticks / 300) & 0xffff_ffff) as u32;
                    track.jitter.packet(at.time_ns, base, wire::ts::RATE);
                }
            }
            Event::Table(_) => {
                self.bad_tables = (self.bad_tables.0.saturating_add(1), self.bad_tables.1.or(Some(at)));
            }
            Event::Skipped(bytes) => self.skipped = self.skipped.saturating_add(*bytes),
            Event::Unit(unit) => self.unit(at, unit),
        }
    }

    fn unit(&mut self, at: At, unit: &Unit<'_>) {
        let Some(kind) = self.kinds.get(&unit.pid).copied() else { return };
        let Some(track) = self.tracks.get_mut(&(unit.pid, kind)) else { return };
        track.stats.bytes = track.stats.bytes.saturating_add(unit.data.len() as u64);
        let frames = match kind {
            Kind::H264 | Kind::EncryptedH264 | Kind::H265 => pictures(track, kind == Kind::H265, unit),
            Kind::Mpeg1Video | Kind::Mpeg2Video => mpeg_video(track, unit),
            _ if kind.is_video() == Some(true) => {
                frame(&mut track.stats, unit, unit.random_access);
                1
            }
            Kind::Data(_) | Kind::Unknown(_) => {
                frame(&mut track.stats, unit, false);
                1
            }
            _ => {
                if !unit.whole {
                    track.sound.cut();
                }
                sound::frames(&mut track.stats, &mut track.sound, kind, unit)
            }
        };
        let first = match kind.is_video() {
            Some(true) => &mut self.first_picture_ns,
            Some(false) => &mut self.first_sound_ns,
            None => return,
        };
        if frames > 0 && unit.whole && at.time_ns > 0 {
            first.get_or_insert(at.ready_ns);
        }
    }

    /// Trades what each PID is for what it is in another stream, whose events are to come.
    pub(in crate::track) fn trade(&mut self, kinds: &mut Kinds) {
        std::mem::swap(&mut self.kinds, &mut kinds.0);
    }

    /// The tracks so far.
    pub(in crate::track) fn stats(&self) -> impl Iterator<Item = &Stats> {
        self.tracks.values().map(|track| &track.stats)
    }

    pub(in crate::track) fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }

    /// A piece of the timeline is missing.
    pub fn lost(&mut self) {
        for track in self.tracks.values_mut() {
            track.stats.lost();
            track.sound.cut();
        }
    }

    /// Another stream begins, which need not follow the one before.
    pub(in crate::track) fn seam(&mut self) {
        self.tracks.values_mut().for_each(|track| track.stats.seam());
    }

    /// When the first picture and the first sound were whole, nanoseconds since 1970.
    pub(in crate::track) fn firsts(&self) -> [Option<i64>; 2] {
        [self.first_picture_ns, self.first_sound_ns]
    }

    pub(in crate::track) fn first_frame_ns(&self) -> Option<i64> {
        self.first_picture_ns.or(self.first_sound_ns)
    }

    /// The tracks, video first, with what became of their packets; what is wrong is noted. Jitter tells something where
    /// packets were sent when they were due: `timed`.
    pub fn into_stats(self, notes: &mut Notes, timed: bool) -> Vec<Stats> {
        let mut all: Vec<(u16, Track)> =
            self.tracks.into_iter().map(|((pid, _), track)| (pid, track)).collect();
        all.sort_by_key(|(pid, track)| {
            let order = match track.stats.kind() {
                TrackKind::Video => 0,
                TrackKind::Audio => 1,
                TrackKind::Data => 2,
            };
            (order, *pid)
        });
        let mut out = Vec::new();
        for (pid, mut track) in all {
            track.stats.declare("PID", format!("{pid} (0x{pid:x})"));
            track.stats.set_network(Network {
                packets: track.packets.saturating_sub(track.repeated),
                lost: track.lost,
                reordered: 0,
                duplicates: track.repeated,
                jitter_ms: track.jitter.ms(wire::ts::RATE).filter(|_| timed && track.clocked),
            });
            if track.lost > 0 {
                let rule = &spec::ts::CONTINUITY_COUNTER;
                let lost = track.lost;
                let message = format!("PID {pid}: at least {lost} transport packets are missing");
                let note = Note::new(rule, message).want_got("one more in each packet", "jumps");
                notes.push(Note { at: track.lost_at, count: lost, ..note });
            }
            out.push(track.stats);
        }
        if let (count @ 1.., at) = self.bad_tables {
            let rule = &spec::ts::PSI;
            let note =
                Note::new(rule, "tables of the transport stream cannot be read, or their CRC is wrong");
            notes.push(Note { at, count, ..note });
        }
        out
    }
}

/// Counts the pictures of a PES packet: one, unless delimiters stand between several. Two first slices alone are the
/// fields of one picture.
fn pictures(track: &mut Track, h265: bool, unit: &Unit<'_>) -> u32 {
    let (mut begun, mut delimiters) = (0u32, 0u32);
    let mut keys = Vec::new();
    for nal in annex_b(unit.data) {
        let (vcl, sync, sps, first, delimiter) = if h265 {
            let kind = hevc::nal_type(nal).unwrap_or(u8::MAX);
            let first = nal.get(2).is_some_and(|b| b & 0x80 != 0);
            (hevc::is_vcl(kind), hevc::is_random_access(kind), kind == hevc::SPS_TYPE, first, kind == 35)
        } else {
            let kind = avc::NalType::of(nal).unwrap_or(avc::NalType(0));
            // first_mb_in_slice is 0: one bit that is set.
            let first = nal.get(1).is_some_and(|b| b & 0x80 != 0);
            let idr = kind == avc::NalType::IDR;
            (kind.is_vcl(), idr, kind == avc::NalType::SPS, first, kind == avc::NalType(9))
        };
        delimiters = delimiters.saturating_add(u32::from(delimiter));
        if sps && !track.seen_sps {
            track.seen_sps = codec::parameter_set(&mut track.stats.info, h265, nal).is_ok();
        }
        if vcl && first {
            begun = begun.saturating_add(1);
            let picture = usize::try_from(delimiters.max(1)).unwrap_or(1);
            if keys.len() < picture.min(64) {
                keys.push(sync);
            } else if let Some(key) = keys.last_mut() {
                *key |= sync;
            }
        }
    }
    // A PES packet without a beginning goes on with the picture before.
    keys.iter().for_each(|key| frame(&mut track.stats, unit, *key));
    begun
}

/// Pictures of MPEG-1 and MPEG-2 video: their headers, and the sequence header with its size (ISO 13818-2 §6.2).
fn mpeg_video(track: &mut Track, unit: &Unit<'_>) -> u32 {
    let mut found = 0u32;
    for part in annex_b(unit.data) {
        match part {
            [0xb3, w, wh, h, ..] => {
                let width = u32::from(*w) << 4 | u32::from(wh >> 4);
                let height = u32::from(wh & 0xf) << 8 | u32::from(*h);
                (track.stats.info.width, track.stats.info.height) = (Some(width), Some(height));
            }
            // picture_start_code: ten bits of time, then the type, 1 being intra coded.
            [0x00, _, second, ..] => {
                frame(&mut track.stats, unit, second >> 3 & 7 == 1);
                found = found.saturating_add(1);
            }
            _ => {}
        }
    }
    found
}
