//! The whole analysis: captures in, one document out.

use std::io::Read;
use std::path::Path;

use model::Analysis;

use crate::capture::{self, CaptureError, Problem};
use crate::finding::Note;
use crate::flow::{Flows, Limits};
use crate::hub::Hub;
use crate::measure::conversations::Conversations;
use crate::report::{self, Parts};

/// Faults of capture files kept as findings of their own.
const MAX_FAULTS: usize = 200;

/// What an analysis may use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Bounds of the TCP reassembly.
    pub flows: Limits,
}

/// Reads captures one after another and tells what was in them.
///
/// Connections that go on from one capture to the next (a ring of capture files) are followed. Memory grows with
/// what is open at a time and with the number of sessions, not with the length of the captures.
#[derive(Debug)]
pub struct Analyzer {
    flows: Flows,
    conversations: Conversations,
    hub: Option<Hub>,
    first_ns: Option<i64>,
    captures: Vec<model::Capture>,
    faults: Vec<(usize, Note)>,
}

impl Analyzer {
    /// Nothing read yet.
    pub fn new(options: Options) -> Self {
        Self {
            flows: Flows::new(options.flows),
            conversations: Conversations::default(),
            hub: None,
            first_ns: None,
            captures: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Reads a capture file as far as it goes; returns its packets. What is wrong with it becomes a finding; an
    /// error comes back only where no packet could be read.
    pub fn file(&mut self, path: impl AsRef<Path>) -> Result<u64, CaptureError> {
        let name = path.as_ref().display().to_string();
        let opened = capture::Reader::open(path);
        self.read(name, opened)
    }

    /// Reads a capture from anything; `name` stands for the file.
    pub fn reader(&mut self, name: &str, source: impl Read + Send + 'static) -> Result<u64, CaptureError> {
        let opened = capture::Reader::new(name, source);
        self.read(name.to_owned(), opened)
    }

    fn read(
        &mut self,
        name: String,
        opened: Result<capture::Reader, CaptureError>,
    ) -> Result<u64, CaptureError> {
        let index = self.captures.len();
        let mut reader = match opened {
            Ok(reader) => reader,
            Err(error) => {
                self.captures.push(model::Capture { file: name, ..model::Capture::default() });
                self.fault(index, &error);
                return Err(error);
            }
        };
        let mut first_error = None;
        while let Some(next) = reader.next() {
            match next {
                Ok(packet) => {
                    let first_ns = *self.first_ns.get_or_insert(packet.time_ns);
                    let hub = self.hub.get_or_insert_with(|| Hub::new(first_ns));
                    hub.file = index;
                    let parsed = packet.parse();
                    self.conversations.add(packet.time_ns, packet.orig_len, &parsed);
                    self.flows.packet(packet.number, packet.time_ns, &parsed, hub);
                }
                Err(error) => {
                    self.fault(index, &error);
                    first_error.get_or_insert(error);
                }
            }
        }
        let summary = reader.summary();
        let packets = summary.packets;
        if let Some(dropped) = reader.dropped().filter(|dropped| *dropped > 0) {
            let rule = &spec::capture::PACKETS_DROPPED;
            let message = format!("the capturing machine dropped {dropped} packets");
            let note =
                Note::new(rule, message).want_got("0 packets dropped", format!("{dropped} packets dropped"));
            self.faults.push((index, note));
        }
        self.captures.push(summary);
        match first_error {
            Some(error) if packets == 0 => Err(error),
            _ => Ok(packets),
        }
    }

    fn fault(&mut self, file: usize, error: &CaptureError) {
        let rule = match &error.problem {
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
    pub fn finish(mut self) -> Analysis {
        let first_ns = self.first_ns.unwrap_or(0);
        let mut hub = self.hub.take().unwrap_or_else(|| Hub::new(first_ns));
        self.flows.finish(&mut hub);
        report::analysis(Parts {
            first_ns,
            captures: self.captures,
            conversations: self.conversations.into_model(first_ns),
            faults: self.faults,
            hub,
        })
    }
}
