//! Packets as they pass: an interface sniffed through libpcap, written as pcapng.
//!
//! [`Sniffer::run`] writes what an interface carries until it is told to stop. Into a file that is a capture; into a
//! pipe whose other end [`Analyzer::reader`](crate::Analyzer::reader) reads, it is an analysis of what happens now.

mod error;
mod interfaces;

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pcap::{Active, Capture, Precision};
use wire::pcapng::write::{
    InterfaceOptions, SectionOptions, Statistics, interface, packet, section_header, statistics,
};

pub use self::error::LiveError;
pub use self::interfaces::{Interface, interfaces};

/// Bytes kept of a packet where nobody asks for less: a 65,535 byte segment with its headers.
pub const WHOLE: u32 = 262_144;
/// What the kernel may hold while we are busy.
const KERNEL_BUFFER: i32 = 32 << 20;
/// Packets wait at most this long in the kernel, in milliseconds.
const BLOCK_MS: i32 = 100;
/// How long the kernel may take to hand over a block that is not full.
const LAST_BLOCK: Duration = Duration::from_millis(2 * BLOCK_MS as u64);
/// How often somebody who wants to stop is heard.
const HEARING: u16 = 100;
/// Bytes gathered before they are written.
const GATHER: usize = 256 << 10;
/// How often the counts are told.
const TELLING: Duration = Duration::from_secs(1);

/// What was sniffed so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets written.
    pub packets: u64,
    /// Bytes they had on the wire.
    pub bytes: u64,
    /// Packets that passed the filter and were lost, because we or the disk were too slow.
    pub dropped: u64,
    /// Packets the interface itself lost.
    pub interface_dropped: u64,
}

/// An interface that is being listened to.
pub struct Sniffer {
    capture: Capture<Active>,
    name: String,
    snap: u32,
}

impl std::fmt::Debug for Sniffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sniffer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Sniffer {
    /// Listens to an interface; `any` is all of them where the system has that. `filter` is an expression of libpcap's
    /// (pcap-filter(7)), `snap` the bytes kept of a packet.
    pub fn open(name: &str, filter: Option<&str>, snap: u32) -> Result<Self, LiveError> {
        let broken = |error| LiveError::of(name, error);
        let inactive = Capture::from_device(name).map_err(broken)?;
        // Immediate mode would give every packet a slot of full size, and lose most of a burst. Some interfaces have no
        // promiscuous mode, and libpcap's warning about that would count as an error.
        let capture = inactive
            .snaplen(i32::try_from(snap).unwrap_or(i32::MAX))
            .timeout(BLOCK_MS)
            .buffer_size(KERNEL_BUFFER)
            .precision(Precision::Nano)
            .promisc(false)
            .open()
            .map_err(broken)?;
        // On an idle interface a blocking read does not come back, whatever its timeout is.
        let mut capture = capture.setnonblock().map_err(broken)?;
        if let Some(filter) = filter {
            capture.filter(filter, true).map_err(|error| LiveError::filter(filter, error))?;
        }
        Ok(Self { capture, name: name.to_owned(), snap })
    }

    /// Writes packets until `stop` says so, or for as long as `length`; `tell` hears the counts every second. The file is
    /// whole at any return, with the counts in its last block.
    pub fn run(
        mut self,
        out: &mut dyn Write,
        length: Option<Duration>,
        stop: &dyn Fn() -> bool,
        tell: &mut dyn FnMut(&Counts),
    ) -> Result<Counts, LiveError> {
        let began = Instant::now();
        let started = now_ns();
        let mut counts = Counts::default();
        let mut told = began;
        let mut buffer = Vec::with_capacity(GATHER);
        self.begin(&mut buffer);
        let mut over = false;
        let mut broken = None;
        while broken.is_none() {
            let dry = self.take(&mut buffer, &mut counts);
            write(out, &mut buffer)?;
            match dry {
                Ok(false) if !over => {}
                // A busy interface has always more: what comes after the end is left out.
                Ok(_) if over => break,
                Ok(_) => broken = self.wait().err(),
                Err(error) => broken = Some(error),
            }
            let now = Instant::now();
            if now.duration_since(told) >= TELLING {
                told = now;
                self.dropped(&mut counts);
                tell(&counts);
            }
            if stop() || length.is_some_and(|length| now.duration_since(began) >= length) {
                over = true;
                // The kernel hands packets over in blocks: the last one needs its time.
                std::thread::sleep(LAST_BLOCK);
            }
        }
        self.dropped(&mut counts);
        statistics(
            &mut buffer,
            0,
            &Statistics {
                time_ns: now_ns(),
                start_ns: Some(started),
                end_ns: Some(now_ns()),
                received: Some(counts.packets.saturating_add(counts.dropped)),
                dropped: Some(counts.interface_dropped),
                os_dropped: Some(counts.dropped),
                delivered: Some(counts.packets),
                ..Statistics::default()
            },
        );
        write(out, &mut buffer)?;
        match broken {
            Some(error) => Err(error),
            None => Ok(counts),
        }
    }

    fn begin(&self, buffer: &mut Vec<u8>) {
        let program = concat!("streamgauge ", env!("CARGO_PKG_VERSION"));
        section_header(
            buffer,
            &SectionOptions {
                os: Some(std::env::consts::OS),
                user_appl: Some(program),
                ..SectionOptions::default()
            },
        );
        interface(
            buffer,
            &InterfaceOptions {
                link_type: u16::try_from(self.capture.get_datalink().0).unwrap_or(u16::MAX),
                snap_len: self.snap,
                name: Some(&self.name),
                ..InterfaceOptions::default()
            },
        );
    }

    /// Takes what is there, up to a buffer's worth; true where that was all.
    fn take(&mut self, buffer: &mut Vec<u8>, counts: &mut Counts) -> Result<bool, LiveError> {
        while buffer.len() < GATHER {
            match self.capture.next_packet() {
                Ok(sniffed) => {
                    let seconds = u64::try_from(sniffed.header.ts.tv_sec).unwrap_or(0);
                    // With this precision the field holds nanoseconds.
                    let nanos = u64::try_from(sniffed.header.ts.tv_usec).unwrap_or(0);
                    let time_ns = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
                    packet(buffer, 0, time_ns, &[sniffed.data], sniffed.header.len);
                    counts.packets = counts.packets.saturating_add(1);
                    counts.bytes = counts.bytes.saturating_add(u64::from(sniffed.header.len));
                }
                Err(pcap::Error::TimeoutExpired) => return Ok(true),
                Err(error) => return Err(LiveError::of(&self.name, error)),
            }
        }
        Ok(false)
    }

    /// Waits until packets are there, or somebody may want to stop.
    fn wait(&self) -> Result<(), LiveError> {
        let mut sources = [PollFd::new(self.capture.as_fd(), PollFlags::POLLIN)];
        match poll(&mut sources, PollTimeout::from(HEARING)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(LiveError::Broken { name: self.name.clone(), why: error.to_string() }),
        }
    }

    fn dropped(&mut self, counts: &mut Counts) {
        if let Ok(stats) = self.capture.stats() {
            counts.dropped = u64::from(stats.dropped);
            counts.interface_dropped = u64::from(stats.if_dropped);
        }
    }
}

fn write(out: &mut dyn Write, buffer: &mut Vec<u8>) -> Result<(), LiveError> {
    let written = out.write_all(buffer).and_then(|()| out.flush());
    buffer.clear();
    written.map_err(LiveError::Write)
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
