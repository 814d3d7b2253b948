//! `streamgauge.analysis/1`: what the packets alone tell.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Value of [`Analysis::schema`].
pub const ANALYSIS_SCHEMA: &str = "streamgauge.analysis/1";

/// Among what is reported of a track: what its configuration was before it changed, and for how many frames.
pub const CHANGED_FROM: &str = "changed_from";

/// All that was found in one or more captures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Analysis {
    /// Always [`ANALYSIS_SCHEMA`].
    #[schemars(extend("const" = ANALYSIS_SCHEMA))]
    pub schema: String,
    /// The files read, in order.
    pub captures: Vec<Capture>,
    /// Address pairs and port pairs with what they exchanged.
    pub conversations: Conversations,
    /// One entry for each client's session with a server.
    pub sessions: Vec<Session>,
    /// Transport payload over time.
    pub bandwidth: Bandwidth,
    /// What is wrong, or worth knowing.
    pub findings: Vec<Finding>,
    /// Frames followed from a publisher to its viewers.
    #[serde(default)]
    pub traces: Vec<TraceSummary>,
}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            schema: ANALYSIS_SCHEMA.to_owned(),
            captures: Vec::new(),
            conversations: Conversations::default(),
            sessions: Vec::new(),
            bandwidth: Bandwidth::default(),
            findings: Vec::new(),
            traces: Vec::new(),
        }
    }
}

/// One capture file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Capture {
    /// The file's name as given, or the interface's.
    pub file: String,
    /// `pcap` or `pcapng`.
    pub format: String,
    /// Link type of the first interface, by its standard name (`EN10MB`, `LINUX_SLL`, …).
    pub link_type: String,
    /// Packets in the file.
    pub packets: u64,
    /// Their length on the wire in bytes.
    pub bytes: u64,
    /// Time of the earliest packet, seconds since 1970.
    pub first_time: Option<f64>,
    /// Time of the latest packet, seconds since 1970.
    pub last_time: Option<f64>,
    /// Seconds between the two.
    pub duration_s: f64,
    /// Packets of which the file holds only a part.
    pub truncated_packets: u64,
    /// True where the packets' headers were made up by a program's own tap: they can tell no round-trip
    /// times and no retransmissions.
    pub synthetic: bool,
}

/// Wireshark's conversation tables: frame bytes as on the wire.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Conversations {
    /// By address and TCP port.
    pub tcp: Vec<Conversation>,
    /// By address and UDP port.
    pub udp: Vec<Conversation>,
    /// By IPv4 address.
    pub ipv4: Vec<Conversation>,
    /// By IPv6 address.
    pub ipv6: Vec<Conversation>,
}

/// An address, with a port where the table has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    /// IPv4 or IPv6 address.
    pub address: IpAddr,
    /// TCP or UDP port; null in the tables by address.
    pub port: Option<u16>,
}

/// One row of a conversation table. A is the side that sent the first packet seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Conversation {
    /// The side that sent the first packet.
    pub a: Endpoint,
    /// The other side.
    pub b: Endpoint,
    /// Packets, both ways.
    pub packets: u64,
    /// Frame bytes, both ways.
    pub bytes: u64,
    /// Packets from A to B.
    pub packets_ab: u64,
    /// Frame bytes from A to B.
    pub bytes_ab: u64,
    /// Packets from B to A.
    pub packets_ba: u64,
    /// Frame bytes from B to A.
    pub bytes_ba: u64,
    /// First packet, seconds after the capture's first.
    pub start_s: f64,
    /// Seconds from first to last packet.
    pub duration_s: f64,
    /// Mean rate from A to B in bits per second; null for a single instant.
    pub bps_ab: Option<f64>,
    /// Mean rate from B to A in bits per second; null for a single instant.
    pub bps_ba: Option<f64>,
    /// How many further connections used the same address and port pair.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reused: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The protocol of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RTMP.
    Rtmp,
    /// RTSP with RTP.
    Rtsp,
    /// HLS.
    Hls,
    /// RTP over UDP that no RTSP session set up: found by how its packets follow each other.
    Rtp,
    /// An MPEG-2 transport stream alone, in UDP or in an HTTP response.
    MpegTs,
}

