//! moof: the samples of one fragment (ISO/IEC 14496-12 §8.8), and the boxes that stand between fragments.
//!
//! ```text
//! moof { mfhd, traf { tfhd, tfdt, trun… }… }   mdat
//! tfhd flags  0x1 base-data-offset  0x2 description  0x8 duration  0x10 size  0x20 flags  0x020000 base is moof
//! trun flags  0x1 data-offset  0x4 first-sample-flags  0x100 duration  0x200 size  0x400 flags  0x800 composition
//! ```

use super::{Inside, i32_of, sized};
use crate::cursor::Cursor;
use crate::error::{Problem, Result};
use crate::trace::{Field, Trace, field};

static FRAGMENT: Field = field("moof", "ISO 14496-12 §8.8.4", "The samples of a fragment.");
static SEQUENCE: Field = field("sequence_number", "ISO 14496-12 §8.8.5", "Number of the fragment, rising.");
static TRACK_ID: Field = field("track_ID", "ISO 14496-12 §8.8.7", "The track.");
static BASE: Field =
    field("base_data_offset", "ISO 14496-12 §8.8.7", "Byte of the file that offsets count from.");
static DESCRIPTION: Field =
    field("sample_description_index", "ISO 14496-12 §8.8.7", "Entry of stsd, from 1.");
static DURATION: Field =
    field("sample_duration", "ISO 14496-12 §8.8.8", "Decoding time to the next sample, in ticks.");
static SIZE: Field = field("sample_size", "ISO 14496-12 §8.8.8", "Bytes of the sample.");
static FLAGS: Field =
    field("sample_flags", "ISO 14496-12 §8.8.3.1", "Dependencies; 0x10000: no sync sample.");
static COMPOSITION: Field = field(
    "sample_composition_time_offset",
    "ISO 14496-12 §8.8.8",
    "Presentation minus decoding time, in ticks.",
);
static DECODE_TIME: Field =
    field("baseMediaDecodeTime", "ISO 14496-12 §8.8.12", "Decoding time of the first sample, in ticks.");
static COUNT: Field = field("sample_count", "ISO 14496-12 §8.8.8", "Samples of the run.");
static DATA_OFFSET: Field = field("data_offset", "ISO 14496-12 §8.8.8", "Where the run's data begins.");
static REFERENCE: Field = field("reference_ID", "ISO 14496-12 §8.16.3", "The track the index is of.");
static TIMESCALE: Field = field("timescale", "ISO 14496-12 §8.16.3", "Ticks per second of the times here.");
static EARLIEST: Field =
    field("earliest_presentation_time", "ISO 14496-12 §8.16.3", "First presentation time.");
static FIRST_OFFSET: Field =
    field("first_offset", "ISO 14496-12 §8.16.3", "Bytes from the index to the first piece.");
static RESERVED: Field = field("reserved", "ISO 14496-12 §8.16.3", "Nothing.");
static PIECES: Field = field("reference_count", "ISO 14496-12 §8.16.3", "Pieces of the index.");
static PIECE: Field =
    field("referenced_size", "ISO 14496-12 §8.16.3", "Bytes of the piece; the top bit: an index.");
static PIECE_DURATION: Field =
    field("subsegment_duration", "ISO 14496-12 §8.16.3", "Length of the piece in ticks.");
static ACCESS: Field = field("SAP", "ISO 14496-12 §8.16.3", "How the piece can be started at.");

/// Samples that a run without any field per sample may have: their count alone costs a sender nothing.
const BARE_SAMPLES: u32 = 1 << 16;

/// Bit of sample flags: decoding cannot start here.
pub const NON_SYNC: u32 = 0x1_0000;
/// Sample flags of a picture that depends on others.
pub const FLAGS_INTER: u32 = 0x0101_0000;
/// Sample flags of a picture or frame that depends on nothing.
pub const FLAGS_KEY: u32 = 0x0200_0000;

/// A fragment's samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Number of the fragment.
    pub sequence: u32,
    /// Its tracks.
    pub tracks: Vec<TrackFragment>,
}

/// traf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrackFragment {
    /// The track.
    pub track: u32,
    /// Byte of the file that offsets count from, where it is given.
    pub base_offset: Option<u64>,
    /// True where offsets count from the moof.
    pub base_is_moof: bool,
    /// Duration of samples that have none.
    pub duration: Option<u32>,
    /// Size of samples that have none.
    pub size: Option<u32>,
    /// Flags of samples that have none.
    pub flags: Option<u32>,
    /// Decoding time of the first sample, in ticks of the track.
    pub decode_time: Option<u64>,
    /// The runs.
    pub runs: Vec<Run>,
}

/// trun.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Where its data begins, from the base.
    pub data_offset: Option<i32>,
    /// Flags of the first sample.
    pub first_flags: Option<u32>,
    /// The samples.
    pub samples: Vec<RunSample>,
}

