//! Where the bytes of a derived buffer come from.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

/// Segments remembered of a direction.
const MAX_SEGMENTS: usize = 8192;
/// Bytes of a direction whose segments are remembered at least: what the search behind a loss looks back on, and more.
const WINDOW: u64 = 1280 << 10;

/// A run of bytes that stand side by side in one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Bytes.
    pub len: u64,
    /// Frame number, 1-based; 0 for bytes that are in no capture.
    pub frame: u64,
    /// Position in the frame; none where it is not known (a packet put together from fragments).
    pub offset: Option<u64>,
}

/// Maps a buffer back to frames: its bytes in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance(Vec<Piece>);

impl Provenance {
    /// A run of one frame.
    pub fn frame(frame: u64, offset: Option<u64>, len: u64) -> Self {
        let mut this = Self::default();
        this.push(Piece { len, frame, offset });
        this
    }

    /// The pieces in the order of the buffer.
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// Appends a piece, to the last one where it goes on from there.
    pub fn push(&mut self, piece: Piece) {
        if piece.len == 0 {
            return;
        }
        if let Some(last) = self.0.last_mut()
            && last.frame == piece.frame
            && last.offset.map(|o| o.saturating_add(last.len)) == piece.offset
        {
            last.len = last.len.saturating_add(piece.len);
            return;
        }
        self.0.push(piece);
    }

    /// Appends all of another.
    pub fn extend(&mut self, other: &Self) {
        other.0.iter().for_each(|piece| self.push(*piece));
    }

    /// Where a part of the buffer comes from.
    pub fn slice(&self, range: Range<u64>) -> Self {
        let mut out = Self::default();
        let mut at = 0u64;
        for piece in &self.0 {
            let end = at.saturating_add(piece.len);
            let (from, to) = (range.start.max(at), range.end.min(end));
            if from < to {
                let offset = piece.offset.map(|o| o.saturating_add(from.saturating_sub(at)));
                out.push(Piece { len: to.saturating_sub(from), frame: piece.frame, offset });
            }
            at = end;
        }
        out
    }

    /// Memory held, in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.0.len().saturating_mul(size_of::<Piece>())
    }

    /// Bytes mapped.
    pub fn len(&self) -> u64 {
        self.0.iter().fold(0, |n, p| n.saturating_add(p.len))
    }

    /// True where nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Provenance {
    /// `frame 12 bytes 66-81, frame 14 bytes 66-70`; many pieces are cut short.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        for (n, piece) in self.0.iter().take(SHOWN).enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            match (piece.frame, piece.offset) {
                (0, Some(o)) => {
                    write!(f, "{comma}bytes {o}-{}", o.saturating_add(piece.len).saturating_sub(1))?;
                }
                (0, None) => write!(f, "{comma}{} bytes", piece.len)?,
                (frame, Some(o)) => {
                    write!(
                        f,
                        "{comma}frame {frame} bytes {o}-{}",
                        o.saturating_add(piece.len).saturating_sub(1)
                    )?;
                }
                (frame, None) => write!(f, "{comma}frame {frame} ({} bytes)", piece.len)?,
            }
        }
        match self.0.len().checked_sub(SHOWN) {
            Some(more) if more > 0 => {
                let last = self.0.last().map_or(0, |p| p.frame);
                write!(f, ", {more} more up to frame {last}")
            }
            _ => Ok(()),
        }
    }
}

/// The latest stretches of one direction of a TCP stream, and the frames that carried them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segments {
    list: VecDeque<(u64, Piece)>,
}

impl Segments {
    /// The stream goes on at `offset` with bytes of a frame.
    pub(crate) fn push(&mut self, offset: u64, piece: Piece) {
        let old =
            |(start, piece): &(u64, Piece)| start.saturating_add(piece.len).saturating_add(WINDOW) < offset;
        while self.list.len() >= MAX_SEGMENTS || self.list.front().is_some_and(old) {
            self.list.pop_front();
        }
        self.list.push_back((offset, piece));
    }

    /// Memory held, in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.list.len().saturating_mul(size_of::<(u64, Piece)>())
    }

    /// Where a stretch of the stream comes from; what is not remembered any more comes from nowhere.
    pub(crate) fn find(&self, offset: u64, len: u64) -> Provenance {
        let end = offset.saturating_add(len);
        let mut out = Provenance::default();
        let mut at = offset;
        let first = self.list.partition_point(|(start, piece)| start.saturating_add(piece.len) <= offset);
        for (start, piece) in self.list.iter().skip(first) {
            let (from, to) = ((*start).max(at), start.saturating_add(piece.len).min(end));
            if from >= to {
                break;
            }
            out.push(Piece { len: from.saturating_sub(at), frame: 0, offset: None });
            let inside = from.saturating_sub(*start);
            let offset = piece.offset.map(|o| o.saturating_add(inside));
            out.push(Piece { len: to.saturating_sub(from), frame: piece.frame, offset });
            at = to;
        }
        out.push(Piece { len: end.saturating_sub(at), frame: 0, offset: None });
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_over_two_segments_names_both_frames() {
        let mut segments = Segments::default();
        segments.push(0, Piece { len: 10, frame: 1, offset: Some(66) });
        segments.push(10, Piece { len: 10, frame: 3, offset: Some(66) });
        let found = segments.find(8, 5);
        assert_eq!(found.to_string(), "frame 1 bytes 74-75, frame 3 bytes 66-68");
        assert_eq!(found.slice(1..3).to_string(), "frame 1 bytes 75-75, frame 3 bytes 66-66");
        assert_eq!(segments.find(18, 4).pieces().last().map(|p| (p.frame, p.len)), Some((0, 2)));
    }
}
