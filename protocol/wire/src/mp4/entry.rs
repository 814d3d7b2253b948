//! Sample entries: what a decoder must know of a track (ISO/IEC 14496-12 §8.5.2, -14 §5.6, -15 §5.4).
//!
//! ```text
//! visual  6 reserved | data_reference_index u16 | 16 | width u16 | height u16 | 50 | boxes (avcC, hvcC, …)
//! audio   6 reserved | data_reference_index u16 | 8 | channelcount u16 | samplesize u16 | 4 | samplerate 16.16 | boxes
//! esds    version, flags | ES_Descriptor(3) { DecoderConfigDescriptor(4) { DecoderSpecificInfo(5) } }
//! ```

use super::{BoxType, Inside};
use crate::cursor::Cursor;
use crate::error::{Problem, Result};
use crate::trace::{Field, Trace, field};

const CLAUSE: &str = "ISO 14496-12 §8.5.2";
const SYSTEMS: &str = "ISO 14496-1 §7.2.6";

static RESERVED: Field = field("reserved", CLAUSE, "Nothing.");
static REFERENCE: Field = field("data_reference_index", CLAUSE, "Which entry of dref the data is in.");
static WIDTH: Field = field("width", CLAUSE, "Width in pixels.");
static HEIGHT: Field = field("height", CLAUSE, "Height in pixels.");
static VISUAL: Field = field("visual", CLAUSE, "Resolution, frame count, compressor name, depth.");
static CHANNELS: Field = field("channelcount", CLAUSE, "Channels; the codec's own configuration counts.");
static SAMPLE_SIZE: Field = field("samplesize", CLAUSE, "Bits per uncompressed sample.");
static RATE: Field = field("samplerate", CLAUSE, "Hz in 16.16; the codec's own configuration counts.");
static QUICKTIME: Field =
    field("version", "QTFF sound sample description", "0, or 1 and 2 with more fields.");
static CONFIG: Field = field("configuration", CLAUSE, "The decoder configuration record.");
static TAG: Field = field("tag", SYSTEMS, "Class of the descriptor.");
static LENGTH: Field = field("sizeOfInstance", SYSTEMS, "Bytes of the descriptor, 7 bits a byte.");
static ES: Field = field("ES_ID", SYSTEMS, "Number of the elementary stream.");
static ES_FLAGS: Field = field("flags", SYSTEMS, "What is present of dependency, URL and clock.");
static OPTIONAL: Field = field("optional", SYSTEMS, "Dependency, URL or clock reference.");
static OBJECT_TYPE: Field = field("objectTypeIndication", SYSTEMS, "0x40: MPEG-4 audio; 0x69, 0x6b: MP3.");
static STREAM: Field = field("streamType", SYSTEMS, "Stream type, upstream bit, buffer size and bit rates.");
static DESCRIPTOR: Field = field("descriptor", SYSTEMS, "A descriptor and what it holds.");

/// One entry of stsd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleEntry<'b> {
    /// Format: `avc1`, `mp4a`, …
    pub kind: BoxType,
    /// Width and height in pixels, of video.
    pub size: Option<(u16, u16)>,
    /// Channels and sample rate in Hz, of audio.
    pub sound: Option<(u16, u32)>,
    /// objectTypeIndication of an esds.
    pub object_type: Option<u8>,
    /// Box the configuration came in: `avcC`, `esds`, …
    pub config_box: Option<BoxType>,
    /// The decoder configuration record as the codec defines it; of an esds the DecoderSpecificInfo.
    pub config: &'b [u8],
}

/// What a track's handler makes of its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Visual,
    Audio,
    Other,
}

