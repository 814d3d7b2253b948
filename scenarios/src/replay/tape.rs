//! What was captured, a few messages ahead of what is played.

use std::collections::VecDeque;
use std::path::PathBuf;

use analyzer::transcript::{self, Choice, Said, What};
use model::Role;
use tokio::sync::mpsc;
use wire::Cursor;
use wire::rtmp::message::{Command, Control, kind};

/// Messages read ahead.
const AHEAD: usize = 32;

/// Messages of the server before the client's first: real servers wait for it.
const MAX_LOOKED_AT: usize = 1000;

/// Messages of a connection in the order of the capture. The thread that reads them ends soon after this is dropped.
#[derive(Debug)]
pub(super) struct Tape {
    said: mpsc::Receiver<Said>,
    looked_at: VecDeque<Said>,
}

impl Tape {
    /// Begins to read. What goes wrong while reading is as if the capture ended there.
    pub(super) fn start(file: PathBuf, choice: Choice) -> Self {
        let (send, said) = mpsc::channel(AHEAD);
        // A thread of its own: nobody has to wait for it where all are to leave.
        std::thread::spawn(move || {
            let _ = transcript::read(&[file], &choice, &mut |said| send.blocking_send(said).is_ok());
        });
        Self { said, looked_at: VecDeque::new() }
    }

    /// The next thing that was said; none at the end. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Option<Said> {
        match self.looked_at.pop_front() {
            Some(said) => Some(said),
            None => self.said.recv().await,
        }
    }

    /// Makes sure that the client's side begins at its beginning; says what is missing where it does not.
    pub(super) async fn check(&mut self, rtmp: bool, role: Role) -> Result<(), String> {
        let missing = |what: &str| Err(format!("the capture lacks the beginning of the session: {what}"));
        let mut asked = Vec::new();
        while let Some(said) = self.said.recv().await {
            let found = if said.from_client { first(&said.what, rtmp) } else { None };
            self.looked_at.push_back(said);
            match found.as_deref() {
                Some("connect") => return Ok(()),
                Some("OPTIONS" | "DESCRIBE" | "GET_PARAMETER") => asked.extend(found),
                Some("ANNOUNCE") => return Ok(()),
                Some("SETUP") if role != Role::Publisher => return Ok(()),
                Some("SETUP" | "RECORD") => {
                    return missing(
                        "the client's ANNOUNCE is not in it, and with it what was going to be sent",
                    );
                }
                Some("PLAY") => return missing("the client's SETUP is not in it"),
                Some("a hole") if rtmp => {
                    return missing("bytes of the client are missing before its connect command");
                }
                Some("a hole") => return missing("bytes of the client are missing before its first SETUP"),
                Some(other) if rtmp => {
                    return missing(&format!(
                        "the client's first message is {other}, and not its connect command"
                    ));
                }
                Some(other) => return missing(&format!("the client's first request is {other}")),
                None => {}
            }
            if self.looked_at.len() > MAX_LOOKED_AT {
                break;
            }
        }
        missing(if rtmp { "no connect command is in it" } else { "no ANNOUNCE and no SETUP is in it" })
    }
}

/// What a message of the client is called, where it says something about how a session begins.
fn first(what: &What, rtmp: bool) -> Option<String> {
    match what {
        What::Rtmp { head, .. } if Control::is_control(head.type_id) => None,
        What::Rtmp { head, body } if matches!(head.type_id, kind::COMMAND_AMF0 | kind::COMMAND_AMF3) => {
            let amf3 = head.type_id == kind::COMMAND_AMF3;
            let command = Command::decode(&mut Cursor::new(body), amf3);
            Some(
                command
                    .map_or_else(|_| "a command that cannot be read".to_owned(), |(command, _)| command.name),
            )
        }
        What::Rtmp { head, .. } => Some(format!("of type {}", head.type_id)),
        What::Rtsp { head, .. } => head.as_request().map(|(method, _)| method.to_owned()),
        What::Block { .. } => (!rtmp).then(|| "an interleaved packet".to_owned()),
        What::Damaged { .. } | What::Hole(_) => Some("a hole".to_owned()),
        What::Ended(_) => None,
    }
}
