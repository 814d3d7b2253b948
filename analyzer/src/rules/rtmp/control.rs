//! Protocol control messages.

use super::{Event, Rtmp};
use crate::rules::{Check, Doc, Rule, Tally};

/// `rtmp.control.msid0-csid2`.
pub static MSID0_CSID2: Rule<Rtmp> = Rule {
    requirement: &spec::rtmp::CONTROL_MSID0_CSID2,
    doc: Doc {
        looks_at: "The headers of messages of type 1, 2, 3, 5 and 6, both ways.",
        judges: "Each has message stream id 0 and chunk stream id 2. Nothing is judged behind a hole in the capture, \
                 because a short chunk header takes its message stream from one that may lie in the hole.",
        peers: "Captures of ffmpeg 5.1 and 9.0, nginx-rtmp 1.2.2 and SRS 6.0 keep it.",
    },
    start: || Box::<Place>::default(),
};

#[derive(Debug, Default)]
struct Place {
    blind: bool,
}

impl Check<Rtmp> for Place {
    fn event(&mut self, event: &Event<'_>, tally: &mut Tally) {
        match event {
            Event::Hole => self.blind = true,
            Event::Message(m) if !self.blind && matches!(m.type_id, 1..=3 | 5 | 6) => {
                tally.is(m.stream_id == 0 && m.csid == 2, m.at, || {
                    (
                        "message stream 0 on chunk stream 2".to_owned(),
                        format!("message stream {} on chunk stream {}", m.stream_id, m.csid),
                        format!(
                            "the {} sent a control message of type {} elsewhere",
                            side(m.from_client),
                            m.type_id
                        ),
                    )
                });
            }
            Event::Message(_) | Event::Command { .. } => {}
        }
    }
}

/// The name of a side.
pub(super) fn side(client: bool) -> &'static str {
    if client { "client" } else { "server" }
}