impl<'b> SampleEntry<'b> {
    /// Reads an entry whose head was read.
    pub(crate) fn decode<T: Trace>(c: &mut Cursor<'b, T>, inside: Inside, form: Form) -> Result<Self> {
        let mut entry = Self {
            kind: inside.kind,
            size: None,
            sound: None,
            object_type: None,
            config_box: None,
            config: &[],
        };
        match form {
            Form::Visual => {
                c.bytes(&RESERVED, 6)?;
                c.u16(&REFERENCE)?;
                c.bytes(&RESERVED, 16)?;
                entry.size = Some((c.u16(&WIDTH)?, c.u16(&HEIGHT)?));
                c.bytes(&VISUAL, 50)?;
            }
            Form::Audio => {
                c.bytes(&RESERVED, 6)?;
                c.u16(&REFERENCE)?;
                let version = c.u16(&QUICKTIME)?;
                c.bytes(&RESERVED, 6)?;
                let channels = c.u16(&CHANNELS)?;
                c.u16(&SAMPLE_SIZE)?;
                c.u32(&RESERVED)?;
                entry.sound = Some((channels, c.u32(&RATE)? >> 16));
                let more = match version {
                    1 => 16,
                    2 => 36,
                    _ => 0,
                };
                c.bytes(&RESERVED, more)?;
            }
            Form::Other => return Ok(entry),
        }
        inside.boxes(c, &mut |c, child| match &child.kind.0 {
            b"avcC" | b"hvcC" | b"av1C" | b"vpcC" | b"dOps" | b"dfLa" => {
                let left = child.left(c);
                entry.config = c.bytes(&CONFIG, left)?;
                entry.config_box = Some(child.kind);
                Ok(())
            }
            b"esds" => {
                child.full(c)?;
                descriptors(c, child.end, 0, &mut entry)?;
                entry.config_box = Some(child.kind);
                Ok(())
            }
            // QuickTime hides the esds in here.
            b"wave" => child.boxes(c, &mut |c, inner| {
                if inner.kind.0 == *b"esds" {
                    inner.full(c)?;
                    descriptors(c, inner.end, 0, &mut entry)?;
                    entry.config_box = Some(inner.kind);
                }
                Ok(())
            }),
            _ => Ok(()),
        })?;
        Ok(entry)
    }
}

fn descriptors<'b, T: Trace>(
    c: &mut Cursor<'b, T>,
    end: usize,
    depth: u32,
    entry: &mut SampleEntry<'b>,
) -> Result<()> {
    if depth > 4 {
        return Err(c.error(&DESCRIPTOR, Problem::TooDeep { limit: 4 }));
    }
    while c.position() < end {
        c.group(&DESCRIPTOR, |c| {
            let tag = c.u8(&TAG)?;
            let mut length = 0usize;
            for _ in 0..4 {
                let byte = c.u8(&LENGTH)?;
                length = length << 7 | usize::from(byte & 0x7f);
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let stop = c.position().saturating_add(length);
            if stop > end {
                let limit = end.saturating_sub(c.position()) as u64;
                return Err(c.error(&LENGTH, Problem::TooLarge { limit, got: length as u64 }));
            }
            let deeper = depth.saturating_add(1);
            match tag {
                3 => {
                    c.u16(&ES)?;
                    let flags = c.u8(&ES_FLAGS)?;
                    if flags & 0x80 != 0 {
                        c.u16(&OPTIONAL)?;
                    }
                    if flags & 0x40 != 0 {
                        let url = c.u8(&OPTIONAL)?;
                        c.bytes(&OPTIONAL, usize::from(url))?;
                    }
                    if flags & 0x20 != 0 {
                        c.u16(&OPTIONAL)?;
                    }
                    descriptors(c, stop, deeper, entry)?;
                }
                4 => {
                    entry.object_type = Some(c.u8(&OBJECT_TYPE)?);
                    c.bytes(&STREAM, 12)?;
                    descriptors(c, stop, deeper, entry)?;
                }
                5 => entry.config = c.bytes(&CONFIG, length)?,
                _ => {}
            }
            let left = stop.saturating_sub(c.position());
            c.bytes(&OPTIONAL, left)?;
            Ok(())
        })?;
    }
    Ok(())
}
