//! The common bound on incomplete incoming messages.
//!
//! A message of 16 MB may be announced with 12 bytes and sent a byte at a time; a thousand such peers must not
//! take the memory from those who finish what they begin. When the budget is used up, whoever has had a message
//! open the longest goes, and the others read on when its bytes are free.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use session::Time;

use crate::signal::{EVICT, ROOM, Signal};

/// The budget of all connections.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
    waiting: AtomicUsize,
    next: AtomicU64,
    shares: Mutex<HashMap<u64, Arc<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    bytes: AtomicUsize,
    /// When its oldest incomplete message began, in milliseconds.
    since: AtomicU64,
    evicted: AtomicBool,
    waits: AtomicBool,
    signal: Arc<Signal>,
}

/// One connection's part of it. Dropping it gives the bytes back.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    number: u64,
    entry: Arc<Entry>,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            next: AtomicU64::new(0),
            shares: Mutex::default(),
        })
    }

    /// A share that holds nothing yet; `signal` is told to leave, or that there is room again.
    pub fn share(self: &Arc<Self>, signal: Arc<Signal>) -> Share {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = Arc::new(Entry {
            bytes: AtomicUsize::new(0),
            since: AtomicU64::new(0),
            evicted: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            signal,
        });
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.insert(number, Arc::clone(&entry));
        Share { budget: Arc::clone(self), number, entry }
    }

    /// Bytes held of incomplete messages.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    fn is_full(&self) -> bool {
        self.used() > self.limit
    }

    /// Tells whoever has had a message open the longest to go, until enough is on its way back.
    fn make_room(&self) {
        let shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let going = |e: &&Arc<Entry>| e.evicted.load(Ordering::SeqCst);
        let bytes = |e: &Arc<Entry>| e.bytes.load(Ordering::SeqCst);
        let mut coming = shares.values().filter(going).fold(0usize, |n, e| n.saturating_add(bytes(e)));
        while self.used().saturating_sub(coming) > self.limit {
            let staying = shares.values().filter(|e| !going(e) && bytes(e) > 0);
            let oldest = staying.min_by_key(|e| (e.since.load(Ordering::SeqCst), usize::MAX ^ bytes(e)));
            let Some(entry) = oldest else { return };
            entry.evicted.store(true, Ordering::SeqCst);
            coming = coming.saturating_add(bytes(entry));
            entry.signal.raise(EVICT);
        }
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 && !self.is_full() {
            let shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
            for entry in shares.values().filter(|e| e.waits.load(Ordering::SeqCst)) {
                entry.signal.raise(ROOM);
            }
        }
    }
}

impl Share {
    /// Notes what the connection holds, and since when.
    pub fn hold(&self, bytes: usize, since: Option<Time>) {
        let before = self.entry.bytes.load(Ordering::SeqCst);
        if let Some(since) = since {
            self.entry.since.store(since.as_millis(), Ordering::SeqCst);
        }
        if bytes == before {
            return;
        }
        self.entry.bytes.store(bytes, Ordering::SeqCst);
        if bytes > before {
            self.budget.used.fetch_add(bytes.saturating_sub(before), Ordering::SeqCst);
            if self.budget.is_full() {
                self.budget.make_room();
            }
        } else {
            self.budget.give(before.saturating_sub(bytes));
        }
    }

    /// True where the connection may read on; where not, its signal is raised with [`ROOM`] later.
    pub fn may_read(&self) -> bool {
        if !self.budget.is_full() {
            self.stop_waiting();
            return true;
        }
        if !self.entry.waits.swap(true, Ordering::SeqCst) {
            self.budget.waiting.fetch_add(1, Ordering::SeqCst);
        }
        // Room may have come between the question and the wish to be told.
        if self.budget.is_full() {
            return false;
        }
        self.stop_waiting();
        true
    }

    /// What was asked back is given back: the connection need not go, unless it is chosen again.
    pub fn stay(&self) {
        self.entry.evicted.store(false, Ordering::SeqCst);
        if self.budget.is_full() {
            self.budget.make_room();
        }
    }

    fn stop_waiting(&self) {
        if self.entry.waits.swap(false, Ordering::SeqCst) {
            self.budget.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        {
            let mut shares = self.budget.shares.lock().unwrap_or_else(PoisonError::into_inner);
            shares.remove(&self.number);
        }
        self.stop_waiting();
        self.budget.give(self.entry.bytes.swap(0, Ordering::SeqCst));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(budget: &Arc<Budget>) -> (Share, Arc<Signal>) {
        let signal = Arc::new(Signal::default());
        (budget.share(Arc::clone(&signal)), signal)
    }

    #[test]
    fn whoever_has_a_message_open_the_longest_goes() {
        let budget = Budget::new(1000);
        let ((a, a_signal), (b, b_signal), (c, c_signal)) = (share(&budget), share(&budget), share(&budget));
        a.hold(400, Some(Time::from_millis(50)));
        b.hold(400, Some(Time::from_millis(10)));
        assert!(c.may_read());
        c.hold(300, Some(Time::from_millis(90)));
        assert_eq!((a_signal.take(EVICT), b_signal.take(EVICT), c_signal.take(EVICT)), (0, EVICT, 0));

        // Until the bytes are back nobody reads on, and nobody else has to go.
        assert!(!c.may_read());
        c.hold(310, Some(Time::from_millis(90)));
        assert_eq!(a_signal.take(EVICT), 0);
        drop(b);
        assert_eq!(c_signal.take(ROOM), ROOM);
        assert!(c.may_read());
        assert_eq!(budget.used(), 710);
        drop((a, c));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn who_gives_back_what_it_held_may_stay() {
        let budget = Budget::new(1000);
        let ((a, a_signal), (b, b_signal)) = (share(&budget), share(&budget));
        a.hold(900, Some(Time::from_millis(1)));
        b.hold(200, Some(Time::from_millis(2)));
        assert_eq!((a_signal.take(EVICT), b_signal.take(EVICT)), (EVICT, 0));
        a.hold(0, None);
        a.stay();
        assert_eq!((a_signal.take(EVICT), b_signal.take(EVICT)), (0, 0));
        // Chosen anew like everybody else.
        a.hold(900, Some(Time::from_millis(1)));
        assert_eq!((a_signal.take(EVICT), b_signal.take(EVICT)), (EVICT, 0));
        a.stay();
        assert_eq!(a_signal.take(EVICT), EVICT);
    }

    #[test]
    fn those_who_hold_nothing_stay() {
        let budget = Budget::new(10);
        let ((idle, idle_signal), (one, one_signal)) = (share(&budget), share(&budget));
        idle.hold(0, None);
        one.hold(11, Some(Time::from_millis(5)));
        assert_eq!((idle_signal.take(EVICT), one_signal.take(EVICT)), (0, EVICT));
        one.hold(0, None);
        assert!(idle.may_read());
    }
}
