//! moov: the tracks of a file (ISO/IEC 14496-12 §8.2 to §8.8).
//!
//! ```text
//! moov { mvhd, trak { tkhd, edts { elst }, mdia { mdhd, hdlr, minf { stbl { stsd, stts, ctts, stsc, stsz, stco, stss } } } },
//!        mvex { mehd, trex } }
//! ```

use super::entry::Form;
use super::{BoxType, Inside, SampleEntry, i32_of, sized};
use crate::cursor::Cursor;
use crate::error::{Problem, Result};
use crate::trace::{Field, Trace, field};

static MOVIE: Field = field("moov", "ISO 14496-12 §8.2.1", "The tracks of the file.");
static TIME: Field = field("time", "ISO 14496-12 §8.2.2", "Creation or modification, seconds since 1904.");
static TIMESCALE: Field = field("timescale", "ISO 14496-12 §8.2.2", "Ticks per second.");
static DURATION: Field =
    field("duration", "ISO 14496-12 §8.2.2", "Length in ticks; 0 where fragments follow.");
static TRACK_ID: Field = field("track_ID", "ISO 14496-12 §8.3.2", "Number of the track, never 0.");
static RESERVED: Field = field("reserved", "ISO 14496-12 §8.3.2", "Nothing.");
static LAYOUT: Field = field("layout", "ISO 14496-12 §8.3.2", "Layer, group, volume and matrix.");
static WIDTH: Field = field("width", "ISO 14496-12 §8.3.2", "Width shown, 16.16 pixels.");
static HEIGHT: Field = field("height", "ISO 14496-12 §8.3.2", "Height shown, 16.16 pixels.");
static HANDLER: Field = field("handler_type", "ISO 14496-12 §8.4.3", "vide, soun, …");
static SEGMENT: Field =
    field("segment_duration", "ISO 14496-12 §8.6.6", "Length of the edit in movie ticks.");
static MEDIA_TIME: Field =
    field("media_time", "ISO 14496-12 §8.6.6", "Where it begins in the media; -1: a pause.");
static MEDIA_RATE: Field = field("media_rate", "ISO 14496-12 §8.6.6", "Speed, 16.16.");
static SAMPLE_COUNT: Field = field("sample_count", "ISO 14496-12 §8.6.1.2", "Samples in a row.");
static DELTA: Field = field("sample_delta", "ISO 14496-12 §8.6.1.2", "Decoding time to the next sample.");
static OFFSET: Field = field("sample_offset", "ISO 14496-12 §8.6.1.3", "Presentation minus decoding time.");
static FIRST_CHUNK: Field = field("first_chunk", "ISO 14496-12 §8.7.4", "First chunk of a run, from 1.");
static PER_CHUNK: Field =
    field("samples_per_chunk", "ISO 14496-12 §8.7.4", "Samples of each chunk of the run.");
static DESCRIPTION: Field =
    field("sample_description_index", "ISO 14496-12 §8.7.4", "Entry of stsd, from 1.");
static SIZE: Field =
    field("sample_size", "ISO 14496-12 §8.7.3", "Bytes of every sample; 0: a table follows.");
static ENTRY_SIZE: Field = field("entry_size", "ISO 14496-12 §8.7.3", "Bytes of the sample.");
static CHUNK: Field = field("chunk_offset", "ISO 14496-12 §8.7.5", "Byte of the file a chunk begins at.");
static SYNC: Field =
    field("sample_number", "ISO 14496-12 §8.6.2", "A sample that decoding can start at, from 1.");
static FLAGS: Field = field("default_sample_flags", "ISO 14496-12 §8.8.3", "Flags of samples that say none.");

/// A file's tracks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Movie<'b> {
    /// Ticks per second of durations of the movie and of edits.
    pub timescale: u32,
    /// Length in ticks; 0 where it is not known.
    pub duration: u64,
    /// The tracks.
    pub tracks: Vec<Track<'b>>,
    /// Defaults of fragments, one a track; empty in a file without fragments.
    pub defaults: Vec<Defaults>,
}

/// trex: what samples of fragments have where they say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// The track.
    pub track: u32,
    /// Duration in ticks.
    pub duration: u32,
    /// Bytes.
    pub size: u32,
    /// Sample flags.
    pub flags: u32,
}

/// A track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track<'b> {
    /// Its number.
    pub id: u32,
    /// Width and height shown, in pixels rounded down.
    pub size: (u32, u32),
    /// Ticks per second of the track's times.
    pub timescale: u32,
    /// Length in ticks of the track; 0 where it is not known.
    pub duration: u64,
    /// `vide`, `soun`, …
    pub handler: BoxType,
    /// What decoders must know.
    pub entries: Vec<SampleEntry<'b>>,
    /// The edit list.
    pub edits: Vec<Edit>,
    /// Where the samples are.
    pub samples: SampleTable,
}

