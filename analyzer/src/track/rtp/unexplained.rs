//! Packets of payload types that no description explains wait until it is known what they hold.

use super::encoding::{self, Encoding};
use super::guess;
use super::{Format, Packet, Receiver};
use crate::flow::At;
use crate::track::CodecInfo;

/// Packets after which a format is looked for: some begin inside a large picture, whose pieces say little.
const LOOKS: [usize; 3] = [guess::ENOUGH, 32, 64];

/// The packets that wait.
#[derive(Debug, Default)]
pub(super) struct Unexplained {
    waiting: Vec<(At, Kept)>,
}

/// A packet with its own copy of its payload.
#[derive(Debug)]
struct Kept {
    marker: bool,
    payload_type: u8,
    number: u16,
    timestamp: u32,
    ssrc: u32,
    payload: Vec<u8>,
    length: u64,
}

impl Kept {
    fn packet(&self) -> Packet<'_> {
        let Self { marker, payload_type, number, timestamp, ssrc, ref payload, length } = *self;
        Packet { marker, payload_type, number, timestamp, ssrc, payload, length }
    }
}

impl Receiver {
    /// Keeps a packet where its type is not known yet; false where it is to be counted at once.
    pub(super) fn keep(&mut self, at: At, packet: &Packet<'_>) -> bool {
        let Some(unexplained) = &mut self.unexplained else { return false };
        let known = self.formats.iter().any(|format| format.payload_type == packet.payload_type);
        if !known && let Some((name, clock, channels)) = encoding::fixed(packet.payload_type) {
            let found = encoding::named(name);
            self.explain(packet.payload_type, found, clock, channels);
            self.stats.declare("payload_type", format!("{} {name}/{clock} (RFC 3551)", packet.payload_type));
            return self.keep(at, packet);
        }
        if known && unexplained.waiting.is_empty() {
            return false;
        }
        let Packet { marker, payload_type, number, timestamp, ssrc, payload, length } = *packet;
        let payload = payload.to_vec();
        unexplained
            .waiting
            .push((at, Kept { marker, payload_type, number, timestamp, ssrc, payload, length }));
        let waiting = unexplained.waiting.len();
        if LOOKS.contains(&waiting) && (self.look() || Some(&waiting) == LOOKS.last()) {
            self.settle();
        }
        true
    }

    /// Looks for the formats of the packets that wait; true where all were found.
    fn look(&mut self) -> bool {
        let Some(unexplained) = self.unexplained.take() else { return true };
        let mut all = true;
        loop {
            let missing =
                unexplained.waiting.iter().map(|(_, kept)| kept.payload_type).find(|payload_type| {
                    !self.formats.iter().any(|format| format.payload_type == *payload_type)
                });
            let Some(payload_type) = missing else { break };
            let of_type = unexplained.waiting.iter().filter(|(_, kept)| kept.payload_type == payload_type);
            let mut packets: Vec<Packet<'_>> = of_type.map(|(_, kept)| kept.packet()).collect();
            // In the order of their numbers, each once.
            let first = packets.first().map_or(0, |packet| packet.number);
            packets.sort_by_key(|packet| packet.number.wrapping_sub(first).cast_signed());
            packets.dedup_by_key(|packet| packet.number);
            let Some(found) = guess::format(&packets) else {
                all = false;
                break;
            };
            let kind = encoding::named(match found.codec {
                "mpegts" => "MP2T",
                "aac" => "MP4A-LATM",
                "mp3" => "MPA",
                other => other,
            });
            let kind = kind.map(|encoding| Encoding { packing: found.packing, ..encoding });
            self.explain(payload_type, kind, found.clock, None);
        }
        self.unexplained = Some(unexplained);
        all
    }

    fn explain(&mut self, payload_type: u8, encoding: Option<Encoding>, clock: u32, channels: Option<u32>) {
        let mut info = CodecInfo::default();
        if let Some(encoding) = encoding {
            info.codec = Some(encoding.codec.to_owned());
            info.sample_rate = encoding::sample_rate(encoding.codec, clock);
            info.channels = channels.and_then(|n| u8::try_from(n).ok());
        }
        let first = self.formats.iter().all(|format| format.info.codec.is_none());
        if let Some(encoding) = encoding.filter(|_| first) {
            self.stats.set_kind(encoding.kind);
            self.stats.info = info.clone();
        }
        let packing = encoding.map(|encoding| encoding.packing).unwrap_or_default();
        self.formats.push(Format { payload_type, clock, info, packing, ..Format::default() });
    }

    /// Counts the packets that wait, whether it is known what they hold or not.
    pub(super) fn settle(&mut self) {
        if self.unexplained.as_ref().is_none_or(|unexplained| unexplained.waiting.is_empty()) {
            return;
        }
        self.look();
        let waiting = self.unexplained.as_mut().map(|it| std::mem::take(&mut it.waiting)).unwrap_or_default();
        for (_, kept) in &waiting {
            if !self.formats.iter().any(|format| format.payload_type == kept.payload_type) {
                self.explain(kept.payload_type, None, 0, None);
            }
        }
        for (at, kept) in &waiting {
            self.take(*at, &kept.packet());
        }
    }
}
