//! The whole analysis: captures in, one document out.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use model::Analysis;

use crate::capture::{self, CaptureError, Merged, Packet, Problem};
use crate::finding::Note;
use crate::flow::Limits;
use crate::hub::Hub;
use crate::intake::Intake;
use crate::measure::conversations::Conversations;
use crate::now::{self, Snapshot, Watch};
use crate::report::{self, Parts};
use crate::trace::Trace;

/// Faults of capture files kept as findings of their own.
const MAX_FAULTS: usize = 200;

/// What an analysis may use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Bounds of the TCP reassembly.
    pub flows: Limits,
    /// Keep a mark of every frame, for [`Analyzer::trace`]; memory grows with the length of what is read then.
    pub trace: bool,
}

/// Reads captures one after another and tells what was in them.
///
/// Connections that go on from one capture to the next (a ring of capture files) are followed. Memory grows with
/// what is open at a time and with the number of sessions, not with the length of the captures.
#[derive(Debug)]
pub struct Analyzer {
    intake: Intake,
    conversations: Conversations,
    hub: Option<Hub>,
    first_ns: Option<i64>,
    captures: Vec<model::Capture>,
    faults: Vec<(usize, Note)>,
    latest_ns: i64,
    watch: Option<Arc<Watch>>,
    trace: bool,
}

impl Analyzer {
    /// Nothing read yet.
    pub fn new(options: Options) -> Self {
        Self {
            intake: Intake::new(options.flows),
            conversations: Conversations::default(),
            hub: None,
            first_ns: None,
            captures: Vec::new(),
            faults: Vec::new(),
            latest_ns: i64::MIN,
            watch: None,
            trace: options.trace,
        }
    }

    /// Answers what is asked here while it reads.
    pub fn watched(&mut self, watch: Arc<Watch>) {
        self.watch = Some(watch);
    }

    /// The sessions that go on after the packets read so far.
    pub fn snapshot(&self) -> Snapshot {
        match (&self.hub, self.first_ns) {
            (Some(hub), Some(first_ns)) => now::snapshot(hub, first_ns, self.latest_ns),
            _ => Snapshot::default(),
        }
    }

    /// Reads a capture file as far as it goes; returns its packets. What is wrong with it becomes a finding; an
    /// error comes back only where no packet could be read.
    pub fn file(&mut self, path: impl AsRef<Path>) -> Result<u64, CaptureError> {
        self.files(&[path])
    }

    /// Reads capture files as one timeline: of all files, the packet with the earliest time comes next. A file that cannot
    /// be read is a finding, and an error only where none can. `-` is the standard input.
    pub fn files<P: AsRef<Path>>(&mut self, paths: &[P]) -> Result<u64, CaptureError> {
        let names = paths.iter().map(|path| path.as_ref().display().to_string()).collect();
        self.read(names, Merged::open(paths))
    }

    /// Reads a capture from anything; `name` stands for the file.
    pub fn reader(&mut self, name: &str, source: impl Read + Send + 'static) -> Result<u64, CaptureError> {
        self.read(vec![name.to_owned()], Merged::one(capture::Reader::new(name, source)))
    }

    fn read(&mut self, names: Vec<String>, mut merged: Merged) -> Result<u64, CaptureError> {
        let base = self.captures.len();
        let several = base > 0 || names.len() > 1;
        self.captures
            .extend(names.into_iter().map(|file| model::Capture { file, ..model::Capture::default() }));
        let mut first_error = None;
        while let Some((index, interfaces, next)) = merged.next() {
            let file = base.saturating_add(index);
            match next {
                Ok(packet) => {
                    self.packet(file, &packet, several || interfaces > 1);
                    if let Some(watch) = &self.watch {
                        watch.answer(|| self.snapshot());
                    }
                }
                Err(error) => {
                    self.fault(file, &error);
                    first_error.get_or_insert(error);
                }
            }
        }
        let mut packets = 0u64;
        for index in 0..merged.len() {
            let file = base.saturating_add(index);
            let Some(reader) = merged.ended(index) else { continue };
            let summary = reader.summary();
            packets = packets.saturating_add(summary.packets);
            self.dropped(file, reader.dropped());
            if let Some(capture) = self.captures.get_mut(file) {
                *capture = summary;
            }
        }
        match first_error {
            Some(error) if packets == 0 => Err(error),
            _ => Ok(packets),
        }
    }

