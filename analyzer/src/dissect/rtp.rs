//! RTP and RTCP: over UDP by what RTSP agreed or by their behaviour, and inside RTSP.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use wire::rtcp;
use wire::rtp::{Packet, is_rtcp};

use super::facts::Value;
use super::provenance::Provenance;
use super::tree::codec::Nal;
use super::tree::rtp as tree;
use super::tree::ts::in_rtp;
use super::{Out, Speaks, ts};
use crate::flow::Datagram;

/// Ports and conversations remembered.
const MAX_KNOWN: usize = 16_384;

/// What a session description said of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Media {
    /// `H264`.
    pub(super) encoding: String,
    /// The stream's path.
    pub(super) path: String,
}

/// Who sends RTP over UDP.
#[derive(Clone, Debug, Default)]
pub(super) struct Registry {
    ports: HashMap<(IpAddr, u16), Media>,
    /// Sender, receiver: SSRC, the last sequence number, how often it went on.
    watched: HashMap<(SocketAddr, SocketAddr), (u32, u16, u8)>,
}

impl Registry {
    /// RTSP agreed on a port.
    pub(super) fn learn(&mut self, host: IpAddr, port: u16, media: &Media, _: i64) {
        if self.ports.len() >= MAX_KNOWN {
            self.ports.clear();
        }
        // A server's pair of ports may serve every stream: what was agreed with a client says more.
        self.ports.insert((host, port), media.clone());
    }

    /// A datagram, which may be RTP or RTCP.
    pub(super) fn datagram(
        &mut self,
        datagram: &Datagram<'_>,
        origin: Provenance,
        streams: &mut ts::Registry,
        out: &mut Out,
    ) {
        let Datagram { src, dst, payload, .. } = datagram;
        let find = |ports: &HashMap<(IpAddr, u16), Media>| {
            ports.get(&(dst.ip(), dst.port())).or_else(|| ports.get(&(src.ip(), src.port()))).cloned()
        };
        let known = find(&self.ports);
        let encoding = known.as_ref().map(|media| media.encoding.as_str());
        // Packets of a transport stream behind a header are no chance.
        let inside = Packet::parse(payload).is_ok_and(|p| in_rtp(p.header.payload_type, encoding, p.payload));
        if known.is_some() || inside || self.behaves(*src, *dst, payload) {
            let known = known.as_ref();
            if let Some(media) = known.filter(|m| !m.path.is_empty()) {
                out.facts.text("stream", &media.path);
            }
            let way = inside.then(|| streams.way(*src, *dst));
            packet(payload, origin, known, way, out);
        }
    }

    /// True where the packets of this sender go on as RTP does: version, one SSRC, rising numbers.
    fn behaves(&mut self, src: SocketAddr, dst: SocketAddr, payload: &[u8]) -> bool {
        if payload.first().is_none_or(|b| b >> 6 != 2) {
            return false;
        }
        if is_rtcp(payload) {
            let (packets, error) = rtcp::parse(payload);
            return error.is_none() && !packets.is_empty();
        }
        let Ok(packet) = Packet::parse(payload) else { return false };
        if self.watched.len() >= MAX_KNOWN {
            self.watched.clear();
        }
        let header = packet.header;
        let seen = self.watched.entry((src, dst)).or_insert((header.ssrc, header.sequence, 0));
        let near = header.sequence.wrapping_sub(seen.1) < 64;
        seen.2 = if seen.0 == header.ssrc && near { seen.2.saturating_add(1) } else { 0 };
        (seen.0, seen.1) = (header.ssrc, header.sequence);
        seen.2 >= 3
    }
}

/// An RTP or RTCP packet.
///
/// A transport stream inside is known by its sync bytes; `way` is what was learned of it before.
pub(super) fn packet(
    bytes: &[u8],
    origin: Provenance,
    media: Option<&Media>,
    way: Option<&mut ts::Way>,
    out: &mut Out,
) {
    if is_rtcp(bytes) {
        return control(bytes, origin, out);
    }
    match Packet::parse(bytes) {
        Ok(packet) => {
            let header = packet.header;
            let mut text = format!(
                "PT={}, SSRC=0x{:X}, Seq={}, Time={}",
                Type(header.payload_type),
                header.ssrc,
                header.sequence,
                header.timestamp
            );
            if header.marker {
                text.push_str(", Mark");
            }
            out.facts.number("rtp.pt", u64::from(header.payload_type));
            out.facts.number("rtp.ssrc", u64::from(header.ssrc));
            out.facts.number("rtp.seq", u64::from(header.sequence));
            out.facts.number("rtp.timestamp", u64::from(header.timestamp));
            out.facts.push("rtp.marker", Value::Flag(header.marker));
            let encoding = media.map(|media| media.encoding.as_str());
            if in_rtp(header.payload_type, encoding, packet.payload) {
                let inside = ts::packets(packet.payload, way, out);
                let _ = write!(text, " (MPEG TS: {inside})");
            } else if let Some(media) = media.filter(|m| !m.encoding.is_empty() && header.payload_type >= 96)
            {
                out.facts.text("rtp.codec", &media.encoding);
                let _ = write!(text, " ({}", media.encoding);
                if let Some(codec) = Nal::of(&media.encoding) {
                    let (kinds, about) = units(codec, packet.payload);
                    kinds.iter().for_each(|k| out.facts.number("rtp.nal", u64::from(*k)));
                    let _ = write!(text, "{about}");
                }
                text.push(')');
            }
            out.pdu(Speaks::Rtp, format_args!("{text}"));
        }
        Err(error) => out.pdu(Speaks::Rtp, format_args!("[{error}]")),
    }
    if out.show {
        out.parts.extend(tree::rtp(bytes, origin, media.map(|m| m.encoding.as_str())));
    }
}