/// One edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Length in ticks of the movie.
    pub duration: u64,
    /// Where it begins in ticks of the track; `None` for a pause.
    pub media_time: Option<u64>,
}

/// stbl without the sample entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampleTable {
    /// Runs of decoding times: samples, ticks to the next.
    pub durations: Vec<(u32, u32)>,
    /// Runs of composition offsets: samples, ticks.
    pub compositions: Vec<(u32, i64)>,
    /// Runs of chunks: first chunk from 1, samples in each, entry of stsd from 1.
    pub chunks: Vec<(u32, u32, u32)>,
    /// Bytes of every sample; 0 where `sizes` has them.
    pub size: u32,
    /// Samples.
    pub count: u32,
    /// Bytes of each sample.
    pub sizes: Vec<u32>,
    /// Where chunks begin in the file.
    pub offsets: Vec<u64>,
    /// Samples that decoding can start at, from 1; `None` where all are such.
    pub sync: Option<Vec<u32>>,
}

impl<'b> Movie<'b> {
    /// Reads the content of a moov.
    pub fn decode<T: Trace>(c: &mut Cursor<'b, T>) -> Result<Self> {
        let mut movie = Self::default();
        c.group(&MOVIE, |c| {
            Inside::all(c).boxes(c, &mut |c, inside| {
                match &inside.kind.0 {
                    b"mvhd" => {
                        let (version, _) = inside.full(c)?;
                        sized(c, version, &TIME)?;
                        sized(c, version, &TIME)?;
                        movie.timescale = c.u32(&TIMESCALE)?;
                        movie.duration = sized(c, version, &DURATION)?;
                    }
                    b"trak" => movie.tracks.push(track(c, inside)?),
                    b"mvex" => inside.boxes(c, &mut |c, inside| {
                        if inside.kind.0 == *b"trex" {
                            movie.defaults.push(defaults(c, inside)?);
                        }
                        Ok(())
                    })?,
                    _ => {}
                }
                Ok(())
            })
        })?;
        Ok(movie)
    }

    /// The fragment defaults of a track.
    pub fn defaults_of(&self, track: u32) -> Defaults {
        self.defaults.iter().find(|d| d.track == track).copied().unwrap_or_default()
    }
}

fn defaults<T: Trace>(c: &mut Cursor<'_, T>, inside: Inside) -> Result<Defaults> {
    inside.full(c)?;
    let track = c.u32(&TRACK_ID)?;
    c.u32(&DESCRIPTION)?;
    Ok(Defaults { track, duration: c.u32(&DELTA)?, size: c.u32(&SIZE)?, flags: c.u32(&FLAGS)? })
}

fn track<'b, T: Trace>(c: &mut Cursor<'b, T>, inside: Inside) -> Result<Track<'b>> {
    let mut track = Track {
        id: 0,
        size: (0, 0),
        timescale: 0,
        duration: 0,
        handler: BoxType([0; 4]),
        entries: Vec::new(),
        edits: Vec::new(),
        samples: SampleTable::default(),
    };
    inside.boxes(c, &mut |c, inside| match &inside.kind.0 {
        b"tkhd" => {
            let (version, _) = inside.full(c)?;
            sized(c, version, &TIME)?;
            sized(c, version, &TIME)?;
            track.id = c.u32(&TRACK_ID)?;
            c.u32(&RESERVED)?;
            sized(c, version, &DURATION)?;
            c.bytes(&LAYOUT, 52)?;
            track.size = (c.u32(&WIDTH)? >> 16, c.u32(&HEIGHT)? >> 16);
            Ok(())
        }
        b"edts" => inside.boxes(c, &mut |c, inside| {
            if inside.kind.0 == *b"elst" {
                track.edits = edits(c, inside)?;
            }
            Ok(())
        }),
        b"mdia" => inside.boxes(c, &mut |c, inside| media(c, inside, &mut track)),
        _ => Ok(()),
    })?;
    Ok(track)
}

