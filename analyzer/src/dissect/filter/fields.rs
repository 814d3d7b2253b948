//! The fields that a filter knows.

/// A field.
#[derive(Debug)]
pub struct FieldDef {
    /// `rtmp.type`.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What it means.
    pub doc: &'static str,
}

/// Types of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Number,
    /// Text between quotes.
    Text,
    /// True or false.
    Flag,
    /// An IPv4 or IPv6 address, or a network such as `10.0.0.0/8`.
    Address,
    /// A number that has names.
    Enum(&'static [(&'static str, u64)]),
}

/// Message types of RTMP.
pub static MESSAGE_TYPES: &[(&str, u64)] = &[
    ("set_chunk_size", 1),
    ("abort", 2),
    ("ack", 3),
    ("user_control", 4),
    ("window_ack_size", 5),
    ("set_peer_bandwidth", 6),
    ("audio", 8),
    ("video", 9),
    ("data_amf3", 15),
    ("shared_object_amf3", 16),
    ("command_amf3", 17),
    ("data", 18),
    ("shared_object", 19),
    ("command", 20),
    ("aggregate", 22),
];
static EVENTS: &[(&str, u64)] = &[
    ("stream_begin", 0),
    ("stream_eof", 1),
    ("stream_dry", 2),
    ("set_buffer_length", 3),
    ("stream_is_recorded", 4),
    ("ping_request", 6),
    ("ping_response", 7),
];
static VIDEO_FRAMES: &[(&str, u64)] =
    &[("key", 1), ("inter", 2), ("disposable", 3), ("generated", 4), ("command", 5)];
static VIDEO_PACKETS: &[(&str, u64)] =
    &[("config", 0), ("frame", 1), ("end", 2), ("frame_x", 3), ("metadata", 4)];
static AUDIO_PACKETS: &[(&str, u64)] = &[("config", 0), ("frame", 1), ("end", 2)];
static RTCP_TYPES: &[(&str, u64)] = &[("sr", 200), ("rr", 201), ("sdes", 202), ("bye", 203), ("app", 204)];
static TABLES: &[(&str, u64)] = &[("pat", 0), ("cat", 1), ("pmt", 2), ("nit", 0x40), ("sdt", 0x42)];

const fn def(name: &'static str, kind: Kind, doc: &'static str) -> FieldDef {
    FieldDef { name, kind, doc }
}

