//! One RTSP session: its tracks, how they travel, and what they carried.

use std::net::{IpAddr, SocketAddr};

use model::{Role, TrackKind};
use wire::rtcp;
use wire::rtsp::{Lower, Mode, Transport};

use super::describe::{Described, MAX_TRACKS};
use crate::finding::{Note, Notes};
use crate::flow::At;
use crate::rules::{Judged, Panel, rtp as media_rules, rtsp as rules};
use crate::track::rtp::{Receiver, Taken, report};

/// Longest text kept, in characters.
const MAX_TEXT: usize = 1024;

/// How media travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// UDP beside the connection.
    Udp,
    /// In the connection.
    Interleaved,
}

/// An address with its ports of RTP and RTCP.
pub(super) type Ports = (IpAddr, u16, u16);

/// A track that was set up.
#[derive(Debug)]
pub(super) struct Track {
    /// URL of the SETUP request.
    url: String,
    pub(super) carrier: Carrier,
    /// Channels of RTP and RTCP.
    channels: Option<(u8, u8)>,
    /// The client's address with its RTP and RTCP ports.
    pub(super) client: Option<Ports>,
    /// The server's.
    pub(super) server: Option<Ports>,
    pub(super) receiver: Receiver,
    /// True once a response agreed.
    pub(super) agreed: bool,
    /// True once it is known what a description says of it.
    described: bool,
    name: String,
}

/// What a session is, with its figures.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: Option<String>,
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
    pub(super) role: Role,
    /// True where media comes from the client.
    pub(super) publishes: bool,
    pub(super) path: Option<String>,
    pub(super) agent: Option<String>,
    pub(super) tracks: Vec<Track>,
    pub(super) notes: Notes,
    /// UDP payload of RTP and RTCP to the server and to the client.
    pub(super) udp_bytes: [u64; 2],
    /// Time of the latest UDP packet.
    pub(super) last_udp_ns: Option<i64>,
    /// When it was torn down.
    pub(super) torn_down: bool,
    /// Packets on its ports that are no RTP.
    pub(super) foreign: u64,
    pub(super) rules: Panel<rules::Rtsp>,
    media_rules: Panel<media_rules::Rtp>,
    /// Whether every frame is marked.
    trace: bool,
    /// True where the capture lacks what was set up: channels are known from their blocks alone.
    guessed: bool,
}

/// The port or channel of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    Rtp,
    Rtcp,
}

impl Session {
    pub(super) fn new(client: SocketAddr, server: SocketAddr, trace: bool) -> Self {
        Self {
            id: None,
            client,
            server,
            role: Role::Control,
            publishes: false,
            path: None,
            agent: None,
            tracks: Vec::new(),
            notes: Notes::default(),
            udp_bytes: [0; 2],
            last_udp_ns: None,
            torn_down: false,
            foreign: 0,
            rules: Panel::new(rules::ALL),
            media_rules: Panel::new(media_rules::ALL),
            trace,
            guessed: false,
        }
    }

    /// The client's software, named in its first request that does.
    pub(super) fn agent(&mut self, agent: Option<&str>) {
        if self.agent.is_none() {
            self.agent = agent.map(|agent| agent.chars().take(MAX_TEXT).collect());
        }
    }

    /// The URL of a request about the whole session.
    pub(super) fn url(&mut self, url: &str) {
        if let Some(path) = path_of(url) {
            self.path = Some(path);
        }
    }

