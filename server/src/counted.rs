//! Payloads that tests can count as long as somebody holds them.

use std::sync::Arc;

use bytes::Bytes;

struct Counted {
    bytes: Vec<u8>,
    _held: Arc<()>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A payload that holds on to `held`.
pub fn counted(held: &Arc<()>, bytes: &[u8]) -> Bytes {
    Bytes::from_owner(Counted { bytes: bytes.to_vec(), _held: Arc::clone(held) })
}