/// How a session's media travelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A TCP connection.
    Tcp,
    /// UDP, beside a control connection where there is one.
    Udp,
    /// Interleaved in the RTSP connection.
    Interleaved,
    /// HTTP requests.
    Http,
    /// Inside TLS.
    Tls,
}

/// What a client does in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sends media.
    Publisher,
    /// Receives media.
    Viewer,
    /// Neither, as far as the packets show.
    Control,
}

/// One client's session with a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Unique in this document: `rtmp-1`, `rtmp-2`, … in order of the first packet.
    pub id: String,
    /// Protocol spoken.
    pub protocol: Protocol,
    /// How the media travelled.
    pub transport: Transport,
    /// What the client did.
    pub role: Role,
    /// The side that connected; the receiver where nobody did.
    pub client: Endpoint,
    /// The side that was connected to; the sender where nobody connected.
    pub server: Endpoint,
    /// The stream's path, `app/key` in RTMP.
    pub path: Option<String>,
    /// How the client names its software (`flashVer`, `User-Agent`).
    pub agent: Option<String>,
    /// First packet, seconds after the capture's first.
    pub start_s: f64,
    /// Seconds from first to last packet.
    pub duration_s: f64,
    /// Transport payload from client to server, each byte once.
    pub bytes_to_server: u64,
    /// Transport payload from server to client, each byte once.
    pub bytes_to_client: u64,
    /// Payload of both directions x 8 / duration, in bits per second; null for a single instant.
    pub mean_bps: Option<f64>,
    /// The largest 1 s bin of both directions, in bits per second.
    pub peak_bps: Option<f64>,
    /// Milliseconds from the session's first packet to its first whole picture (audio frame where there is
    /// no video).
    pub first_frame_ms: Option<f64>,
    /// Payload bytes sent again; null where the capture is synthetic.
    pub retransmitted_bytes: Option<u64>,
    /// Round-trip time of the TCP handshake in milliseconds; null where unknown or synthetic.
    pub rtt_ms: Option<f64>,
    /// True where the session was seen from its first byte to its end and no byte was missing.
    pub complete: bool,
    /// Bytes the server counted that never reached the wire; null where no server's count is at hand.
    pub unsent: Option<u64>,
    /// HLS segments fetched, parts included; null in other protocols.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<u64>,
    /// Every connection of the session.
    pub connections: Vec<Connection>,
    /// A Wireshark display filter that shows this session.
    pub filter: String,
    /// What was carried.
    pub tracks: Vec<Track>,
}

/// One transport connection of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Connection {
    /// The client's side.
    pub client: Endpoint,
    /// The server's side.
    pub server: Endpoint,
    /// First packet, seconds after the capture's first.
    pub start_s: f64,
    /// Seconds from first to last packet.
    pub duration_s: f64,
    /// Payload from client to server.
    pub bytes_to_server: u64,
    /// Payload from server to client.
    pub bytes_to_client: u64,
    /// How it ended: `fin`, `reset`, or null where the capture ends first.
    pub end: Option<String>,
}

/// What a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Anything else.
    Data,
}

/// One track of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Track {
    /// Video, audio or data.
    pub kind: TrackKind,
    /// `h264 h265 av1 vp8 vp9 vp6 h263 aac mp3 opus flac g711a g711u speex`, and by the same rule others:
    /// `h266 mpeg1video mpeg2video mpeg4 mjpeg mp2 ac3 eac3 vorbis g722 g729 l16 mpegts`, …
    pub codec: Option<String>,
    /// Profile as the bitstream says (`High`, `LC`, `HE-AAC`, …).
    pub profile: Option<String>,
    /// Level as the bitstream says (`3.1`).
    pub level: Option<String>,
    /// Picture width in luma samples, cropping applied.
    pub width: Option<u32>,
    /// Picture height in luma samples, cropping applied.
    pub height: Option<u32>,
    /// Pictures per second: as measured from the timestamps.
    pub frame_rate: Option<f64>,
    /// Samples per second of the decoded audio.
    pub sample_rate: Option<u32>,
    /// Channels of the decoded audio.
    pub channels: Option<u8>,
    /// Messages that carry a picture or an audio frame, and those that end the sequence; codec configuration is
    /// not counted.
    pub frames: u64,
    /// How many of [`frames`](Self::frames) only end the sequence (AVC packet type 2): they carry no picture.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub end_of_sequence: u64,
    /// Pictures a decoder can start at.
    pub key_frames: u64,
    /// Message or packet payload of the track.
    pub bytes: u64,
    /// bytes x 8 over the track's duration, in bits per second.
    pub bps: Option<f64>,
    /// Different packets that arrived; null where the transport numbers none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// Packets lost; null where the transport numbers none.
    pub lost_packets: Option<u64>,
    /// Packets that came after one with a higher number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reordered: Option<u64>,
    /// Packets that came again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<u64>,
    /// Interarrival jitter (RFC 3550 §6.4.1) in milliseconds; null where the transport has none.
    pub jitter_ms: Option<f64>,
    /// What the container's flags and metadata claim, by claim.
    pub declared: Option<BTreeMap<String, String>>,
    /// What senders and receivers report of the track (RTCP), by claim: what they counted, not what was counted here. And
    /// `changed_from`: its configurations before the one that the other fields tell, with their frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<BTreeMap<String, String>>,
    /// One line for people: `AAC-LC 44100 Hz stereo`.
    pub description: String,
    /// Distance between key frames; null where fewer than two were seen.
    pub gop: Option<Gop>,
}

