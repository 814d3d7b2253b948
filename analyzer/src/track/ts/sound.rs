//! Frames of sound in PES packets, which may hold several and end inside one.

use media::ts::{Kind, Unit};
use wire::codec::aac::{adts, latm};
use wire::codec::mpa;
use wire::ts::RATE;

use super::unit::frame;
use crate::track::Stats;
use crate::track::codec::{self, Hidden};

/// Largest frame of sound.
const MAX_FRAME: usize = 16 * 1024;

/// What a PES packet leaves for the next one.
#[derive(Debug, Default)]
pub(super) struct Rest {
    bytes: Vec<u8>,
    configured: bool,
    latm: Option<latm::StreamMuxConfig>,
    /// Samples of the frames since the start, and their rate.
    samples: (u64, u32),
}

impl Rest {
    /// What follows does not go on with what was before.
    pub(super) fn cut(&mut self) {
        self.bytes.clear();
    }

    /// Ticks of 90 kHz that the frames since the start last.
    pub(super) fn passed(&self) -> i64 {
        let (samples, rate) = self.samples;
        ticks(samples, rate)
    }

    /// The frames that follow are counted anew; how long those before lasted.
    pub(super) fn restart(&mut self) -> i64 {
        let passed = self.passed();
        self.samples = (0, 0);
        passed
    }
}

/// Counts the frames of a PES packet.
pub(super) fn frames(stats: &mut Stats, rest: &mut Rest, kind: Kind, unit: &Unit<'_>) -> u32 {
    let joined = [std::mem::take(&mut rest.bytes).as_slice(), unit.data].concat();
    let mut bytes = joined.as_slice();
    let mut found = 0u32;
    let mut samples_before = 0u64;
    while !bytes.is_empty() {
        let Some((size, count, samples, rate)) = one(stats, rest, kind, bytes) else {
            // Where no frame begins the next sync word is looked for.
            match bytes.iter().skip(1).position(|byte| *byte == sync(kind)) {
                Some(at) => bytes = bytes.get(at.saturating_add(1)..).unwrap_or_default(),
                None => bytes = &[],
            }
            if bytes.len() < HEAD {
                break;
            }
            continue;
        };
        if size > bytes.len() {
            break;
        }
        for _ in 0..count {
            let shift = ticks(samples_before, rate);
            let shifted = Unit {
                pts: unit.pts.map(|pts| pts.saturating_add(shift)),
                dts: unit.dts.map(|dts| dts.saturating_add(shift)),
                ..*unit
            };
            frame(stats, &shifted, false);
            found = found.saturating_add(1);
            samples_before = samples_before.saturating_add(u64::from(samples));
            rest.samples = (rest.samples.0.saturating_add(u64::from(samples)), rate);
        }
        bytes = bytes.get(size.max(1)..).unwrap_or_default();
    }
    if bytes.len() <= MAX_FRAME {
        rest.bytes = bytes.to_vec();
    }
    found
}

/// Bytes of the longest header that is looked at.
const HEAD: usize = 9;

fn sync(kind: Kind) -> u8 {
    match kind {
        Kind::Latm => 0x56,
        Kind::Ac3 | Kind::Eac3 => 0x0b,
        Kind::Opus => 0x7f,
        _ => 0xff,
    }
}

