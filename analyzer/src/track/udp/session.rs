//! One direction of UDP that carries RTP or a transport stream.

use std::net::SocketAddr;

use model::TrackKind;
use wire::rtcp;

use super::{StreamNo, Way, at};
use crate::finding::{Note, Notes};
use crate::flow::{At, Datagram};
use crate::track::Stats;
use crate::track::rtp::{Receiver, Taken, report};
use crate::track::ts::Transport;

/// Sources followed on one pair of ports at a time.
const MAX_SOURCES: usize = 32;

/// A packet that was kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) at: At,
    pub(super) bytes: Vec<u8>,
    length: u32,
}

impl Kept {
    pub(super) fn of(datagram: &Datagram<'_>) -> Self {
        Self { at: at(datagram), bytes: datagram.payload.to_vec(), length: datagram.payload_len }
    }

    pub(super) fn datagram(&self, (src, dst): Way) -> Datagram<'_> {
        let (time_ns, frame) = (self.at.time_ns, self.at.frame);
        Datagram { src, dst, time_ns, frame, payload: &self.bytes, payload_len: self.length }
    }

    /// The fixed part of its header, should it be RTP.
    pub(super) fn header(&self) -> Option<wire::rtp::Header> {
        let head = self.bytes.get(..wire::rtp::HEADER)?;
        // Only the fixed part is looked at: what follows was looked at before, as far as it is there.
        let mut fixed = [0; wire::rtp::HEADER];
        fixed.copy_from_slice(head);
        if let Some(first) = fixed.first_mut() {
            *first &= 0xc0;
        }
        wire::rtp::Packet::parse(&fixed).ok().map(|packet| packet.header)
    }
}

/// What a stream turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// RTP.
    Rtp,
    /// Packets of a transport stream alone.
    MpegTs,
}

/// All that was learnt of a stream.
#[derive(Debug)]
pub struct Outcome {
    /// Its number.
    pub stream: StreamNo,
    /// RTP or a transport stream.
    pub carried: Carried,
    /// Who sends.
    pub sender: SocketAddr,
    /// Where to: a host or a group.
    pub receiver: SocketAddr,
    /// First and last packet, nanoseconds since 1970.
    pub times: (i64, i64),
    /// Payload to the sender (RTCP) and to the receiver.
    pub bytes: [u64; 2],
    /// The first whole picture, or audio frame where there is no video, nanoseconds since 1970.
    pub first_frame_ns: Option<i64>,
    /// What was carried.
    pub tracks: Vec<Stats>,
    /// What is wrong or worth knowing.
    pub notes: Vec<Note>,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Session {
    way: Way,
    times: Option<(i64, i64)>,
    bytes: [u64; 2],
    sources: Vec<(u32, Receiver)>,
    transport: Option<Box<Transport>>,
    notes: Notes,
}

impl Session {
    pub(super) fn new(way: Way) -> Self {
        Self {
            way,
            times: None,
            bytes: [0; 2],
            sources: Vec::new(),
            transport: None,
            notes: Notes::default(),
        }
    }

    fn seen(&mut self, time_ns: i64, side: usize, bytes: u64) {
        let (first, last) = self.times.unwrap_or((time_ns, time_ns));
        self.times = Some((first.min(time_ns), last.max(time_ns)));
        if let Some(sum) = self.bytes.get_mut(side) {
            *sum = sum.saturating_add(bytes);
        }
    }

    /// Takes a datagram on its way; returns what of it counts.
    pub(super) fn datagram(&mut self, datagram: &Datagram<'_>) -> u64 {
        let length = u64::from(datagram.payload_len);
        if wire::rtp::is_rtcp(datagram.payload) {
            return if self.control(datagram, true) { length } else { 0 };
        }
        let taken = if datagram.payload.first() == Some(&wire::ts::SYNC_BYTE) && self.sources.is_empty() {
            self.transport.get_or_insert_default().datagram(at(datagram), datagram.payload);
            true
        } else {
            self.rtp(datagram)
        };
        if !taken {
            return 0;
        }
        self.seen(datagram.time_ns, 1, length);
        length
    }

