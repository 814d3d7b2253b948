//! The server's half of the handshake (RTMP 1.0 §5.2).

use wire::rtmp::{digest, handshake};
use wire::{Cursor, Error};

use crate::Time;

/// The version that S1 claims to clients that sign: they take none below 3 for one that signs, too.
const VERSION: [u8; 4] = [3, 5, 7, 1];

/// What a piece of the handshake led to.
pub(super) struct Shake {
    /// What to send.
    pub(super) reply: Option<Vec<u8>>,
    /// Whether C2 is here.
    pub(super) done: bool,
}

/// Takes handshake bytes off the front of `input`. S0, S1 and S2 go out when C1 is whole: a client may wait for
/// S2 before it sends C2 (RTMP 1.0 §5.2.1).
pub(super) fn shake(
    held: &mut Vec<u8>,
    answered: &mut bool,
    input: &mut &[u8],
    seed: u64,
    now: Time,
) -> Result<Shake, Error> {
    if held.is_empty() && !*answered {
        // Refuse at the first byte: a port scanner's HTTP would otherwise hold the connection.
        if let Some(first) = input.first() {
            handshake::version(&mut Cursor::new(std::slice::from_ref(first)))?;
        }
    }
    let mut reply = None;
    if !*answered {
        fill(held, input, handshake::HELLO);
        if held.len() < handshake::HELLO {
            return Ok(Shake { reply, done: false });
        }
        let ours = (now.as_millis() & 0xffff_ffff) as u32;
        let c1 = held.get(1..).unwrap_or_default();
        let hello = handshake::Hello::decode(&mut Cursor::based(c1, 1))?;
        reply = Some(answer(c1, &hello, ours, seed));
        *answered = true;
        held.clear();
    }
    // C2 should echo S1; real peers send all kinds of bytes there and no harm comes of it.
    fill(held, input, handshake::PACKET);
    Ok(Shake { reply, done: held.len() >= handshake::PACKET })
}

/// S0, S1 and S2. Who signed its C1 wants a signed S1 and an S2 that answers it; who only claims a version in C1 gets the plain
/// ones.
fn answer(c1: &[u8], hello: &handshake::Hello<'_>, ours: u32, seed: u64) -> Vec<u8> {
    let mut s1 = Vec::with_capacity(handshake::PACKET);
    handshake::write_hello(&mut s1, ours, seed);
    let mut s2 = Vec::with_capacity(handshake::PACKET);
    match digest::of_client(c1) {
        Some(theirs) => {
            if let Some(version) = s1.get_mut(4..8) {
                version.copy_from_slice(&VERSION);
            }
            digest::sign(&mut s1, theirs.block);
            handshake::write_hello(&mut s2, hello.time, !seed);
            s2.truncate(handshake::PACKET.saturating_sub(digest::LENGTH));
            digest::answer(&mut s2, &theirs);
        }
        None => handshake::write_echo(&mut s2, hello, ours),
    }
    [vec![handshake::VERSION], s1, s2].concat()
}

fn fill(held: &mut Vec<u8>, input: &mut &[u8], want: usize) {
    let take = want.saturating_sub(held.len()).min(input.len());
    let (now, later) = input.split_at(take);
    held.extend_from_slice(now);
    *input = later;
}
