//! Faults of RTSP, RTP and RTCP: answers of the session and headers of packets that are not as they should be.

use std::ops::Range;

use bytes::Bytes;
use media::Kind;
use wire::cursor::Cursor;
use wire::rtsp::{Head, Mode, Transport};

use super::{Fault, How, of};

/// Changes the answers of one block, adds some.
pub(super) type Change = fn(&mut Told, &mut Vec<Answer>);
/// Changes the header of a packet of such a track.
pub(super) type HeaderChange = fn(Kind, &mut [u8]);
/// Says which packets of a compound packet are left out, by their type.
pub(super) type CompoundChange = fn(u8) -> bool;

/// Every fault of RTSP, RTP and RTCP.
pub(super) static ALL: &[&Fault] =
    &[&CSEQ_OF_NOBODY, &SETUP_WITHOUT_SESSION, &CHANNELS_SHARED, &MARKER_MISSING, &CNAME_MISSING];

/// Far above the numbers of any client's requests.
const NOBODY: u32 = 1_000_003;
/// Packet type of a source description (RFC 3550 §6.5).
const SDES: u8 = 202;
/// The marker bit in the second byte of a header (RFC 3550 §5.1).
const MARKER: u8 = 0x80;

static CSEQ_OF_NOBODY: Fault = Fault {
    id: "rtsp.cseq-of-nobody",
    title: "An answer belongs to no request",
    does: "PLAY is answered as it should be, and then once more with a CSeq that nobody used.",
    breaks: &[&spec::rtsp::CSEQ_ECHO],
    how: How::Answers(|_, answers| {
        let again = |answer: &Answer| {
            answer.head.headers.field("RTP-Info")?;
            let mut again = answer.clone();
            let cseq = again.head.headers.0.iter_mut().find(|h| h.name.eq_ignore_ascii_case("CSeq"))?;
            cseq.value = NOBODY.to_string();
            Some(again)
        };
        let more: Vec<Answer> = answers.iter().filter_map(again).collect();
        answers.extend(more);
    }),
};

static SETUP_WITHOUT_SESSION: Fault = Fault {
    id: "rtsp.setup-without-session",
    title: "A SETUP succeeds without a session",
    does: "The answers to the SETUP of the second track and those behind it have no Session header. The first one has, \
           so that the stream can be played.",
    breaks: &[&spec::rtsp::SETUP_SESSION_ISSUED],
    how: How::Answers(|told, answers| {
        for answer in answers.iter_mut().filter(|answer| answer.transport().is_some()) {
            if std::mem::replace(&mut told.set_up, true) {
                answer.head.headers.0.retain(|h| !h.name.eq_ignore_ascii_case("Session"));
            }
        }
    }),
};

static CHANNELS_SHARED: Fault = Fault {
    id: "rtsp.channels-shared",
    title: "Two tracks share one pair of channels",
    does: "Every track that is played within the connection is given the channels of the first one, and is sent on them.",
    breaks: &[&spec::rtsp::SETUP_INTERLEAVED_UNIQUE],
    how: How::Answers(|told, answers| {
        for answer in answers {
            let Some(mut transport) = answer.transport() else { continue };
            // What a publisher sends on the wrong channel would be lost in our own session.
            let Some((rtp, rtcp)) = transport.interleaved.filter(|_| transport.mode != Some(Mode::Record))
            else {
                continue;
            };
            let first = *told.first.get_or_insert((rtp, rtcp));
            if first == (rtp, rtcp) {
                continue;
            }
            told.moved.extend([(rtp, first.0), (rtcp, first.1)]);
            transport.interleaved = Some(first);
            for header in &mut answer.head.headers.0 {
                if header.name.eq_ignore_ascii_case("Transport") {
                    header.value = transport.to_string();
                }
            }
        }
    }),
};

static MARKER_MISSING: Fault = Fault {
    id: "rtp.marker-missing",
    title: "Pictures end without the marker",
    does: "The marker bit is 0 in every RTP packet of a video track.",
    breaks: &[&spec::rtp::MARKER_VIDEO],
    how: How::Rtp(|kind, header| {
        if let Some(byte) = header.get_mut(1).filter(|_| kind == Kind::Video) {
            *byte &= !MARKER;
        }
    }),
};

