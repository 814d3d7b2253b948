//! A publisher's packets: whatever comes, decoding times rise and never exceed presentation times, and no more comes out than
//! went in. Input: records of a length, a byte of place and kind, and a packet without its header's first two bytes.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use media::Unit;
use media::rtp::{Ingest, IngestConfig};
use wire::sdp::Description;

const SDP: &[u8] = b"m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n\
    a=fmtp:96 sprop-parameter-sets=Z2QAHqzZQKAv+XARAAADAAEAAAMAMg8WLZY=,aOrssiw=\n\
    m=audio 0 RTP/AVP 97\na=rtpmap:97 mpeg4-generic/48000/2\na=fmtp:97 config=1190\n";

static DESCRIPTION: LazyLock<Description> =
    LazyLock::new(|| Description::parse(SDP).expect("it is well formed"));

fuzz_target!(|data: &[u8]| {
    let Some((udp, mut rest)) = data.split_first() else { return };
    let config = if udp & 1 == 1 { IngestConfig::udp() } else { IngestConfig::tcp() };
    let Some(mut ingest) = Ingest::new(&DESCRIPTION, config) else { return };
    let mut now = 0u64;
    let mut last = [i64::MIN; 2];
    let mut check = |ingest: &mut Ingest, given: usize| {
        let mut taken = 0;
        while let Some((place, unit)) = ingest.poll() {
            let Unit::Frame(frame) = unit else { continue };
            assert!(frame.dts > last[place] && frame.dts <= frame.pts);
            last[place] = frame.dts;
            taken += frame.payload.len();
        }
        // A NAL unit of one byte out of an aggregate gets four bytes of length in place of two.
        assert!(taken <= given * 4);
    };
    let mut given = 0;
    while let [length, kind, behind @ ..] = rest {
        let (body, after) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = after;
        now += u64::from(kind >> 2) * 10;
        let place = usize::from(kind & 1);
        given += body.len() + 16;
        if kind & 2 == 2 {
            ingest.rtcp(now, place, body);
        } else {
            let marker = kind & 4 << 5;
            let packet = [&[0x80, marker | (96 + place as u8)][..], body].concat();
            ingest.rtp(now, place, packet.into());
        }
        check(&mut ingest, given);
    }
    ingest.finish(now);
    check(&mut ingest, given);
});
