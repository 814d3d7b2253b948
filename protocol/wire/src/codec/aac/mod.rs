//! AudioSpecificConfig: what an AAC stream really is (ISO 14496-3 §1.6.2.1).
//!
//! ```text
//! object type(5, 31: +6) | frequency index(4, 15: +24) | channel configuration(4)
//! object type 5 or 29: extension frequency index(4, 15: +24) | object type(5, 31: +6)
//! GASpecificConfig: frame length(1) core coder(1, +14) extension(1) [program config element]
//! then, if 16 bits or more are left: 0x2b7(11) object type 5 SBR(1) frequency(4) [0x548(11) PS(1)]
//! ```

pub mod adts;
pub mod latm;
pub mod sbr;

use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::trace::{Field, Trace, field};

const ASC: &str = "ISO 14496-3 §1.6.2.1";
const GA: &str = "ISO 14496-3 §4.4.1";
const PCE: &str = "ISO 14496-3 §4.4.1.1";
const USAC: &str = "ISO 23003-3 §5.2";

static CONFIG: Field =
    field("AudioSpecificConfig", ASC, "What an AAC decoder has to know before the first frame.");
static OBJECT_TYPE: Field =
    field("audio object type", ASC, "2 AAC-LC, 5 SBR (HE-AAC), 29 PS (HE-AACv2), 42 USAC.");
static OBJECT_EXT: Field = field("audio object type extension", ASC, "Object type minus 32.");
static FREQUENCY_INDEX: Field =
    field("sampling frequency index", ASC, "3: 48000, 4: 44100, 6: 24000, 15: written out.");
static FREQUENCY: Field = field("sampling frequency", ASC, "Hz, where the index is 15.");
static CHANNELS: Field =
    field("channel configuration", ASC, "1 mono, 2 stereo, 6 is 5.1, 7 is 7.1, 0: see the PCE.");
static EXT_FREQUENCY_INDEX: Field =
    field("extension sampling frequency index", ASC, "Output rate of the decoder when SBR is used.");
static EXT_FREQUENCY: Field = field("extension sampling frequency", ASC, "Hz, where the index is 15.");
static EXT_CHANNELS: Field = field("extension channel configuration", ASC, "Channels of the BSAC extension.");
static GA_CONFIG: Field = field("GASpecificConfig", GA, "Details of the general audio coder.");
static FRAME_LENGTH: Field = field("frame length flag", GA, "0: 1024 samples a frame, 1: 960.");
static DEPENDS: Field = field("depends on core coder", GA, "1: a delay follows.");
static CORE_DELAY: Field = field("core coder delay", GA, "Samples.");
static EXTENSION: Field = field("extension flag", GA, "1: more follows for error-resilient types.");
static LAYER: Field = field("layer number", GA, "Of a scalable stream.");
static SUB_FRAMES: Field = field("number of sub-frames", GA, "BSAC.");
static LAYER_LENGTH: Field = field("layer length", GA, "BSAC.");
static RESILIENCE: Field = field("resilience flags", GA, "Section data, scale factor data, spectral data.");
static EXTENSION3: Field = field("extension flag 3", GA, "Reserved.");
static PCE_GROUP: Field =
    field("program config element", PCE, "Which channels there are, where no standard layout fits.");
static PCE_HEAD: Field = field("instance tag, object type, frequency index", PCE, "As in the config itself.");
static PCE_FRONT: Field = field("front elements", PCE, "Count.");
static PCE_SIDE: Field = field("side elements", PCE, "Count.");
static PCE_BACK: Field = field("back elements", PCE, "Count.");
static PCE_LFE: Field = field("LFE elements", PCE, "Count.");
static PCE_ASSOC: Field = field("associated data elements", PCE, "Count.");
static PCE_CC: Field = field("coupling channel elements", PCE, "Count.");
static PCE_MIX: Field = field("mixdown present", PCE, "1: a mixdown description follows.");
static PCE_MIX_VALUE: Field = field("mixdown", PCE, "Element number or coefficients.");
static PCE_PAIR: Field = field("is a channel pair", PCE, "1: two channels.");
static PCE_TAG: Field = field("element tag", PCE, "Number of the element.");
static PCE_ALIGN: Field = field("byte alignment", PCE, "Padding.");
static PCE_COMMENT_SIZE: Field = field("comment length", PCE, "Bytes.");
static PCE_COMMENT: Field = field("comment", PCE, "Free text.");
static SYNC: Field =
    field("sync extension type", ASC, "0x2b7: SBR is signalled so that older decoders do not notice.");
