//! Watches a stream over HLS: reads the playlists, fetches what is new in them, takes the frames out.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::{Bytes, BytesMut};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use media::mp4;
use tokio::sync::watch;
use tokio::time::Instant;
use wire::hls::{What, lines, resolve};

use super::connection::ClientError;
use super::line::{Line, Place};
use super::viewer::Viewed;
use crate::account::Account;

/// The longest answer that is taken.
const LONGEST: usize = 64 << 20;
/// How often the list is looked at; its own target duration may ask for more patience.
const POLL: Duration = Duration::from_millis(500);

/// Watches `path` until the list ends or `stop` turns true. `frames` counts what came so far.
pub async fn watch_hls(
    place: impl Into<Place>,
    path: &str,
    agent: &str,
    frames: watch::Sender<u64>,
    mut stop: watch::Receiver<bool>,
) -> Result<Viewed, ClientError> {
    let began = Instant::now();
    let place = place.into();
    let line = Line::open(&place).await?;
    let local = line.local()?;
    let (sender, connection) = handshake(TokioIo::new(line)).await.map_err(failed)?;
    tokio::spawn(connection);
    let mut viewer = Http { sender, host: place.server.to_string(), agent: agent.to_owned() };
    let mut viewed =
        Viewed { local, account: Account::default(), first_picture: None, told_of_end: false, packets: None };

    let master_uri = format!("/{path}/index.m3u8");
    let master = viewer.text(&master_uri).await?;
    let uris = lines(&master).filter_map(|line| match line.ok()?.what {
        What::Uri(uri) => Some(uri.text.to_owned()),
        _ => None,
    });
    let variant = uris.last().ok_or_else(|| broken("the multivariant playlist names no rendition"))?;
    let list_uri = resolve(&master_uri, &variant);
    let mut had = BTreeSet::new();
    let mut init = (String::new(), Bytes::new());
    loop {
        let list = List::read(&viewer.text(&list_uri).await?);
        for segment in &list.segments {
            if !had.insert(segment.number) {
                continue;
            }
            if init.0 != segment.map {
                let uri = resolve(&list_uri, &segment.map);
                init = (segment.map.clone(), viewer.bytes(&uri).await?);
            }
            let body = viewer.bytes(&resolve(&list_uri, &segment.uri)).await?;
            let before = viewed.account.marks.len();
            take(&mut viewed.account, &init.1, &body)?;
            if viewed.first_picture.is_none() && !viewed.account.marks.is_empty() {
                viewed.first_picture = Some(began.elapsed());
            }
            let new = viewed.account.marks.len().saturating_sub(before) as u64;
            frames.send_modify(|n| *n += new);
        }
        if list.ended {
            viewed.told_of_end = true;
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    Ok(viewed)
}

/// The frames of a segment.
fn take(account: &mut Account, init: &Bytes, body: &Bytes) -> Result<(), ClientError> {
    let mut whole = BytesMut::with_capacity(init.len() + body.len());
    whole.extend_from_slice(init);
    whole.extend_from_slice(body);
    let mut demuxer = mp4::Demuxer::open(whole.freeze()).map_err(broken)?;
    for track in demuxer.tracks() {
        if !account.tracks.contains(&track.description) {
            account.tracks.push(track.description.clone());
        }
    }
    while let Some(frame) = demuxer.next() {
        account.frame(&frame.map_err(broken)?);
    }
    Ok(())
}

/// What a media playlist lists.
struct List {
    segments: Vec<Segment>,
    ended: bool,
}

struct Segment {
    number: u64,
    uri: String,
    map: String,
}

impl List {
    fn read(text: &[u8]) -> Self {
        let mut list = Self { segments: Vec::new(), ended: false };
        let (mut number, mut map) = (0, String::new());
        for line in lines(text).map_while(Result::ok) {
            match line.what {
                What::Tag(tag) if tag.is("EXT-X-MEDIA-SEQUENCE") => {
                    number = tag.wanted().and_then(|v| v.integer()).unwrap_or(0);
                }
                What::Tag(tag) if tag.is("EXT-X-MAP") => {
                    map = tag.attribute("URI").map_or_else(String::new, |v| v.text().text.to_owned());
                }
                What::Tag(tag) if tag.is("EXT-X-ENDLIST") => list.ended = true,
                What::Uri(uri) => {
                    list.segments.push(Segment { number, uri: uri.text.to_owned(), map: map.clone() });
                    number += 1;
                }
                _ => {}
            }
        }
        list
    }
}

struct Http {
    sender: SendRequest<Body>,
    host: String,
    agent: String,
}

impl Http {
    async fn text(&mut self, uri: &str) -> Result<Bytes, ClientError> {
        self.bytes(uri).await
    }

    async fn bytes(&mut self, uri: &str) -> Result<Bytes, ClientError> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(uri)
            .header("Host", &self.host)
            .header("User-Agent", &self.agent)
            .body(Body::empty())
            .map_err(broken)?;
        self.sender.ready().await.map_err(failed)?;
        let response = self.sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            return Err(broken(format!("{uri}: {status}")));
        }
        to_bytes(Body::new(response.into_body()), LONGEST).await.map_err(broken)
    }
}

fn failed(error: hyper::Error) -> ClientError {
    ClientError::Io(io::Error::other(error))
}

fn broken(why: impl ToString) -> ClientError {
    ClientError::Io(io::Error::other(why.to_string()))
}
