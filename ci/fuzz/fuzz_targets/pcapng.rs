//! Capture files: the reader gets to the end of any file, in steps that its length bounds, and the headers of any packet can be
//! taken apart.
#![no_main]

use std::io::Cursor as File;

use analyzer::capture::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(mut reader) = Reader::new("fuzz", File::new(data.to_vec())) else { return };
    let mut packets = 0u64;
    let mut steps = 0usize;
    let mut bytes = 0usize;
    while let Some(step) = reader.next() {
        steps += 1;
        assert!(steps <= data.len() + 2, "more steps than the file has bytes");
        match step {
            Ok(packet) => {
                packets += 1;
                bytes += packet.data.len();
                assert!(packet.data.len() <= data.len());
                assert!(packet.number >= packets, "frame numbers rise");
                let _ = packet.parse();
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    assert!(bytes <= data.len(), "{bytes} bytes of packets in a file of {}", data.len());
    assert!(reader.skipped_bytes() <= data.len() as u64);
    let summary = reader.summary();
    assert!(summary.packets >= packets);
});
