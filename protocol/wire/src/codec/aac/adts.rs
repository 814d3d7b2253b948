//! ADTS: a header before every frame (ISO 13818-7 §6.2, ISO 14496-3 §1.A.3.2).
//!
//! ```text
//! | sync(12) ones | id(1) layer(2)=0 no CRC(1) | profile(2) frequency(4) private(1) channels(3) | copyright(4) |
//! | frame length(13) | fullness(11) | raw data blocks - 1(2) | CRC(16), where it is | raw data block |
//! ```

use super::{AudioSpecificConfig, FREQUENCIES, Signalling};
use crate::cursor::Cursor;
use crate::error::{Problem, Result};
use crate::trace::{Field, Trace, field};

const SPEC: &str = "ISO 13818-7 §6.2.1";
static GROUP: Field = field("ADTS header", SPEC, "What a decoder has to know of the frame behind it.");
static SYNC: Field = field("syncword", SPEC, "Twelve ones.");
static ID: Field = field("ID", SPEC, "0: MPEG-4, 1: MPEG-2.");
static LAYER: Field = field("layer", SPEC, "0.");
static ABSENT: Field = field("protection_absent", SPEC, "0: a CRC follows the header.");
static PROFILE: Field = field("profile", SPEC, "Object type less one: 1 is LC.");
static FREQUENCY: Field = field("sampling_frequency_index", SPEC, "Of the core coder.");
static PRIVATE: Field = field("private_bit", SPEC, "Free for use.");
static CHANNELS: Field = field("channel_configuration", SPEC, "0: the frame says.");
static RIGHTS: Field = field("original, home, copyright", SPEC, "Without effect on decoding.");
static LENGTH: Field = field("aac_frame_length", SPEC, "Bytes, this header counted.");
static FULLNESS: Field = field("adts_buffer_fullness", SPEC, "0x7ff: variable rate.");
static BLOCKS: Field = field("number_of_raw_data_blocks_in_frame", SPEC, "One less than there are.");
static CRC: Field = field("crc_check", SPEC, "Over header and frame.");

/// A frame's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What an AudioSpecificConfig would say.
    pub config: AudioSpecificConfig,
    /// Bytes of the frame, header counted.
    pub length: usize,
    /// Bytes of the header.
    pub header: usize,
    /// Raw data blocks in it, of 1024 samples each.
    pub blocks: u8,
}

impl Header {
    /// Reads a header; the cursor then stands at the first raw data block.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        c.group(&GROUP, |c| {
            let value =
                |c: &Cursor<'_, T>, field, want, got| Err(c.error(field, Problem::Value { want, got }));
            let sync = c.bits(&SYNC, 12)?;
            if sync != 0xfff {
                return value(c, &SYNC, "twelve ones", sync);
            }
            c.flag(&ID)?;
            let layer = c.bits(&LAYER, 2)?;
            if layer != 0 {
                return value(c, &LAYER, "0", layer);
            }
            let absent = c.flag(&ABSENT)?;
            let profile = (c.bits(&PROFILE, 2)? & 3) as u8;
            let index = c.bits(&FREQUENCY, 4)?;
            let Some(frequency) = usize::try_from(index).ok().and_then(|index| FREQUENCIES.get(index)) else {
                return value(c, &FREQUENCY, "0 to 12", index);
            };
            c.flag(&PRIVATE)?;
            let channel_configuration = (c.bits(&CHANNELS, 3)? & 7) as u8;
            c.bits(&RIGHTS, 4)?;
            let length = usize::try_from(c.bits(&LENGTH, 13)?).unwrap_or(0);
            c.bits(&FULLNESS, 11)?;
            let blocks = (c.bits(&BLOCKS, 2)? & 3) as u8;
            let header = if absent { 7usize } else { 9 };
            if length <= header {
                return value(c, &LENGTH, "more than the header", length as u64);
            }
            if !absent {
                c.u16(&CRC)?;
            }
            let config = AudioSpecificConfig {
                object_type: profile.saturating_add(1),
                frequency: *frequency,
                channel_configuration,
                listed_channels: None,
                short_frame: false,
                signalling: Signalling::Implicit,
                sbr: None,
                ps: None,
                extension_frequency: None,
            };
            Ok(Self { config, length, header, blocks: blocks.saturating_add(1) })
        })
    }

    /// Reads the header at the beginning of some bytes; none where there is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Self::decode(&mut Cursor::new(bytes)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_by_hand() {
        // LC, 48 kHz (3), stereo, 371 bytes, variable rate, one block.
        let header = Header::parse(&[0xff, 0xf1, 0x4c, 0x80, 0x2e, 0x7f, 0xfc]).unwrap();
        assert_eq!((header.config.object_type, header.config.frequency), (2, 48_000));
        assert_eq!(
            (header.config.core_channels(), header.length, header.header, header.blocks),
            (Some(2), 371, 7, 1)
        );
        // With a CRC the header has nine bytes.
        let header = Header::parse(&[0xff, 0xf0, 0x5c, 0x40, 0x01, 0xff, 0xfc, 1, 2]).unwrap();
        assert_eq!(
            (header.config.frequency, header.config.core_channels(), header.header),
            (22_050, Some(1), 9)
        );
        for bytes in [
            [0xff, 0xe1, 0x4c, 0x80, 0x2e, 0x7f, 0xfc],
            [0xff, 0xf3, 0x4c, 0x80, 0x2e, 0x7f, 0xfc],
            [0xff, 0xf1, 0x74, 0x80, 0x2e, 0x7f, 0xfc],
            [0xff, 0xf1, 0x4c, 0x80, 0x00, 0x7f, 0xfc],
        ] {
            assert_eq!(Header::parse(&bytes), None);
        }
    }
}
