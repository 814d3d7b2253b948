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
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::answer::answer;
use super::meter::{Meter, Metered};
use crate::address::canonical;
use crate::driver::Accepting;
use crate::shared::Shared;

/// How long a request's head may take, the silence before it included: longer than players wait between requests.
const HEAD: Duration = Duration::from_secs(30);
/// Bytes that are held of a request's head, or of an answer that waits.
const BUFFER: usize = 32 << 10;
/// Header fields a request may have.
const FIELDS: usize = 64;
/// How long answers may take to leave at a shutdown.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Takes connections until that is over.
pub(crate) async fn listen(accepting: Accepting) {
    let (shared, stop) = (Arc::clone(&accepting.shared), accepting.stop.clone());
    let limit = shared.config.limits.connections;
    let places = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
    let room = || Arc::clone(&places).try_acquire_owned().ok();
    let serve = |io, remote| serve(io, canonical(remote), Arc::clone(&shared), stop.clone());
    accepting.each(room, serve).await;
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