static SBR: Field = field("SBR present", ASC, "1: spectral band replication doubles the sampling rate.");
static SYNC_PS: Field = field("sync extension type", ASC, "0x548: parametric stereo is signalled.");
static PS: Field = field("PS present", ASC, "1: parametric stereo makes two channels of one.");
static USAC_CONFIG: Field = field("UsacConfig", USAC, "Configuration of xHE-AAC.");
static USAC_FREQUENCY_INDEX: Field =
    field("USAC sampling frequency index", USAC, "Output rate; 31: written out.");
static USAC_FREQUENCY: Field = field("USAC sampling frequency", USAC, "Hz, where the index is 31.");
static USAC_FRAME: Field = field("core SBR frame length index", USAC, "0, 1: no SBR; 2, 3, 4: with SBR.");
static USAC_CHANNELS: Field =
    field("USAC channel configuration index", USAC, "As the channel configuration; 0: written out.");
static USAC_OUT_CHANNELS: Field = field("number of output channels", USAC, "Where the index is 0.");

/// Table 1.18: sampling frequency by index, 0 where reserved.
const FREQUENCIES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
/// ISO 23003-3 table 72: the further indices of USAC from 0x0f on.
const USAC_FREQUENCIES: [u32; 13] =
    [51_200, 40_000, 38_400, 34_150, 28_800, 25_600, 20_000, 19_200, 17_075, 14_400, 12_800, 9_600, 0];

/// How SBR and PS were announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalling {
    /// Nothing was said. A decoder may still find SBR in the frames.
    Implicit,
    /// By object type 5 or 29 in front: older decoders cannot play it.
    Hierarchical,
    /// By a sync extension behind: older decoders play the core.
    BackwardCompatible,
}

/// An AudioSpecificConfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioSpecificConfig {
    /// Object type of the core coder: 2 is AAC-LC, 42 is USAC.
    pub object_type: u8,
    /// Sampling frequency of the core coder in Hz.
    pub frequency: u32,
    /// 0 where a program config element lists the channels.
    pub channel_configuration: u8,
    /// Channels that a program config element lists, or USAC's own channel count.
    pub listed_channels: Option<u8>,
    /// A frame has 960 samples in place of 1024.
    pub short_frame: bool,
    /// How the two flags below were signalled.
    pub signalling: Signalling,
    /// SBR as signalled; none where nothing was said.
    pub sbr: Option<bool>,
    /// PS as signalled; none where nothing was said.
    pub ps: Option<bool>,
    /// Output rate when SBR is used, as signalled.
    pub extension_frequency: Option<u32>,
}

/// What a listener gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// `LC`, `HE-AAC`, `HE-AACv2`, `xHE-AAC`, or the name of another object type.
    pub profile: &'static str,
    /// Rate of the decoded sound in Hz.
    pub sample_rate: u32,
    /// Channels of the decoded sound; none where the config does not tell.
    pub channels: Option<u8>,
}

