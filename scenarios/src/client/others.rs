//! Viewers that share no code with ours: the crates rml_rtmp and retina.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;

use futures_util::StreamExt;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use wire::rtcp;

use super::Over;
use super::connection::ClientError;
use super::line::{Line, Place};
use crate::url::StreamUrl;

/// Read at a time.
const READ: usize = 64 << 10;

/// What somebody else's viewer tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The server said that the stream is over.
    pub of_end: bool,
    /// Frames it got.
    pub frames: u64,
}

fn failed(error: impl Debug) -> ClientError {
    ClientError::Io(io::Error::other(format!("{error:?}")))
}

/// An RTMP session of rml_rtmp on a connection.
struct Rml {
    line: Line,
    session: ClientSession,
    events: VecDeque<ClientSessionEvent>,
    buffer: Vec<u8>,
}

impl Rml {
    async fn take(&mut self, results: Vec<ClientSessionResult>) -> Result<(), ClientError> {
        for result in results {
            match result {
                ClientSessionResult::OutboundResponse(packet) => self.line.write_all(&packet.bytes).await?,
                ClientSessionResult::RaisedEvent(event) => self.events.push_back(event),
                ClientSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
        Ok(())
    }

    async fn receive(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let results = self.session.handle_input(bytes).map_err(failed)?;
        self.take(results).await
    }

    /// The next event; none where the server has closed.
    async fn next(&mut self) -> Result<Option<ClientSessionEvent>, ClientError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            let n = self.line.read(&mut self.buffer).await?;
            if n == 0 {
                return Ok(None);
            }
            let bytes = self.buffer[..n].to_vec();
            self.receive(&bytes).await?;
        }
    }
}

/// Plays an `rtmp://` URL with rml_rtmp, until the server says that the stream is over, or `stop` turns true. The crate
/// panics on some legal input, which ends the caller's task.
pub async fn watch_rml(
    place: impl Into<Place>,
    url: &StreamUrl,
    mut stop: watch::Receiver<bool>,
) -> Result<Told, ClientError> {
    let mut line = Line::open(&place.into()).await?;
    let rest = handshake(&mut line).await?;
    let (app, name) = url.app_and_name();
    let mut config = ClientSessionConfig::new();
    config.tc_url = Some(format!("rtmp://{}/{app}", url.authority()));
    let (session, first) = ClientSession::new(config).map_err(failed)?;
    let mut client = Rml { line, session, events: VecDeque::new(), buffer: vec![0; READ] };
    client.take(first).await?;
    let request = client.session.request_connection(app).map_err(failed)?;
    client.take(vec![request]).await?;
    client.receive(&rest).await?;
    let mut told = Told::default();
    loop {
        let event = tokio::select! {
            event = client.next() => event?,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match event {
            Some(ClientSessionEvent::ConnectionRequestAccepted) => {
                let request = client.session.request_playback(name.clone()).map_err(failed)?;
                client.take(vec![request]).await?;
            }
            Some(ClientSessionEvent::ConnectionRequestRejected { description }) => {
                return Err(refused("connect", description));
            }
            Some(
                ClientSessionEvent::VideoDataReceived { .. } | ClientSessionEvent::AudioDataReceived { .. },
            ) => told.frames += 1,
            Some(ClientSessionEvent::UnhandleableOnStatusCode { code }) => {
                if code.starts_with("NetStream.Play.") && code.ends_with("Failed")
                    || code == "NetStream.Play.StreamNotFound"
                {
                    return Err(refused("play", code));
                }
                if matches!(code.as_str(), "NetStream.Play.UnpublishNotify" | "NetStream.Play.Stop") {
                    told.of_end = true;
                    break;
                }
            }
            Some(_) => {}
            None => return Err(ClientError::Closed(session::rtmp::Reason::PeerClosed)),
        }
    }
    // The server may be gone already; what was seen counts.
    let _ = client.line.shutdown().await;
    Ok(told)
}

fn refused(method: &'static str, reason: String) -> ClientError {
    ClientError::Refused { method, status: 0, reason }
}

async fn handshake(line: &mut Line) -> Result<Vec<u8>, ClientError> {
    let mut handshake = Handshake::new(PeerType::Client);
    line.write_all(&handshake.generate_outbound_p0_and_p1().map_err(failed)?).await?;
    let mut buffer = [0; 4096];
    loop {
        let n = line.read(&mut buffer).await?;
        if n == 0 {
            return Err(ClientError::Closed(session::rtmp::Reason::PeerClosed));
        }
        match handshake.process_bytes(&buffer[..n]).map_err(failed)? {
            HandshakeProcessResult::InProgress { response_bytes } => line.write_all(&response_bytes).await?,
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                line.write_all(&response_bytes).await?;
                return Ok(remaining_bytes);
            }
        }
    }
}

/// Plays an `rtsp://` URL with retina, until every track has said goodbye, or `stop` turns true.
pub async fn watch_retina(
    url: &str,
    over: Over,
    mut stop: watch::Receiver<bool>,
) -> Result<Told, ClientError> {
    let mut told = Told::default();
    tokio::select! {
        played = retina_plays(url, over, &mut told) => played?,
        _ = stop.wait_for(|stop| *stop) => {}
    }
    Ok(told)
}

async fn retina_plays(url: &str, over: Over, told: &mut Told) -> Result<(), ClientError> {
    use retina::client::{
        InitialTimestampPolicy, PlayOptions, Session, SessionOptions, SetupOptions, TcpTransportOptions,
        Transport, UdpTransportOptions,
    };
    use retina::codec::CodecItem;

    let wrong = |error: retina::Error| match error.status_code() {
        Some(status) => ClientError::Refused { method: "a request", status, reason: error.to_string() },
        None => ClientError::Io(io::Error::other(error)),
    };
    let parsed = url.parse().map_err(failed)?;
    let mut session = Session::describe(parsed, SessionOptions::default()).await.map_err(wrong)?;
    let tracks = session.streams().len();
    for track in 0..tracks {
        let transport = match over {
            Over::Udp => Transport::Udp(UdpTransportOptions::default()),
            Over::Tcp => Transport::Tcp(TcpTransportOptions::default()),
        };
        session.setup(track, SetupOptions::default().transport(transport)).await.map_err(wrong)?;
    }
    let options = PlayOptions::default().initial_timestamp(InitialTimestampPolicy::Default);
    let session = session.play(options).await.map_err(wrong)?;
    let mut frames = session.demuxed().map_err(wrong)?;
    let mut goodbyes = 0;
    while let Some(item) = frames.next().await {
        match item.map_err(wrong)? {
            CodecItem::VideoFrame(_) | CodecItem::AudioFrame(_) => told.frames += 1,
            CodecItem::Rtcp(compound) => goodbyes += byes(compound.raw()),
            _ => {}
        }
        if goodbyes >= tracks {
            told.of_end = true;
            return Ok(());
        }
    }
    Err(ClientError::Closed(session::rtmp::Reason::PeerClosed))
}

/// BYE packets of a compound (RFC 3550 §6.6).
fn byes(compound: &[u8]) -> usize {
    let (packets, _) = rtcp::parse(compound);
    packets.iter().filter(|packet| matches!(packet, rtcp::Packet::Bye { .. })).count()
}
