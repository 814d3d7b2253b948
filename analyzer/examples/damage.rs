//! Damages captures at every so many bytes, cuts them there, and has every copy analyzed, judged and dissected: `ci/damage`.
//!
//!     cargo run --release -p streamgauge-analyzer --example damage EVERY FILE...
//!
//! A panic, a case that does not end and memory beyond a bound are findings; the case is named, so that one copy can be made again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "a command for this project's engineers; what it damages is never read here"
)]

#[path = "../tests/harm/mod.rs"]
mod harm;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use harm::Harm;

/// A case that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the whole command may hold beside the files it damages.
const MEMORY: u64 = 512 << 20;
/// Captures up to this size are dissected whole for every case; of longer ones, the packets around the damage.
const DISSECT_WHOLE: usize = 300_000;
/// Bytes before and behind a damage that are dissected of a longer capture.
const AROUND: usize = 48_000;

/// A capture, and where packets begin in it.
struct File {
    name: String,
    bytes: Vec<u8>,
    /// Bytes ahead of the first packet.
    head: usize,
    /// Beginnings of packets or blocks.
    packets: Vec<usize>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let every: usize = arguments.next().and_then(|n| n.parse().ok()).expect("usage: damage EVERY FILE...");
    let files: Vec<File> = arguments.map(|path| open(Path::new(&path))).collect();
    let mut cases: Vec<(usize, Harm)> = Vec::new();
    for (no, file) in files.iter().enumerate() {
        let size = file.bytes.len();
        // Bits, signs and whole bytes, in turn.
        let by = |n: usize| [0xff, 0x01, 0x80, 0x10][n % 4];
        cases.extend((0..size).step_by(every).map(|at| (no, Harm::Byte(at, by(at / every)))));
        cases.extend((0..size).step_by(every).map(|at| (no, Harm::Cut(at))));
        let phases = 16.min(every);
        cases.extend((0..phases).map(|n| (no, Harm::Comb(64 + n * every / phases, every, by(n)))));
    }
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    let (done, read) = (AtomicUsize::new(0), AtomicU64::new(0));
    let found = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let at_work: Vec<Mutex<Option<(usize, Instant)>>> = (0..workers).map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        let (over, ended) = mpsc::channel::<()>();
        for slot in &at_work {
            let (cases, files, next, done, read, found, over) =
                (&cases, &files, &next, &done, &read, &found, over.clone());
            scope.spawn(move || {
                loop {
                    let no = next.fetch_add(1, Ordering::Relaxed);
                    let Some((file, harm)) = cases.get(no) else { break };
                    *slot.lock().unwrap() = Some((no, Instant::now()));
                    let file = &files[*file];
                    read.fetch_add(file.bytes.len() as u64, Ordering::Relaxed);
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| read_all(file, *harm))) {
                        let why = panic.downcast_ref::<String>().map(String::as_str);
                        let why = why.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?").to_owned();
                        found.lock().unwrap().push(format!("{}, {harm:?}: {why}", file.name));
                    }
                    *slot.lock().unwrap() = None;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                drop(over);
            });
        }
        drop(over);
        let owned: u64 = files.iter().map(|f| f.bytes.len() as u64).sum();
        while let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(Duration::from_secs(1)) {
            for slot in &at_work {
                if let Some((no, since)) = *slot.lock().unwrap()
                    && since.elapsed() > PATIENCE
                {
                    let (file, harm) = &cases[no];
                    println!("FOUND: {}, {harm:?} does not end", files[*file].name);
                    std::process::exit(1);
                }
            }
            if peak() > owned + MEMORY {
                let running: Vec<_> = at_work.iter().filter_map(|slot| *slot.lock().unwrap()).collect();
                let running: Vec<_> =
                    running.iter().map(|(no, _)| (&files[cases[*no].0].name, cases[*no].1)).collect();
                println!("FOUND: {} MB are held, at work are {running:?}", peak() >> 20);
                std::process::exit(1);
            }
        }
    });
    let found = found.into_inner().unwrap();
    println!(
        "{} captures, {} copies of {} MB together, {:.0} s, at most {} MB held: {} findings",
        files.len(),
        done.into_inner(),
        read.into_inner() / 1_000_000,
        began.elapsed().as_secs_f64(),
        peak() >> 20,
        found.len()
    );
    found.iter().take(20).for_each(|line| println!("FOUND: {line}"));
    std::process::exit(i32::from(!found.is_empty()));
}

/// Everything that reads captures.
fn read_all(file: &File, harm: Harm) {
    let bytes = harm.of(&file.bytes);
    let part = match harm {
        Harm::Comb(..) => None,
        _ if file.bytes.len() <= DISSECT_WHOLE => Some(bytes.clone()),
        Harm::Byte(at, _) | Harm::Cut(at) => Some(around(file, &bytes, at)),
    };
    harm::judge(&file.name, bytes);
    if let Some(part) = part {
        harm::dissect(&file.name, part);
    }
}

/// The head of a capture, and the packets around a place.
fn around(file: &File, bytes: &[u8], at: usize) -> Vec<u8> {
    let from = at.saturating_sub(AROUND).max(file.head);
    let from = file.packets.get(file.packets.partition_point(|p| *p < from)).copied().unwrap_or(file.head);
    let end = (at + AROUND).min(bytes.len());
    [&bytes[..file.head.min(bytes.len())], bytes.get(from..end).unwrap_or_default()].concat()
}

fn open(path: &Path) -> File {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let name = path.display().to_string();
    let word = |at: usize| bytes.get(at..at + 4).map(|w| u32::from_le_bytes(w.try_into().unwrap()));
    let mut packets = Vec::new();
    let pcapng = word(0) == Some(0x0a0d_0d0a);
    let big = matches!(word(0), Some(0xd4c3_b2a1 | 0x4d3c_b2a1)) || pcapng && word(8) == Some(0x4d3c_2b1a);
    let number = |at| word(at).map(|n| if big { n.swap_bytes() } else { n });
    let mut at = if pcapng { 0 } else { 24 };
    let mut head = at;
    while at < bytes.len() {
        let size = if pcapng { number(at + 4) } else { number(at + 8).map(|n| n + 16) };
        let Some(size) = size.filter(|n| *n >= 12) else { break };
        // Section, interface and name blocks come first, and are needed to read the others.
        if pcapng && packets.is_empty() && matches!(number(at), Some(1 | 4 | 0x0a0d_0d0a)) {
            head = at + size as usize;
        } else {
            packets.push(at);
        }
        at += size as usize;
    }
    File { name, bytes, head, packets }
}

/// The most memory this process had, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) << 10
}