impl AudioSpecificConfig {
    /// Reads a config; bytes behind it (padding) are left in the cursor.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        c.group(&CONFIG, config)
    }

    /// The two to five bytes of a plain config without SBR.
    pub fn encode_simple(object_type: u8, frequency: u32, channel_configuration: u8) -> Result<Vec<u8>> {
        if object_type == 0 || object_type >= 31 {
            return Err(Error::value(0, OBJECT_TYPE.name, "1 to 30", u64::from(object_type)));
        }
        if channel_configuration > 15 {
            return Err(Error::value(0, CHANNELS.name, "0 to 15", u64::from(channel_configuration)));
        }
        let mut bits = u64::from(object_type);
        let mut count = 5u32;
        let mut push = |value: u64, n: u32| {
            bits = bits << n | value;
            count = count.saturating_add(n);
        };
        match FREQUENCIES.iter().position(|f| *f == frequency) {
            Some(index) => push(index as u64, 4),
            None if frequency < 1 << 24 => push(0xf << 24 | u64::from(frequency), 28),
            None => return Err(Error::value(0, FREQUENCY.name, "below 2^24", u64::from(frequency))),
        }
        push(u64::from(channel_configuration), 4);
        push(0, 3);
        let bytes = count.div_ceil(8);
        bits <<= bytes.saturating_mul(8).saturating_sub(count);
        let all = bits.to_be_bytes();
        let from = all.len().saturating_sub(bytes as usize);
        Ok(all.get(from..).unwrap_or_default().to_vec())
    }

    /// This config with SBR, and PS, signalled in front (hierarchically): a decoder plays twice the frequency. `None` where
    /// there are details that it would not keep.
    pub fn encode_with_sbr(&self, ps: bool) -> Option<Vec<u8>> {
        let index = |rate: u32| FREQUENCIES.iter().position(|f| *f == rate);
        let (core, output) = (index(self.frequency)?, index(self.frequency.checked_mul(2)?)?);
        if self.object_type != 2 || self.channel_configuration == 0 {
            return None;
        }
        // Object type, frequency, channels, output frequency, the core's object type, frame length, two flags.
        let fields = [
            (if ps { 29 } else { 5 }, 5),
            (core as u64, 4),
            (u64::from(self.channel_configuration), 4),
            (output as u64, 4),
            (2, 5),
            (u64::from(self.short_frame), 1),
            (0, 9),
        ];
        let bits = fields.into_iter().fold(0u64, |bits, (value, count)| bits << count | value);
        bits.to_be_bytes().get(4..).map(<[u8]>::to_vec)
    }

    /// Channels of the core coder.
    pub fn core_channels(&self) -> Option<u8> {
        self.listed_channels.or_else(|| channels_of(self.channel_configuration))
    }

    /// True where SBR was not mentioned and the frames may carry it all the same (§1.6.5.3): then only the
    /// coded frames tell.
    pub fn may_hide_sbr(&self) -> bool {
        self.object_type == 2 && self.sbr.is_none() && self.frequency <= 24_000
    }

    /// Samples per frame of the decoded sound.
    pub fn frame_samples(&self) -> u32 {
        let core = if self.short_frame { 960 } else { 1024 };
        if self.sbr == Some(true) && self.object_type != 42 { core << 1 } else { core }
    }

    /// What a listener gets, as far as the config says.
    pub fn describe(&self) -> Description {
        let channels = self.core_channels();
        let sbr = self.sbr == Some(true) && self.object_type != 42;
        let ps = sbr && self.ps == Some(true);
        let profile = match self.object_type {
            42 => "xHE-AAC",
            2 if ps => "HE-AACv2",
            2 if sbr => "HE-AAC",
            1 => "Main",
            2 => "LC",
            3 => "SSR",
            4 => "LTP",
            6 => "Scalable",
            17 => "ER LC",
            19 => "ER LTP",
            20 => "ER Scalable",
            23 => "LD",
            39 => "ELD",
            _ => "other",
        };
        Description {
            profile,
            sample_rate: match self.extension_frequency {
                Some(rate) if sbr => rate,
                _ => self.frequency,
            },
            channels: if ps && channels == Some(1) { Some(2) } else { channels },
        }
    }
}

/// Channels of a channel configuration (ISO 14496-3 table 1.19).
fn channels_of(configuration: u8) -> Option<u8> {
    Some(match configuration {
        1..=6 => configuration,
        7 | 12 | 14 => 8,
        11 => 7,
        13 => 24,
        _ => return None,
    })
}

