//! A sample of `ci/damage`: the captures of captures/, RTMP, RTSP, RTP and HLS, damaged and cut, analyzed, judged and dissected.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod harm;

use std::path::PathBuf;

use harm::Harm;

#[test]
fn damaged_captures_are_read_as_far_as_they_make_sense() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../captures");
    let mut read = 0;
    for entry in std::fs::read_dir(root).unwrap() {
        let case = entry.unwrap().path();
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        for file in ["input.pcap", "input.pcapng"].map(|file| case.join(file)) {
            let Ok(whole) = std::fs::read(file) else { continue };
            let places = if whole.len() > 100_000 { 3 } else { 6 };
            for n in 0..places {
                let at = whole.len() * n / places + 41 * n + 7;
                let by = [0xff, 0x01, 0x80][n % 3];
                for harm in [Harm::Byte(at, by), Harm::Cut(at), Harm::Comb(at, 1_000, by)] {
                    let bytes = harm.of(&whole);
                    harm::dissect(&name, bytes.clone());
                    harm::judge(&name, bytes);
                    read += 1;
                }
            }
        }
    }
    assert!(read > 100, "{read} copies");
}
