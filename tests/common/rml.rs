//! RTMP clients that share no code with ours: the crate rml_rtmp over a blocking socket. It panics on some legal input, so each
//! viewer has a thread of its own.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{
    ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult, PublishRequestType,
    StreamMetadata,
};
use rml_rtmp::time::RtmpTimestamp;

use super::flv::{AUDIO, Tag, VIDEO};
use super::{PATIENCE, uninterrupted};

/// What went wrong, for people.
pub type Result<T> = std::result::Result<T, String>;

fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

/// A client that has connected to an application.
struct Connection {
    stream: TcpStream,
    session: ClientSession,
    events: VecDeque<ClientSessionEvent>,
}

impl Connection {
    fn open(server: SocketAddr, app: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(server).map_err(text)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        let rest = handshake(&mut stream)?;
        let mut config = ClientSessionConfig::new();
        config.tc_url = Some(format!("rtmp://{server}/{app}"));
        let (session, first) = ClientSession::new(config).map_err(text)?;
        let mut connection = Self { stream, session, events: VecDeque::new() };
        connection.take(first)?;
        let request = connection.session.request_connection(app.into()).map_err(text)?;
        connection.take(vec![request])?;
        connection.receive(&rest)?;
        match connection.next()? {
            Some(ClientSessionEvent::ConnectionRequestAccepted) => Ok(connection),
            other => Err(format!("connect was answered with {other:?}")),
        }
    }

    fn take(&mut self, results: Vec<ClientSessionResult>) -> Result<()> {
        for result in results {
            match result {
                ClientSessionResult::OutboundResponse(packet) => {
                    self.stream.write_all(&packet.bytes).map_err(text)?;
                }
                ClientSessionResult::RaisedEvent(event) => self.events.push_back(event),
                ClientSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
        Ok(())
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<()> {
        let results = self.session.handle_input(bytes).map_err(text)?;
        self.take(results)
    }

    /// The next event; none when the server has closed.
    fn next(&mut self) -> Result<Option<ClientSessionEvent>> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            match uninterrupted(|| self.stream.read(&mut buffer)).map_err(text)? {
                0 => return Ok(None),
                n => self.receive(&buffer[..n])?,
            }
        }
    }
}

fn handshake(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut handshake = Handshake::new(PeerType::Client);
    let hello = handshake.generate_outbound_p0_and_p1().map_err(text)?;
    stream.write_all(&hello).map_err(text)?;
    let mut buffer = [0; 4096];
    loop {
        let n = uninterrupted(|| stream.read(&mut buffer)).map_err(text)?;
        if n == 0 {
            return Err("the server closed within the handshake".into());
        }
        match handshake.process_bytes(&buffer[..n]).map_err(text)? {
            HandshakeProcessResult::InProgress { response_bytes } => {
                stream.write_all(&response_bytes).map_err(text)?;
            }
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                stream.write_all(&response_bytes).map_err(text)?;
                return Ok(remaining_bytes);
            }
        }
    }
}

/// Cuts messages into pieces of at least `size` that end with a picture; the last one ends as the messages do.
pub fn steps(tags: &[Tag], size: usize) -> Vec<&[Tag]> {
    let mut steps = Vec::new();
    let mut rest = tags;
    while !rest.is_empty() {
        let picture = rest.iter().skip(size - 1).position(|t| t.is_picture());
        let (step, later) = rest.split_at(picture.map_or(rest.len(), |at| at + size));
        steps.push(step);
        rest = later;
    }
    steps
}

/// A publisher that sends what the test hands to it, when the test hands it over.
pub struct Publisher {
    connection: Connection,
}

