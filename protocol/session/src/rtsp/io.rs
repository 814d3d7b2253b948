//! What goes into an RTSP endpoint and what comes out of it.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use wire::rtsp::Head;
use wire::sdp::Description;

use super::Reason;
use crate::Time;

/// One input of an endpoint.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes that arrived on the connection, in order.
    Bytes(&'a [u8]),
    /// The peer closed its side.
    Closed,
    /// The time asked for by [`Output::WakeAt`] has come.
    Tick,
    /// A packet of the peer arrived on one of the session's UDP ports: it is still there.
    Alive,
    /// Server: a request about this session that came on another connection. The next [`Output::Send`] answers it; there has to
    /// be no request waiting.
    Relayed {
        /// Its head.
        head: Head,
        /// Its body.
        body: Bytes,
    },
    /// The driver's decision or wish.
    Do(Action),
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

/// How one track's packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    /// In UDP packets.
    Udp {
        /// The client's ports for RTP and RTCP.
        client_port: (u16, u16),
        /// The server's ports, where they are known already.
        server_port: Option<(u16, u16)>,
    },
    /// Interleaved in the RTSP connection.
    Tcp {
        /// Channels for RTP and RTCP.
        channels: (u8, u8),
    },
}

/// Where a track's packets begin after PLAY, for RTP-Info.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackStart {
    /// The track.
    pub track: usize,
    /// Sequence number of the first packet.
    pub seq: u16,
    /// Its timestamp, where it is known before there is a packet.
    pub rtptime: Option<u32>,
}

/// What an endpoint tells its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Server: the peer asks what there is. Answer with [`Action::Describe`] or [`Action::Refuse`], at once or later;
    /// until then nothing more is read.
    Describe {
        /// Percent-decoded, query string removed.
        path: String,
        /// The query string, without `?`.
        query: String,
        /// User-Agent, empty where none was told.
        agent: String,
    },
    /// Server: the peer wants to publish. Answer with [`Action::Accept`] or [`Action::Refuse`]; until then nothing more
    /// is read. Tracks are numbered as the media sections.
    Announce {
        /// Percent-decoded, query string removed.
        path: String,
        /// The query string, without `?`.
        query: String,
        /// User-Agent, empty where none was told.
        agent: String,
        /// What is going to be published.
        description: Description,
    },
    /// Server: the peer sets up a track. Answer with [`Action::SetUp`] or [`Action::Refuse`]; until then nothing more is
    /// read. A track that was set up before gets its new way.
    Setup {
        /// Percent-decoded, query string removed.
        path: String,
        /// The query string, without `?`.
        query: String,
        /// User-Agent, empty where none was told.
        agent: String,
        /// The track; none where the URL names the whole stream, which is enough where it has one track only.
        track: Option<usize>,
        /// How its packets are to travel, as chosen from the offer.
        carry: Carry,
        /// True where the client is the sender.
        publish: bool,
    },
    /// Server: send these tracks. Answer with [`Action::Play`] or [`Action::Refuse`], then start (or go on) sending.
    Play {
        /// Its path.
        path: String,
        /// The tracks, ascending.
        tracks: Vec<usize>,
    },
    /// Server: the peer starts sending. Answer with [`Action::Record`] or [`Action::Refuse`].
    Record {
        /// Its path.
        path: String,
        /// The tracks, ascending.
        tracks: Vec<usize>,
    },
    /// Server: a request about a session that is none of this connection's. Answer with [`Action::Answered`] where another
    /// connection has it, else with [`Action::Refuse`]; until then nothing more is read.
    Elsewhere {
        /// The session's id.
        id: String,
        /// The request's head.
        head: Head,
        /// Its body.
        body: Bytes,
    },
    /// Server: stop sending until the next [`Event::Play`]; numbering goes on from there.
    Paused,
    /// Server: the session is over (TEARDOWN, or silence). The connection stays where no [`Output::Close`] follows.
    Ended {
        /// True where the peer was silent for too long.
        silent: bool,
    },
    /// An interleaved packet of a track.
    Packet {
        /// The track.
        track: usize,
        /// RTCP in place of RTP.
        rtcp: bool,
        /// The packet.
        payload: Bytes,
    },
    /// Client, player: what there is. Answer with [`Action::Carry`].
    Described {
        /// The description.
        description: Description,
        /// The URL its control attributes are relative to.
        base: String,
    },
    /// Client, publisher: the server accepts the description. Answer with [`Action::Carry`].
    Announced,
    /// Client: a track is set up.
    TrackReady {
        /// The track.
        track: usize,
        /// How its packets travel, as the server decided.
        carry: Carry,
        /// The SSRC the server is going to use, where it told.
        ssrc: Option<u32>,
    },
    /// Client: PLAY or RECORD is answered; packets may flow.
    Started {
        /// What RTP-Info said, in the order of the tracks it names.
        info: Vec<TrackStart>,
    },
    /// Client: PAUSE is answered.
    Stopped,
    /// Client: the server refused a request; the connection is going to close.
    Refused {
        /// The request.
        method: &'static str,
        /// The status code.
        status: u16,
        /// The reason phrase.
        reason: String,
    },
    /// Something the peer got wrong that does not end the session.
    Misbehaved(String),
}

