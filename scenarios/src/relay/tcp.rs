//! One connection of a client, and the one to the server that belongs to it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use server::tap::{How, Role, TapConn};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::rtsp::{Piece, Splitter, Way, with_ports};
use super::shaper::Shaper;
use super::udp::Pair;
use super::{Plan, Shared};
use crate::client::until;

/// Bytes that may be on their way in one direction; the sender waits then.
const HOLDS: usize = 256 << 10;
/// Read at a time.
const READ: usize = 16 << 10;

/// What both directions know.
struct Line {
    plan: Plan,
    shared: Arc<Shared>,
    /// The relay's address towards the client, the client's, the relay's towards the server, the server's.
    near: SocketAddr,
    client: SocketAddr,
    far: SocketAddr,
    server: SocketAddr,
    tap: Mutex<Option<TapConn>>,
    /// UDP pairs that wait for the server's answer, by the number of the request.
    asked: Mutex<BTreeMap<u32, Pair>>,
    /// The UDP pairs at work; they end with the connection.
    pairs: Mutex<JoinSet<()>>,
    /// Tracks that were set up.
    tracks: AtomicU64,
    /// Who closed first.
    first: Mutex<Option<How>>,
}

/// Relays a connection to its end.
pub(super) async fn relay(mut client: TcpStream, plan: Plan, shared: Arc<Shared>) {
    let mut resets = shared.resets.subscribe();
    let line = match open(&client, plan, shared).await {
        Ok(line) => line,
        // The server is not there, or not any more: that is how it looks to the client, too.
        Err(_) => return reset(&client),
    };
    let (line, mut server) = line;
    let ended = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let up = pump(from_client, to_server, Way::ToServer, &line);
        let down = pump(from_server, to_client, Way::ToClient, &line);
        let both = async { tokio::try_join!(up, down) };
        tokio::select! {
            ended = both => ended,
            // The sender is there as long as the relay is.
            _ = resets.changed() => Err(How::ResetByUs),
        }
    };
    let how = match (ended, *lock(&line.first)) {
        (Ok(_), first) => first.unwrap_or(How::Ours),
        (Err(broken), _) => {
            reset(&client);
            reset(&server);
            broken
        }
    };
    if let Some(tap) = lock(&line.tap).take() {
        tap.closed(how);
    }
}

async fn open(client: &TcpStream, plan: Plan, shared: Arc<Shared>) -> io::Result<(Line, TcpStream)> {
    let (near, peer) = (client.local_addr()?, client.peer_addr()?);
    let server = TcpStream::connect(plan.upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (far, upstream) = (server.local_addr()?, server.peer_addr()?);
    shared.side(peer, far);
    let tap = plan.tap.as_ref().map(|tap| tap.connection(near, peer, Role::Server));
    let line = Line {
        plan,
        shared,
        near,
        client: peer,
        far,
        server: upstream,
        tap: Mutex::new(tap),
        asked: Mutex::default(),
        pairs: Mutex::default(),
        tracks: AtomicU64::new(0),
        first: Mutex::new(None),
    };
    Ok((line, server))
}

/// Breaks a connection the hard way.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One direction, to its end. An error says who broke the connection; both directions are reset then.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, way: Way, line: &Line) -> Result<(), How> {
    let (theirs, ours) = match way {
        Way::ToServer => (How::ResetByThem, How::ResetByUs),
        Way::ToClient => (How::ResetByUs, How::ResetByThem),
    };
    let mut net = line.plan.net.clone();
    let mut watched = true;
    let mut shaper = Shaper::stream(line.plan.seed ^ way as u64);
    let mut splitter = line.plan.rtsp.then(Splitter::default);
    let mut buffer = vec![0; READ];
    let mut ended = false;
    while !ended || shaper.held() > 0 {
        let now = *net.borrow_and_update();
        let due = shaper.due();
        tokio::select! {
            changed = net.changed(), if watched => watched = changed.is_ok(),
            read = from.read(&mut buffer), if !ended && !now.cut && shaper.held() < HOLDS => {
                let n = read.map_err(|_| theirs)?;
                let arrived = buffer.get(..n).unwrap_or_default();
                if way == Way::ToServer && let Some(tap) = lock(&line.tap).as_mut() {
                    tap.received(arrived);
                }
                ended = n == 0;
                for piece in pieces(arrived, ended, splitter.as_mut(), way, line).await {
                    let size = piece.len();
                    shaper.push(Instant::now(), &now, piece, size);
                }
            }
            () = until(due), if due.is_some() && !now.cut => {
                while let Some(bytes) = shaper.pop(Instant::now()) {
                    to.write_all(&bytes).await.map_err(|_| ours)?;
                    if way == Way::ToClient && let Some(tap) = lock(&line.tap).as_mut() {
                        tap.sent_shared(vec![bytes]);
                    }
                }
            }
        }
    }
    let closed = if way == Way::ToServer { How::Theirs } else { How::Ours };
    lock(&line.first).get_or_insert(closed);
    // The other side may be gone already.
    let _ = to.shutdown().await;
    Ok(())
}

/// What goes on to the other side of what arrived.
async fn pieces(
    arrived: &[u8],
    ended: bool,
    splitter: Option<&mut Splitter>,
    way: Way,
    line: &Line,
) -> Vec<Bytes> {
    let Some(splitter) = splitter else {
        return if arrived.is_empty() { Vec::new() } else { vec![Bytes::copy_from_slice(arrived)] };
    };
    splitter.push(arrived);
    let mut out = Vec::new();
    while let Some(piece) = splitter.next() {
        out.push(match (piece, way) {
            (Piece::Plain(bytes), _) => bytes,
            (Piece::Setup(bytes, ports), Way::ToServer) => match (ports.cseq, ports.client) {
                (Some(cseq), Some(client)) => ask(bytes, cseq, client, line).await,
                _ => bytes,
            },
            (Piece::Setup(bytes, ports), Way::ToClient) => {
                let pair = ports.cseq.and_then(|cseq| lock(&line.asked).remove(&cseq));
                match (pair, ports.server) {
                    (Some(pair), Some(server)) => answer(bytes, pair, server, line),
                    _ => bytes,
                }
            }
        });
    }
    if ended {
        out.push(splitter.rest());
    }
    out.retain(|bytes| !bytes.is_empty());
    out
}

/// A request that names the client's ports: the server is told the relay's.
async fn ask(bytes: Bytes, cseq: u32, client: (u16, u16), line: &Line) -> Bytes {
    // Without ports the request passes as it is, and its packets go past the relay.
    let number = line.tracks.fetch_add(1, Ordering::Relaxed);
    let bound = Pair::bind(line.near.ip(), line.far.ip(), client, number).await;
    let Ok(pair) = bound else { return bytes };
    let changed = with_ports(&bytes, Some(pair.back_ports()), None);
    lock(&line.asked).insert(cseq, pair);
    changed
}

/// An answer that names the server's ports: the client is told the relay's, and packets begin to pass.
fn answer(bytes: Bytes, pair: Pair, server: (u16, u16), line: &Line) -> Bytes {
    let changed = with_ports(&bytes, Some(pair.client_ports()), Some(pair.front_ports()));
    let client = line.client.ip();
    pair.start(client, (line.server.ip(), server), &line.plan, &line.shared, &mut lock(&line.pairs));
    changed
}
