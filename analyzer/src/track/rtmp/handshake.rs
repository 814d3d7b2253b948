//! Telling RTMP apart by its handshake, on whatever port it is (RTMP 1.0 §5.2).

use wire::rtmp::handshake::{PACKET, VERSION};

/// C0, C1 and C2, or S0, S1 and S2.
pub(super) const LENGTH: u64 = 1 + 2 * PACKET as u64;
/// C0 and C1, or S0 and S1.
const HELLO: u64 = 1 + PACKET as u64;
/// Where the random bytes of C1 or S1 begin, and those of C2 or S2.
const RANDOM: [u64; 2] = [9, 1 + PACKET as u64 + 8];
/// How many of them are compared.
const SAMPLE: usize = 16;

/// True where bytes that begin with 3 are no version byte but the header of a message on chunk stream 3: what stands
/// in the place of the type and of the message stream is a time and chance in a handshake.
pub(super) fn is_chunk(bytes: &[u8]) -> bool {
    let Some(&[3, _, _, _, high, _, _, type_id, id, 0, 0, 0]) = bytes.first_chunk::<12>() else {
        return false;
    };
    high == 0 && matches!(type_id, 1..=6 | 8 | 9 | 15..=20 | 22) && id < 16
}

/// One direction of a handshake: nothing is kept but a few sample bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Half {
    /// Bytes passed.
    pub(super) passed: u64,
    /// The version byte; none where the capture lacks it.
    version: Option<u8>,
    /// Random bytes of the first packet and echo of the second.
    sample: [[u8; SAMPLE]; 2],
    /// Bytes lost in the capture.
    lost: bool,
}

impl Half {
    /// A handshake that took place before the capture began.
    pub(super) fn done() -> Self {
        Self { passed: LENGTH, lost: true, ..Self::default() }
    }

    /// Takes bytes; returns those behind the handshake.
    pub(super) fn push<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let left = usize::try_from(LENGTH.saturating_sub(self.passed)).unwrap_or(usize::MAX);
        let (mine, rest) = bytes.split_at(left.min(bytes.len()));
        if self.passed == 0 {
            self.version = mine.first().copied();
        }
        for (sample, start) in self.sample.iter_mut().zip(RANDOM) {
            for (slot, position) in sample.iter_mut().zip(start..) {
                let here = position.checked_sub(self.passed).and_then(|n| usize::try_from(n).ok());
                if let Some(byte) = here.and_then(|n| mine.get(n)) {
                    *slot = *byte;
                }
            }
        }
        self.passed = self.passed.saturating_add(mine.len() as u64);
        rest
    }

    /// Passes over lost bytes; returns how many of them lie behind the handshake.
    pub(super) fn skip(&mut self, len: u64) -> u64 {
        let mine = len.min(LENGTH.saturating_sub(self.passed));
        self.lost |= mine > 0;
        self.passed = self.passed.saturating_add(mine);
        len.saturating_sub(mine)
    }

    /// True when all its bytes have passed.
    pub(super) fn is_done(&self) -> bool {
        self.passed >= LENGTH
    }

    /// True when the version byte and the first packet have passed.
    pub(super) fn has_hello(&self) -> bool {
        self.passed > PACKET as u64
    }

    /// False where the version byte is none of RTMP.
    pub(super) fn is_plausible(&self) -> bool {
        self.version.is_none_or(|version| version == VERSION)
    }

    /// The version byte where it is one of RTMPE.
    pub(super) fn encrypted(&self) -> Option<u8> {
        self.version.filter(|version| matches!(version, 6 | 8 | 9))
    }

    /// True where C0 and C1, or S0 and S1, and nothing else has passed.
    pub(super) fn is_at_hello(&self) -> bool {
        self.passed == HELLO && !self.lost
    }

    /// True where this side sent the peer's random bytes back.
    pub(super) fn echoes(&self, peer: &Self) -> bool {
        let [theirs, _] = peer.sample;
        let [_, mine] = self.sample;
        self.is_done() && peer.has_hello() && !self.lost && !peer.lost && mine == theirs
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use wire::Cursor;
    use wire::rtmp::handshake::{Hello, write_echo, write_hello};

    #[test]
    fn an_echo_is_seen_however_the_bytes_are_cut() {
        let mut c = vec![3];
        write_hello(&mut c, 1, 1);
        let mut s = vec![3];
        write_hello(&mut s, 2, 2);
        let c1 = c[1..].to_vec();
        write_echo(&mut s, &Hello::decode(&mut Cursor::new(&c1)).unwrap(), 3);
        c.extend(&s[1..1537]);
        c.extend(b"rest");
        for cut in [1, 7, 1000, 4000] {
            let (mut client, mut server) = (Half::default(), Half::default());
            let mut rest: Vec<u8> = Vec::new();
            for piece in c.chunks(cut) {
                rest.extend(client.push(piece));
            }
            for piece in s.chunks(cut) {
                assert!(server.push(piece).is_empty());
            }
            assert_eq!(rest, b"rest");
            assert!(client.is_done() && server.is_done());
            assert!(server.echoes(&client) && client.is_plausible());
        }
    }

    #[test]
    fn a_command_is_no_handshake() {
        let command = [3, 0, 0, 0, 0, 0, 25, 20, 1, 0, 0, 0, 2, 0, 4];
        assert!(is_chunk(&command) && !is_chunk(&command[..11]));
        let mut hello = vec![3];
        write_hello(&mut hello, 1, 1);
        assert!(!is_chunk(&hello));
    }

    #[test]
    fn other_protocols_do_not_begin_so() {
        let mut half = Half::default();
        half.push(b"GET / HTTP/1.1");
        assert!(!half.is_plausible() && !half.has_hello());
        assert_eq!(half.skip(4000), 4000 - (LENGTH - 14));
    }
}