    /// Takes in one packet of the capture with this index; `elsewhere` says that there may be copies of it, from other
    /// interfaces or files.
    fn packet(&mut self, file: usize, packet: &Packet<'_>, elsewhere: bool) {
        let first_ns = *self.first_ns.get_or_insert(packet.time_ns);
        self.latest_ns = self.latest_ns.max(packet.time_ns);
        let hub = self.hub.get_or_insert_with(|| Hub::new(first_ns, self.trace));
        hub.file = file;
        let parsed = packet.parse();
        self.conversations.add(packet.time_ns, packet.orig_len, &parsed);
        self.intake.packet(file, packet, &parsed, elsewhere, hub);
    }

    fn dropped(&mut self, file: usize, dropped: Option<u64>) {
        let Some(dropped) = dropped.filter(|dropped| *dropped > 0) else { return };
        let rule = &spec::capture::PACKETS_DROPPED;
        let message = format!("the capturing machine dropped {dropped} packets");
        let note =
            Note::new(rule, message).want_got("0 packets dropped", format!("{dropped} packets dropped"));
        self.faults.push((file, note));
    }

    fn fault(&mut self, file: usize, error: &CaptureError) {
        let rule = match &error.problem {
            // A packed file that ends too early.
            Problem::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                &spec::capture::FILE_CUT
            }
            Problem::Io(_) | Problem::Format(_) => &spec::capture::FILE_UNREADABLE,
            Problem::Cut { .. } => &spec::capture::FILE_CUT,
            Problem::Damaged(_) => &spec::capture::BLOCK_DAMAGED,
        };
        let mut note = Note::new(rule, error.problem.at(error.at).to_string());
        note = match &error.problem {
            Problem::Cut { want, got, .. } => note.want_got(format!("{want} bytes"), format!("{got} bytes")),
            _ => note,
        };
        let same = |(index, n): &(usize, Note)| *index == file && n.rule.id == rule.id;
        let known = self.faults.iter().position(same);
        match known.and_then(|known| self.faults.get_mut(known)) {
            Some((_, first)) => first.count = first.count.saturating_add(1),
            None => {
                if self.faults.len() < MAX_FAULTS {
                    self.faults.push((file, note));
                }
            }
        }
    }

    /// Closes what is still open and puts everything together.
    pub fn finish(self) -> Analysis {
        self.judge().0
    }

    /// As [`finish`](Self::finish), with how every conformance rule came out.
    pub fn judge(self) -> (Analysis, Vec<model::Case>) {
        let (analysis, cases, _) = self.trace();
        (analysis, cases)
    }

    /// As [`judge`](Self::judge), with every frame of RTMP, RTP and fragmented MP4, where [`Options::trace`] asked for them.
    pub fn trace(mut self) -> (Analysis, Vec<model::Case>, Vec<Trace>) {
        let first_ns = self.first_ns.unwrap_or(0);
        let mut hub = self.hub.take().unwrap_or_else(|| Hub::new(first_ns, self.trace));
        self.intake.flows.finish(&mut hub);
        let whole_story = [
            (
                &spec::capture::PACKETS_TWICE,
                self.intake.duplicates.copies(),
                "packets were captured more than once",
            ),
            (&spec::capture::FRAGMENTS_MISSING, self.intake.fragments.dropped(), "datagrams lack fragments"),
        ];
        for (rule, count, what) in whole_story {
            if count > 0 {
                let mut note = Note::new(rule, format!("{count} {what}"));
                note.count = count;
                self.faults.push((self.captures.len().saturating_sub(1), note));
            }
        }
        report::analysis(Parts {
            first_ns,
            captures: self.captures,
            conversations: self.conversations.into_model(first_ns),
            faults: self.faults,
            hub,
        })
    }
}