    /// A SETUP request: returns the index of its track.
    pub(super) fn setup(
        &mut self,
        url: &str,
        described: Option<&Described>,
        offer: &Transport,
    ) -> Option<usize> {
        let known = self.tracks.iter().position(|track| track.url == url);
        let index = match known {
            Some(index) => index,
            None if self.tracks.len() < MAX_TRACKS => {
                let kind = described.map_or(TrackKind::Data, |d| d.kind);
                let formats = described.map(|d| d.formats.clone()).unwrap_or_default();
                self.tracks.push(Track {
                    url: url.chars().take(MAX_TEXT).collect(),
                    carrier: Carrier::Udp,
                    channels: None,
                    client: None,
                    server: None,
                    receiver: match described {
                        Some(_) => Receiver::new(kind, formats),
                        None => Receiver::undescribed(kind),
                    }
                    .traced(self.trace),
                    agreed: false,
                    described: described.is_some(),
                    name: name(self.tracks.len(), kind),
                });
                self.tracks.len().saturating_sub(1)
            }
            None => return None,
        };
        if offer.mode == Some(Mode::Record) {
            self.publishes = true;
        }
        if self.path.is_none() {
            let base = url.rsplit_once('/').filter(|_| described.is_some()).map_or(url, |(base, _)| base);
            self.path = path_of(base);
        }
        // What was agreed on stands until something else is.
        if self.tracks.get(index).is_some_and(|track| !track.agreed) {
            self.agree(index, offer, false);
        }
        Some(index)
    }

    /// A description that came after a SETUP request: pipelined requests overtake the answers.
    pub(super) fn described(&mut self, tracks: &[Described]) {
        for (index, track) in self.tracks.iter_mut().enumerate().filter(|(_, track)| !track.described) {
            let exact = tracks.iter().find(|described| described.control == track.url);
            if let Some(described) = exact.or_else(|| tracks.get(index)) {
                let expected = track.receiver.expected();
                let receiver = Receiver::new(described.kind, described.formats.clone());
                track.receiver = receiver.traced(self.trace);
                expected.into_iter().for_each(|ssrc| track.receiver.expect(ssrc));
                track.name = name(index, described.kind);
                track.described = true;
            }
        }
    }

    /// What a SETUP request offers, or what its response agrees to.
    pub(super) fn agree(&mut self, index: usize, transport: &Transport, final_word: bool) {
        let (client, server) = (self.client.ip(), self.server.ip());
        let Some(track) = self.tracks.get_mut(index) else { return };
        track.agreed |= final_word;
        track.carrier = match transport.lower() {
            Lower::Tcp => Carrier::Interleaved,
            Lower::Udp | Lower::Other => Carrier::Udp,
        };
        if let Some(ssrc) = transport.ssrc.filter(|_| final_word) {
            track.receiver.expect(ssrc);
        }
        match track.carrier {
            Carrier::Interleaved => {
                self.guessed &= !final_word;
                track.channels = transport.interleaved.or(track.channels);
                track.client = None;
                track.server = None;
            }
            Carrier::Udp => {
                track.channels = None;
                let address = |text: &Option<String>| text.as_deref().and_then(|t| t.parse::<IpAddr>().ok());
                let to = address(&transport.destination).unwrap_or(client);
                let from = address(&transport.source).unwrap_or(server);
                let ports = transport.client_port.or(transport.port);
                track.client = ports.map(|(rtp, rtcp)| (to, rtp, rtcp)).or(track.client);
                track.server = transport.server_port.map(|(rtp, rtcp)| (from, rtp, rtcp)).or(track.server);
            }
        }
    }

    /// A SETUP was refused: without one that was agreed to before, the track loses the ports it had, client's first.
    pub(super) fn refuse(&mut self, index: usize) -> Option<(Option<Ports>, Option<Ports>)> {
        let track = self.tracks.get_mut(index).filter(|track| !track.agreed)?;
        track.channels = None;
        Some((track.client.take(), track.server.take()))
    }

    /// The track of a channel.
    pub(super) fn channel(&self, channel: u8) -> Option<(usize, Port)> {
        self.tracks.iter().enumerate().find_map(|(index, track)| match track.channels? {
            (rtp, _) if rtp == channel => Some((index, Port::Rtp)),
            (_, rtcp) if rtcp == channel => Some((index, Port::Rtcp)),
            _ => None,
        })
    }