impl Publisher {
    /// Publishes `app/key`. A refusal is the error, with the code of the server's onStatus.
    pub fn start(server: SocketAddr, app: &str, key: &str) -> Result<Self> {
        let mut connection = Connection::open(server, app)?;
        let request =
            connection.session.request_publishing(key.into(), PublishRequestType::Live).map_err(text)?;
        connection.take(vec![request])?;
        loop {
            match connection.next()? {
                Some(ClientSessionEvent::PublishRequestAccepted) => return Ok(Self { connection }),
                Some(ClientSessionEvent::UnhandleableOnStatusCode { code }) => return Err(code),
                Some(_) => {}
                None => return Err("the server closed instead of an answer to publish".into()),
            }
        }
    }

    /// Sends onMetaData.
    pub fn describe(&mut self, width: u32, height: u32, encoder: &str) -> Result<()> {
        let mut metadata = StreamMetadata::new();
        metadata.video_width = Some(width);
        metadata.video_height = Some(height);
        metadata.encoder = Some(encoder.into());
        let packet = self.connection.session.publish_metadata(&metadata).map_err(text)?;
        self.connection.take(vec![packet])
    }

    /// Sends one message.
    pub fn send(&mut self, tag: &Tag) -> Result<()> {
        let session = &mut self.connection.session;
        let time = RtmpTimestamp::new(tag.time);
        let body = tag.body.clone().into();
        let packet = match tag.kind {
            VIDEO => session.publish_video_data(body, time, false),
            AUDIO => session.publish_audio_data(body, time, false),
            _ => return Ok(()),
        };
        self.connection.take(vec![packet.map_err(text)?])
    }

    /// Sends several messages at once. A server may leave frames out for a viewer that far behind: send no more than
    /// a second or two this way where somebody watches.
    pub fn send_all<'a>(&mut self, tags: impl IntoIterator<Item = &'a Tag>) -> Result<()> {
        tags.into_iter().try_for_each(|tag| self.send(tag))
    }

    /// Sends messages as fast as `witness` gets them, which has got all that was sent before. What comes after the last picture
    /// may still be on its way then: a server may hold audio for the next picture.
    pub fn send_watched(&mut self, tags: &[Tag], witness: &Viewer) -> Result<()> {
        for step in steps(tags, 25) {
            let before = witness.now().pictures();
            self.send_all(step)?;
            witness.wait_pictures(before + step.iter().filter(|t| t.is_picture()).count());
        }
        Ok(())
    }

    /// Sends messages by the clock, `speed` times as fast as they are meant to be seen.
    pub fn send_in_time(&mut self, tags: &[Tag], speed: u32) -> Result<()> {
        let began = std::time::Instant::now();
        let first = tags.first().map_or(0, |t| t.time);
        for tag in tags {
            let due = std::time::Duration::from_millis(u64::from((tag.time - first) / speed));
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            self.send(tag)?;
        }
        Ok(())
    }

    /// The address the server knows it by.
    pub fn address(&self) -> SocketAddr {
        self.connection.stream.local_addr().unwrap()
    }

    /// Says that the stream is over, and reads to the end of the connection.
    pub fn finish(mut self) -> Result<()> {
        let last = self.connection.session.stop_publishing().map_err(text)?;
        self.connection.take(last)?;
        self.connection.stream.shutdown(Shutdown::Write).map_err(text)?;
        while self.connection.next()?.is_some() {}
        Ok(())
    }
}

/// A viewer that collects what it gets, in a thread of its own.
pub struct Viewer {
    got: Arc<Got>,
    stream: TcpStream,
    thread: JoinHandle<Result<()>>,
}

#[derive(Default)]
struct Got {
    state: Mutex<State>,
    more: Condvar,
}

/// What a viewer has got so far.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Audio and video messages in order.
    pub tags: Vec<Tag>,
    /// onMetaData: its encoder string, each time it came, with the number of tags before it.
    pub metadata: Vec<(usize, Option<String>)>,
    /// Codes of onStatus other than NetStream.Play.Start.
    pub codes: Vec<String>,
    over: bool,
}

