//! LATM: AAC frames in AudioMuxElements (ISO 14496-3 §1.7.3), as RTP calls MP4A-LATM (RFC 6416).
//!
//! ```text
//! StreamMuxConfig: version(1) [version A(1)] same framing(1) sub-frames-1(6) programs-1(4) layers-1(3)
//!                  AudioSpecificConfig frame length type(3) fullness(8) | length(9) other data(1) [..] CRC(1) [crc(8)]
//! AudioMuxElement: [same config(1) [StreamMuxConfig]] { length(8 while 255) frame } [other data] alignment
//! ```
//!
//! Nothing but the first bit is aligned to bytes. What everybody sends is read: one program of one layer.

use super::AudioSpecificConfig;
use crate::cursor::Cursor;
use crate::error::{Problem, Result};
use crate::trace::{Field, Trace, field};

const MUX: &str = "ISO 14496-3 §1.7.3.1";

static CONFIG: Field = field("StreamMuxConfig", MUX, "What AudioMuxElements hold, and how.");
static VERSION: Field = field("audioMuxVersion", MUX, "1: lengths are written out.");
static VERSION_A: Field = field("audioMuxVersionA", MUX, "1 is not defined.");
static FULLNESS: Field = field("taraBufferFullness", MUX, "Fill of the bit buffer.");
static SAME_FRAMING: Field = field("allStreamsSameTimeFraming", MUX, "1: all payloads share one time base.");
static SUB_FRAMES: Field = field("numSubFrames", MUX, "Frames in an element, less one.");
static PROGRAMS: Field = field("numProgram", MUX, "Programs, less one.");
static LAYERS: Field = field("numLayer", MUX, "Layers of the program, less one.");
static ASC_LENGTH: Field = field("ascLen", MUX, "Bits of the AudioSpecificConfig.");
static ASC: Field = field("AudioSpecificConfig", MUX, "The configuration of the coder.");
static LENGTH_TYPE: Field = field("frameLengthType", MUX, "0: each frame says its length, 1: all have one.");
static BUFFER: Field = field("latmBufferFullness", MUX, "Fill of the bit buffer.");
static FIXED: Field = field("frameLength", MUX, "Bytes of a frame, less 20.");
static OTHER: Field = field("otherDataPresent", MUX, "1: data that is not sound follows the frames.");
static OTHER_LENGTH: Field = field("otherDataLenBits", MUX, "Bits of it.");
static CRC: Field = field("crcCheckPresent", MUX, "1: a checksum of the configuration follows.");
static CRC_SUM: Field = field("crcCheckSum", MUX, "Of the configuration.");
static VALUE: Field = field("LatmValue", MUX, "One to four bytes, as two bits before them say.");
static SAME_CONFIG: Field = field("useSameStreamMux", MUX, "1: the configuration before holds.");
static LENGTH: Field =
    field("MuxSlotLengthBytes", MUX, "Bytes of the frame: 255 and what follows, added up.");
static FRAME: Field = field("frame", MUX, "One raw frame.");
static ELEMENT: Field = field("AudioMuxElement", MUX, "Frames with their lengths.");

/// Longest AudioSpecificConfig believed, in bits.
const MAX_CONFIG: u64 = 8 * 256;
/// The fewest bits that follow it.
const TAIL: u64 = 3 + 8 + 1 + 1;

/// How long a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    /// Each says.
    Told,
    /// All have so many bytes.
    Fixed(usize),
}

/// A StreamMuxConfig of one program and one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamMuxConfig {
    /// The bytes of its AudioSpecificConfig, from a byte's first bit on; zeros fill the last.
    pub config: Vec<u8>,
    /// The same, read.
    pub audio: AudioSpecificConfig,
    /// Frames in an AudioMuxElement.
    pub frames: u8,
    length: Length,
    other_bits: u64,
}

