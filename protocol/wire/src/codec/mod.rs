//! Codec configuration and coded pictures, as far as a server or an analyzer has to understand them.

pub mod aac;
pub mod avc;
pub mod hevc;
pub mod mpa;
mod nal;

pub use nal::{LengthPrefixed, annex_b, unescape};