fn config<T: Trace>(c: &mut Cursor<'_, T>) -> Result<AudioSpecificConfig> {
    let mut object_type = read_object_type(c)?;
    let frequency = read_frequency(c, &FREQUENCY_INDEX, &FREQUENCY)?;
    let channel_configuration = low8(c.bits(&CHANNELS, 4)?);
    let mut out = AudioSpecificConfig {
        object_type,
        frequency,
        channel_configuration,
        listed_channels: None,
        short_frame: false,
        signalling: Signalling::Implicit,
        sbr: None,
        ps: None,
        extension_frequency: None,
    };
    if matches!(object_type, 5 | 29) {
        out.signalling = Signalling::Hierarchical;
        out.sbr = Some(true);
        out.ps = (object_type == 29).then_some(true);
        out.extension_frequency = Some(read_frequency(c, &EXT_FREQUENCY_INDEX, &EXT_FREQUENCY)?);
        object_type = read_object_type(c)?;
        out.object_type = object_type;
        if object_type == 22 {
            c.bits(&EXT_CHANNELS, 4)?;
        }
    }
    match object_type {
        1..=4 | 6 | 7 | 17 | 19..=23 => c.group(&GA_CONFIG, |c| ga_specific(c, &mut out))?,
        42 => c.group(&USAC_CONFIG, |c| usac(c, &mut out))?,
        // The other coders have configs of their own; what follows cannot be found without reading them.
        _ => return Ok(out),
    }
    if out.signalling == Signalling::Implicit && matches!(object_type, 1..=4 | 6 | 7) {
        sync_extension(c, &mut out)?;
    }
    Ok(out)
}

fn read_object_type<T: Trace>(c: &mut Cursor<'_, T>) -> Result<u8> {
    let object_type = low8(c.bits(&OBJECT_TYPE, 5)?);
    match object_type {
        31 => Ok(low8(c.bits(&OBJECT_EXT, 6)?).saturating_add(32)),
        other => Ok(other),
    }
}

fn read_frequency<T: Trace>(
    c: &mut Cursor<'_, T>,
    index: &'static Field,
    written: &'static Field,
) -> Result<u32> {
    match low8(c.bits(index, 4)?) {
        15 => Ok((c.bits(written, 24)? & 0xff_ffff) as u32),
        n => match FREQUENCIES.get(usize::from(n)) {
            Some(frequency) => Ok(*frequency),
            None => Err(c.refuse(index, 0, "0 to 12 or 15", u64::from(n))),
        },
    }
}

fn ga_specific<T: Trace>(c: &mut Cursor<'_, T>, out: &mut AudioSpecificConfig) -> Result<()> {
    out.short_frame = c.flag(&FRAME_LENGTH)?;
    if c.flag(&DEPENDS)? {
        c.bits(&CORE_DELAY, 14)?;
    }
    let extension = c.flag(&EXTENSION)?;
    if out.channel_configuration == 0 {
        out.listed_channels = Some(c.group(&PCE_GROUP, program_config)?);
    }
    if matches!(out.object_type, 6 | 20) {
        c.bits(&LAYER, 3)?;
    }
    if extension {
        match out.object_type {
            22 => {
                c.bits(&SUB_FRAMES, 5)?;
                c.bits(&LAYER_LENGTH, 11)?;
            }
            17 | 19 | 20 | 23 => {
                c.bits(&RESILIENCE, 3)?;
            }
            _ => {}
        }
        c.flag(&EXTENSION3)?;
    }
    Ok(())
}

/// Reads a program config element and counts its channels.
fn program_config<T: Trace>(c: &mut Cursor<'_, T>) -> Result<u8> {
    c.bits(&PCE_HEAD, 10)?;
    let speakers = [c.bits(&PCE_FRONT, 4)?, c.bits(&PCE_SIDE, 4)?, c.bits(&PCE_BACK, 4)?];
    let lfe = c.bits(&PCE_LFE, 2)?;
    let associated = c.bits(&PCE_ASSOC, 3)?;
    let coupling = c.bits(&PCE_CC, 4)?;
    for bits in [4, 4, 3] {
        if c.flag(&PCE_MIX)? {
            c.bits(&PCE_MIX_VALUE, bits)?;
        }
    }
    let mut channels = low8(lfe);
    for count in speakers {
        for _ in 0..count {
            channels = channels.saturating_add(if c.flag(&PCE_PAIR)? { 2 } else { 1 });
            c.bits(&PCE_TAG, 4)?;
        }
    }
    for _ in 0..lfe.saturating_add(associated) {
        c.bits(&PCE_TAG, 4)?;
    }
    for _ in 0..coupling {
        c.bits(&PCE_TAG, 5)?;
    }
    let odd = c.bits_left() & 7;
    if odd > 0 {
        c.bits(&PCE_ALIGN, (odd & 7) as u32)?;
    }
    let comment = c.u8(&PCE_COMMENT_SIZE)?;
    c.bytes(&PCE_COMMENT, usize::from(comment))?;
    Ok(channels)
}

