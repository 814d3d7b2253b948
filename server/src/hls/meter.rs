//! A socket that counts: every byte it carries goes to the session whose request is being answered.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use model::Protocol;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::viewers::Session;
use crate::registry::Outcome;
use crate::shared::Shared;
use crate::tap::{How, TapConn};

/// What a connection carried, and for whom.
#[derive(Debug)]
pub struct Meter {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Arc<Session>>,
    /// Bytes that came and belong to the request that will be read next.
    waiting: usize,
    /// Bytes of requests that belong to no session.
    stray: (usize, usize),
}

impl Meter {
    /// Nothing carried yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was read: it, and what will be sent, belong to this session.
    pub fn belongs_to(&self, session: Option<&Arc<Session>>) {
        let mut state = self.state();
        let bytes = std::mem::take(&mut state.waiting);
        match session {
            Some(session) => session.client.received(bytes),
            None => state.stray.0 = state.stray.0.saturating_add(bytes),
        }
        state.session = session.cloned();
    }

    fn received(&self, n: usize) {
        let mut state = self.state();
        state.waiting = state.waiting.saturating_add(n);
    }

    fn sent(&self, n: usize, shared: &Shared) {
        let mut state = self.state();
        match &state.session {
            Some(session) => {
                session.client.sent(n);
                session.stays(shared.clock.now());
            }
            None => state.stray.1 = state.stray.1.saturating_add(n),
        }
    }
}

/// A counted, tapped connection that gives up where nothing is taken for too long.
pub struct Metered {
    io: TcpStream,
    remote: SocketAddr,
    meter: Arc<Meter>,
    shared: Arc<Shared>,
    tap: Option<TapConn>,
    how: How,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Metered {
    /// Counts what `io` carries.
    pub fn new(io: TcpStream, remote: SocketAddr, meter: Arc<Meter>, shared: Arc<Shared>) -> Self {
        let tap = shared.tap.as_ref().and_then(|tap| {
            let local = io.local_addr().ok()?;
            Some(tap.connection(local, remote, crate::tap::Role::Server))
        });
        Self { io, remote, meter, shared, tap, how: How::Ours, stalled: None }
    }

    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(n)) => {
                self.stalled = None;
                self.meter.sent(n, &self.shared);
                if let Some(tap) = &mut self.tap {
                    tap.sent(slices, n);
                }
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(error)) => {
                self.how = How::ResetByThem;
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                let patience = self.shared.config.limits.viewer_stall;
                let stalled = self.stalled.get_or_insert_with(|| {
                    let now = Instant::now();
                    Box::pin(sleep_until(now.checked_add(patience).unwrap_or(now)))
                });
                if stalled.as_mut().poll(cx).is_ready() {
                    self.how = How::ResetByUs;
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                Poll::Pending
            }
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.io).poll_read(cx, buffer);
        match &result {
            Poll::Ready(Ok(())) => {
                let bytes = buffer.filled().get(before..).unwrap_or_default();
                if bytes.is_empty() {
                    self.how = How::Theirs;
                } else {
                    self.meter.received(bytes.len());
                    if let Some(tap) = &mut self.tap {
                        tap.received(bytes);
                    }
                }
            }
            Poll::Ready(Err(_)) => self.how = How::ResetByThem,
            Poll::Pending => {}
        }
        result
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(cx, &[IoSlice::new(bytes)], result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.wrote(cx, slices, result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        if let Some(tap) = self.tap.take() {
            tap.closed(self.how);
        }
        let mut state = self.meter.state();
        let waiting = std::mem::take(&mut state.waiting);
        match state.session.take() {
            Some(session) => session.client.received(waiting),
            None => state.stray.0 = state.stray.0.saturating_add(waiting),
        }
        let (read, written) = state.stray;
        if read.saturating_add(written) > 0 {
            // Bytes of nobody are counted as those of a client that never came to watch.
            let (registry, now) = (&self.shared.registry, self.shared.clock.now());
            let client = registry.connect(Protocol::Hls, self.remote, now);
            client.received(read);
            client.sent(written);
            registry.end(&client, Outcome::Refused, now);
        }
    }
}
