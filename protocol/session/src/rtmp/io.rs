//! What goes into an RTMP endpoint and what comes out of it.

use bytes::Bytes;

use crate::Time;

/// One input of an endpoint.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes that arrived, in order.
    Bytes(&'a [u8]),
    /// The peer closed its side.
    Closed,
    /// The time asked for by [`Output::WakeAt`] has come.
    Tick,
    /// The driver's decision or wish.
    Do(Action),
    /// The driver wrote this many bytes of media blocks itself.
    Sent(u64),
}

/// One output of an endpoint.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Bytes to write, after all that were sent before.
    Send(Bytes),
    /// Call again with [`Input::Tick`] at this time; replaces an earlier wish.
    WakeAt(Time),
    /// Something the driver should know or decide.
    Event(Event),
    /// Close the connection once everything is written.
    Close(Reason),
}

/// Video or audio message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// Message type 8.
    Audio,
    /// Message type 9.
    Video,
}

/// What an endpoint tells its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer is connected to an application (server: `connect` was answered; client: `_result` came).
    Connected {
        /// Application name, query string removed.
        app: String,
        /// `tcUrl` as given.
        tc_url: String,
        /// `flashVer` as given.
        agent: String,
    },
    /// Server: the peer wants to publish. Answer with [`Action::Accept`] or [`Action::Refuse`].
    Publish {
        /// Message stream the media will come on.
        stream: u32,
        /// `app/key`, percent-decoded, query string removed.
        path: String,
        /// The query string, without `?`.
        query: String,
    },
    /// Server: the peer wants to play. Answer with [`Action::Accept`] or [`Action::Refuse`].
    Play {
        /// Message stream the media is wanted on.
        stream: u32,
        /// `app/key`, percent-decoded, query string removed.
        path: String,
        /// The query string, without `?`.
        query: String,
    },
    /// Server: attach the viewer to its stream. From here on the driver writes shared blocks.
    Attach {
        /// Message stream the blocks must carry.
        stream: u32,
    },
    /// Client: the server began (`NetStream.Publish.Start`, `NetStream.Play.Start`).
    Started {
        /// Message stream to use.
        stream: u32,
    },
    /// Client: the server refused, or ended the stream.
    Status {
        /// `status`, `warning` or `error`.
        level: String,
        /// `NetStream.Publish.BadName` and the like.
        code: String,
        /// The peer's words.
        description: String,
    },
    /// An audio or video message.
    Media {
        /// Message stream it came on.
        stream: u32,
        /// Audio or video.
        kind: MediaKind,
        /// 32 bit timestamp in milliseconds, as it stood.
        timestamp: u32,
        /// The FLV tag body.
        payload: Bytes,
    },
    /// A data message that is not onMetaData: captions, cue points, what an encoder makes up.
    Data {
        /// Message stream it came on.
        stream: u32,
        /// 32 bit timestamp in milliseconds, as it stood.
        timestamp: u32,
        /// AMF0: a name and what follows it, `@setDataFrame` removed.
        payload: Bytes,
    },
    /// onMetaData: AMF0 name and object, `@setDataFrame` removed. Empty where the publisher takes it back.
    Metadata {
        /// Message stream it came on.
        stream: u32,
        /// AMF0.
        payload: Bytes,
    },
    /// Server: a viewer is to get nothing for now, or to go on with what is live.
    Paused {
        /// Message stream that plays.
        stream: u32,
        /// Whether it is to pause.
        paused: bool,
    },
    /// Server: a viewer does not want this medium any more, or wants it again.
    Receive {
        /// Message stream that plays.
        stream: u32,
        /// Audio or video.
        kind: MediaKind,
        /// Whether it is wanted.
        wanted: bool,
    },
    /// Server: the peer stopped publishing or playing on this message stream; the connection stays.
    Stopped {
        /// Message stream that ended.
        stream: u32,
    },
    /// Client: the stream is over (Stream EOF, UnpublishNotify, Play.Stop).
    Ended {
        /// Message stream that ended.
        stream: u32,
    },
    /// Something the peer got wrong that does not end the session.
    Misbehaved(String),
}

/// What the driver decides or wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Server: yes to the publish or play on this message stream.
    Accept {
        /// The message stream.
        stream: u32,
    },
    /// Server: no to it.
    Refuse {
        /// The message stream.
        stream: u32,
        /// Why.
        why: Refusal,
    },
    /// Server, to a viewer: the publisher has left (Stream EOF, Play.Stop and UnpublishNotify: FFmpeg ends on
    /// the last only, GStreamer on the first only).
    EndOfStream {
        /// The message stream.
        stream: u32,
    },
    /// Server, to a viewer that stayed: a publisher is back (Stream Begin, Play.PublishNotify).
    StreamBegan {
        /// The message stream.
        stream: u32,
    },
    /// Server: tell the peer that we go, then close.
    Shutdown,
    /// Client: send an audio or video message.
    Media {
        /// Audio or video.
        kind: MediaKind,
        /// Milliseconds.
        timestamp: u32,
        /// The FLV tag body.
        payload: Bytes,
    },
    /// Client: send onMetaData (AMF0 name and object); `@setDataFrame` is put before it.
    Metadata(Bytes),
    /// Client: end the stream in good order, then close.
    Finish,
}

/// Why a publish or play was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another publisher holds the name (`NetStream.Publish.BadName`).
    NameBusy,
    /// The path is not one (`NetStream.Publish.BadName`, `NetStream.Play.Failed`).
    BadPath(String),
    /// No room (`NetStream.Publish.Failed`, `NetStream.Play.Failed`).
    Failed(String),
}

/// Why an endpoint closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// All said.
    Done,
    /// The peer closed.
    PeerClosed,
    /// The peer broke the protocol: position, want and got.
    Protocol(wire::Error),
    /// The peer did not do what it had to in time.
    Timeout(&'static str),
    /// The peer's request cannot be served.
    Refused(String),
    /// We are shutting down.
    Shutdown,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::PeerClosed => f.write_str("the peer closed the connection"),
            Self::Protocol(error) => write!(f, "protocol error at {error}"),
            Self::Timeout(what) => write!(f, "timed out: {what}"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Shutdown => f.write_str("shutting down"),
        }
    }
}