fn sync_extension<T: Trace>(c: &mut Cursor<'_, T>, out: &mut AudioSpecificConfig) -> Result<()> {
    // Padding must not be taken for a field: what comes next is looked at before it is read.
    if c.bits_left() < 16 || c.peek_bits(11) != 0x2b7 {
        return Ok(());
    }
    c.bits(&SYNC, 11)?;
    if read_object_type(c)? != 5 {
        return Ok(());
    }
    let sbr = c.flag(&SBR)?;
    out.signalling = Signalling::BackwardCompatible;
    out.sbr = Some(sbr);
    if sbr {
        out.extension_frequency = Some(read_frequency(c, &EXT_FREQUENCY_INDEX, &EXT_FREQUENCY)?);
        if c.bits_left() >= 12 && c.peek_bits(11) == 0x548 {
            c.bits(&SYNC_PS, 11)?;
            out.ps = Some(c.flag(&PS)?);
        }
    }
    Ok(())
}

fn usac<T: Trace>(c: &mut Cursor<'_, T>, out: &mut AudioSpecificConfig) -> Result<()> {
    let index = low8(c.bits(&USAC_FREQUENCY_INDEX, 5)?);
    let frequency = match index {
        31 => (c.bits(&USAC_FREQUENCY, 24)? & 0xff_ffff) as u32,
        0..=12 => FREQUENCIES.get(usize::from(index)).copied().unwrap_or(0),
        _ => USAC_FREQUENCIES.get(usize::from(index).saturating_sub(15)).copied().unwrap_or(0),
    };
    if frequency == 0 {
        return Err(c.refuse(&USAC_FREQUENCY_INDEX, 0, "a listed index", u64::from(index)));
    }
    // This is the rate of the output, and stays so when SBR is used inside.
    out.frequency = frequency;
    let frame = c.bits(&USAC_FRAME, 3)?;
    out.signalling = Signalling::Hierarchical;
    out.sbr = Some(frame >= 2);
    out.short_frame = frame == 0;
    let channels = low8(c.bits(&USAC_CHANNELS, 5)?);
    out.listed_channels = match channels {
        0 => Some(escaped(c, &USAC_OUT_CHANNELS)?),
        n => channels_of(n),
    };
    Ok(())
}

/// escapedValue(5, 8, 16) of ISO 23003-3 §5.3.
fn escaped<T: Trace>(c: &mut Cursor<'_, T>, what: &'static Field) -> Result<u8> {
    let mut value = c.bits(what, 5)?;
    if value == 31 {
        let more = c.bits(what, 8)?;
        value = value.saturating_add(more);
        if more == 255 {
            value = value.saturating_add(c.bits(what, 16)?);
        }
    }
    Ok(u8::try_from(value).unwrap_or(u8::MAX))
}

