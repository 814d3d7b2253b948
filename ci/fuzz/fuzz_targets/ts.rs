//! Transport streams: whatever comes, in whatever pieces, no more payload comes out than went in. Input: a byte that says how long
//! the pieces are, then the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use media::ts::{Demuxer, Event};

fuzz_target!(|data: &[u8]| {
    let Some((size, stream)) = data.split_first() else { return };
    let mut demuxer = Demuxer::default();
    let mut taken = 0;
    let mut event = |event: Event<'_>| {
        if let Event::Unit(unit) = event {
            taken += unit.data.len();
        }
    };
    for piece in stream.chunks(usize::from(*size).max(1)) {
        demuxer.data(piece, &mut event);
    }
    demuxer.hole(&mut event);
    demuxer.datagram(stream, &mut event);
    demuxer.finish(&mut event);
    assert!(taken <= stream.len() * 2);
});
