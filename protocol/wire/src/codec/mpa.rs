//! MPEG audio frame headers of all layers (ISO 11172-3 §2.4.1.3, ISO 13818-3 §2.4.1.3).
//!
//! ```text
//! | sync(11) ones | version(2) | layer(2) | no CRC(1) | bit rate(4) | frequency(2) | padding(1) | private(1) |
//! | mode(2) | mode extension(2) | copyright(1) | original(1) | emphasis(2) |
//! ```

use crate::cursor::Cursor;
use crate::error::{Problem, Result};
use crate::trace::{Field, Trace, field};

const SPEC: &str = "ISO 11172-3 §2.4.2.3";
static GROUP: Field = field("MPEG audio header", SPEC, "Begins every frame of layer I, II and III.");
static SYNC: Field = field("syncword", SPEC, "Eleven ones.");
static VERSION: Field =
    field("version", SPEC, "3: MPEG-1, 2: MPEG-2 (half rates), 0: MPEG-2.5 (quarter rates).");
static LAYER: Field = field("layer", SPEC, "3: I, 2: II, 1: III (MP3).");
static PROTECTION: Field = field("protection absent", SPEC, "0: a CRC follows.");
static BIT_RATE: Field = field("bit rate index", SPEC, "Into the table of version and layer.");
static FREQUENCY: Field = field("sampling frequency index", SPEC, "Into the table of the version.");
static PADDING: Field = field("padding bit", SPEC, "1: the frame is one slot longer.");
static PRIVATE: Field = field("private bit", SPEC, "Free for use.");
static MODE: Field = field("mode", SPEC, "3: one channel, else two.");
static EXTENSION: Field = field("mode extension", SPEC, "How joint stereo is coded.");
static RIGHTS: Field = field("copyright, original, emphasis", SPEC, "Without effect on decoding.");

/// Bytes of a header.
pub const HEADER: usize = 4;

/// One frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// 1, 2 or 3.
    pub layer: u8,
    /// Samples a second.
    pub sample_rate: u32,
    /// 1 or 2.
    pub channels: u8,
    /// Bytes of the whole frame; none where its rate is not written (free format).
    pub size: Option<usize>,
    /// Samples of each channel.
    pub samples: u32,
}

/// kbit/s by index: MPEG-1 layers I, II, III, then MPEG-2 layer I, then its layers II and III.
const RATES: [[u32; 15]; 5] = [
    [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

impl Header {
    /// Reads a header.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        c.group(&GROUP, |c| {
            let refuse =
                |c: &Cursor<'_, T>, field, want, got| Err(c.error(field, Problem::Value { want, got }));
            let sync = c.bits(&SYNC, 11)?;
            if sync != 0x7ff {
                return refuse(c, &SYNC, "eleven ones", sync);
            }
            let version = c.bits(&VERSION, 2)?;
            let layer = match c.bits(&LAYER, 2)? {
                3 => 1u8,
                2 => 2,
                1 => 3,
                other => return refuse(c, &LAYER, "1 to 3", other),
            };
            c.flag(&PROTECTION)?;
            let index = c.bits(&BIT_RATE, 4)?;
            let frequency = c.bits(&FREQUENCY, 2)?;
            let padding = u32::from(c.flag(&PADDING)?);
            c.flag(&PRIVATE)?;
            let mode = c.bits(&MODE, 2)?;
            c.bits(&EXTENSION, 2)?;
            c.bits(&RIGHTS, 4)?;
            let base = match frequency {
                0 => 44_100u32,
                1 => 48_000,
                2 => 32_000,
                other => return refuse(c, &FREQUENCY, "0 to 2", other),
            };
            let sample_rate = match version {
                3 => base,
                2 => base >> 1,
                0 => base >> 2,
                other => return refuse(c, &VERSION, "0, 2 or 3", other),
            };
            let first = version == 3;
            let table = match (first, layer) {
                (true, 1) => 0usize,
                (true, 2) => 1,
                (true, _) => 2,
                (false, 1) => 3,
                (false, _) => 4,
            };
            let row = RATES.get(table).copied().unwrap_or_default();
            let Some(rate) = row.get(usize::try_from(index).unwrap_or(15)) else {
                return refuse(c, &BIT_RATE, "0 to 14", index);
            };
            let samples = match layer {
                1 => 384u32,
                3 if !first => 576,
                _ => 1152,
            };
            let bits = rate.saturating_mul(1000);
            let slots = match layer {
                1 => {
                    bits.saturating_mul(12).checked_div(sample_rate).unwrap_or(0).saturating_add(padding) << 2
                }
                _ => bits
                    .saturating_mul(samples >> 3)
                    .checked_div(sample_rate)
                    .unwrap_or(0)
                    .saturating_add(padding),
            };
            let size = usize::try_from(slots).ok().filter(|_| *rate > 0);
            Ok(Self { layer, sample_rate, channels: if mode == 3 { 1 } else { 2 }, size, samples })
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
    use crate::trace::Tree;

    #[test]
    fn headers_by_hand() {
        // MPEG-1 layer III, 128 kbit/s, 44.1 kHz, joint stereo: 417 bytes, 418 with padding.
        let header = Header::parse(&[0xff, 0xfb, 0x90, 0x64]).unwrap();
        let want = Header { layer: 3, sample_rate: 44_100, channels: 2, size: Some(417), samples: 1152 };
        assert_eq!(header, want);
        assert_eq!(Header::parse(&[0xff, 0xfb, 0x92, 0x64]).unwrap().size, Some(418));
        // MPEG-1 layer II, 192 kbit/s, 48 kHz: 576 bytes.
        let header = Header::parse(&[0xff, 0xfd, 0xa4, 0x00]).unwrap();
        assert_eq!((header.layer, header.sample_rate, header.size), (2, 48_000, Some(576)));
        // MPEG-2 layer III, 64 kbit/s, 22.05 kHz, mono: 208 bytes of 576 samples.
        let header = Header::parse(&[0xff, 0xf3, 0x80, 0xc4]).unwrap();
        assert_eq!((header.channels, header.size, header.samples), (1, Some(208), 576));
        assert_eq!(header.sample_rate, 22_050);
        // ADTS has layer 0, and 0xffff is no version, frequency or rate.
        for bytes in
            [[0xff, 0xf1, 0x50, 0x80], [0xff, 0xff, 0xff, 0xff], [0xff, 0xeb, 0x90, 0], [0xff, 0xfb, 0x9c, 0]]
        {
            assert_eq!(Header::parse(&bytes), None, "{bytes:02x?}");
        }
        assert!(Header::parse(&[0xff, 0xfb, 0x90]).is_none());
    }

    #[test]
    fn leaves_tile() {
        let mut c = Cursor::traced(&[0xff, 0xfb, 0x90, 0x64], Tree::default());
        Header::decode(&mut c).unwrap();
        let ends: Vec<_> = c.into_trace().leaves().map(|leaf| leaf.bits.clone()).collect();
        assert!(ends.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!(ends.last().unwrap().end, 32);
    }
}
