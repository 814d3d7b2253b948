//! Sequence numbers of requests and responses.

use super::{Event, Rtsp};
use crate::rules::{Check, Doc, Rule, Tally};

/// Requests remembered of one side.
const MAX_OPEN: usize = 256;

/// `rtsp.cseq.echo`.
pub static ECHO: Rule<Rtsp> = Rule {
    requirement: &spec::rtsp::CSEQ_ECHO,
    doc: Doc {
        looks_at: "The CSeq of every final response, both ways, beside those of the other side's requests.",
        judges: "It is the number of a request that has no response yet. A response without a CSeq to a request that \
                 had none is not judged; behind a hole a number without a request is left undecided.",
        peers: "Captures of gst-rtsp-server 1.22, ZLMediaKit and live555 keep it. ZLMediaKit answers a request without CSeq with \
                0, which is another requirement.",
    },
    start: || Box::<Echo>::default(),
};

#[derive(Debug, Default)]
struct Echo {
    /// Numbers without a response: of the client, of the server.
    open: [Vec<u64>; 2],
    /// A request had no number.
    unnumbered: bool,
    blind: bool,
}

impl Check<Rtsp> for Echo {
    fn event(&mut self, event: &Event<'_>, tally: &mut Tally) {
        let [client, server] = &mut self.open;
        match event {
            Event::Hole => self.blind = true,
            Event::Request { cseq: None, .. } => self.unnumbered = true,
            Event::Request { from_client, cseq: Some(number) } => {
                let mine = if *from_client { client } else { server };
                if mine.len() >= MAX_OPEN {
                    mine.remove(0);
                    self.blind = true;
                }
                mine.push(*number);
            }
            Event::Response { from_client, at, cseq, code, .. } => {
                let theirs = if *from_client { server } else { client };
                match cseq.and_then(|number| theirs.iter().position(|open| *open == number)) {
                    Some(index) => {
                        theirs.remove(index);
                        tally.kept();
                    }
                    None if self.unnumbered => {}
                    None if self.blind => tally.unsure("the request may lie in a hole of the capture"),
                    None => tally.broken(*at, || {
                        let open: Vec<String> = theirs.iter().take(8).map(u64::to_string).collect();
                        let open = if open.is_empty() { "none is open".to_owned() } else { open.join(", ") };
                        let got = cseq.map_or("no CSeq".to_owned(), |number| format!("CSeq {number}"));
                        (
                            format!("the CSeq of an open request ({open})"),
                            format!("{got} in a {code} response"),
                            "a response belongs to no request".to_owned(),
                        )
                    }),
                }
            }
        }
    }
}