impl StreamMuxConfig {
    /// Reads a config that begins with the first bit of `bytes`; what is behind it is padding.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Cursor::new(bytes).group(&CONFIG, |c| config(c, bytes, true))
    }

    /// Reads an AudioMuxElement without a configuration of its own: its frames. Bits behind them are left in the cursor.
    pub fn element(&self, bytes: &[u8]) -> Result<(Vec<Vec<u8>>, u64)> {
        let mut c = Cursor::new(bytes);
        let frames = c.group(&ELEMENT, |c| self.payload(c, bytes))?;
        Ok((frames, c.bits_left()))
    }

    fn payload<T: Trace>(&self, c: &mut Cursor<'_, T>, whole: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        for _ in 0..self.frames {
            let length = match self.length {
                Length::Fixed(length) => length,
                Length::Told => told_length(c)?,
            };
            let bits = (length as u64).saturating_mul(8);
            if bits > c.bits_left() {
                return Err(c.error(&FRAME, Problem::Short { want: length as u64, got: c.bits_left() >> 3 }));
            }
            frames.push(cut(whole, at(c, whole), bits));
            skip(c, &FRAME, bits)?;
        }
        skip(c, &OTHER, self.other_bits)?;
        Ok(frames)
    }
}

/// Reads an AudioMuxElement that may bring a configuration (`cpresent=1`), which replaces `known`. Gives its frames, none where
/// there is no configuration yet, and the bits behind them.
pub fn element_with_config(bytes: &[u8], known: &mut Option<StreamMuxConfig>) -> Result<(Vec<Vec<u8>>, u64)> {
    let mut c = Cursor::new(bytes);
    if !c.flag(&SAME_CONFIG)? {
        *known = Some(c.group(&CONFIG, |c| config(c, bytes, false))?);
    }
    let Some(known) = known else { return Ok((Vec::new(), 0)) };
    let frames = c.group(&ELEMENT, |c| known.payload(c, bytes))?;
    Ok((frames, c.bits_left()))
}

fn config<T: Trace>(c: &mut Cursor<'_, T>, whole: &[u8], alone: bool) -> Result<StreamMuxConfig> {
    let version = c.flag(&VERSION)?;
    if version {
        only(c, &VERSION_A, 1, 0)?;
        value(c, &FULLNESS)?;
    }
    only(c, &SAME_FRAMING, 1, 1)?;
    let frames = u8::try_from(c.bits(&SUB_FRAMES, 6)?).unwrap_or(0).saturating_add(1);
    only(c, &PROGRAMS, 4, 0)?;
    only(c, &LAYERS, 3, 0)?;
    let length = if version { Some(value(c, &ASC_LENGTH)?) } else { None };
    if let Some(length) = length.filter(|length| *length > MAX_CONFIG.min(c.bits_left())) {
        let limit = MAX_CONFIG.min(c.bits_left());
        return Err(c.error(&ASC_LENGTH, Problem::TooLarge { limit, got: length }));
    }
    // A frame length type of 2, which no coder of ours has, would begin as a sync extension does: nothing is mistaken for one.
    let from = at(c, whole);
    let held = cut(whole, from, length.unwrap_or(c.bits_left()).min(MAX_CONFIG));
    let mut inner = Cursor::based(&held, from >> 3);
    let audio = AudioSpecificConfig::decode(&mut inner)?;
    let read = (held.len() as u64).saturating_mul(8).saturating_sub(inner.bits_left());
    let bits = length.unwrap_or(read);
    let config = cut(&held, 0, bits);
    skip(c, &ASC, bits)?;
    // GStreamer describes no more than this, and means what everybody does.
    if alone && c.bits_left() < TAIL {
        return Ok(StreamMuxConfig { config, audio, frames, length: Length::Told, other_bits: 0 });
    }
    let length = match c.bits(&LENGTH_TYPE, 3)? {
        0 => {
            c.bits(&BUFFER, 8)?;
            Length::Told
        }
        1 => Length::Fixed(usize::try_from(c.bits(&FIXED, 9)?).unwrap_or(0).saturating_add(20)),
        other => return Err(c.error(&LENGTH_TYPE, Problem::Value { want: "0 or 1", got: other })),
    };
    let mut other_bits = 0u64;
    if c.flag(&OTHER)? {
        if version {
            other_bits = value(c, &OTHER_LENGTH)?;
        } else {
            let mut more = true;
            while more {
                more = c.flag(&OTHER_LENGTH)?;
                other_bits = other_bits.wrapping_shl(8) | c.bits(&OTHER_LENGTH, 8)?;
            }
        }
    }
    if c.flag(&CRC)? {
        c.bits(&CRC_SUM, 8)?;
    }
    Ok(StreamMuxConfig { config, audio, frames, length, other_bits })
}

