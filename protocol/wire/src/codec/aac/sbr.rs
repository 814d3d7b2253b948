//! SBR and PS that no configuration announces (ISO 14496-3 §1.6.5.3, implicit signalling).
//!
//! SBR data stands in a fill element, by rule behind the element it belongs to, so at the end of the frame:
//!
//! ```text
//! ... | 110 (FIL) | count(4, 15: +8) | extension type(4)=1101 or 1110 ... | 111 (END) | alignment(0-7)
//! ```
//!
//! To walk there one would have to decode the whole frame. But the end is known, and a fill element says how long
//! it is: one that ends exactly where the END element begins, and carries an SBR type, stands in about one random
//! frame in seventy. PS data ends the SBR data in the same way. A few frames in a row settle it. Encoders of constant
//! rate put further fill elements with nothing but padding behind it.

/// What one frame looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// The frame ends with what reads as SBR data.
    pub sbr: bool,
    /// The SBR data ends with what reads as PS data.
    pub ps: bool,
}

/// Fill elements of padding that are followed.
const MAX_PADDING: u32 = 4;

/// Frames that are looked at before a verdict.
pub const FRAMES: u32 = 12;

/// Gathers hints from the first frames of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    frames: u32,
    sbr: u32,
    ps: u32,
}

impl Probe {
    /// True where no more frames are wanted.
    pub fn is_done(&self) -> bool {
        self.frames >= FRAMES
    }

    /// Looks at a raw frame (without ADTS header).
    pub fn frame(&mut self, frame: &[u8]) {
        if self.is_done() {
            return;
        }
        let hint = look(frame);
        self.frames = self.frames.saturating_add(1);
        self.sbr = self.sbr.saturating_add(u32::from(hint.sbr));
        self.ps = self.ps.saturating_add(u32::from(hint.ps));
    }

    /// SBR and PS; none before enough frames were seen. Nearly every frame has to agree: chance alone makes
    /// twelve frames agree once in 10^20 streams for SBR and once in 10^7 for PS.
    pub fn verdict(&self) -> Option<Hint> {
        let nearly_all = |count: u32| count.saturating_add(1) >= FRAMES;
        self.is_done()
            .then(|| Hint { sbr: nearly_all(self.sbr), ps: nearly_all(self.sbr) && nearly_all(self.ps) })
    }
}

/// Looks at the end of one frame.
pub fn look(frame: &[u8]) -> Hint {
    let mut hint = Hint::default();
    let bits = Bits(frame);
    let total = bits.len();
    for align in 0..8usize.min(total) {
        let end = total.saturating_sub(align);
        // Alignment bits are zeros in practice.
        if bits.get(end, align) != Some(0) {
            break;
        }
        let Some(start) = end.checked_sub(3) else { break };
        if bits.get(start, 3) != Some(0b111) {
            continue;
        }
        ends_with_sbr(&bits, start, MAX_PADDING, &mut hint);
    }
    hint
}

/// Looks for a fill element with SBR data that ends at `end`, or before padding that ends there.
fn ends_with_sbr(bits: &Bits<'_>, end: usize, padding: u32, hint: &mut Hint) {
    for count in 0..270usize {
        let Some(payload) = end.checked_sub(count.saturating_mul(8)) else { break };
        let Some(start) = fills(bits, payload, count) else { continue };
        match bits.get(payload, 8) {
            _ if count == 0 && padding > 0 => {
                ends_with_sbr(bits, start, padding.saturating_sub(1), hint);
            }
            _ if count == 0 => {}
            Some(0xd0..=0xef) => {
                hint.sbr = true;
                hint.ps |= carries_ps(bits, payload, end);
            }
            Some(first @ (0 | 0x10)) if padding > 0 && is_padding(bits, payload, count, first) => {
                ends_with_sbr(bits, start, padding.saturating_sub(1), hint);
            }
            _ => {}
        }
    }
}

/// True where a fill element holds what §4.5.2.9 tells encoders to fill with: zeros, or bytes of 0xa5.
fn is_padding(bits: &Bits<'_>, payload: usize, count: usize, first: u64) -> bool {
    let byte = if first == 0 { 0 } else { 0xa5 };
    (1..count).all(|n| bits.get(payload.saturating_add(n.saturating_mul(8)), 8) == Some(byte))
}

/// Where a fill element of `count` bytes begins, if one has its content at `payload`.
fn fills(bits: &Bits<'_>, payload: usize, count: usize) -> Option<usize> {
    let (size, head) = if count < 15 {
        (7, 0b110 << 4 | count)
    } else {
        (15, (0b110 << 4 | 15) << 8 | count.saturating_sub(14))
    };
    payload.checked_sub(size).filter(|at| bits.get(*at, size) == u64::try_from(head).ok())
}