    /// True where any channel is known.
    pub(super) fn has_channels(&self) -> bool {
        self.tracks.iter().any(|track| track.channels.is_some())
    }

    /// True where any channel may have been agreed on: none is known, or none from a SETUP.
    pub(super) fn takes_any_channel(&self) -> bool {
        self.guessed || !self.has_channels()
    }

    /// A track of which nothing is known but its channel, where the capture lacks the beginning.
    pub(super) fn unknown_channel(&mut self, channel: u8) -> Option<(usize, Port)> {
        if self.tracks.len() >= MAX_TRACKS {
            return None;
        }
        self.guessed = true;
        let rtp = channel & 0xfe;
        self.tracks.push(Track {
            url: String::new(),
            carrier: Carrier::Interleaved,
            channels: Some((rtp, rtp | 1)),
            client: None,
            server: None,
            receiver: Receiver::undescribed(TrackKind::Data).traced(self.trace),
            agreed: true,
            described: true,
            name: format!("channel {rtp}"),
        });
        self.channel(channel)
    }

    /// Takes a packet of a track: `length` bytes on the wire, from the client or to it. Returns what counts of it.
    pub(super) fn packet(
        &mut self,
        (index, port): (usize, Port),
        from_client: bool,
        at: At,
        bytes: &[u8],
        length: u64,
    ) -> u64 {
        let media = from_client == self.publishes;
        let Some(track) = self.tracks.get_mut(index) else { return 0 };
        // RTP and RTCP may share a port (RFC 5761); which of the two a packet is its second byte says.
        let control = port == Port::Rtcp || wire::rtp::is_rtcp(bytes);
        if control {
            return if self.control(from_client, at, bytes) { length } else { self.not_rtp() };
        }
        if !media {
            return self.not_rtp();
        }
        match track.receiver.rtp(at, bytes, length) {
            Taken::Counted(counted) => {
                if let Ok(packet) = wire::rtp::Packet::parse(bytes) {
                    let header = packet.header;
                    self.media_rules.tell(media_rules::Event::Packet(media_rules::Packet {
                        at,
                        track: index,
                        pictures: track.receiver.has_pictures(header.payload_type),
                        ssrc: header.ssrc,
                        number: header.sequence,
                        timestamp: header.timestamp,
                        marker: header.marker,
                    }));
                }
                counted
            }
            Taken::Held => 0,
            Taken::Foreign => self.not_rtp(),
        }
    }

    fn not_rtp(&mut self) -> u64 {
        self.foreign = self.foreign.saturating_add(1);
        0
    }

    /// Takes an RTCP compound; false where it is none.
    fn control(&mut self, from_client: bool, at: At, bytes: &[u8]) -> bool {
        let (packets, error) = rtcp::parse(bytes);
        if error.is_some() || packets.is_empty() {
            return false;
        }
        self.media_rules.tell(media_rules::Event::Compound { at, from_client, packets: &packets });
        for packet in packets {
            match packet {
                rtcp::Packet::SenderReport(sender) => {
                    if let Some(track) = self.source(sender.ssrc) {
                        track.receiver.reports.sender(report::Sender {
                            ntp: sender.ntp,
                            timestamp: sender.rtp,
                            packets: sender.packets,
                            octets: sender.octets,
                        });
                    }
                    self.blocks(&sender.blocks);
                }
                rtcp::Packet::ReceiverReport { blocks, .. } => self.blocks(&blocks),
                rtcp::Packet::Sdes(chunks) => {
                    for (ssrc, items) in chunks {
                        let name = items.iter().find(|(kind, _)| *kind == rtcp::CNAME);
                        if let (Some(track), Some((_, name))) = (self.source(ssrc), name) {
                            track.receiver.stats.report("cname", name.as_str());
                        }
                    }
                }
                rtcp::Packet::Bye { sources, .. } => {
                    for ssrc in sources {
                        if let Some(track) = self.source(ssrc) {
                            track.receiver.bye(ssrc);
                        }
                    }
                }
                rtcp::Packet::App { .. } | rtcp::Packet::Other { .. } => {}
            }
        }
        true
    }

