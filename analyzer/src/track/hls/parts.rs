//! Parts of resources: which segment a range is of, and whether it is all of it (RFC 9110 §14).

use super::{Exchange, Registry, Viewer};

/// Segments a viewer got that are remembered.
const MAX_GOT: usize = 1024;

/// What an answer brings of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Got {
    /// The resource, and where the segment begins in it.
    of: (u64, u64),
    /// True where it is the whole segment.
    whole: bool,
}

impl Registry {
    /// What an answer brings of the resource with this key: all of it, or for 206 the part that is told, else asked for.
    pub(super) fn got(
        &self,
        exchange: &Exchange,
        url: u64,
        partial: Option<Option<(u64, u64, Option<u64>)>>,
    ) -> Got {
        let asked = exchange.range.map(|(first, last)| (first, last, None));
        let Some((first, last, size)) = partial.and_then(|told| told.or(asked)) else {
            return Got { of: (url, 0), whole: true };
        };
        let group = exchange.viewer.and_then(|no| self.loops.get(self.viewer(no)?.of));
        let span = group.and_then(|group| group.spans.range((url, 0)..=(url, first)).next_back());
        match span {
            Some((of, len)) if first < of.1.saturating_add(*len) => {
                Got { of: *of, whole: first == of.1 && last >= of.1.saturating_add(len.saturating_sub(1)) }
            }
            _ => {
                let end = size.map_or(u64::MAX, |size| size.saturating_sub(1));
                Got { of: (url, 0), whole: first == 0 && last >= end }
            }
        }
    }
}

impl Viewer {
    /// Counts a segment once, however many parts it comes in; one that comes whole again is one more.
    pub(super) fn got(&mut self, got: Got) {
        if let Some(known) = self.got.iter_mut().find(|known| known.of == got.of) {
            let again = known.whole && got.whole;
            known.whole |= got.whole;
            if !again {
                return;
            }
        } else {
            if self.got.len() >= MAX_GOT {
                self.got.pop_front();
            }
            self.got.push_back(got);
        }
        self.segments = self.segments.saturating_add(1);
    }
}

/// The first and the last byte that a Range field asks for, where that is one part with a beginning (RFC 9110 §14.1.2).
pub(super) fn part(range: &str) -> Option<(u64, u64)> {
    let (from, to) = range.trim().strip_prefix("bytes=")?.split_once('-')?;
    let to = if to.is_empty() { u64::MAX } else { to.parse().ok()? };
    Some((from.parse().ok()?, to))
}

/// The first and the last byte that a Content-Range field tells, and the size of all where that is told (RFC 9110 §14.4).
pub(super) fn told_part(range: &str) -> Option<(u64, u64, Option<u64>)> {
    let (part, size) = range.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (from, to) = part.trim().split_once('-')?;
    Some((from.parse().ok()?, to.parse().ok()?, size.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_requests_and_answers() {
        assert_eq!((part("bytes=2-9"), part("bytes=7-")), (Some((2, 9)), Some((7, u64::MAX))));
        assert_eq!((part("bytes=-5"), part("bytes=1-2,4-5"), part("lines=1-2")), (None, None, None));
        assert_eq!(told_part("bytes 0-9/20"), Some((0, 9, Some(20))));
        assert_eq!((told_part("bytes 5-9/*"), told_part("bytes */20")), (Some((5, 9, None)), None));
    }
}