impl State {
    /// Pictures so far.
    pub fn pictures(&self) -> usize {
        self.tags.iter().filter(|t| t.is_picture()).count()
    }
}

impl Viewer {
    /// Plays `app/key`; returns when the server has accepted.
    pub fn start(server: SocketAddr, app: &str, key: &str) -> Result<Self> {
        let mut connection = Connection::open(server, app)?;
        let request = connection.session.request_playback(key.into()).map_err(text)?;
        connection.take(vec![request])?;
        let got = Arc::new(Got::default());
        let stream = connection.stream.try_clone().map_err(text)?;
        loop {
            match connection.next()? {
                Some(ClientSessionEvent::PlaybackRequestAccepted) => break,
                Some(event) => got.add(event),
                None => return Err("the server closed instead of an answer to play".into()),
            }
        }
        let theirs = Arc::clone(&got);
        let thread = std::thread::spawn(move || {
            let result = collect(&mut connection, &theirs);
            theirs.update(|state| state.over = true);
            result
        });
        Ok(Self { got, stream, thread })
    }

    /// The address the server knows it by.
    pub fn address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Waits until what it has got satisfies `enough`, and returns it.
    #[track_caller]
    pub fn wait(&self, what: &str, enough: impl Fn(&State) -> bool) -> State {
        let state = self.got.state.lock().unwrap();
        let until = |state: &mut State| !enough(state) && !state.over;
        let (state, timeout) = self.got.more.wait_timeout_while(state, PATIENCE, until).unwrap();
        assert!(!timeout.timed_out() && enough(&state), "a viewer waited in vain for {what}");
        state.clone()
    }

    /// What it has got by now.
    pub fn now(&self) -> State {
        self.got.state.lock().unwrap().clone()
    }

    /// Waits for so many pictures.
    #[track_caller]
    pub fn wait_pictures(&self, count: usize) {
        self.wait(&format!("{count} pictures"), |state| state.pictures() >= count);
    }

    /// Waits until the server says that the stream is over, or closes.
    #[track_caller]
    pub fn watched(self) -> State {
        self.ended().unwrap_or_else(|error| panic!("a viewer failed: {error}"))
    }

    /// Goes away without a word, as a player that is killed does.
    pub fn leave(self) -> State {
        let _ = self.stream.shutdown(Shutdown::Both);
        let got = Arc::clone(&self.got);
        let _ = self.ended();
        got.state.lock().unwrap().clone()
    }

    fn ended(self) -> Result<State> {
        let result = self.thread.join().map_err(|_| "rml_rtmp panicked".to_string())?;
        let state = self.got.state.lock().unwrap().clone();
        result.map(|()| state)
    }
}

impl Got {
    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.more.notify_all();
    }

    fn add(&self, event: ClientSessionEvent) {
        match event {
            ClientSessionEvent::VideoDataReceived { timestamp, data } => {
                self.tag(VIDEO, timestamp.value, &data)
            }
            ClientSessionEvent::AudioDataReceived { timestamp, data } => {
                self.tag(AUDIO, timestamp.value, &data)
            }
            ClientSessionEvent::StreamMetadataReceived { metadata } => {
                self.update(|state| state.metadata.push((state.tags.len(), metadata.encoder)));
            }
            ClientSessionEvent::UnhandleableOnStatusCode { code } => {
                self.update(|state| state.codes.push(code))
            }
            _ => {}
        }
    }

    fn tag(&self, kind: u8, time: u32, body: &[u8]) {
        self.update(|state| state.tags.push(Tag { kind, time, body: body.to_vec() }));
    }
}

fn collect(connection: &mut Connection, got: &Got) -> Result<()> {
    while let Some(event) = connection.next()? {
        let over = matches!(&event, ClientSessionEvent::UnhandleableOnStatusCode { code }
            if code == "NetStream.Play.UnpublishNotify");
        got.add(event);
        if over {
            break;
        }
    }
    Ok(())
}