fn low8(value: u64) -> u8 {
    (value & 0xff) as u8
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use crate::trace::Tree;
    use proptest::prelude::*;

    fn asc(bytes: &[u8]) -> AudioSpecificConfig {
        AudioSpecificConfig::decode(&mut Cursor::new(bytes)).unwrap()
    }

    fn told(bytes: &[u8]) -> (&'static str, u32, Option<u8>) {
        let d = asc(bytes).describe();
        (d.profile, d.sample_rate, d.channels)
    }

    #[test]
    fn configs_seen_on_the_wire() {
        assert_eq!(told(&[0x12, 0x10]), ("LC", 44_100, Some(2)));
        assert_eq!(told(&[0x11, 0x90]), ("LC", 48_000, Some(2)));
        // A sync extension that says: no SBR.
        let lc = asc(&[0x11, 0x88, 0x56, 0xe5, 0x00]);
        assert_eq!((lc.sbr, lc.signalling), (Some(false), Signalling::BackwardCompatible));
        assert_eq!(told(&[0x11, 0x88, 0x56, 0xe5, 0x00]), ("LC", 48_000, Some(1)));
        // 24 kHz without a word about SBR: the frames may carry it.
        assert!(asc(&[0x13, 0x08]).may_hide_sbr());
        assert_eq!(told(&[0x13, 0x10]), ("LC", 24_000, Some(2)));
        // xHE-AAC, 48 kHz stereo.
        let usac = [0xf9, 0x46, 0x43, 0x22, 0x1c, 0xc0, 0x58, 0x50, 0, 0x20, 0, 0xa6, 0x10, 0x46, 0x70, 0xb0];
        assert_eq!(told(&usac), ("xHE-AAC", 48_000, Some(2)));
    }

    #[test]
    fn sbr_and_ps_in_front_and_behind() {
        // Object type 5, 22050 Hz core, stereo, 44100 Hz output, core LC.
        assert_eq!(told(&[0x2b, 0x92, 0x08, 0x00]), ("HE-AAC", 44_100, Some(2)));
        // Object type 29, 24 kHz mono core, 48 kHz output.
        assert_eq!(told(&[0xeb, 0x09, 0x88, 0x00]), ("HE-AACv2", 48_000, Some(2)));
        // AAC-LC 22050 mono, then 0x2b7, object type 5, SBR, 44100, 0x548, PS.
        assert_eq!(told(&[0x13, 0x88, 0x56, 0xe5, 0xa5, 0x48, 0x80]), ("HE-AACv2", 44_100, Some(2)));
        assert_eq!(asc(&[0x13, 0x88, 0x56, 0xe5, 0xa5, 0x48, 0x80]).frame_samples(), 2048);
    }

    #[test]
    fn a_frequency_may_be_written_out() {
        // Object type 2, index 15, 44100 = 0x00ac44, stereo.
        let bytes = AudioSpecificConfig::encode_simple(2, 44_056, 2).unwrap();
        assert_eq!(told(&bytes), ("LC", 44_056, Some(2)));
        assert_eq!(AudioSpecificConfig::encode_simple(2, 44_100, 2).unwrap(), [0x12, 0x10]);
        assert_eq!(AudioSpecificConfig::encode_simple(2, 48_000, 2).unwrap(), [0x11, 0x90]);
        assert!(AudioSpecificConfig::encode_simple(31, 48_000, 2).is_err());
    }

    #[test]
    fn a_program_config_element_lists_the_channels() {
        // LC 48000, configuration 0: one front pair, one front single, one back pair, one LFE: 5.1.
        let bits = concat!(
            "00010", "0011", "0000", "000", // config, GASpecificConfig
            "0000", "01", "0011", "0010", "0000", "0001", "01", "000", "0000", "0", "0", "0", "0", "0000",
            "1", "0000", "1", "0001", "0000"
        );
        let mut bytes = Vec::new();
        let mut bits = bits.to_owned();
        while !bits.len().is_multiple_of(8) {
            bits.push('0');
        }
        for chunk in bits.as_bytes().chunks(8) {
            bytes.push(u8::from_str_radix(std::str::from_utf8(chunk).unwrap(), 2).unwrap());
        }
        bytes.push(0);
        assert_eq!(told(&bytes), ("LC", 48_000, Some(6)));
    }

    #[test]
    fn a_reserved_frequency_index_is_refused() {
        let error = AudioSpecificConfig::decode(&mut Cursor::new(&[0x16, 0x90])).unwrap_err();
        assert_eq!((error.field, error.within), ("sampling frequency index", "AudioSpecificConfig"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_gap(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut c = Cursor::traced(&bytes, Tree::default());
            let read = AudioSpecificConfig::decode(&mut c).map(|asc| asc.describe());
            let left = c.bits_left();
            let tree = c.into_trace();
            let mut at = 0;
            for leaf in tree.leaves() {
                prop_assert_eq!(leaf.bits.start, at);
                at = leaf.bits.end;
            }
            prop_assert_eq!(at + left, bytes.len() as u64 * 8);
            prop_assert_eq!(read.is_ok(), AudioSpecificConfig::decode(&mut Cursor::new(&bytes)).is_ok());
        }
    }
}
