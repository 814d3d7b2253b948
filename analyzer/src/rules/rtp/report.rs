//! Sender and receiver reports.

use wire::rtcp::{CNAME as CNAME_ITEM, Packet};

use super::{Event, Rtp};
use crate::rules::{Check, Doc, Rule, Tally};

/// `rtcp.compound.cname`.
pub static CNAME: Rule<Rtp> = Rule {
    requirement: &spec::rtcp::COMPOUND_CNAME,
    doc: Doc {
        looks_at: "RTCP datagrams and interleaved blocks that hold a sender or receiver report, both ways.",
        judges: "Each also holds a source description with a CNAME. Packets of feedback alone are not judged, because \
                 reduced-size RTCP may have been agreed on.",
        peers: "gst-rtsp-server 1.22 and GStreamer 1.22 keep it. ffmpeg 5.1 and 9.0 publish with bare sender reports, and \
                open UDP paths with bare receiver reports; ZLMediaKit \
                sends the description in a packet of its own, gortsplib sends none: all three break it in fact.",
    },
    start: || Box::new(Named),
};

#[derive(Debug)]
struct Named;

impl Check<Rtp> for Named {
    fn event(&mut self, event: &Event<'_>, tally: &mut Tally) {
        let Event::Compound { at, from_client, packets } = event else { return };
        let report = packets
            .iter()
            .any(|packet| matches!(packet, Packet::SenderReport(_) | Packet::ReceiverReport { .. }));
        if !report {
            return;
        }
        let named = packets.iter().any(|packet| match packet {
            Packet::Sdes(chunks) => {
                chunks.iter().any(|(_, items)| items.iter().any(|(kind, _)| *kind == CNAME_ITEM))
            }
            _ => false,
        });
        tally.is(named, *at, || {
            let side = if *from_client { "client" } else { "server" };
            let kinds: Vec<&str> = packets.iter().map(kind).collect();
            (
                "a report with SDES CNAME".to_owned(),
                kinds.join(" + "),
                format!("the {side} reports without saying its canonical name"),
            )
        });
    }
}

fn kind(packet: &Packet) -> &'static str {
    match packet {
        Packet::SenderReport(_) => "SR",
        Packet::ReceiverReport { .. } => "RR",
        Packet::Sdes(_) => "SDES",
        Packet::Bye { .. } => "BYE",
        Packet::App { .. } => "APP",
        Packet::Other { .. } => "other",
    }
}
