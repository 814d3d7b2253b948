//! Writes the 700 MB capture that `ci/bench big` measures with, and prints what is in it.
//!
//!     cargo run --release -p streamgauge-analyzer --example big_capture FILE
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "it makes what it writes"
)]
#![allow(missing_docs, unreachable_pub, dead_code, reason = "the module is that of a test")]

#[path = "../tests/big/mod.rs"]
mod big;

use std::fs::File;
use std::io::BufWriter;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: big_capture FILE")?;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let truth = big::write(&big::Plan::LARGE, &mut out)?;
    let sessions: Vec<_> = truth
        .sessions
        .iter()
        .map(|s| {
            serde_json::json!({
                "role": if s.publishes { "publisher" } else { "viewer" },
                "path": s.path,
                "port": s.port,
                "bytes_to_server": s.bytes.0,
                "bytes_to_client": s.bytes.1,
                "retransmitted_bytes": s.repeated,
                "late_segments": s.late,
                "pictures": s.pictures,
                "key_frames": s.key_frames,
                "sounds": s.sounds,
            })
        })
        .collect();
    println!(
        "{}",
        serde_json::json!({ "packets": truth.packets, "bytes": truth.bytes, "sessions": sessions })
    );
    Ok(())
}
