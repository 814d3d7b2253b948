//! One RTMP connection: a link, a session, and what ties them to the hub.
//!
//! The whole is one hand-written poll function, since a thousand viewers each wake once a picture: no buffer,
//! no timer and no future is held per connection beyond what something waits for.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use model::Protocol;
use session::Time;
use session::rtmp::{Action, Input, Output, Reason, Server};

use super::part::{Publishing, Viewing};
use crate::driver::{Accepting, End, Link, Outbox, SLICE, TAKE, Timer, scratch};
use crate::fault::rtmp::Breaker;
use crate::hub::{Form, Piece, Took};
use crate::signal::{DATA, EVICT, ROOM, SHUTDOWN};

/// Serves connections until that is over.
pub(crate) async fn listen(accepting: Accepting) {
    accepting.clients(Protocol::Rtmp, |link| Connection::new(link).run()).await;
}

/// Its fields go in their order: nobody publishes or plays any more when the link ends.
pub(super) struct Connection {
    pub(super) publishing: Option<Publishing>,
    pub(super) viewing: Option<Viewing>,
    /// What the client will watch once the session has said so.
    pub(super) wanted: Option<Viewing>,
    session: Server,
    outbox: Outbox,
    fault: Option<Box<Breaker>>,
    timer: Timer,
    /// When the session wants to be woken.
    wake: Option<Time>,
    pub(super) link: Link,
}

impl Connection {
    fn new(link: Link) -> Self {
        let session = Server::new(link.shared.config.rtmp.session(), link.seed, link.now());
        Self {
            publishing: None,
            viewing: None,
            wanted: None,
            session,
            outbox: Outbox::default(),
            fault: Breaker::new(&link.shared.config.faults),
            timer: Timer::default(),
            wake: None,
            link,
        }
    }

