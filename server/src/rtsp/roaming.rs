//! Sessions that do not need the connection they began on (RFC 2326 §1.1): those that play over UDP. Requests about them may come
//! on any connection from the same address, and they go on without one while their player is heard of.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use session::rtsp::{Action, Input, Refusal};
use tokio::sync::{mpsc, oneshot};
use wire::rtsp::Head;

use super::connection::Connection;
use crate::driver::Outbox;

/// Requests that may wait for one session.
const WAITING: usize = 4;

/// A request that came on another connection.
#[derive(Debug)]
pub(super) struct Relayed {
    head: Head,
    body: Bytes,
    answer: oneshot::Sender<Bytes>,
}

/// Where to find the sessions that roam, by id.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<HashMap<String, (IpAddr, mpsc::Sender<Relayed>)>>);

impl Registry {
    fn sessions(&self) -> MutexGuard<'_, HashMap<String, (IpAddr, mpsc::Sender<Relayed>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to a session; only who is at its player's address is told.
    fn find(&self, id: &str, ip: IpAddr) -> Option<mpsc::Sender<Relayed>> {
        let sessions = self.sessions();
        sessions.get(id).filter(|(player, _)| *player == ip.to_canonical()).map(|(_, way)| way.clone())
    }
}

/// One connection's part in that.
#[derive(Debug)]
pub(super) struct Roaming {
    way: mpsc::Sender<Relayed>,
    pub relayed: mpsc::Receiver<Relayed>,
    /// The session that others can find here.
    known: Option<String>,
    /// Where the answer that comes next goes, if not on this connection.
    answer: Option<oneshot::Sender<Bytes>>,
    /// What another connection is asked for.
    pub asked: Option<oneshot::Receiver<Bytes>>,
    /// The connection is gone, and the session goes on.
    pub detached: bool,
}

impl Roaming {
    pub fn new() -> Self {
        let (way, relayed) = mpsc::channel(WAITING);
        Self { way, relayed, known: None, answer: None, asked: None, detached: false }
    }

    /// Whom the answer at hand is for, where that is another connection.
    pub fn asker(&mut self) -> Option<oneshot::Sender<Bytes>> {
        self.answer.take()
    }
}

/// What was asked for, once it is there; none where whoever was asked has gone. Waits for ever where nothing was.
pub(super) async fn answered(asked: &mut Option<oneshot::Receiver<Bytes>>) -> Option<Bytes> {
    let Some(waiting) = asked else { return std::future::pending().await };
    let answer = waiting.await.ok();
    *asked = None;
    answer
}

impl Connection {
    /// Lets others find the session, as long as it roams.
    pub(super) fn show_session(&mut self) {
        let id = self.session.roams();
        if self.roaming.known.as_deref() == id {
            return;
        }
        let mut sessions = self.ports.roaming().sessions();
        if let Some(before) = &self.roaming.known {
            sessions.remove(before);
        }
        if let Some(id) = id {
            let player = self.link.peer.ip().to_canonical();
            sessions.insert(id.to_owned(), (player, self.roaming.way.clone()));
        }
        self.roaming.known = id.map(str::to_owned);
    }

    /// Nobody finds it here any more.
    pub(super) fn hide_session(&mut self) {
        if let Some(id) = self.roaming.known.take() {
            self.ports.roaming().sessions().remove(&id);
        }
    }

    /// Asks whoever has the session; the refusal where nobody has.
    pub(super) fn ask_elsewhere(&mut self, id: &str, head: Head, body: Bytes) -> Option<Action> {
        let (answer, asked) = oneshot::channel();
        let way = self.ports.roaming().find(id, self.link.peer.ip());
        let sent = way.is_some_and(|way| way.try_send(Relayed { head, body, answer }).is_ok());
        self.roaming.asked = sent.then_some(asked);
        (!sent).then_some(Action::Refuse(Refusal::NoSession))
    }

    /// Hands on what the other connection said.
    pub(super) fn heard_elsewhere(&mut self, answer: Option<Bytes>) {
        let action = answer.map_or(Action::Refuse(Refusal::NoSession), Action::Answered);
        self.drain(Some(Input::Do(action)));
    }

    /// Serves a request that came on another connection.
    pub(super) fn relayed(&mut self, Relayed { head, body, answer }: Relayed) {
        // One at a time: who asks meanwhile is told that there is no such session, as if it came later.
        if !self.session.is_waiting() && self.link.is_open() {
            self.roaming.answer = Some(answer);
            self.drain(Some(Input::Relayed { head, body }));
            if !self.session.is_waiting() {
                self.roaming.answer = None;
            }
        }
    }

    /// The connection is gone. True where its session goes on.
    pub(super) fn goes_on(&mut self) -> bool {
        self.drain(Some(Input::Closed));
        self.roaming.detached = self.session.roams().is_some() && self.link.is_open();
        if self.roaming.detached {
            self.egress.outbox = Outbox::default();
        }
        self.roaming.detached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_from_its_players_address_alone() {
        let (registry, roaming) = (Registry::default(), Roaming::new());
        let player: IpAddr = "10.0.0.1".parse().unwrap();
        registry.sessions().insert("A".to_owned(), (player, roaming.way.clone()));
        let found = |id: &str, ip: &str| registry.find(id, ip.parse().unwrap()).is_some();
        assert!(found("A", "10.0.0.1") && found("A", "::ffff:10.0.0.1"));
        assert!(!found("A", "10.0.0.2") && !found("B", "10.0.0.1"));
    }

    #[tokio::test]
    async fn who_has_gone_answers_nothing() {
        let (answer, asked) = oneshot::channel();
        let mut asked = Some(asked);
        drop(answer);
        assert_eq!((answered(&mut asked).await, asked.is_none()), (None, true));
    }
}
