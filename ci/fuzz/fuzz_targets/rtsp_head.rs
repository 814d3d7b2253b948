//! An RTSP connection: units cover it without a gap wherever it is cut, heads read the same with a field tree, and the headers
//! with structure can be taken apart.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::rtsp::{Framed, Head, Range, RtpInfo, SessionId, Transport, frame};
use wire::{Cursor, Tree};

fuzz_target!(|data: &[u8]| {
    let mut at = 0;
    while at < data.len() {
        let rest = &data[at..];
        let Ok(framed) = frame(rest, 0) else { break };
        // What is there of the unit asks for more, or for the same after a resumed search.
        for cut in [1, rest.len() / 2] {
            let part = &rest[..cut.min(framed.size().saturating_sub(1))];
            match frame(part, 0) {
                Ok(Framed::HeadOpen) => assert_eq!(frame(rest, part.len()), Ok(framed)),
                Ok(Framed::Need(n)) => assert!(n > part.len()),
                Ok(Framed::Blank(_)) => {}
                other => panic!("{other:?} of a part of {framed:?}"),
            }
        }
        if let Framed::Message { head, .. } = framed {
            read(&rest[..head]);
        }
        if framed.size() == 0 {
            break;
        }
        at += framed.size();
    }
});

fn read(bytes: &[u8]) {
    let mut traced = Cursor::traced(bytes, Tree::default());
    let head = Head::decode(&mut traced);
    assert_eq!(head, Head::decode(&mut Cursor::new(bytes)));
    let mut end = 0;
    let position = traced.position() as u64 * 8;
    for leaf in traced.into_trace().leaves() {
        assert_eq!(leaf.bits.start, end, "a gap or an overlap before {:?}", leaf.field);
        end = leaf.bits.end;
    }
    assert_eq!(end, position);
    let Ok(head) = head else { return };
    for header in &head.headers.0 {
        for offer in Transport::parse_all(&header.value).unwrap_or_default() {
            let _ = offer.to_string();
        }
        let _ =
            (RtpInfo::parse_all(&header.value), SessionId::parse(&header.value), Range::parse(&header.value));
    }
}
