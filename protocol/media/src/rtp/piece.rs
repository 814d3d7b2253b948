//! What payload formats make of an access unit.

use bytes::Bytes;

/// One packet's payload, which all viewers share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The marker bit: the end of the access unit.
    pub marker: bool,
    /// The payload.
    pub payload: Bytes,
}
