//! Waking a connection's task: flags that others raise and its task takes down.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// New frames lie in the ring.
pub const DATA: u32 = 1;
/// The connection must go: its open message has used up the common budget for the longest.
pub const EVICT: u32 = 2;
/// The server is shutting down.
pub const SHUTDOWN: u32 = 4;
/// There is room in the common budget again.
pub const ROOM: u32 = 8;

/// One per connection. Raising a flag that nobody waits for costs one atomic operation.
#[derive(Debug, Default)]
pub struct Signal {
    flags: AtomicU32,
    /// The flags that wake the task.
    wanted: AtomicU32,
    waker: Mutex<Option<Waker>>,
}

impl Signal {
    /// Raises a flag, and wakes the task if it waits for it.
    pub fn raise(&self, flag: u32) {
        let before = self.flags.fetch_or(flag, Ordering::SeqCst);
        if before & flag == 0 && self.wanted.load(Ordering::SeqCst) & flag != 0 {
            self.wake();
        }
    }

    /// Takes down the flags of `mask` and says which of them were up.
    pub fn take(&self, mask: u32) -> u32 {
        if self.flags.load(Ordering::SeqCst) & mask == 0 {
            return 0;
        }
        self.flags.fetch_and(!mask, Ordering::SeqCst) & mask
    }

    /// From now on the flags of `mask` wake `waker`, and no others do. False where one of them is up already,
    /// so that the caller looks again instead of waiting.
    pub fn park(&self, mask: u32, waker: &Waker) -> bool {
        {
            let mut held = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
            if !held.as_ref().is_some_and(|w| w.will_wake(waker)) {
                *held = Some(waker.clone());
            }
        }
        self.wanted.store(mask, Ordering::SeqCst);
        self.flags.load(Ordering::SeqCst) & mask == 0
    }

    fn wake(&self) {
        let held = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = held.as_ref() {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_flag_wakes_once_until_it_is_taken() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let signal = Signal::default();
        signal.raise(DATA);
        assert!(!signal.park(DATA, &waker), "a flag that was up before must be seen");
        assert_eq!(signal.take(DATA | EVICT), DATA);
        assert!(signal.park(DATA, &waker));
        signal.raise(DATA);
        signal.raise(DATA);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        signal.take(DATA);
        signal.raise(DATA);
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn unwanted_flags_do_not_wake() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let signal = Signal::default();
        assert!(signal.park(EVICT, &waker));
        signal.raise(DATA);
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        signal.raise(EVICT);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(signal.take(DATA | EVICT), DATA | EVICT);
    }
}