impl Track {
    /// Pictures or audio frames: what a decoder would be given.
    pub fn coded_frames(&self) -> u64 {
        self.frames.saturating_sub(self.end_of_sequence)
    }
}

/// Distances between key frames.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gop {
    /// Shortest, in frames.
    pub min_frames: u64,
    /// Mean, in frames.
    pub mean_frames: f64,
    /// Longest, in frames.
    pub max_frames: u64,
    /// Mean, in seconds of media time.
    pub mean_s: f64,
}

/// Transport payload over time, in equal bins from the capture's first packet on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bandwidth {
    /// Length of a bin: 0.1, 1, 10, 60, … so that there are at most 2,000.
    pub interval_s: f64,
    /// All sessions.
    pub total_bps: Vec<Bin>,
    /// Each session, by its id.
    pub per_session: BTreeMap<String, Vec<Bin>>,
}

/// A point of a bandwidth curve, or a stretch of bins without any traffic: `[null, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Bin {
    /// Bits per second in one bin.
    Bps(f64),
    /// `n` bins in which nothing was sent.
    Gap((), u64),
}

impl Bin {
    /// Bins as plain numbers, gaps filled with 0, at most `limit` of them.
    pub fn expand(bins: &[Bin], limit: usize) -> Vec<f64> {
        let mut out = Vec::new();
        for bin in bins {
            match *bin {
                Bin::Bps(v) => out.push(v),
                Bin::Gap((), n) => {
                    let room = limit.saturating_sub(out.len());
                    let n = usize::try_from(n).unwrap_or(usize::MAX).min(room);
                    out.resize(out.len().saturating_add(n), 0.0);
                }
            }
            if out.len() >= limit {
                out.truncate(limit);
                break;
            }
        }
        out
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Will hurt somebody.
    Warning,
    /// Broken.
    Error,
}

/// One thing that is wrong or worth knowing, with its first occurrence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Id in the catalogue.
    pub rule: String,
    /// `must`, `should`, `convention` or `may`.
    pub level: String,
    /// How bad it is.
    pub severity: Severity,
    /// The session it is about.
    pub session: Option<String>,
    /// The capture it is in.
    pub file: Option<String>,
    /// Frame number of the first occurrence, 1-based as in Wireshark.
    pub frame: Option<u64>,
    /// Byte position in the stream's direction, 0-based from its first byte seen.
    pub stream_offset: Option<u64>,
    /// A Wireshark display filter that shows the place.
    pub filter: Option<String>,
    /// Seconds after the capture's first packet.
    pub time_s: Option<f64>,
    /// What was expected.
    pub want: Option<String>,
    /// What was there.
    pub got: Option<String>,
    /// The sentence for people.
    pub message: String,
    /// How often it happened.
    pub count: u64,
}

/// Frames of a publisher found again at a viewer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceSummary {
    /// Session id of the publisher.
    pub publisher: String,
    /// Session id of the viewer.
    pub viewer: String,
    /// Frames found at both.
    pub matched: u64,
    /// Frames published while the viewer watched that it never got.
    pub missing: u64,
    /// From the last byte in to the last byte out.
    pub latency_ms: Latency,
}

/// Quantiles of a latency, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}