/// Reads a field that has to have one value: the rest of the syntax nobody sends.
fn only<T: Trace>(c: &mut Cursor<'_, T>, field: &'static Field, bits: u32, want: u64) -> Result<()> {
    let got = c.bits(field, bits)?;
    if got == want {
        return Ok(());
    }
    let want = if want == 0 { "0" } else { "1" };
    Err(c.error(field, Problem::Value { want, got }))
}

/// LatmGetValue().
fn value<T: Trace>(c: &mut Cursor<'_, T>, field: &'static Field) -> Result<u64> {
    let more = c.bits(&VALUE, 2)?;
    let mut value = 0u64;
    for _ in 0..=more {
        value = value << 8 | c.bits(field, 8)?;
    }
    Ok(value)
}

/// PayloadLengthInfo().
fn told_length<T: Trace>(c: &mut Cursor<'_, T>) -> Result<usize> {
    let mut length = 0usize;
    loop {
        let byte = c.bits(&LENGTH, 8)?;
        length = length.saturating_add(usize::try_from(byte).unwrap_or(0));
        if byte < 255 {
            return Ok(length);
        }
    }
}

/// Where the cursor stands, in bits from the start of its bytes.
fn at<T: Trace>(c: &Cursor<'_, T>, whole: &[u8]) -> u64 {
    (whole.len() as u64).saturating_mul(8).saturating_sub(c.bits_left())
}

fn skip<T: Trace>(c: &mut Cursor<'_, T>, field: &'static Field, bits: u64) -> Result<()> {
    if bits > c.bits_left() {
        return Err(c.error(field, Problem::Short { want: bits.div_ceil(8), got: c.bits_left() >> 3 }));
    }
    let mut left = bits;
    while left > 0 {
        let step = left.min(32);
        c.bits(field, u32::try_from(step).unwrap_or(32))?;
        left = left.saturating_sub(step);
    }
    Ok(())
}

