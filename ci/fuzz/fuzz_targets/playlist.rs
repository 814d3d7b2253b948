//! HLS playlists: lines and attributes lie within the playlist, in order, and every reference resolves.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::hls::{self, What};

fuzz_target!(|data: &[u8]| {
    let mut end = 0;
    let mut number = 0;
    for line in hls::lines(data) {
        number += 1;
        let Ok(line) = line else { continue };
        assert_eq!(line.number, number);
        assert!(line.span.start >= end && line.span.end <= data.len());
        end = line.span.end;
        match line.what {
            What::Tag(tag) => {
                assert!(line.span.start < tag.name.at && tag.name.span().end <= line.span.end);
                let mut last = tag.name.span().end;
                for attribute in tag.attributes().flatten() {
                    let (name, value) = (attribute.name.span(), attribute.value.text());
                    assert!(last <= name.start && name.end < value.at && value.span().end <= line.span.end);
                    last = value.span().end;
                    let _ = (value.integer(), value.signed_float(), value.resolution(), value.byte_range());
                    let _ = hls::resolve("/live/cam/index.m3u8?session=1", value.text);
                }
                let _ = tag.segment();
            }
            What::Uri(uri) => {
                let once = hls::resolve("http://host/a/b.m3u8", uri.text);
                let _ = hls::resolve(&once, uri.text);
            }
            What::Blank | What::Comment(_) => {}
        }
    }
});
