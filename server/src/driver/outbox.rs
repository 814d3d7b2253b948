//! What waits to be written on one connection.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

/// Blocks in the order they go out. A block that was begun is finished before the next one starts, however
/// little the socket takes at a time.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: VecDeque<Block>,
    /// Bytes of the front block that are out already.
    offset: usize,
    media: usize,
    control: usize,
}

#[derive(Debug)]
struct Block {
    bytes: Bytes,
    is_media: bool,
}

/// Blocks a queue may keep room for while it is empty.
const KEPT: usize = 8;

impl Outbox {
    /// Queues what the session says.
    pub fn push_control(&mut self, bytes: Bytes) {
        self.control = self.control.saturating_add(bytes.len());
        self.push(Block { bytes, is_media: false });
    }

    /// Queues a block that is shared with other viewers.
    pub fn push_media(&mut self, bytes: Bytes) {
        self.media = self.media.saturating_add(bytes.len());
        self.push(Block { bytes, is_media: true });
    }

    fn push(&mut self, block: Block) {
        if !block.bytes.is_empty() {
            self.queue.push_back(block);
        }
    }

    /// True where nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes of blocks of which at least a part waits: of the session, and of media.
    pub fn waiting(&self) -> (usize, usize) {
        (self.control, self.media)
    }

    /// What to write next: fills `slices` from the front and says how many it used.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut offset = self.offset;
        let mut used = 0usize;
        for (slot, block) in slices.iter_mut().zip(&self.queue) {
            *slot = IoSlice::new(block.bytes.get(offset..).unwrap_or_default());
            offset = 0;
            used = used.saturating_add(1);
        }
        used
    }

    /// Notes that the socket took `n` bytes, tells `each` what they were, and says how many of them were media.
    pub fn advance(&mut self, n: usize, mut each: impl FnMut(Bytes)) -> u64 {
        let mut left = n;
        let mut media = 0u64;
        while left > 0 {
            let Some(front) = self.queue.front() else { break };
            let waits = front.bytes.len().saturating_sub(self.offset);
            let took = waits.min(left);
            left = left.saturating_sub(took);
            each(front.bytes.slice(self.offset..self.offset.saturating_add(took)));
            if front.is_media {
                media = media.saturating_add(took as u64);
            }
            if took < waits {
                self.offset = self.offset.saturating_add(took);
                break;
            }
            let (length, is_media) = (front.bytes.len(), front.is_media);
            self.offset = 0;
            self.queue.pop_front();
            let count = if is_media { &mut self.media } else { &mut self.control };
            *count = count.saturating_sub(length);
        }
        if self.queue.is_empty() && self.queue.capacity() > KEPT {
            self.queue = VecDeque::new();
        }
        media
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the socket takes at a time, the viewer gets the blocks one after the other, whole.
        #[test]
        fn any_pattern_of_partial_writes_gives_the_concatenation(
            blocks in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<bool>()), 0..40),
            takes in prop::collection::vec((1usize..700, 0usize..3), 1..400),
            width in 1usize..9,
        ) {
            let want: Vec<u8> = blocks.iter().flat_map(|(b, _)| b.iter().copied()).collect();
            let want_media: usize = blocks.iter().filter(|(_, m)| *m).map(|(b, _)| b.len()).sum();
            let mut waiting = blocks.into_iter();
            let (mut outbox, mut wrote, mut told, mut media) = (Outbox::default(), vec![], vec![], 0);
            for (take, add) in takes.into_iter().cycle() {
                for (block, is_media) in waiting.by_ref().take(add) {
                    let block = Bytes::from(block);
                    if is_media { outbox.push_media(block) } else { outbox.push_control(block) }
                }
                if outbox.is_empty() {
                    match waiting.next() {
                        Some((block, true)) => outbox.push_media(Bytes::from(block)),
                        Some((block, false)) => outbox.push_control(Bytes::from(block)),
                        None => break,
                    }
                }
                let mut slices = vec![IoSlice::new(&[]); width];
                let used = outbox.slices(&mut slices);
                let offered: Vec<u8> = slices[..used].iter().flat_map(|s| s.iter().copied()).collect();
                let n = take.min(offered.len());
                wrote.extend_from_slice(&offered[..n]);
                media += outbox.advance(n, |bytes| told.extend_from_slice(&bytes));
            }
            prop_assert_eq!(&wrote, &want);
            prop_assert_eq!(&told, &want);
            prop_assert_eq!(media, want_media as u64);
            prop_assert_eq!(outbox.waiting(), (0, 0));
        }
    }
}