static CNAME_MISSING: Fault = Fault {
    id: "rtcp.cname-missing",
    title: "Reports come without the canonical name",
    does: "Sender and receiver reports and goodbyes are sent without the source description that holds the CNAME.",
    breaks: &[&spec::rtcp::COMPOUND_CNAME],
    how: How::Rtcp(|kind| kind == SDES),
};

/// An answer that is about to leave.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    head: Head,
    body: Bytes,
}

impl Answer {
    /// Where it answers a SETUP that succeeded.
    fn transport(&self) -> Option<Transport> {
        let value = self.head.headers.value("Transport").filter(|_| self.head.status() == Some(200))?;
        Transport::parse_all(value).ok()?.into_iter().next()
    }
}

/// What was told to one client so far.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// A track has been set up.
    set_up: bool,
    /// The first track's channels.
    first: Option<(u8, u8)>,
    /// Channels of the session, and those that its client was told.
    moved: Vec<(u8, u8)>,
}

/// What the faults do to one connection.
#[derive(Debug)]
pub(crate) struct Breaker {
    answers: Vec<Change>,
    headers: Vec<HeaderChange>,
    compounds: Vec<CompoundChange>,
    told: Told,
}

impl Breaker {
    /// None where none of these faults is one of RTSP, RTP or RTCP.
    pub fn new(faults: &[&'static Fault]) -> Option<Box<Self>> {
        let pick = |how| match how {
            How::Answers(change) => Some(change),
            _ => None,
        };
        let answers = of(faults, pick);
        let pick = |how| match how {
            How::Rtp(change) => Some(change),
            _ => None,
        };
        let headers = of(faults, pick);
        let pick = |how| match how {
            How::Rtcp(change) => Some(change),
            _ => None,
        };
        let compounds = of(faults, pick);
        let any = !(answers.is_empty() && headers.is_empty() && compounds.is_empty());
        any.then(|| Box::new(Self { answers, headers, compounds, told: Told::default() }))
    }

    /// What leaves in place of a block that the session sends: an answer, whole.
    pub fn answers(&mut self, block: Bytes) -> Bytes {
        if self.answers.is_empty() {
            return block;
        }
        let mut c = Cursor::new(&block);
        let Ok(mut head) = Head::decode(&mut c) else { return block };
        let body = block.slice(c.position().min(block.len())..);
        // It is written anew with the body.
        head.headers.0.retain(|h| !h.name.eq_ignore_ascii_case("Content-Length"));
        let mut answers = vec![Answer { head, body }];
        self.answers.iter().for_each(|change| change(&mut self.told, &mut answers));
        answers.iter().flat_map(|Answer { head, body }| head.encode(body)).collect::<Vec<u8>>().into()
    }

    /// The header of a packet of a track of this kind.
    pub fn header(&self, kind: Kind, header: &mut [u8]) {
        self.headers.iter().for_each(|change| change(kind, header));
    }

    /// What leaves in place of a compound packet.
    pub fn compound(&self, compound: Bytes) -> Bytes {
        if self.compounds.is_empty() {
            return compound;
        }
        let mut kept = Vec::with_capacity(compound.len());
        for (kind, part) in packets(&compound) {
            if !self.compounds.iter().any(|leaves_out| leaves_out(kind)) {
                kept.extend_from_slice(compound.get(part).unwrap_or_default());
            }
        }
        kept.into()
    }

    /// The channel in place of one that the session gave a track.
    pub fn channel(&self, channel: u8) -> u8 {
        let moved = self.told.moved.iter().find(|(from, _)| *from == channel);
        moved.map_or(channel, |(_, to)| *to)
    }
}

/// The packets of a compound packet: type and place of each (RFC 3550 §6.1).
fn packets(compound: &[u8]) -> impl Iterator<Item = (u8, Range<usize>)> {
    let mut at = 0usize;
    std::iter::from_fn(move || {
        let [_, kind, high, low] = *compound.get(at..)?.first_chunk()?;
        let words = usize::from(u16::from_be_bytes([high, low])).saturating_add(1);
        let end = at.saturating_add(words.saturating_mul(4)).min(compound.len());
        let part = at..end;
        at = end;
        Some((kind, part))
    })
}

#[cfg(test)]
mod tests {
    use wire::rtcp::{self, Packet};