/// The frame that begins here: its bytes, how many frames it counts for, their samples each and the rate of those;
/// none where none begins.
fn one(stats: &mut Stats, rest: &mut Rest, kind: Kind, bytes: &[u8]) -> Option<(usize, u32, u32, u32)> {
    match kind {
        Kind::Adts | Kind::EncryptedAdts => {
            // A header that the end cuts is whole with the next PES packet.
            if bytes.len() < HEAD && bytes.first() == Some(&0xff) {
                return Some((HEAD, 0, 0, 1));
            }
            let header = adts::Header::parse(bytes)?;
            if !rest.configured {
                rest.configured = true;
                codec::sound(&mut stats.info, &header.config);
                stats.hidden = Hidden::of(header.config.clone());
            }
            if kind == Kind::Adts
                && header.blocks == 1
                && let Some(frame) = bytes.get(header.header..header.length)
            {
                stats.audio_frame(frame);
            }
            Some((header.length, u32::from(header.blocks), 1024, header.config.frequency))
        }
        Kind::Latm => {
            let size = loas_size(bytes)?;
            let Some(whole) = bytes.get(..size) else { return Some((size, 0, 0, 1)) };
            let element = whole.get(LOAS..).unwrap_or_default();
            let read = latm::element_with_config(element, &mut rest.latm);
            let frames = read.map(|(frames, _)| frames).unwrap_or_default();
            let config = &rest.latm.as_ref()?.audio;
            if !rest.configured {
                rest.configured = true;
                codec::sound(&mut stats.info, config);
                stats.hidden = Hidden::of(config.clone());
            }
            frames.iter().for_each(|frame| stats.audio_frame(frame));
            let (samples, rate) = (config.frame_samples(), config.describe().sample_rate);
            Some((size, u32::try_from(frames.len()).unwrap_or(0), samples, rate))
        }
        Kind::MpegAudio => {
            if bytes.len() < mpa::HEADER && bytes.first() == Some(&0xff) {
                return Some((mpa::HEADER, 0, 0, 1));
            }
            let header = mpa::Header::parse(bytes)?;
            codec::mpeg_audio(&mut stats.info, &header);
            Some((header.size.unwrap_or(bytes.len()), 1, header.samples, header.sample_rate))
        }
        Kind::Ac3 => {
            let [0x0b, 0x77, _, _, code, ..] = bytes else { return None };
            let rate = [48_000u32, 44_100, 32_000].get(usize::from(code >> 6)).copied()?;
            let kbps = AC3_RATES.get(usize::from(code >> 1 & 0x1f)).copied()?;
            stats.info.sample_rate = Some(rate);
            // Words of 16 bits in 1536 samples (ATSC A/52 table 5.18).
            let words = kbps.saturating_mul(96_000).checked_div(rate)?;
            let odd = u32::from(rate == 44_100 && code & 1 == 1);
            stats.info.channels = ac3_channels(bytes).or(stats.info.channels);
            let size = usize::try_from(words.saturating_add(odd)).ok()?.saturating_mul(2);
            Some((size, 1, 1536, rate))
        }
        Kind::Eac3 => {
            let [0x0b, 0x77, high, low, flags, ..] = bytes else { return None };
            let words = u16::from_be_bytes([high & 7, *low]).saturating_add(1);
            let rate = [48_000u32, 44_100, 32_000].get(usize::from(flags >> 6)).copied();
            let blocks = [1u32, 2, 3, 6].get(usize::from(flags >> 4 & 3)).copied().filter(|_| rate.is_some());
            stats.info.sample_rate = rate.or(stats.info.sample_rate);
            let independent = high >> 6 != 1;
            let channels = [2u8, 1, 2, 3, 3, 4, 4, 5].get(usize::from(flags >> 1 & 7)).copied();
            if independent {
                stats.info.channels = channels.map(|n| n.saturating_add(flags & 1));
            }
            let samples = blocks.unwrap_or(6).saturating_mul(256);
            Some((
                usize::from(words).saturating_mul(2),
                u32::from(independent),
                samples,
                rate.unwrap_or(48_000),
            ))
        }
        Kind::Opus => {
            // A control header before each packet: 11 bits 0x3ff, flags, the size in 255s (ETSI TS 101 154, Opus in TS).
            let [0x7f, flags, sizes @ ..] = bytes else { return None };
            if flags & 0xe0 != 0xe0 {
                return None;
            }
            let tail = sizes.iter().take_while(|byte| **byte == 255).count();
            let last = usize::from(*sizes.get(tail)?);
            let trims = [flags & 0x10 != 0, flags & 0x08 != 0].into_iter().filter(|set| *set).count();
            let extension = if flags & 4 != 0 { return None } else { 0usize };
            let head =
                tail.saturating_add(3).saturating_add(trims.saturating_mul(2)).saturating_add(extension);
            Some((head.saturating_add(tail.saturating_mul(255)).saturating_add(last), 1, 960, 48_000))
        }
        // The frames of others are not counted one by one.
        _ => Some((bytes.len(), 1, 0, 1)),
    }
}

/// Bytes before the element of a LOAS frame.
const LOAS: usize = 3;

/// The bytes of a LOAS frame, its head counted: 11 bits 0x2b7, 13 bits of length (ISO 14496-3 §1.7.2.1).
fn loas_size(bytes: &[u8]) -> Option<usize> {
    let [first, second, third, ..] = *bytes else { return None };
    let length = usize::from(u16::from_be_bytes([second & 0x1f, third]));
    (u16::from_be_bytes([first, second]) >> 5 == 0x2b7).then(|| length.saturating_add(LOAS))
}

/// kbit/s of AC-3 by frmsizecod / 2.
const AC3_RATES: [u32; 19] =
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];

/// Channels of an AC-3 frame: acmod, and lfeon behind the mix levels that it calls for (ATSC A/52 §5.3.2).
fn ac3_channels(bytes: &[u8]) -> Option<u8> {
    let [_, _, _, _, _, _, first, second, ..] = bytes else { return None };
    let word = u16::from_be_bytes([*first, *second]);
    let mode = first >> 5;
    let levels = [mode & 1 != 0 && mode != 1, mode & 4 != 0, mode == 2].map(u32::from).iter().sum::<u32>();
    let lfe = word >> (12u32.saturating_sub(levels.saturating_mul(2))) & 1;
    let full = [2u8, 1, 2, 3, 3, 4, 4, 5].get(usize::from(mode)).copied()?;
    Some(full.saturating_add(u8::try_from(lfe).unwrap_or(0)))
}

/// Ticks of 90 kHz that samples at a rate last.
pub(super) fn ticks(samples: u64, rate: u32) -> i64 {
    let ticks = samples.saturating_mul(u64::from(RATE)).checked_div(u64::from(rate)).unwrap_or(0);
    i64::try_from(ticks).unwrap_or(i64::MAX)
}