/// Some bits as bytes of their own.
fn cut(whole: &[u8], from: u64, bits: u64) -> Vec<u8> {
    let first = usize::try_from(from >> 3).unwrap_or(usize::MAX);
    let shift = u32::try_from(from & 7).unwrap_or(0);
    let byte = |n: usize| u16::from(whole.get(n).copied().unwrap_or(0));
    let count = usize::try_from(bits.div_ceil(8)).unwrap_or(0);
    let mut out: Vec<u8> = (first..first.saturating_add(count))
        .map(|n| {
            let pair = byte(n) << 8 | byte(n.saturating_add(1));
            let [high, _] = pair.wrapping_shl(shift).to_be_bytes();
            high
        })
        .collect();
    let odd = u32::try_from(bits & 7).unwrap_or(0);
    if let Some(last) = out.last_mut().filter(|_| odd > 0) {
        *last &= 0xffu8.wrapping_shl(8u32.saturating_sub(odd));
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use proptest::prelude::*;

    use super::*;

    /// Writes bits one after the other.
    #[derive(Default)]
    struct Bits(Vec<bool>);

    impl Bits {
        fn push(&mut self, value: u64, bits: u32) {
            self.0.extend((0..bits).rev().map(|n| value >> n & 1 == 1));
        }

        fn bytes(&self) -> Vec<u8> {
            let byte =
                |bits: &[bool]| bits.iter().enumerate().fold(0, |b, (n, bit)| b | u8::from(*bit) << (7 - n));
            self.0.chunks(8).map(byte).collect()
        }
    }

    #[test]
    fn what_ffmpeg_and_gstreamer_write_in_descriptions() {
        let config = StreamMuxConfig::decode(&[0x40, 0x00, 0x23, 0x20, 0x3f, 0xc0]).unwrap();
        assert_eq!((config.config.as_slice(), config.frames), (&[0x11, 0x90][..], 1));
        assert_eq!((config.audio.frequency, config.audio.channel_configuration), (48_000, 2));
        let short = StreamMuxConfig::decode(&[0x40, 0x00, 0x23, 0x20, 0xad, 0xca, 0x00]).unwrap();
        assert_eq!((short.config.as_slice(), short.frames), (&[0x11, 0x90, 0x56, 0xe5, 0x00][..], 1));
        assert_eq!((short.audio.sbr, short.length), (Some(false), Length::Told));
        let frames = config.element(&[3, 7, 8, 9]).unwrap();
        assert_eq!(frames, (vec![vec![7, 8, 9]], 0));
        let long = [&[255, 255, 1][..], &[5; 511]].concat();
        assert_eq!(config.element(&long).unwrap(), (vec![vec![5; 511]], 0));
        assert!(config.element(&long[..300]).unwrap_err().is_short());
    }

    #[test]
    fn lengths_written_out_sub_frames_other_data_and_a_checksum() {
        let mut bits = Bits::default();
        // Version 1, buffer fullness in one byte, two frames.
        for (value, n) in [(1, 1), (0, 1), (0, 2), (9, 8), (1, 1), (1, 6), (0, 4), (0, 3)] {
            bits.push(value, n);
        }
        // 40 bits: AAC-LC at 24000 Hz whose sync extension says SBR.
        for (value, n) in [(0, 2), (40, 8), (0x13_0856_e598, 40), (0, 3), (255, 8)] {
            bits.push(value, n);
        }
        // Five bits of other data, a checksum.
        for (value, n) in [(1, 1), (0, 2), (5, 8), (1, 1), (0x77, 8)] {
            bits.push(value, n);
        }
        let config = StreamMuxConfig::decode(&bits.bytes()).unwrap();
        assert_eq!(config.config, [0x13, 0x08, 0x56, 0xe5, 0x98]);
        assert_eq!((config.frames, config.other_bits, config.audio.sbr), (2, 5, Some(true)));
        assert_eq!(config.element(&[1, 7, 2, 8, 9, 0]).unwrap(), (vec![vec![7], vec![8, 9]], 3));
    }

    #[test]
    fn a_configuration_in_band_moves_every_bit_behind_it() {
        let mut bits = Bits::default();
        bits.push(0, 1);
        let config = [0x40u64, 0x00, 0x23, 0x20, 0x3f];
        config.iter().for_each(|byte| bits.push(*byte, 8));
        bits.push(0b1100_0000 >> 4, 4);
        let mut known = None;
        bits.push(2, 8);
        bits.push(0xabcd, 16);
        let (frames, _) = element_with_config(&bits.bytes(), &mut known).unwrap();
        assert_eq!(
            (frames, known.as_ref().unwrap().config.as_slice()),
            (vec![vec![0xab, 0xcd]], &[0x11, 0x90][..])
        );
        // The next one says that nothing has changed.
        let mut bits = Bits::default();
        for (value, n) in [(1, 1), (1, 8), (0x42, 8)] {
            bits.push(value, n);
        }
        assert_eq!(element_with_config(&bits.bytes(), &mut known).unwrap(), (vec![vec![0x42]], 7));
        assert_eq!(element_with_config(&bits.bytes(), &mut None).unwrap().0, Vec::<Vec<u8>>::new());
    }

    #[test]
    fn what_is_not_read_is_named() {
        for (bytes, field) in
            [(&[0x00, 0x00][..], "allStreamsSameTimeFraming"), (&[0x40, 0x10], "numProgram")]
        {
            assert_eq!(StreamMuxConfig::decode(bytes).unwrap_err().field, field);
        }
        assert_eq!(StreamMuxConfig::decode(&[0x40, 0x02]).unwrap_err().field, "numLayer");
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_and_frames_are_never_longer(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut known = StreamMuxConfig::decode(&bytes).ok();
            for config in known.iter() {
                if let Ok((frames, _)) = config.element(&bytes) {
                    prop_assert!(frames.iter().map(Vec::len).sum::<usize>() <= bytes.len());
                }
            }
            let _ = element_with_config(&bytes, &mut known);
        }
    }
}
