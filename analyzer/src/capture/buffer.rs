//! One reused buffer between a source and the block framers.

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;

/// What is read at a time; half of the largest block needs one growth to 32 MiB, which no ordinary capture does.
const CAPACITY: usize = 256 << 10;

/// Bytes of the source from `position` on.
pub(super) struct Buffer {
    source: Box<dyn Read + Send>,
    bytes: Vec<u8>,
    unread: Range<usize>,
    position: u64,
}

impl Buffer {
    pub(super) fn new(source: Box<dyn Read + Send>) -> Self {
        Self { source, bytes: vec![0; CAPACITY], unread: 0..0, position: 0 }
    }

    /// Goes on in a source that stands at `position`.
    pub(super) fn at(source: Box<dyn Read + Send>, position: u64) -> Self {
        Self { position, ..Self::new(source) }
    }

    /// Position of the first unread byte in the source.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The unread bytes that are in memory.
    pub(super) fn unread(&self) -> &[u8] {
        self.bytes.get(self.unread.clone()).unwrap_or_default()
    }

    /// Sees to it that `n` unread bytes are in memory, fewer only where the source ends first.
    #[inline]
    pub(super) fn fill(&mut self, n: usize) -> io::Result<&[u8]> {
        if self.unread.len() < n {
            self.read(n)?;
        }
        Ok(self.unread())
    }

    #[cold]
    fn read(&mut self, n: usize) -> io::Result<()> {
        if self.unread.start.saturating_add(n) > self.bytes.len() {
            self.bytes.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
            // Twice the need, so that moving the rest to the front is rare whatever the blocks' sizes are.
            let capacity = n.saturating_mul(2);
            if capacity > self.bytes.len() && n > self.bytes.len() / 2 {
                self.bytes.resize(capacity, 0);
            }
        }
        while self.unread.len() < n {
            let room = self.bytes.get_mut(self.unread.end..).unwrap_or_default();
            match self.source.read(room) {
                Ok(0) => break,
                Ok(read) => self.unread.end = self.unread.end.saturating_add(read).min(self.bytes.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes `n` bytes that are in memory; they stay readable through [`taken`](Self::taken) until the next fill.
    #[inline]
    pub(super) fn take(&mut self, n: usize) -> Range<usize> {
        let start = self.unread.start;
        let n = n.min(self.unread.len());
        self.unread.start = start.saturating_add(n);
        self.position = self.position.saturating_add(n as u64);
        start..self.unread.start
    }

    /// Bytes taken before, by their place in memory.
    #[inline]
    pub(super) fn taken(&self, place: Range<usize>) -> &[u8] {
        self.bytes.get(place).unwrap_or_default()
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("position", &self.position).field("unread", &self.unread).finish()
    }
}
