//! The marker bit.

use super::{Event, Packet, Rtp};
use crate::rules::{Check, Doc, Rule, Tally};

/// `rtp.marker.video`.
pub static VIDEO: Rule<Rtp> = Rule {
    requirement: &spec::rtp::MARKER_VIDEO,
    doc: Doc {
        looks_at: "Neighbouring packets of one source of H.264 or H.265: those whose sequence numbers follow each other.",
        judges: "Where the timestamp changes the packet before has the marker, where it stays that packet has none. \
                 Packets beside a loss, late packets and repeated ones are not judged.",
        peers: "Captures of gst-rtsp-server 1.22, of ffmpeg 5.1 as a publisher and of ZLMediaKit keep it.",
    },
    start: || Box::<Marker>::default(),
};

/// Tracks followed in one session.
const MAX_TRACKS: usize = 32;

#[derive(Debug, Default)]
struct Marker {
    last: Vec<Option<Packet>>,
}

impl Check<Rtp> for Marker {
    fn event(&mut self, event: &Event<'_>, tally: &mut Tally) {
        let packet = match event {
            Event::Hole => {
                self.last.clear();
                return;
            }
            Event::Packet(packet) if packet.pictures && packet.track < MAX_TRACKS => packet,
            Event::Packet(_) | Event::Compound { .. } => return,
        };
        if self.last.len() <= packet.track {
            self.last.resize(packet.track.saturating_add(1), None);
        }
        let Some(slot) = self.last.get_mut(packet.track) else { return };
        let before = slot.replace(*packet);
        let follows = |b: &Packet| b.ssrc == packet.ssrc && packet.number == b.number.wrapping_add(1);
        let Some(before) = before.filter(follows) else { return };
        let ends = before.timestamp != packet.timestamp;
        tally.is(before.marker == ends, before.at, || {
            let (want, message) = match ends {
                true => ("marker 1", "the last packet of a picture has no marker"),
                false => ("marker 0", "a packet has the marker and its picture goes on"),
            };
            let next = format!("timestamp {}, then {}", before.timestamp, packet.timestamp);
            let got = format!("marker {} on number {} ({next})", u8::from(before.marker), before.number);
            (want.to_owned(), got, message.to_owned())
        });
    }
}
