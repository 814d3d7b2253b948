//! Session descriptions: the leaves tile what was read, formats and control URLs can be asked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use media::rtp::Format;
use wire::sdp::{Description, control_url};
use wire::{Cursor, Tree};

fuzz_target!(|data: &[u8]| {
    let mut traced = Cursor::traced(data, Tree::default());
    let read = Description::decode(&mut traced);
    assert_eq!(read, Description::parse(data));
    let mut end = 0;
    let position = traced.position() as u64 * 8;
    for leaf in traced.into_trace().leaves() {
        assert_eq!(leaf.bits.start, end, "a gap or an overlap before {:?}", leaf.field);
        end = leaf.bits.end;
    }
    assert_eq!(end, position);
    let Ok(description) = read else { return };
    for media in &description.media {
        let url = control_url("rtsp://host/path/", media.control());
        let _ = control_url(&url, description.control());
        if let Some(track) = Format::of(media).and_then(|format| format.track()) {
            let _ = media::rtp::describe(&[track], "x");
        }
    }
});
