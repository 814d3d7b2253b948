//! Who is the client of a connection whose beginning the capture lacks: some messages only one side sends.

use wire::rtmp::message::kind;

use super::message::Message;

/// Commands that clients send: those of NetConnection and NetStream (RTMP 1.0 §7.2), and what encoders and players add.
const OF_CLIENTS: [&str; 22] = [
    "connect",
    "createStream",
    "deleteStream",
    "closeStream",
    "releaseStream",
    "publish",
    "play",
    "play2",
    "pause",
    "seek",
    "receiveAudio",
    "receiveVideo",
    "getStreamLength",
    "FCPublish",
    "FCUnpublish",
    "FCSubscribe",
    "FCUnsubscribe",
    "_checkbw",
    "checkBandwidth",
    "setDataFrame",
    "initStream",
    "disconnect",
];

/// Commands that servers send.
const OF_SERVERS: [&str; 9] = [
    "_result",
    "_error",
    "onStatus",
    "onBWDone",
    "onBWCheck",
    "onFCPublish",
    "onFCUnpublish",
    "onFCSubscribe",
    "onFCUnsubscribe",
];

/// True where only a client sends this message, false where only a server does; none where both do.
pub(super) fn is_of_client(message: &Message<'_>) -> Option<bool> {
    match message.type_id {
        // A limit that servers set; publishers and players that were seen never do.
        kind::SET_PEER_BANDWIDTH => Some(false),
        // Events of user control (RTMP 1.0 §7.1.7): begin, end, dry, is recorded, ping, and buffer empty and ready are a
        // server's, buffer length and the answer to a ping a client's.
        kind::USER_CONTROL => match message.body.first_chunk::<2>().map(|two| u16::from_be_bytes(*two))? {
            0..=2 | 4 | 6 | 31 | 32 => Some(false),
            3 | 7 => Some(true),
            _ => None,
        },
        kind::COMMAND_AMF0 => command(message.body),
        kind::COMMAND_AMF3 => command(message.body.strip_prefix(&[0]).unwrap_or(message.body)),
        _ => None,
    }
}

fn command(body: &[u8]) -> Option<bool> {
    let [2, high, low, rest @ ..] = body else { return None };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let name = std::str::from_utf8(rest.get(..length)?).ok()?;
    if OF_CLIENTS.contains(&name) {
        return Some(true);
    }
    OF_SERVERS.contains(&name).then_some(false)
}
