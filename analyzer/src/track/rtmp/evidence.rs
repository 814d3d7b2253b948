//! How much a header says for itself while the chunks are looked for: bits of chance, or a plain no.

use wire::rtmp::chunk::{Basic, MessageHeader};
use wire::rtmp::message::kind;

use super::known::Known;
use super::message::known_type;
use super::overlay::Overlay;

/// How far a time may lie from the latest one, in milliseconds.
const NEAR_MS: u32 = 60_000;
/// The chunk stream of control messages (RTMP 1.0 §5.4).
const CONTROL: u32 = 2;
/// The longest message believed while searching.
const MAX_MESSAGE: u32 = 8 << 20;

/// How many bits of chance a header agrees with; none where it disagrees.
pub(super) fn evidence(known: &Known, seen: &Overlay, basic: &Basic, header: &MessageHeader) -> Option<u32> {
    let stream = known.stream(basic.csid);
    let in_run = seen.rest(basic.csid);
    // Inside a message of the run only its continuation may come on that chunk stream.
    if basic.fmt != 3 && in_run.is_some_and(|(_, rest)| rest > 0) {
        return None;
    }
    let mut bits: u32 = if stream.is_some() || in_run.is_some() { 5 } else { 0 };
    if let Some(length) = header.length {
        if length > MAX_MESSAGE {
            return None;
        }
        bits = bits.max(1);
    }
    if let Some(type_id) = header.type_id {
        // Control messages have a fixed length, commands a modest one.
        let length = header.length.unwrap_or(0);
        let same = stream.is_some_and(|s| s.type_id == type_id);
        let control = basic.csid == CONTROL || same;
        let fits = match type_id {
            kind::SET_CHUNK_SIZE | kind::ABORT | kind::ACK | kind::WINDOW_ACK_SIZE => control && length == 4,
            kind::SET_PEER_BANDWIDTH => control && length == 5,
            kind::USER_CONTROL => control && (6..=64).contains(&length),
            kind::AUDIO | kind::VIDEO | kind::AGGREGATE => true,
            _ => known_type(type_id) && (1..=262_144).contains(&length),
        };
        if !fits {
            return None;
        }
        bits = bits.saturating_add(if same { 8 } else { 3 });
    }
    match basic.fmt {
        0 => {
            let id = header.stream_id.unwrap_or(0);
            // Servers count message streams from 1, and most connections have one.
            if id > 1 && !known.streams.iter().any(|s| s.stream_id == id) && id > 16 {
                return None;
            }
            bits = bits.saturating_add(if id > 1 { 20 } else { 24 });
            if let Some(latest) = known.latest {
                // Servers send their own messages with time 0.
                if !header.time.is_some_and(|time| time == 0 || near(time, latest)) {
                    return None;
                }
                bits = bits.saturating_add(8);
            }
        }
        1 => {
            if header.time.is_none_or(|delta| delta > NEAR_MS) {
                return None;
            }
            bits = bits.saturating_add(8);
        }
        2 => {
            if header.time.is_none_or(|delta| delta > NEAR_MS) {
                return None;
            }
            bits = bits.saturating_add(8);
        }
        _ => match in_run {
            // A continuation of this run's own message is foreseen exactly.
            Some((_, rest)) => bits = if rest > 0 { 7 } else { 5 },
            None => bits = if stream.is_some() { 5 } else { 0 },
        },
    }
    Some(bits)
}

fn near(time: u32, latest: u32) -> bool {
    time.wrapping_sub(latest).cast_signed().unsigned_abs() <= NEAR_MS
}
