//! Taking from the ring what a part of the server makes something of: tracks and frames.

use std::sync::Arc;

use media::{Frame, Track};

use super::viewer::{Piece, Took, Viewer};

/// Bytes of frames taken from the ring at once.
const TAKE: usize = 4 << 20;

/// What was taken from the ring.
#[derive(Debug)]
pub enum Taken {
    /// What follows is of this track.
    Track(Arc<Track>),
    /// A frame.
    Frame(Frame),
}

impl Viewer {
    /// The tracks and frames that are new, up to some MiB of them.
    pub fn media(&mut self) -> (Vec<Taken>, Took) {
        let mut taken = Vec::new();
        let took = self.take(TAKE, &mut |piece| match piece {
            Piece::Metadata(..) | Piece::Data(_) => 0,
            Piece::Track(track, _) => {
                taken.push(Taken::Track(Arc::clone(track)));
                0
            }
            Piece::Frame(item) => item.frame().map_or(0, |frame| {
                taken.push(Taken::Frame(frame.clone()));
                frame.payload.len()
            }),
        });
        (taken, took)
    }
}