/// All fields, by name.
pub static FIELDS: &[FieldDef] = &[
    def("audio.codec", Kind::Text, "Codec of an audio message: aac, mp3, opus, …"),
    def("audio.packet", Kind::Enum(AUDIO_PACKETS), "Configuration or a frame."),
    def("flow", Kind::Number, "Number of the TCP or UDP conversation, from 0."),
    def("frame.len", Kind::Number, "Bytes on the wire."),
    def("frame.number", Kind::Number, "Number of the packet, from 1."),
    def("frame.time", Kind::Number, "Seconds since the first packet."),
    def("http.method", Kind::Text, "GET, HEAD, …"),
    def("http.status", Kind::Number, "200, 404, …"),
    def("http.type", Kind::Text, "Content-Type."),
    def("http.uri", Kind::Text, "The request's target."),
    def("info", Kind::Text, "The text of the Info column."),
    def("ip.addr", Kind::Address, "Either address."),
    def("ip.dst", Kind::Address, "Receiver."),
    def("ip.src", Kind::Address, "Sender."),
    def("protocol", Kind::Text, "The text of the Protocol column."),
    def("rtcp.type", Kind::Enum(RTCP_TYPES), "Packets in the compound."),
    def("rtmp.chunk_size", Kind::Number, "Of a Set Chunk Size."),
    def("rtmp.command", Kind::Text, "connect, publish, _result, …"),
    def("rtmp.csid", Kind::Number, "Chunk stream id."),
    def("rtmp.event", Kind::Enum(EVENTS), "User control event."),
    def("rtmp.fmt", Kind::Number, "Form of the message's first chunk header."),
    def("rtmp.handshake", Kind::Text, "C0+C1, C2, S0+S1+S2."),
    def("rtmp.length", Kind::Number, "Bytes of the message."),
    def("rtmp.msid", Kind::Number, "Message stream id."),
    def("rtmp.timestamp", Kind::Number, "Milliseconds."),
    def("rtmp.transaction", Kind::Number, "Transaction id of a command."),
    def("rtmp.type", Kind::Enum(MESSAGE_TYPES), "Message type."),
    def("rtp.codec", Kind::Text, "Encoding name by the session description."),
    def("rtp.marker", Kind::Flag, "Marker bit."),
    def("rtp.nal", Kind::Number, "NAL unit type of the payload."),
    def("rtp.pt", Kind::Number, "Payload type."),
    def("rtp.seq", Kind::Number, "Sequence number."),
    def("rtp.ssrc", Kind::Number, "Source."),
    def("rtp.timestamp", Kind::Number, "Timestamp."),
    def("rtsp.channel", Kind::Number, "Channel of an interleaved packet."),
    def("rtsp.cseq", Kind::Number, "CSeq."),
    def("rtsp.method", Kind::Text, "DESCRIBE, SETUP, …"),
    def("rtsp.session", Kind::Text, "Session header."),
    def("rtsp.status", Kind::Number, "200, 454, …"),
    def("rtsp.uri", Kind::Text, "The request's URL."),
    def("stream", Kind::Text, "The path of the stream: app/key."),
    def("tcp.ack", Kind::Number, "Acknowledgement number, counted from the first one seen."),
    def("tcp.dstport", Kind::Number, "Receiver's port."),
    def("tcp.fin", Kind::Flag, "FIN."),
    def("tcp.len", Kind::Number, "Payload bytes."),
    def("tcp.port", Kind::Number, "Either port."),
    def("tcp.reset", Kind::Flag, "RST."),
    def("tcp.seq", Kind::Number, "Sequence number, counted from the first one seen."),
    def("tcp.srcport", Kind::Number, "Sender's port."),
    def("tcp.syn", Kind::Flag, "SYN."),
    def("ts.codec", Kind::Text, "Codec of a PES packet by the program map: h264, aac, …"),
    def("ts.discontinuity", Kind::Flag, "Clock or counter jump on purpose."),
    def("ts.dts", Kind::Number, "DTS, in ticks of 90 kHz."),
    def("ts.missing", Kind::Number, "Packets of the PID that are missing before, modulo 16."),
    def("ts.pcr", Kind::Number, "Program clock reference, in ticks of 27 MHz."),
    def("ts.pid", Kind::Number, "PIDs of the packets."),
    def("ts.pts", Kind::Number, "PTS, in ticks of 90 kHz."),
    def("ts.random_access", Kind::Flag, "Decoding can start at what begins here."),
    def("ts.stream_id", Kind::Number, "Stream id of a PES packet."),
    def("ts.table", Kind::Enum(TABLES), "Table whose section begins."),
    def("udp.dstport", Kind::Number, "Receiver's port."),
    def("udp.port", Kind::Number, "Either port."),
    def("udp.srcport", Kind::Number, "Sender's port."),
    def("video.codec", Kind::Text, "Codec of a video message: h264, h265, av1, …"),
    def("video.cts", Kind::Number, "Composition time in milliseconds."),
    def("video.frame", Kind::Enum(VIDEO_FRAMES), "Kind of picture."),
    def("video.nal", Kind::Number, "Types of the picture's NAL units."),
    def("video.packet", Kind::Enum(VIDEO_PACKETS), "Configuration or a picture."),
];

/// The field of a name.
pub fn find(name: &str) -> Option<&'static FieldDef> {
    let at = FIELDS.binary_search_by(|def| def.name.cmp(name)).ok()?;
    FIELDS.get(at)
}

/// The name of an enumerated value.
pub fn value_name(def: &FieldDef, value: u64) -> Option<&'static str> {
    match def.kind {
        Kind::Enum(names) => names.iter().find(|(_, v)| *v == value).map(|(name, _)| *name),
        _ => None,
    }
}

/// The candidate closest to a word, where one is close: at most a third of its letters differ.
pub fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = word.chars().count().div_ceil(3).max(2);
    let scored = candidates.map(|candidate| (distance(word, candidate), candidate));
    scored.filter(|(d, _)| *d <= limit).min_by_key(|(d, _)| *d).map(|(_, candidate)| candidate)
}

/// Edits between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = i;
        let mut left = i.saturating_add(1);
        let mut next = vec![left];
        for (y, above) in b.iter().zip(row.iter().skip(1)) {
            let change = before.saturating_add(usize::from(x != *y));
            before = *above;
            left = change.min(above.saturating_add(1)).min(left.saturating_add(1));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_so_that_every_name_is_found() {
        assert!(FIELDS.is_sorted_by(|a, b| a.name < b.name));
        assert!(FIELDS.iter().all(|def| find(def.name).is_some() && !def.doc.is_empty()));
    }

    #[test]
    fn typing_errors_find_the_nearest_name() {
        let names = || FIELDS.iter().map(|def| def.name);
        assert_eq!(closest("rtmp.tpye", names()), Some("rtmp.type"));
        assert_eq!(closest("ip.source", names()), Some("ip.src"));
        assert_eq!(closest("nonsense", names()), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