/// One sample of a run; what is `None` the track fragment or trex says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunSample {
    /// Ticks to the next.
    pub duration: Option<u32>,
    /// Bytes.
    pub size: Option<u32>,
    /// Sample flags.
    pub flags: Option<u32>,
    /// Presentation minus decoding time in ticks.
    pub composition: i64,
}

impl Fragment {
    /// Reads the content of a moof.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        let mut fragment = Self::default();
        c.group(&FRAGMENT, |c| {
            Inside::all(c).boxes(c, &mut |c, inside| {
                match &inside.kind.0 {
                    b"mfhd" => {
                        inside.full(c)?;
                        fragment.sequence = c.u32(&SEQUENCE)?;
                    }
                    b"traf" => {
                        let mut track = TrackFragment::default();
                        inside.boxes(c, &mut |c, inside| track.part(c, inside))?;
                        fragment.tracks.push(track);
                    }
                    _ => {}
                }
                Ok(())
            })
        })?;
        Ok(fragment)
    }
}

impl TrackFragment {
    fn part<T: Trace>(&mut self, c: &mut Cursor<'_, T>, inside: Inside) -> Result<()> {
        match &inside.kind.0 {
            b"tfhd" => {
                let (_, flags) = inside.full(c)?;
                self.track = c.u32(&TRACK_ID)?;
                self.base_is_moof = flags & 0x02_0000 != 0;
                self.base_offset = present(flags, 0x1, || c.u64(&BASE))?;
                present(flags, 0x2, || c.u32(&DESCRIPTION))?;
                self.duration = present(flags, 0x8, || c.u32(&DURATION))?;
                self.size = present(flags, 0x10, || c.u32(&SIZE))?;
                self.flags = present(flags, 0x20, || c.u32(&FLAGS))?;
            }
            b"tfdt" => {
                let (version, _) = inside.full(c)?;
                self.decode_time = Some(sized(c, version, &DECODE_TIME)?);
            }
            b"trun" => self.runs.push(Run::decode(c, inside)?),
            _ => {}
        }
        Ok(())
    }
}

impl Run {
    fn decode<T: Trace>(c: &mut Cursor<'_, T>, inside: Inside) -> Result<Self> {
        let (_, flags) = inside.full(c)?;
        let count = c.u32(&COUNT)?;
        let data_offset = present(flags, 0x1, || i32_of(c, &DATA_OFFSET))?;
        let first_flags = present(flags, 0x4, || c.u32(&FLAGS))?;
        let each = usize::try_from((flags & 0xf00).count_ones()).unwrap_or(4).saturating_mul(4);
        let room =
            inside.left(c).checked_div(each).and_then(|n| u32::try_from(n).ok()).unwrap_or(BARE_SAMPLES);
        if count > room {
            return Err(c.error(&COUNT, Problem::TooLarge { limit: u64::from(room), got: u64::from(count) }));
        }
        let mut samples = Vec::new();
        for _ in 0..count {
            samples.push(RunSample {
                duration: present(flags, 0x100, || c.u32(&DURATION))?,
                size: present(flags, 0x200, || c.u32(&SIZE))?,
                flags: present(flags, 0x400, || c.u32(&FLAGS))?,
                // Version 0 is unsigned by the letter; writers put signed offsets there all the same.
                composition: present(flags, 0x800, || i32_of(c, &COMPOSITION))?.map_or(0, i64::from),
            });
        }
        Ok(Self { data_offset, first_flags, samples })
    }
}

fn present<R>(flags: u32, bit: u32, read: impl FnOnce() -> Result<R>) -> Result<Option<R>> {
    if flags & bit == 0 { Ok(None) } else { read().map(Some) }
}

/// sidx: an index of the fragments that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentIndex {
    /// The track it is of.
    pub track: u32,
    /// Ticks per second of the times here.
    pub timescale: u32,
    /// First presentation time.
    pub earliest: u64,
    /// Bytes and ticks of each piece.
    pub pieces: Vec<(u32, u32)>,
}

impl SegmentIndex {
    /// Reads the content of a sidx.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        let inside = Inside::all(c);
        let (version, _) = inside.full(c)?;
        let (track, timescale) = (c.u32(&REFERENCE)?, c.u32(&TIMESCALE)?);
        let earliest = sized(c, version, &EARLIEST)?;
        sized(c, version, &FIRST_OFFSET)?;
        c.u16(&RESERVED)?;
        let mut pieces = Vec::new();
        for _ in 0..c.u16(&PIECES)? {
            let size = c.u32(&PIECE)? & 0x7fff_ffff;
            pieces.push((size, c.u32(&PIECE_DURATION)?));
            c.u32(&ACCESS)?;
        }
        Ok(Self { track, timescale, earliest, pieces })
    }
}