/// True where SBR data from `payload` to `end` can end with extended data of the PS kind.
fn carries_ps(bits: &Bits<'_>, payload: usize, end: usize) -> bool {
    (0..8usize).take_while(|pad| end.checked_sub(*pad).and_then(|at| bits.get(at, *pad)) == Some(0)).any(
        |pad| {
            let end = end.saturating_sub(pad);
            (1..=269usize).any(|size| {
                let long = size >= 15;
                let head = if long { 13 } else { 5 };
                // Flag, size (and the rest of it), then two bits that name the extension.
                let at = end.checked_sub(size.saturating_mul(8).saturating_add(head));
                let want = if long {
                    (0b1_1111usize << 8 | size.saturating_sub(15)) as u64
                } else {
                    (0b1_0000 | size) as u64
                };
                at.is_some_and(|at| {
                    at > payload.saturating_add(5)
                        && bits.get(at, head) == Some(want)
                        && bits.get(at.saturating_add(head), 2) == Some(2)
                })
            })
        },
    )
}

/// Bits at any position.
struct Bits<'b>(&'b [u8]);

impl Bits<'_> {
    fn len(&self) -> usize {
        self.0.len().saturating_mul(8)
    }

    /// Up to 16 bits from `at`; none past the end.
    fn get(&self, at: usize, count: usize) -> Option<u64> {
        if at.saturating_add(count) > self.len() {
            return None;
        }
        let first = at >> 3;
        let mut word = 0u64;
        for offset in 0..4usize {
            word = word << 8 | u64::from(self.0.get(first.saturating_add(offset)).copied().unwrap_or(0));
        }
        let shift = 32usize.saturating_sub(at & 7).saturating_sub(count);
        Some(word >> shift & (1u64 << count).saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
    use super::*;
    use proptest::prelude::*;

    /// A frame of `lead` bits, a fill element with this payload, and the END element.
    fn frame(lead: &str, payload: &[u8]) -> Vec<u8> {
        let mut bits = lead.to_owned();
        bits.push_str("110");
        if payload.len() < 15 {
            bits.push_str(&format!("{:04b}", payload.len()));
        } else {
            bits.push_str(&format!("1111{:08b}", payload.len() - 14));
        }
        payload.iter().for_each(|byte| bits.push_str(&format!("{byte:08b}")));
        bits.push_str("111");
        while !bits.len().is_multiple_of(8) {
            bits.push('0');
        }
        bits.as_bytes()
            .chunks(8)
            .map(|c| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 2).unwrap())
            .collect()
    }

    #[test]
    fn sbr_data_is_seen_at_the_end_of_a_frame() {
        for lead in ["", "0101", "001000100111010"] {
            for len in [3, 14, 15, 40, 200] {
                let mut payload = vec![0x55; len];
                payload[0] = 0xd5;
                assert!(look(&frame(lead, &payload)).sbr, "{lead} {len}");
                payload[0] = 0x05;
                assert!(!look(&frame(lead, &payload)).sbr, "{lead} {len}: plain filling");
            }
        }
        assert_eq!(look(&[]), Hint::default());
        // SBR data, then padding as encoders of constant rate write it.
        let mut bits = "01110".to_owned() + "0011" + "110101010101010101010101";
        bits.push_str("1100100");
        bits.push_str("00010000101001011010010110100101");
        bits.push_str("111");
        bits.push_str(&"0".repeat((8 - bits.len() % 8) % 8));
        let bytes: Vec<u8> = bits
            .as_bytes()
            .chunks(8)
            .map(|c| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 2).unwrap())
            .collect();
        assert!(look(&bytes).sbr);
    }

    #[test]
    fn ps_data_is_seen_at_the_end_of_sbr_data() {
        // Type, 24 bits of SBR data, flag, size 3, id 2 and 22 bits, 3 bits of filling.
        let bits = concat!(
            "1101",
            "010101010101010101010101",
            "1",
            "0011",
            "10",
            "0101010101010101010101",
            "0000000"
        );
        let bytes: Vec<u8> = bits.as_bytes()[..64]
            .chunks(8)
            .map(|c| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 2).unwrap())
            .collect();
        assert_eq!(look(&frame("0100", &bytes)), Hint { sbr: true, ps: true });
    }

    #[test]
    fn a_verdict_needs_nearly_every_frame() {
        let mut payload = vec![0x55; 40];
        payload[0] = 0xe5;
        let (with, without) = (frame("01", &payload), vec![0x21; 60]);
        let mut probe = Probe::default();
        for n in 0..FRAMES {
            assert_eq!(probe.verdict(), None);
            probe.frame(if n == 3 { &without } else { &with });
        }
        assert_eq!(probe.verdict(), Some(Hint { sbr: true, ps: false }));
    }

    proptest! {
        #[test]
        fn random_frames_are_rarely_taken_for_sbr(seed in any::<[u8; 32]>()) {
            // A fixed number of frames from each seed, so that the rate can be bounded.
            let mut state = u64::from_be_bytes(*seed.first_chunk().unwrap()) | 1;
            let mut hits = 0;
            for _ in 0..200 {
                let frame: Vec<u8> = (0..180).map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 33) as u8
                }).collect();
                hits += u32::from(look(&frame).sbr);
            }
            prop_assert!(hits < 30, "{} of 200", hits);
        }
    }
}
