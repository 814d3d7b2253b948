//! Rules of RTMP, told per connection.

mod command;
mod control;
mod publish;

use wire::rtmp::message::Command;

use super::{Rule, Speech};
use crate::flow::At;

/// RTMP.
#[derive(Debug)]
pub struct Rtmp;

/// What passes on a connection.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A message ended.
    Message(Message),
    /// A command, behind its message.
    Command {
        /// The message it came in.
        message: Message,
        /// Its values.
        command: &'a Command,
    },
    /// The capture lacks bytes here, or begins here.
    Hole,
}

/// The headers of a message.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// True for client to server.
    pub from_client: bool,
    /// Where it begins.
    pub at: At,
    /// Message type id.
    pub type_id: u8,
    /// Chunk stream id.
    pub csid: u32,
    /// Message stream id.
    pub stream_id: u32,
}

impl Speech for Rtmp {
    type Event<'a> = Event<'a>;

    fn is_hole(event: &Event<'_>) -> bool {
        matches!(event, Event::Hole)
    }
}

/// Every rule of RTMP.
pub static ALL: &[&Rule<Rtmp>] = &[
    &control::MSID0_CSID2,
    &command::RESULT_TRANSACTION_ID,
    &command::CONNECT_SUCCESS,
    &publish::STATUS_MESSAGE_STREAM_ID,
    &publish::START_STATUS,
];
