//! The handshake: three fixed-size pieces each way.
//!
//! ```text
//! client                                server          RTMP 1.0 §5.2.1
//!   C0 version (1)  C1 (1536)  ------->
//!         <-------  S0 (1)  S1 (1536)  S2 (1536)
//!   C2 (1536)                  ------->
//!
//! C1, S1:  time (4) | zero (4)  | random (1528)         §5.2.3
//! C2, S2:  time (4) | time2 (4) | random echo (1528)    §5.2.4
//! ```

use crate::cursor::Cursor;
use crate::error::Result;
use crate::trace::{Field, Trace, field};

/// Length of C1, C2, S1 and S2.
pub const PACKET: usize = 1536;
/// The version in C0 and S0.
pub const VERSION: u8 = 3;
/// Length of C0 and C1 together; S0, S1 and S2 are one [`PACKET`] more.
pub const HELLO: usize = 1 + PACKET;

static VERSION_FIELD: Field = field("version", "RTMP 1.0 §5.2.2", "3; 6 and 8 are encrypted RTMPE");
static TIME: Field = field("time", "RTMP 1.0 §5.2.3", "epoch of the sender's timestamps in milliseconds");
static ZERO: Field = field(
    "zero",
    "RTMP 1.0 §5.2.3",
    "0 in the plain handshake; a software version where the digest handshake is used",
);
static RANDOM: Field = field("random", "RTMP 1.0 §5.2.3", "1528 bytes that tell this handshake from others");
static TIME2: Field = field("time2", "RTMP 1.0 §5.2.4", "when the peer's packet was read");
static ECHO: Field = field("random echo", "RTMP 1.0 §5.2.4", "the peer's random bytes");

/// C1 or S1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'b> {
    /// The sender's epoch.
    pub time: u32,
    /// Zero, or a version in the digest handshake.
    pub zero: u32,
    /// 1528 bytes.
    pub random: &'b [u8],
}

/// C2 or S2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo<'b> {
    /// The peer's time.
    pub time: u32,
    /// When it was read.
    pub time2: u32,
    /// The peer's random bytes.
    pub random: &'b [u8],
}

/// Reads C0 or S0.
pub fn version<T: Trace>(c: &mut Cursor<'_, T>) -> Result<u8> {
    let version = c.u8(&VERSION_FIELD)?;
    if version == VERSION {
        return Ok(version);
    }
    Err(c.refuse(&VERSION_FIELD, 1, "RTMP version 3", u64::from(version)))
}

impl<'b> Hello<'b> {
    /// Reads C1 or S1.
    pub fn decode<T: Trace>(c: &mut Cursor<'b, T>) -> Result<Self> {
        Ok(Self { time: c.u32(&TIME)?, zero: c.u32(&ZERO)?, random: c.bytes(&RANDOM, 1528)? })
    }
}

impl<'b> Echo<'b> {
    /// Reads C2 or S2.
    pub fn decode<T: Trace>(c: &mut Cursor<'b, T>) -> Result<Self> {
        Ok(Self { time: c.u32(&TIME)?, time2: c.u32(&TIME2)?, random: c.bytes(&ECHO, 1528)? })
    }
}

/// Appends C1 or S1 with random bytes grown from `seed`.
pub fn write_hello(out: &mut Vec<u8>, time: u32, seed: u64) {
    out.extend(time.to_be_bytes());
    out.extend([0; 4]);
    let mut state = seed;
    for _ in 0..(PACKET / 8).saturating_sub(1) {
        out.extend(split_mix(&mut state).to_be_bytes());
    }
}

/// Appends C2 or S2 for the peer's C1 or S1, which was read at `time2`.
pub fn write_echo(out: &mut Vec<u8>, peer: &Hello<'_>, time2: u32) {
    out.extend(peer.time.to_be_bytes());
    out.extend(time2.to_be_bytes());
    out.extend(peer.random);
}

/// SplitMix64: well spread bytes from a seed; nothing here needs secrecy.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_carries_the_hello_back() {
        let mut c1 = Vec::new();
        write_hello(&mut c1, 77, 1);
        assert_eq!(c1.len(), PACKET);
        let hello = Hello::decode(&mut Cursor::new(&c1)).unwrap();
        let mut s2 = Vec::new();
        write_echo(&mut s2, &hello, 99);
        let echo = Echo::decode(&mut Cursor::new(&s2)).unwrap();
        assert_eq!((echo.time, echo.time2, echo.random), (77, 99, hello.random));
        assert_eq!(hello.zero, 0);
    }

    #[test]
    fn http_on_the_rtmp_port_is_refused_at_its_first_byte() {
        let error = version(&mut Cursor::new(b"GET / HTTP/1.1")).unwrap_err();
        assert_eq!(error.to_string(), "byte 0: version: want RTMP version 3, got 71 (0x47)");
    }
}
