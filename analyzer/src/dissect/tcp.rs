//! Lines of packets that carry no whole PDU, in Wireshark's words.

use std::fmt::Write;

use wire::net::{Flags, Packet as Headers, Tcp};

use super::facts::{Facts, Value};

/// What the lines of a connection need to know.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    sides: [Side; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// The first sequence number seen.
    base: Option<u32>,
    scale: Option<u8>,
}

/// Numbers of one packet relative to the connection's beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct About {
    seq: u32,
    ack: u32,
    window: u32,
    /// Number that the blocks of a selective acknowledgement count from.
    peer: u32,
}

impl State {
    pub(super) fn packet(&mut self, forward: bool, tcp: &Tcp) -> About {
        let [a, b] = &mut self.sides;
        let (mine, peer) = if forward { (a, b) } else { (b, a) };
        let syn = tcp.flags.has(Flags::SYN);
        // Without a SYN the stream is counted from 1, as behind one.
        let before = |n: u32| if syn { n } else { n.wrapping_sub(1) };
        if syn {
            mine.base = Some(tcp.seq);
            mine.scale = tcp.options.window_scale;
        }
        let base = *mine.base.get_or_insert(before(tcp.seq));
        let acks = tcp.flags.has(Flags::ACK);
        let peer_base = if acks { *peer.base.get_or_insert(tcp.ack.wrapping_sub(1)) } else { 0 };
        let scale = match (mine.scale, peer.scale) {
            (Some(scale), Some(_)) if !syn => scale.min(14),
            _ => 0,
        };
        About {
            seq: tcp.seq.wrapping_sub(base),
            ack: if acks { tcp.ack.wrapping_sub(peer_base) } else { 0 },
            window: u32::from(tcp.window) << scale,
            peer: peer_base,
        }
    }
}

impl About {
    pub(super) fn facts(&self, tcp: &Tcp, headers: &Headers<'_>, facts: &mut Facts) {
        let (src, dst) = headers.ports.unwrap_or_default();
        for (name, port) in [("tcp.srcport", src), ("tcp.dstport", dst), ("tcp.port", src), ("tcp.port", dst)]
        {
            facts.number(name, u64::from(port));
        }
        facts.number("tcp.seq", u64::from(self.seq));
        facts.number("tcp.ack", u64::from(self.ack));
        facts.number("tcp.len", u64::from(headers.payload_len));
        for (name, flag) in [("tcp.syn", Flags::SYN), ("tcp.fin", Flags::FIN), ("tcp.reset", Flags::RST)] {
            facts.push(name, Value::Flag(tcp.flags.has(flag)));
        }
    }

    /// `39806 → 1935 [PSH, ACK] Seq=1 Ack=1 Win=65536 Len=12`.
    pub(super) fn info(&self, tcp: &Tcp, headers: &Headers<'_>, again: bool, out: &mut String) {
        let (src, dst) = headers.ports.unwrap_or_default();
        if again {
            let probe = headers.payload_len == 1 && tcp.flags.has(Flags::ACK) && !tcp.flags.has(Flags::PSH);
            out.push_str(if probe { "[TCP Keep-Alive] " } else { "[TCP Retransmission] " });
        }
        let _ = write!(out, "{src} → {dst} [");
        const NAMES: [(u16, &str); 8] = [
            (0x01, "FIN"),
            (0x02, "SYN"),
            (0x04, "RST"),
            (0x08, "PSH"),
            (0x10, "ACK"),
            (0x20, "URG"),
            (0x40, "ECE"),
            (0x80, "CWR"),
        ];
        let set = NAMES.iter().filter(|(bit, _)| tcp.flags.0 & bit != 0).map(|(_, name)| *name);
        out.push_str(&set.collect::<Vec<_>>().join(", "));
        let _ = write!(out, "] Seq={}", self.seq);
        if tcp.flags.has(Flags::ACK) {
            let _ = write!(out, " Ack={}", self.ack);
        }
        let _ = write!(out, " Win={} Len={}", self.window, headers.payload_len);
        self.options(tcp, out);
    }
    /// ` MSS=1460 SACK_PERM TSval=1 TSecr=0 WS=128`, in the order of the options.
    fn options(&self, tcp: &Tcp, out: &mut String) {
        let options = &tcp.options;
        for kind in options.kinds.iter().take_while(|kind| **kind != 0) {
            let _ = match (kind, options.mss, options.window_scale, options.times) {
                (2, Some(mss), ..) => write!(out, " MSS={mss}"),
                (3, _, Some(scale), _) if tcp.flags.has(Flags::SYN) => {
                    write!(out, " WS={}", 1u32 << scale.min(14))
                }
                (4, ..) if options.sack_permitted => write!(out, " SACK_PERM"),
                (5, ..) => {
                    let blocks = options.sack.iter().take(usize::from(options.sack_blocks));
                    blocks
                        .map(|(left, right)| (left.wrapping_sub(self.peer), right.wrapping_sub(self.peer)))
                        .try_for_each(|(left, right)| write!(out, " SLE={left} SRE={right}"))
                }
                (8, _, _, Some((value, echo))) => write!(out, " TSval={value} TSecr={echo}"),
                _ => Ok(()),
            };
        }
    }
}
