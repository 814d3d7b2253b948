//! How much a search may cost: so much for each byte that comes. Where more would be needed, the search falls behind the
//! bytes and goes on when others have come; what has to go meanwhile was not looked at.

/// Steps that each byte is good for, one of them for a look at it. A step takes some nanoseconds.
pub(super) const EACH: u64 = 3;
/// Steps there are before the first byte, and at most in store.
pub(super) const STORE: u64 = 1 << 20;
/// Steps there are for what is left when no more bytes will come.
pub(super) const AT_END: u64 = 1 << 18;

/// The account of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Work {
    left: i64,
    done: u64,
}

impl Default for Work {
    fn default() -> Self {
        Self { left: STORE.cast_signed(), done: 0 }
    }
}

impl Work {
    /// Bytes have come.
    pub(super) fn earn(&mut self, bytes: usize) {
        let more = (bytes as u64).saturating_mul(EACH);
        self.left = self.left.saturating_add_unsigned(more).min(STORE.cast_signed());
    }

    /// No more will come.
    pub(super) fn end(&mut self) {
        self.left = self.left.saturating_add_unsigned(AT_END);
    }

    /// Steps were done. The last ones may be more than were left: the next bytes pay for them.
    pub(super) fn spend(&mut self, steps: u64) {
        self.left = self.left.saturating_sub_unsigned(steps);
        self.done = self.done.saturating_add(steps);
    }

    /// True where no step is left.
    pub(super) fn is_used_up(&self) -> bool {
        !self.covers(0)
    }

    /// True where more than so many steps are left.
    pub(super) fn covers(&self, steps: u64) -> bool {
        self.left.saturating_sub_unsigned(steps) > 0
    }

    /// All steps so far.
    #[cfg(test)]
    pub(super) fn done(&self) -> u64 {
        self.done
    }
}
