//! AAC in RTP as LATM (RFC 6416 §6.1): an AudioMuxElement in one packet, or in several of one timestamp, the last of which
//! bears the marker.

use bytes::{Bytes, BytesMut};
use wire::Error;
use wire::codec::aac::latm::{StreamMuxConfig, element_with_config};

use super::aac::Unit;

/// The largest element put together.
const MAX_ELEMENT: usize = 1 << 16;

/// Puts AudioMuxElements together and takes their frames out.
#[derive(Debug)]
pub(super) struct Depacketizer {
    config: Option<StreamMuxConfig>,
    /// True where elements bring it (`cpresent=1`).
    in_band: bool,
    /// An element that came in part: its timestamp and bytes.
    part: Option<(u32, BytesMut)>,
    /// Packets were lost: what comes next may be the rest of an element.
    doubtful: bool,
    damaged: u64,
}

impl Depacketizer {
    pub fn new(config: Option<StreamMuxConfig>, in_band: bool) -> Self {
        Self { config, in_band, part: None, doubtful: false, damaged: 0 }
    }

    /// What the frames are made with, once known.
    pub fn config(&self) -> Option<&StreamMuxConfig> {
        self.config.as_ref()
    }

    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Memory that the unfinished element takes.
    pub fn open_bytes(&self) -> usize {
        self.part.as_ref().map_or(0, |(_, held)| held.capacity())
    }

    /// Takes the payload of a packet; `lost` says that others are missing before it. Gives (timestamp, frames behind it, frame).
    pub fn packet(
        &mut self,
        timestamp: u32,
        marker: bool,
        payload: &Bytes,
        lost: bool,
    ) -> Result<Vec<Unit>, Error> {
        if lost || self.part.as_ref().is_some_and(|(other, _)| *other != timestamp) {
            self.give_up();
        }
        self.doubtful |= lost;
        let whole = match self.part.take() {
            None if marker => payload.clone(),
            part => {
                let (_, mut held) = part.unwrap_or_default();
                if held.len().saturating_add(payload.len()) > MAX_ELEMENT {
                    self.damaged = self.damaged.saturating_add(1);
                    self.doubtful = true;
                    return Ok(Vec::new());
                }
                held.extend_from_slice(payload);
                if !marker {
                    self.part = Some((timestamp, held));
                    return Ok(Vec::new());
                }
                held.freeze()
            }
        };
        let doubtful = std::mem::take(&mut self.doubtful);
        let read = match &self.config {
            Some(config) if !self.in_band => config.element(&whole),
            _ => element_with_config(&whole, &mut self.config),
        };
        let frames = match read {
            // The rest of an element seldom looks like one: then its lengths add up to something else.
            Ok((_, rest)) if doubtful && rest >= 8 => None,
            Err(_) if doubtful => None,
            read => Some(read?.0),
        };
        let Some(frames) = frames else {
            self.damaged = self.damaged.saturating_add(1);
            return Ok(Vec::new());
        };
        let units = frames.into_iter().zip(0u32..).filter(|(frame, _)| !frame.is_empty());
        Ok(units.map(|(frame, place)| (timestamp, place, frame.into())).collect())
    }

    fn give_up(&mut self) {
        if self.part.take().is_some() {
            self.damaged = self.damaged.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use proptest::prelude::*;

    use super::*;

    fn depacketizer() -> Depacketizer {
        let config = StreamMuxConfig::decode(&[0x40, 0x00, 0x23, 0x20, 0x3f, 0xc0]).unwrap();
        Depacketizer::new(Some(config), false)
    }

    fn element(frame: &[u8]) -> Bytes {
        let lengths = [vec![255; frame.len() / 255], vec![u8::try_from(frame.len() % 255).unwrap()]].concat();
        [lengths, frame.to_vec()].concat().into()
    }

    /// Whether the rest of an element whose beginning is lost looks like an element itself: nobody can tell then.
    fn looks_whole(rest: &[u8]) -> bool {
        let full = rest.iter().take_while(|b| **b == 255).count();
        rest.get(full).is_some_and(|last| 255 * full + usize::from(*last) == rest.len() - full - 1)
    }

    #[test]
    fn an_element_without_end_is_given_up() {
        let mut d = depacketizer();
        for _ in 0..200 {
            assert_eq!(d.packet(1, false, &Bytes::from(vec![255; 1000]), false).unwrap(), []);
            assert!(d.open_bytes() <= 2 * MAX_ELEMENT, "{}", d.open_bytes());
        }
        assert!(d.damaged() >= 3);
    }

    #[test]
    fn frames_come_without_a_configuration_only_once_it_came() {
        let mut d = Depacketizer::new(None, true);
        assert_eq!(d.packet(1, true, &Bytes::from_static(&[0x80, 0x80]), false).unwrap(), []);
        // useSameStreamMux 0, then the configuration and two bytes of a frame, all moved by one bit.
        let moved: &[u8] = &[0x20, 0x00, 0x11, 0x90, 0x1f, 0xe0, 0x15, 0x5e, 0x68];
        let units = d.packet(2, true, &Bytes::from_static(moved), false).unwrap();
        assert_eq!(units, [(2, 0, Bytes::from_static(&[0xab, 0xcd]))]);
        assert_eq!(d.config().unwrap().config, [0x11, 0x90]);
    }

    proptest! {
        #[test]
        fn frames_come_back_and_a_lost_part_costs_its_frame(
            frames in proptest::collection::vec(proptest::collection::vec(1u8..200, 300..3000), 2..5),
            max in 200usize..1500, drop in 0usize..12,
        ) {
            let mut packets = Vec::new();
            for (frame, n) in frames.iter().zip(0u32..) {
                let element = element(frame);
                let count = element.len().div_ceil(max);
                let parts = element.chunks(max).enumerate();
                packets.extend(parts.map(|(at, part)| (n, at + 1 == count, Bytes::copy_from_slice(part))));
            }
            let mut d = depacketizer();
            let got: Vec<_> =
                packets.iter().flat_map(|(t, m, p)| d.packet(*t, *m, p, false).unwrap()).collect();
            let whole: Vec<_> = frames.iter().zip(0u32..).map(|(f, n)| (n, 0, Bytes::from(f.clone()))).collect();
            prop_assert_eq!(&got, &whole);
            if drop < packets.len() {
                let (gone, _, _) = packets.remove(drop);
                let rest: Vec<u8> =
                    packets.iter().skip(drop).filter(|(t, ..)| *t == gone).flat_map(|(.., p)| p.to_vec()).collect();
                prop_assume!(!looks_whole(&rest));
                let mut d = depacketizer();
                let got: Vec<_> = packets
                    .iter()
                    .enumerate()
                    .flat_map(|(n, (t, m, p))| d.packet(*t, *m, p, n == drop).unwrap())
                    .collect();
                let left: Vec<_> = whole.into_iter().filter(|(t, ..)| *t != gone).collect();
                prop_assert_eq!(got, left);
            }
        }

        #[test]
        fn random_payloads_never_panic(
            payloads in proptest::collection::vec((any::<bool>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..8),
            in_band: bool,
        ) {
            let mut d = Depacketizer::new(depacketizer().config, in_band);
            for (marker, lost, payload) in payloads {
                let _ = d.packet(0, marker, &Bytes::from(payload), lost);
            }
        }
    }
}
