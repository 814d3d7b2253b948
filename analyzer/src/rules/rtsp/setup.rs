//! What a SETUP response has to say.

use wire::rtsp::{SessionId, Transport};

use super::{Event, Rtsp};
use crate::rules::{Check, Doc, Rule, Tally};

/// Tracks remembered of one session.
const MAX_TRACKS: usize = 32;

/// `rtsp.setup.session-issued`.
pub static SESSION_ISSUED: Rule<Rtsp> = Rule {
    requirement: &spec::rtsp::SETUP_SESSION_ISSUED,
    doc: Doc {
        looks_at: "Every 2xx response to a SETUP.",
        judges: "It has a Session header with an id. Responses whose request the capture lacks are not judged.",
        peers: "Captures of gst-rtsp-server 1.22, ZLMediaKit and live555 keep it.",
    },
    start: || Box::new(Issued),
};

#[derive(Debug)]
struct Issued;

impl Check<Rtsp> for Issued {
    fn event(&mut self, event: &Event<'_>, tally: &mut Tally) {
        let Event::Response {
            from_client: false,
            at,
            code: 200..=299,
            head,
            request: Some(("SETUP", url)),
            ..
        } = event
        else {
            return;
        };
        let issued = head.field("Session").is_some_and(|value| !SessionId::parse(value).id.is_empty());
        tally.is(issued, *at, || {
            (
                "a Session header with an id".to_owned(),
                "none".to_owned(),
                format!("the SETUP of {url} succeeded without a session"),
            )
        });
    }
}

/// `rtsp.setup.interleaved-unique`.
pub static INTERLEAVED_UNIQUE: Rule<Rtsp> = Rule {
    requirement: &spec::rtsp::SETUP_INTERLEAVED_UNIQUE,
    doc: Doc {
        looks_at: "The interleaved channels in 2xx responses to SETUP.",
        judges: "No channel is given to two URLs at a time; a SETUP of the same URL replaces its channels. It applies \
                 from the second track on.",
        peers: "gst-rtsp-server moves the second of two tracks that ask for the same pair, ZLMediaKit deals out its own \
                pairs: both keep it.",
    },
    start: || Box::<Channels>::default(),
};

#[derive(Debug, Default)]
struct Channels {
    taken: Vec<(String, (u8, u8))>,
}

impl Check<Rtsp> for Channels {
    fn event(&mut self, event: &Event<'_>, tally: &mut Tally) {
        let Event::Response {
            from_client: false,
            at,
            code: 200..=299,
            head,
            request: Some((method, url)),
            ..
        } = event
        else {
            return;
        };
        match *method {
            "TEARDOWN" => self.taken.clear(),
            "SETUP" => {
                let transports = head.field("Transport").and_then(|value| Transport::parse_all(value).ok());
                let pair = transports.iter().flatten().find_map(|transport| transport.interleaved);
                self.taken.retain(|(known, _)| known != url);
                let Some((rtp, rtcp)) = pair else { return };
                let overlap =
                    self.taken.iter().find(|(_, (a, b))| [*a, *b].contains(&rtp) || [*a, *b].contains(&rtcp));
                if let Some((other, (a, b))) = overlap {
                    tally.broken(*at, || {
                        (
                            format!("channels other than {a}-{b}, which {other} has"),
                            format!("{rtp}-{rtcp} for {url}"),
                            "two tracks were given the same channel".to_owned(),
                        )
                    });
                } else if !self.taken.is_empty() {
                    tally.kept();
                }
                if self.taken.len() < MAX_TRACKS {
                    self.taken.push(((*url).to_owned(), (rtp, rtcp)));
                }
            }
            _ => {}
        }
    }
}