fn edits<T: Trace>(c: &mut Cursor<'_, T>, inside: Inside) -> Result<Vec<Edit>> {
    let (version, _) = inside.full(c)?;
    let mut edits = Vec::new();
    for _ in 0..inside.count(c, if version == 1 { 20 } else { 12 })? {
        let duration = sized(c, version, &SEGMENT)?;
        let start = sized(c, version, &MEDIA_TIME)?;
        let pause = start == if version == 1 { u64::MAX } else { u64::from(u32::MAX) };
        c.u32(&MEDIA_RATE)?;
        edits.push(Edit { duration, media_time: (!pause).then_some(start) });
    }
    Ok(edits)
}

fn media<'b, T: Trace>(c: &mut Cursor<'b, T>, inside: Inside, track: &mut Track<'b>) -> Result<()> {
    match &inside.kind.0 {
        b"mdhd" => {
            let (version, _) = inside.full(c)?;
            sized(c, version, &TIME)?;
            sized(c, version, &TIME)?;
            track.timescale = c.u32(&TIMESCALE)?;
            track.duration = sized(c, version, &DURATION)?;
            Ok(())
        }
        b"hdlr" => {
            inside.full(c)?;
            let kind = c.u32(&RESERVED)?.to_be_bytes();
            let handler = BoxType(c.u32(&HANDLER)?.to_be_bytes());
            // QuickTime has a second one inside minf, which tells where the data is.
            if kind != *b"dhlr" {
                track.handler = handler;
            }
            Ok(())
        }
        b"minf" | b"stbl" => inside.boxes(c, &mut |c, inside| media(c, inside, track)),
        b"stsd" => {
            inside.full(c)?;
            inside.count(c, 8)?;
            let form = match &track.handler.0 {
                b"vide" => Form::Visual,
                b"soun" => Form::Audio,
                _ => Form::Other,
            };
            inside.boxes(c, &mut |c, inside| {
                track.entries.push(SampleEntry::decode(c, inside, form)?);
                Ok(())
            })
        }
        _ => table(c, inside, &mut track.samples),
    }
}

fn table<T: Trace>(c: &mut Cursor<'_, T>, inside: Inside, table: &mut SampleTable) -> Result<()> {
    match &inside.kind.0 {
        b"stts" => {
            inside.full(c)?;
            for _ in 0..inside.count(c, 8)? {
                table.durations.push((c.u32(&SAMPLE_COUNT)?, c.u32(&DELTA)?));
            }
        }
        b"ctts" => {
            inside.full(c)?;
            for _ in 0..inside.count(c, 8)? {
                // Version 0 is unsigned by the letter; writers put signed offsets there all the same.
                table.compositions.push((c.u32(&SAMPLE_COUNT)?, i64::from(i32_of(c, &OFFSET)?)));
            }
        }
        b"stsc" => {
            inside.full(c)?;
            for _ in 0..inside.count(c, 12)? {
                table.chunks.push((c.u32(&FIRST_CHUNK)?, c.u32(&PER_CHUNK)?, c.u32(&DESCRIPTION)?));
            }
        }
        b"stsz" => {
            inside.full(c)?;
            table.size = c.u32(&SIZE)?;
            if table.size == 0 {
                table.count = inside.count(c, 4)?;
                for _ in 0..table.count {
                    table.sizes.push(c.u32(&ENTRY_SIZE)?);
                }
            } else {
                table.count = c.u32(&SAMPLE_COUNT)?;
            }
        }
        b"stz2" => {
            inside.full(c)?;
            c.bytes(&RESERVED, 3)?;
            let bits = u32::from(c.u8(&SIZE)?);
            let count = c.u32(&SAMPLE_COUNT)?;
            let need = u64::from(count).saturating_mul(u64::from(bits)).div_ceil(8);
            if !matches!(bits, 4 | 8 | 16) || need > inside.left(c) as u64 {
                let limit = inside.left(c) as u64;
                return Err(c.error(&SAMPLE_COUNT, Problem::TooLarge { limit, got: need }));
            }
            table.count = count;
            for _ in 0..count {
                table.sizes.push(u32::try_from(c.bits(&ENTRY_SIZE, bits)?).unwrap_or(0));
            }
            if bits == 4 && count & 1 == 1 {
                c.bits(&RESERVED, 4)?;
            }
        }
        b"stco" | b"co64" => {
            inside.full(c)?;
            let long = inside.kind.0 == *b"co64";
            for _ in 0..inside.count(c, if long { 8 } else { 4 })? {
                table.offsets.push(sized(c, u8::from(long), &CHUNK)?);
            }
        }
        b"stss" => {
            inside.full(c)?;
            let mut sync = Vec::new();
            for _ in 0..inside.count(c, 4)? {
                sync.push(c.u32(&SYNC)?);
            }
            table.sync = Some(sync);
        }
        _ => {}
    }
    Ok(())
}