/// What the driver decides or wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Server: the description asked for by [`Event::Describe`]; media sections with `a=control:trackID=N`.
    Describe {
        /// The text.
        sdp: String,
    },
    /// Server: yes to [`Event::Announce`].
    Accept,
    /// Server: yes to [`Event::Setup`].
    SetUp {
        /// The track that was meant.
        track: usize,
        /// Our ports for RTP and RTCP, where it travels over UDP.
        server_port: Option<(u16, u16)>,
        /// The SSRC we are going to send with.
        ssrc: Option<u32>,
    },
    /// Server: yes to [`Event::Play`].
    Play {
        /// Where each track begins.
        info: Vec<TrackStart>,
    },
    /// Server: yes to [`Event::Record`].
    Record,
    /// Server: what the connection that has the session said to [`Event::Elsewhere`].
    Answered(Bytes),
    /// Server: no to the event that waits for an answer.
    Refuse(Refusal),
    /// Client: set up these tracks, in this order, then start.
    Carry(Vec<(usize, Carry)>),
    /// Send a packet interleaved, on the channel of its track.
    Packet {
        /// The track.
        track: usize,
        /// RTCP in place of RTP.
        rtcp: bool,
        /// The packet.
        payload: Bytes,
    },
    /// Client, player: stop the flow.
    Pause,
    /// Client, player: go on after a pause.
    Resume,
    /// Client: end the session in good order, then close.
    Finish,
    /// Close; a client tears its session down first.
    Shutdown,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing is published there, or there is no such track (404).
    NotFound,
    /// There is no such session (454).
    NoSession,
    /// Somebody else publishes there (403).
    Busy,
    /// The stream has several tracks and the URL names none (459).
    Aggregate,
    /// None of the codecs can be carried (415).
    Codec,
    /// What the description says of its tracks cannot be read (400).
    Description,
    /// The transport is not to be had (461).
    Transport,
    /// No room (503).
    Full,
    /// Our mistake (500).
    Failed,
}

impl Refusal {
    /// The status code that says so.
    pub fn status(self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::NoSession => 454,
            Self::Busy => 403,
            Self::Aggregate => 459,
            Self::Codec => 415,
            Self::Description => 400,
            Self::Transport => 461,
            Self::Full => 503,
            Self::Failed => 500,
        }
    }
}

/// How a server endpoint behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// How the server names itself.
    pub agent: String,
    /// The peer's address: a `destination` has to be the same.
    pub peer: Option<IpAddr>,
    /// Whether RTP over UDP is to be had.
    pub udp: bool,
    /// Whether interleaved RTP is to be had.
    pub tcp: bool,
    /// Silence after which a session ends, as told to clients.
    pub session_timeout: Duration,
    /// What a session gets beyond that: some clients ping exactly at the limit.
    pub grace: Duration,
    /// Until a connection has a session, and from the first to the last byte of a message.
    pub request_timeout: Duration,
    /// The most tracks of a session.
    pub max_tracks: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            agent: concat!("streamgauge/", env!("CARGO_PKG_VERSION")).to_owned(),
            peer: None,
            udp: true,
            tcp: true,
            session_timeout: Duration::from_secs(60),
            grace: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            max_tracks: 16,
        }
    }
}
