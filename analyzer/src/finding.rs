//! What is wrong, or worth knowing: noted where it is seen, put together at the end.

use spec::{Requirement, Severity};

use crate::flow::At;

/// Different things noted of one connection; more are only counted with the last.
const MAX_NOTES: usize = 64;

/// One thing that was noticed, with its first occurrence.
#[derive(Clone, Debug)]
pub struct Note {
    /// The requirement it is about.
    pub rule: &'static Requirement,
    /// The stream of the connection it is about; none for the connection as a whole.
    pub stream: Option<usize>,
    /// Where it was seen first.
    pub at: Option<At>,
    /// What was expected.
    pub want: Option<String>,
    /// What was there.
    pub got: Option<String>,
    /// The sentence for people.
    pub message: String,
    /// How often it happened.
    pub count: u64,
}

impl Note {
    /// A note with its sentence alone.
    pub fn new(rule: &'static Requirement, message: impl Into<String>) -> Self {
        Self { rule, stream: None, at: None, want: None, got: None, message: message.into(), count: 1 }
    }

    /// At this place.
    pub fn at(mut self, at: At) -> Self {
        self.at = Some(at);
        self
    }

    /// About this stream of the connection.
    pub fn stream(mut self, stream: Option<usize>) -> Self {
        self.stream = stream;
        self
    }

    /// What was expected, and what was there.
    pub fn want_got(mut self, want: impl Into<String>, got: impl Into<String>) -> Self {
        self.want = Some(want.into());
        self.got = Some(got.into());
        self
    }

    /// A decoding error in its own words.
    pub fn error(rule: &'static Requirement, what: &str, error: &wire::Error) -> Self {
        let note = Self::new(rule, format!("{what}: {error}"));
        match &error.problem {
            wire::Problem::Short { want, got } => {
                note.want_got(format!("{want} bytes"), format!("{got} bytes"))
            }
            wire::Problem::Value { want, got } => note.want_got(*want, format!("{got} (0x{got:x})")),
            wire::Problem::TooLarge { limit, got } => {
                note.want_got(format!("at most {limit}"), got.to_string())
            }
            wire::Problem::TooDeep { limit } => note.want_got(format!("at most {limit} levels"), "more"),
        }
    }
}

/// The notes about one connection: the same thing noticed again is counted, not kept.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    notes: Vec<Note>,
}

impl Notes {
    /// Adds a note; `make` is called only for a thing that was not noticed before.
    pub fn add(&mut self, rule: &'static Requirement, stream: Option<usize>, make: impl FnOnce() -> Note) {
        let same = |note: &Note| note.rule.id == rule.id && note.stream == stream;
        match self.notes.iter().position(same).and_then(|index| self.notes.get_mut(index)) {
            Some(note) => note.count = note.count.saturating_add(1),
            None => self.push(make().stream(stream)),
        }
    }

    /// Adds a note that stands for itself, whatever was noted before.
    pub fn push(&mut self, note: Note) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(note);
        }
    }

    /// All of them.
    pub fn into_vec(self) -> Vec<Note> {
        self.notes
    }
}

/// The severity as the report has it.
pub(crate) fn severity(severity: Severity) -> model::Severity {
    match severity {
        Severity::Info => model::Severity::Info,
        Severity::Warning => model::Severity::Warning,
        Severity::Error => model::Severity::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_thing_is_counted() {
        let mut notes = Notes::default();
        for n in 0..5 {
            notes.add(&spec::rtmp::AMF0_DEPTH_LIMIT, None, || {
                Note::new(&spec::rtmp::AMF0_DEPTH_LIMIT, format!("occurrence {n}"))
            });
        }
        notes.add(&spec::rtmp::AMF0_DEPTH_LIMIT, Some(1), || {
            Note::new(&spec::rtmp::AMF0_DEPTH_LIMIT, "other")
        });
        let notes = notes.into_vec();
        assert_eq!(notes.iter().map(|n| (n.count, n.stream)).collect::<Vec<_>>(), [(5, None), (1, Some(1))]);
        assert_eq!(notes.first().map(|n| n.message.as_str()), Some("occurrence 0"));
    }
}