    /// Serves the connection to its end.
    async fn run(mut self) {
        self.drain(None);
        let end = poll_fn(|cx| self.poll(cx)).await;
        self.link.finish(end).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            match self.link.client.signal.take(DATA | EVICT | SHUTDOWN | ROOM) {
                flags if flags & EVICT != 0 => {
                    return Poll::Ready(self.link.evicted(self.session.open_bytes()));
                }
                flags if flags & SHUTDOWN != 0 => self.leave(),
                _ => {}
            }
            if let Err(end) = self.deadlines(cx) {
                return Poll::Ready(end);
            }
            if let Poll::Ready(Err(end)) = self.write(cx) {
                return Poll::Ready(end);
            }
            let read = self.read(cx);
            if let Poll::Ready(Err(end)) = read {
                return Poll::Ready(end);
            }
            if read.is_ready() || self.has_answers() {
                continue;
            }
            // The deadline may have changed on the way: arm the timer for the one that holds now.
            if self.timer.is_late(self.deadline()) {
                continue;
            }
            let mut wanted = EVICT | SHUTDOWN | ROOM;
            if self.viewing.as_ref().is_some_and(|viewing| !viewing.paused) && self.outbox.is_empty() {
                wanted |= DATA;
            }
            if self.link.client.signal.park(wanted, cx.waker()) {
                return Poll::Pending;
            }
        }
    }

    // --- time ---

    fn deadline(&self) -> Option<Time> {
        let wake = self.wake.filter(|_| self.link.is_open());
        [self.link.deadline(), wake].into_iter().flatten().min()
    }

    fn deadlines(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while self.timer.poll(self.deadline(), &self.link.shared.clock, cx).is_ready() {
            self.link.overdue()?;
            let now = self.link.now();
            if self.link.is_open() && self.wake.take_if(|at| *at <= now).is_some() {
                self.drain(Some(Input::Tick));
            }
        }
        Ok(())
    }

    // --- reading ---

    /// Ready when something was read, pending when there is nothing to read or no wish to.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let held = self.publishing.as_ref().is_some_and(|p| !p.may_go_on(&self.link.client.signal));
        if held || !self.link.may_read(&self.outbox) {
            return Poll::Pending;
        }
        scratch(|buffer| {
            let n = ready!(self.link.poll_read(cx, buffer))?;
            if n == 0 {
                self.drain(Some(Input::Closed));
                return Poll::Ready(Err(End::THEIRS));
            }
            self.take(buffer.get(..n).unwrap_or_default());
            Poll::Ready(Ok(()))
        })
    }

    fn take(&mut self, bytes: &[u8]) {
        for slice in bytes.chunks(SLICE) {
            if !self.link.is_open() {
                return;
            }
            self.drain(Some(Input::Bytes(slice)));
            self.link.share.hold(self.session.open_bytes(), self.session.open_since());
        }
        if let Some(publishing) = &mut self.publishing {
            publishing.flush_if_due();
        }
    }

    // --- writing ---

    /// Writes until nothing waits or the socket is full.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        loop {
            if self.outbox.waiting().1 == 0 && self.link.is_open() {
                self.refill(TAKE);
            }
            if self.outbox.is_empty()
                && let Some((reason, end)) = self.link.all_said()
            {
                // Who does not speak RTMP hears nothing, and need not be heard out.
                let foreign = matches!(reason, Reason::Protocol(_));
                return Poll::Ready(Err(if foreign { end.at_once() } else { end }));
            }
            let media = ready!(self.link.poll_write(cx, &mut self.outbox))?;
            if media > 0 {
                self.drain(Some(Input::Sent(media)));
            }
        }
    }

    /// Takes what is new in the ring.
    fn refill(&mut self, limit: usize) {
        while let Some(viewing) = self.viewing.as_mut().filter(|viewing| !viewing.paused) {
            let (form, outbox) = (viewing.form, &mut self.outbox);
            let took = viewing.viewer.take(limit, &mut |piece| {
                let block = block(form, &piece);
                let length = block.len();
                outbox.push_media(block);
                length
            });
            self.link.left_out(viewing.viewer.newly_dropped());
            let stream = form.stream;
            match took {
                Took::Began => self.drain(Some(Input::Do(Action::StreamBegan { stream }))),
                Took::Ended => self.drain(Some(Input::Do(Action::EndOfStream { stream }))),
                Took::All | Took::Some => return,
            }
        }
    }

    fn has_answers(&self) -> bool {
        // What a write or a read made the session say; a full socket says itself when to go on.
        !self.link.is_blocked() && !self.outbox.is_empty()
    }

    // --- the session ---

    /// Gives the session one input, and does what it says.
    pub(super) fn drain(&mut self, input: Option<Input<'_>>) {
        let now = self.link.now();
        if let Some(input) = input {
            self.session.handle(now, input);
        }
        let mut answers = Vec::new();
        loop {
            while let Some(output) = self.session.poll() {
                match output {
                    Output::Send(bytes) => self.outbox.push_control(match &mut self.fault {
                        None => bytes,
                        Some(fault) => fault.messages(bytes),
                    }),
                    Output::WakeAt(at) => self.wake = Some(at),
                    Output::Event(event) => answers.extend(self.event(event)),
                    Output::Close(reason) => self.close(reason),
                }
            }
            if answers.is_empty() {
                return;
            }
            for answer in answers.drain(..) {
                self.session.handle(now, Input::Do(answer));
            }
        }
    }

    // --- the end ---

    /// The server goes: hands out what is in the ring, says goodbye.
    fn leave(&mut self) {
        if !self.link.is_open() {
            return;
        }
        self.refill(usize::MAX);
        self.publishing = None;
        self.drain(Some(Input::Do(Action::Shutdown)));
    }

    fn close(&mut self, reason: Reason) {
        self.publishing = None;
        self.viewing = None;
        self.link.close(reason);
    }
}

fn block(form: Form, piece: &Piece<'_>) -> bytes::Bytes {
    match piece {
        Piece::Frame(item) | Piece::Data(item) => item.block(form),
        Piece::Metadata(amf0, timestamp) => form.data(amf0, *timestamp),
        Piece::Track(track, timestamp) => form.configuration(track, *timestamp).unwrap_or_default(),
    }
}