    use super::*;

    fn passed(faults: &[&'static Fault], said: &[&str]) -> Vec<String> {
        let mut breaker = Breaker::new(faults).unwrap();
        let one = |text: &&str| {
            let block = Bytes::copy_from_slice(text.as_bytes());
            String::from_utf8(breaker.answers(block).to_vec()).unwrap()
        };
        said.iter().map(one).collect()
    }

    const DESCRIBED: &str =
        "RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n";
    const FIRST: &str = "RTSP/1.0 200 OK\r\nCSeq: 3\r\nSession: 5;timeout=60\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n";
    const SECOND: &str = "RTSP/1.0 200 OK\r\nCSeq: 4\r\nSession: 5;timeout=60\r\nTransport: RTP/AVP/TCP;unicast;interleaved=2-3\r\n\r\n";
    const PLAYED: &str = "RTSP/1.0 200 OK\r\nCSeq: 5\r\nSession: 5\r\nRTP-Info: url=a;seq=1\r\n\r\n";

    #[test]
    fn answers_change_where_the_fault_says_so_and_nowhere_else() {
        let all = [DESCRIBED, FIRST, SECOND, PLAYED];
        let again = PLAYED.replace("CSeq: 5", "CSeq: 1000003");
        let played = format!("{PLAYED}{again}");
        assert_eq!(passed(&[&CSEQ_OF_NOBODY], &all), [DESCRIBED, FIRST, SECOND, &played]);
        let bare = SECOND.replace("Session: 5;timeout=60\r\n", "");
        assert_eq!(passed(&[&SETUP_WITHOUT_SESSION], &all), [DESCRIBED, FIRST, &bare, PLAYED]);
        let shared = SECOND.replace("2-3", "0-1");
        assert_eq!(passed(&[&CHANNELS_SHARED], &all), [DESCRIBED, FIRST, &shared, PLAYED]);
        let records = [FIRST, SECOND].map(|text| text.replace("\r\n\r\n", ";mode=RECORD\r\n\r\n"));
        let records = records.each_ref().map(String::as_str);
        assert_eq!(passed(&[&CHANNELS_SHARED], &records), records);
    }

    #[test]
    fn packets_follow_the_channels_that_were_told() {
        let mut breaker = Breaker::new(&[&CHANNELS_SHARED]).unwrap();
        for answer in [FIRST, SECOND] {
            breaker.answers(Bytes::from_static(answer.as_bytes()));
        }
        assert_eq!([0, 1, 2, 3, 4].map(|channel| breaker.channel(channel)), [0, 1, 0, 1, 4]);
    }

    #[test]
    fn reports_lose_their_source_description() {
        let report = Packet::ReceiverReport { ssrc: 7, blocks: Vec::new() };
        let whole = rtcp::encode_all(&[report.clone(), Packet::cname(7, "streamgauge")]);
        let breaker = Breaker::new(&[&CNAME_MISSING]).unwrap();
        let left = breaker.compound(whole.into());
        assert_eq!(rtcp::parse(&left), (vec![report], None));
        assert_eq!(breaker.compound(Bytes::from_static(&[0x80])), Bytes::new());
    }

    #[test]
    fn only_pictures_lose_their_marker() {
        let breaker = Breaker::new(&[&MARKER_MISSING]).unwrap();
        let mut header = [0x80, 0xe0, 1];
        breaker.header(Kind::Audio, &mut header);
        assert_eq!(header, [0x80, 0xe0, 1]);
        breaker.header(Kind::Video, &mut header);
        assert_eq!(header, [0x80, 0x60, 1]);
        assert!(Breaker::new(super::super::rtmp::ALL).is_none());
    }
}