    fn blocks(&mut self, blocks: &[rtcp::Block]) {
        for block in blocks {
            if let Some(track) = self.source(block.source) {
                let (fraction, lost, jitter) = (block.fraction_lost, block.lost, block.jitter);
                track.receiver.reports.receiver(report::Block { fraction, lost, jitter });
            }
        }
    }

    fn source(&mut self, ssrc: u32) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.receiver.is_source(ssrc))
    }

    /// Bytes of the connection are missing in the capture.
    pub(super) fn hole(&mut self) {
        self.rules.tell(rules::Event::Hole);
        self.media_rules.tell(media_rules::Event::Hole);
        let interleaved = self.tracks.iter_mut().filter(|track| track.carrier == Carrier::Interleaved);
        interleaved.for_each(|track| track.receiver.hole());
    }

    /// How most of its tracks travel.
    pub(super) fn carrier(&self) -> Option<Carrier> {
        let interleaved = self.has_channels();
        let udp = self.tracks.iter().any(|track| track.client.is_some());
        match (interleaved, udp) {
            (true, _) => Some(Carrier::Interleaved),
            (false, true) => Some(Carrier::Udp),
            (false, false) => None,
        }
    }

    /// The session is over: what its tracks carried is put together.
    pub(super) fn finish(&mut self) {
        let mut notes = std::mem::take(&mut self.notes);
        let side = usize::from(!self.publishes);
        let mut packets = 0u64;
        for track in &mut self.tracks {
            let interleaved = track.carrier == Carrier::Interleaved;
            if let Some((_, length)) = track.receiver.finish_held().filter(|_| !interleaved)
                && let Some(bytes) = self.udp_bytes.get_mut(side)
            {
                *bytes = bytes.saturating_add(length);
            }
            let network = track.receiver.finish(interleaved, &track.name, &mut notes);
            packets = packets.saturating_add(network.packets);
        }
        self.notes = notes;
        if self.role == Role::Control && packets > 0 {
            self.role = if self.publishes { Role::Publisher } else { Role::Viewer };
        }
    }

    /// What the rules say.
    pub(super) fn judge(&mut self) -> Vec<Judged> {
        let rules = std::mem::replace(&mut self.rules, Panel::new(&[]));
        let media_rules = std::mem::replace(&mut self.media_rules, Panel::new(&[]));
        rules.finish().into_iter().chain(media_rules.finish()).collect()
    }

    /// Something about the whole session.
    pub(super) fn note(&mut self, rule: &'static spec::Requirement, make: impl FnOnce() -> Note) {
        self.notes.add(rule, None, make);
    }
}

fn name(index: usize, kind: TrackKind) -> String {
    let word = match kind {
        TrackKind::Video => "video",
        TrackKind::Audio => "audio",
        TrackKind::Data => "data",
    };
    format!("track {} ({word})", index.saturating_add(1))
}

/// The path of a URL without the slashes around it and without its query; none for `*` and for a bare host.
pub(super) fn path_of(url: &str) -> Option<String> {
    let rest = url.split_once("://").map(|(_, rest)| rest)?;
    let (_, path) = rest.split_once('/')?;
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    (!path.is_empty()).then(|| path.chars().take(MAX_TEXT).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_urls() {
        for (url, path) in [
            ("rtsp://h:8554/live/a", Some("live/a")),
            ("rtsp://u:p@h/live/a/?x=1/2", Some("live/a")),
            ("rtsp://h:8554/", None),
            ("rtsp://h", None),
            ("*", None),
        ] {
            assert_eq!(path_of(url).as_deref(), path, "{url}");
        }
    }
}