    fn rtp(&mut self, datagram: &Datagram<'_>) -> bool {
        let payload = datagram.payload;
        let source =
            payload.get(8..12).and_then(|bytes| bytes.first_chunk::<4>()).map(|b| u32::from_be_bytes(*b));
        let Some(ssrc) = source.filter(|_| payload.first().is_some_and(|first| first >> 6 == 2)) else {
            return false;
        };
        let known = self.sources.iter().position(|(of, _)| *of == ssrc);
        let index = match known {
            Some(index) => index,
            None if self.sources.len() < MAX_SOURCES => {
                // The row that made it a source is proof enough; strays are left out at the end.
                let mut receiver = Receiver::undescribed(TrackKind::Data);
                receiver.expect(ssrc);
                self.sources.push((ssrc, receiver));
                self.sources.len().saturating_sub(1)
            }
            None => return false,
        };
        let Some((_, receiver)) = self.sources.get_mut(index) else { return false };
        receiver.rtp(at(datagram), payload, u64::from(datagram.payload_len)) != Taken::Foreign
    }

    /// Takes RTCP of the sender or of a receiver; false where it is none.
    pub(super) fn control(&mut self, datagram: &Datagram<'_>, from_sender: bool) -> bool {
        let (packets, error) = rtcp::parse(datagram.payload);
        if error.is_some() || packets.is_empty() {
            return false;
        }
        self.seen(datagram.time_ns, usize::from(from_sender), u64::from(datagram.payload_len));
        for packet in packets {
            let blocks = match packet {
                rtcp::Packet::SenderReport(sender) => {
                    if let Some(receiver) = self.source(sender.ssrc) {
                        receiver.reports.sender(report::Sender {
                            ntp: sender.ntp,
                            timestamp: sender.rtp,
                            packets: sender.packets,
                            octets: sender.octets,
                        });
                    }
                    sender.blocks
                }
                rtcp::Packet::ReceiverReport { blocks, .. } => blocks,
                rtcp::Packet::Sdes(chunks) => {
                    for (ssrc, items) in chunks {
                        let name = items.iter().find(|(kind, _)| *kind == rtcp::CNAME);
                        if let (Some(receiver), Some((_, name))) = (self.source(ssrc), name) {
                            receiver.stats.report("cname", name.as_str());
                        }
                    }
                    Vec::new()
                }
                rtcp::Packet::Bye { sources, .. } => {
                    for ssrc in sources {
                        if let Some(receiver) = self.source(ssrc) {
                            receiver.bye(ssrc);
                        }
                    }
                    Vec::new()
                }
                rtcp::Packet::App { .. } | rtcp::Packet::Other { .. } => Vec::new(),
            };
            for block in blocks {
                if let Some(receiver) = self.source(block.source) {
                    let (fraction, lost, jitter) = (block.fraction_lost, block.lost, block.jitter);
                    receiver.reports.receiver(report::Block { fraction, lost, jitter });
                }
            }
        }
        true
    }

    fn source(&mut self, ssrc: u32) -> Option<&mut Receiver> {
        self.sources.iter_mut().find(|(of, _)| *of == ssrc).map(|(_, receiver)| receiver)
    }

    pub(super) fn finish(mut self, stream: StreamNo) -> Option<Outcome> {
        let (sender, receiver) = self.way;
        let mut notes = std::mem::take(&mut self.notes);
        let mut tracks = Vec::new();
        let carried = if self.transport.is_some() { Carried::MpegTs } else { Carried::Rtp };
        let mut first = [None::<i64>; 2];
        if let Some(mut transport) = self.transport.take() {
            transport.finish();
            if !transport.has_streams() && self.bytes.iter().sum::<u64>() < 1 {
                return None;
            }
            first = [transport.first_frame_ns(), None];
            tracks.extend(transport.into_stats(&mut notes));
        }
        for (ssrc, mut source) in self.sources {
            source.stats.declare("SSRC", format!("0x{ssrc:08x}"));
            let figures = source.finish(false, &format!("SSRC 0x{ssrc:08x}"), &mut notes);
            // A source of a single packet beside others is a stray one.
            if figures.packets < 2 {
                continue;
            }
            let kind = usize::from(source.stats.kind() != TrackKind::Video);
            if let Some(place) = first.get_mut(kind) {
                *place = (*place).into_iter().chain(source.first_frame_ns).min();
            }
            let inner = source.transport.take().map(|transport| transport.into_stats(&mut notes));
            tracks.push(source.stats);
            tracks.extend(inner.unwrap_or_default());
        }
        let times = self.times.filter(|_| carried == Carried::MpegTs || !tracks.is_empty())?;
        let [picture, sound] = first;
        Some(Outcome {
            stream,
            carried,
            sender,
            receiver,
            times,
            bytes: self.bytes,
            first_frame_ns: picture.or(sound),
            tracks,
            notes: notes.into_vec(),
        })
    }
}
