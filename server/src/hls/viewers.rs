//! Who watches over HLS: a session is what the playlists' `?session=` says, not a connection.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{Protocol, Role};
use session::Time;

use super::Live;
use crate::registry::{Client, Outcome, Registry};

/// A session ends after so many target durations without a request.
const SILENCE: u32 = 3;
/// Target duration as long as none is known.
const UNKNOWN_TARGET: u64 = 10;

/// All sessions.
#[derive(Debug, Default)]
pub struct Viewers {
    sessions: Mutex<HashMap<Box<str>, Arc<Session>>>,
    seeds: RandomState,
    count: AtomicU64,
}

/// One viewer.
#[derive(Debug)]
pub struct Session {
    /// Its name in URIs and cookies.
    pub id: Box<str>,
    /// Its entry in the registry.
    pub client: Arc<Client>,
    live: Arc<Live>,
    /// When it was last heard of, in milliseconds.
    last: AtomicU64,
    /// Requests that are being answered.
    busy: AtomicUsize,
    watching: AtomicBool,
    /// Whether the latest list it got has an end, and it got the last segment since.
    told: AtomicBool,
    has_all: AtomicBool,
}

/// A request of a session that is being answered; the session does not end before it is over.
#[derive(Debug)]
pub struct Visit {
    /// The session.
    pub session: Arc<Session>,
}

impl Session {
    fn seen(&self, now: Time) {
        self.last.fetch_max(now.as_millis(), Ordering::Relaxed);
    }

    /// Notes that something is still being sent.
    pub fn stays(&self, now: Time) {
        self.seen(now);
    }

    /// It had a media playlist or media: from now on it is listed.
    pub fn watches(&self, registry: &Registry) {
        if !self.watching.swap(true, Ordering::Relaxed) {
            registry.take_part(&self.client, Role::Viewer, &self.live.path, &self.live.totals());
        }
    }

    /// It gets a media playlist, which has an end or not.
    pub fn hears(&self, end: bool) {
        self.told.store(end, Ordering::Relaxed);
        if !end {
            self.has_all.store(false, Ordering::Relaxed);
        }
    }

    /// It gets the last segment of a list that has ended.
    pub fn has_last(&self) {
        self.has_all.store(true, Ordering::Relaxed);
    }

    fn target(&self) -> Duration {
        Duration::from_secs(self.live.shelf().target().unwrap_or(UNKNOWN_TARGET))
    }

    fn silence(&self, now: Time) -> Duration {
        now.since(Time::from_millis(self.last.load(Ordering::Relaxed)))
    }

    fn is_over(&self, now: Time) -> bool {
        self.busy.load(Ordering::Relaxed) == 0 && self.silence(now) > self.target().saturating_mul(SILENCE)
    }

    /// True where it watches, and has yet to learn of the end or to fetch what is left. One that has not asked for two
    /// target durations does not come any more.
    fn is_waited_for(&self, now: Time) -> bool {
        let has_all = self.told.load(Ordering::Relaxed) && self.has_all.load(Ordering::Relaxed);
        self.watching.load(Ordering::Relaxed)
            && !(has_all && self.busy.load(Ordering::Relaxed) == 0)
            && self.silence(now) <= self.target().saturating_mul(2)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.session.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is known of whoever asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Where it is.
    pub address: SocketAddr,
    /// What it says it is.
    pub agent: &'a str,
}

impl Viewers {
    fn sessions(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session called `id`, which begins now if there is none of that name on this path. `None` where there are
    /// `most` already, and all of them watch.
    pub fn visit(
        &self,
        id: Option<&str>,
        live: &Arc<Live>,
        asker: Asker<'_>,
        registry: &Registry,
        most: usize,
        now: Time,
    ) -> Option<Visit> {
        let mut sessions = self.sessions();
        let known = id
            .and_then(|id| sessions.get(id))
            .filter(|s| Arc::ptr_eq(&s.live, live) || s.live.path == live.path)
            .cloned();
        let session = match known {
            Some(session) => session,
            None if sessions.len() >= most && !Self::make_room(&mut sessions, registry, now) => return None,
            None => {
                let id: Box<str> = match id.filter(|id| !sessions.contains_key(*id)) {
                    Some(id) => id.into(),
                    None => self.name().into(),
                };
                let client = registry.connect(Protocol::Hls, asker.address, now);
                client.name_agent(asker.agent);
                let session = Arc::new(Session {
                    id: id.clone(),
                    client,
                    live: Arc::clone(live),
                    last: AtomicU64::new(now.as_millis()),
                    busy: AtomicUsize::new(0),
                    watching: AtomicBool::new(false),
                    told: AtomicBool::new(false),
                    has_all: AtomicBool::new(false),
                });
                sessions.insert(id, Arc::clone(&session));
                session
            }
        };
        session.seen(now);
        session.busy.fetch_add(1, Ordering::Relaxed);
        Some(Visit { session })
    }

    /// Ends the session that was silent for the longest among those that asked for a multivariant playlist and no more:
    /// nobody keeps viewers out by asking for that again and again. False where there is none.
    fn make_room(sessions: &mut HashMap<Box<str>, Arc<Session>>, registry: &Registry, now: Time) -> bool {
        let idle =
            |s: &&Arc<Session>| !s.watching.load(Ordering::Relaxed) && s.busy.load(Ordering::Relaxed) == 0;
        let oldest = sessions.values().filter(idle).min_by_key(|s| s.last.load(Ordering::Relaxed));
        let Some(id) = oldest.map(|s| s.id.clone()) else { return false };
        if let Some(session) = sessions.remove(&id) {
            registry.end(&session.client, Outcome::Done, now);
        }
        true
    }

    /// A name that nobody can guess from others.
    fn name(&self) -> String {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}", self.seeds.hash_one(count))
    }

    /// The name of whoever has none, by what is known of it.
    pub fn name_of(&self, address: IpAddr, path: &str, agent: &str) -> String {
        format!("{:016x}", self.seeds.hash_one((address, path, agent)))
    }

    /// Sessions that watch a path.
    pub fn count(&self, path: &str) -> usize {
        let watches = |s: &&Arc<Session>| &*s.live.path == path && s.watching.load(Ordering::Relaxed);
        self.sessions().values().filter(watches).count()
    }

    /// Once a second: ends those that were silent for too long.
    pub fn tick(&self, registry: &Registry, now: Time) {
        self.sessions().retain(|_, session| {
            let over = session.is_over(now);
            if over {
                registry.end(&session.client, Outcome::Done, now);
            }
            !over
        });
    }

    /// True where some session has yet to learn that its list has ended, or to fetch what is left of it.
    pub fn are_waited_for(&self, now: Time) -> bool {
        self.sessions().values().any(|session| session.is_waited_for(now))
    }

    /// Ends all, since the server does.
    pub fn end(&self, registry: &Registry, now: Time) {
        for (_, session) in self.sessions().drain() {
            registry.end(&session.client, Outcome::Shutdown, now);
        }
    }
}

/// Whether a name is one of ours, so that it can be taken up again after a restart.
pub fn is_name(id: &str) -> bool {
    id.len() == 16 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
