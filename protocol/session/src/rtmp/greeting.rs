//! The client's half of the handshake (RTMP 1.0 §5.2).

use wire::rtmp::handshake;
use wire::{Cursor, Error};

use super::link::Link;
use crate::Time;

/// Bytes of S0, S1 and S2, and of the client's own three.
const WHOLE: usize = handshake::HELLO.saturating_add(handshake::PACKET);

/// What has come of S0, S1 and S2.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Greeting(Vec<u8>);

impl Greeting {
    /// Says C0 and C1 on a link of its own; `seed` grows their random bytes.
    pub(super) fn begin(seed: u64, now: Time) -> (Link, Self) {
        let mut link = Link::new(0xff_ffff, WHOLE as u64);
        let mut hello = vec![handshake::VERSION];
        handshake::write_hello(&mut hello, milliseconds(now), seed);
        link.send_raw(hello);
        (link, Self(Vec::new()))
    }

    /// Takes of `input` what belongs to the handshake. Once that is whole: C2.
    pub(super) fn take(&mut self, input: &mut &[u8], now: Time) -> Result<Option<Vec<u8>>, Error> {
        let Self(held) = self;
        let (here, rest) = input.split_at(WHOLE.saturating_sub(held.len()).min(input.len()));
        held.extend_from_slice(here);
        *input = rest;
        if let Some(first) = held.first() {
            handshake::version(&mut Cursor::new(std::slice::from_ref(first)))?;
        }
        if held.len() < WHOLE {
            return Ok(None);
        }
        let s1 = handshake::Hello::decode(&mut Cursor::based(held.get(1..).unwrap_or_default(), 1))?;
        let mut c2 = Vec::new();
        handshake::write_echo(&mut c2, &s1, milliseconds(now));
        Ok(Some(c2))
    }
}

fn milliseconds(now: Time) -> u32 {
    (now.as_millis() & 0xffff_ffff) as u32
}
