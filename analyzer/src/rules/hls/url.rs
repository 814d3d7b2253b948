//! URLs by which playlists and segments are known again, whatever host they are asked of.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Path and query of a URL: a request names mostly these alone.
pub(crate) fn local(url: &str) -> &str {
    match url.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
        }
        _ => url,
    }
}

/// A URL in eight bytes, its host left out.
pub(crate) fn key(url: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    local(url).hash(&mut hasher);
    hasher.finish()
}
