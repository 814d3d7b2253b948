//! Taking HTTP connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

use super::answer::answer;
use super::meter::{Meter, Metered};
use crate::server::Shared;

/// How long to wait when the system has no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a request's head may take, the silence before it included: longer than players wait between requests.
const HEAD: Duration = Duration::from_secs(30);
/// Bytes that are held of a request's head, or of an answer that waits.
const BUFFER: usize = 32 << 10;
/// Header fields a request may have.
const FIELDS: usize = 64;
/// How long answers may take to leave at a shutdown.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Takes connections until `stop` says otherwise. Every connection's task holds a clone of `alive`.
pub(crate) async fn listen(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) {
    let limit = shared.config.limits.connections;
    let room = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((io, remote)) => {
                let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
                let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                    shared.log("connections", |kept| {
                        tracing::warn!(%remote, limit, kept, "connection refused: the server has all it may have");
                    });
                    continue;
                };
                let (shared, stop, alive) = (Arc::clone(&shared), stop.clone(), alive.clone());
                tokio::spawn(async move {
                    serve(io, remote, shared, stop).await;
                    drop((place, alive));
                });
            }
            Err(error) => {
                shared.log("accept", |kept| tracing::warn!(%error, kept, "a connection could not be taken"));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(io: TcpStream, remote: SocketAddr, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let _ = io.set_nodelay(true);
    let meter = Meter::new();
    let io = TokioIo::new(Metered::new(io, remote, Arc::clone(&meter), Arc::clone(&shared)));
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(request, remote, Arc::clone(&meter), Arc::clone(&shared));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(BUFFER).max_headers(FIELDS);
    let connection = http.serve_connection(io, service);
    tokio::pin!(connection);
    // However it ends, the client knows as much as we do.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(LAST_WORDS, connection).await;
}
