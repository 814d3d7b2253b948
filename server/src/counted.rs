//! Payloads that tests can count as long as somebody holds them.

use std::sync::Arc;

use bytes::Bytes;

struct Counted {
    _held: Arc<()>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &[0x21, 0x10, 4]
    }
}

/// A payload that holds on to `held`.
pub fn counted(held: &Arc<()>) -> Bytes {
    Bytes::from_owner(Counted { _held: Arc::clone(held) })
}