fn control(bytes: &[u8], origin: Provenance, out: &mut Out) {
    let (packets, error) = rtcp::parse(bytes);
    let mut text = String::new();
    let mut at = bytes;
    for packet in &packets {
        let kind = at.get(1).copied().unwrap_or(0);
        out.facts.number("rtcp.type", u64::from(kind));
        let name = match packet {
            rtcp::Packet::SenderReport(_) => "Sender Report",
            rtcp::Packet::ReceiverReport { .. } => "Receiver Report",
            rtcp::Packet::Sdes(_) => "Source description",
            rtcp::Packet::Bye { .. } => "Goodbye",
            rtcp::Packet::App { .. } => "Application specific",
            rtcp::Packet::Other { kind: 205 } => "Generic RTP Feedback",
            rtcp::Packet::Other { kind: 206 } => "Payload-specific Feedback",
            rtcp::Packet::Other { kind: 207 } => "Extended report (RFC 3611)",
            rtcp::Packet::Other { .. } => "Unknown packet type",
        };
        let _ = write!(text, "{name}   ");
        let words = u16::from_be_bytes([at.get(2).copied().unwrap_or(0), at.get(3).copied().unwrap_or(0)]);
        at = at.get(usize::from(words).saturating_add(1).saturating_mul(4)..).unwrap_or_default();
    }
    if let Some(error) = error {
        let _ = write!(text, "[{error}]");
    }
    out.pdu(Speaks::Rtcp, format_args!("{text}"));
    if out.show {
        out.parts.push(tree::rtcp(bytes, origin));
    }
}

/// NAL unit types in an RTP payload (RFC 6184 §5.2, RFC 7798 §4.4), and words for them.
fn units(codec: Nal, payload: &[u8]) -> (Vec<u8>, String) {
    let Some(first) = payload.first() else { return (Vec::new(), String::new()) };
    let kind = codec.type_of(*first);
    let (fragment, aggregate, header) = match codec {
        Nal::Avc => (kind == 28, kind == 24, 1usize),
        Nal::Hevc => (kind == 49, kind == 48, 2),
    };
    if fragment {
        let fu = payload.get(header).copied().unwrap_or(0);
        let inner = if codec == Nal::Avc { fu & 0x1f } else { fu & 0x3f };
        let place = match fu >> 6 {
            2 => "start",
            1 => "end",
            _ => "middle",
        };
        return (vec![inner], format!(", FU {place} of {}", codec.name(inner)));
    }
    if aggregate {
        let mut kinds = Vec::new();
        let mut rest = payload.get(header..).unwrap_or_default();
        while let [high, low, first, ..] = *rest {
            kinds.push(codec.type_of(first));
            let size = usize::from(u16::from_be_bytes([high, low]));
            rest = rest.get(size.saturating_add(2)..).unwrap_or_default();
        }
        let text = super::tree::flv::nal_text(codec, &kinds);
        return (kinds, text);
    }
    (vec![kind], format!(", NAL {}", codec.name(kind)))
}

/// A payload type as Wireshark names it.
struct Type(u8);

impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            0 => "ITU-T G.711 PCMU",
            1 => "USA Federal Standard FS-1016",
            2 => "ITU-T G.721",
            3 => "GSM 06.10",
            4 => "ITU-T G.723",
            5 => "DVI4 8000 samples/s",
            6 => "DVI4 16000 samples/s",
            7 => "Experimental linear predictive encoding from Xerox PARC",
            8 => "ITU-T G.711 PCMA",
            9 => "ITU-T G.722",
            10 => "16-bit uncompressed audio, stereo",
            11 => "16-bit uncompressed audio, monaural",
            12 => "Qualcomm Code Excited Linear Predictive coding",
            13 => "Comfort noise",
            14 => "MPEG-I/II Audio",
            15 => "ITU-T G.728",
            16 => "DVI4 11025 samples/s",
            17 => "DVI4 22050 samples/s",
            18 => "ITU-T G.729",
            19 => "Comfort noise (old)",
            25 => "Sun CellB video encoding",
            26 => "JPEG-compressed video",
            28 => "'nv' program",
            31 => "ITU-T H.261",
            32 => "MPEG-I/II Video",
            33 => "MPEG-II transport streams",
            34 => "ITU-T H.263",
            72..=76 => "Reserved for RTCP conflict avoidance",
            n @ 96.. => return write!(f, "DynamicRTP-Type-{n}"),
            _ => "Unassigned",
        })
    }
}
