//! Renders a run: terminal, JSON, JUnit, HTML, SVG and PNG.
//!
//! Reports are functions of [`model::Run`] (or of its [`model::Analysis`]): nothing is measured, asked or
//! looked up while rendering, so that a run directory can be rendered again anywhere at any time. Names that
//! clients gave themselves are hostile text; [`words::clean`] stands between them and every output.

// Only decoded, already bounded data is arranged here: no network byte reaches this crate.
#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod clients;
mod declared;
pub mod figures;
pub mod html;
pub mod json;
pub mod junit;
pub mod plot;
pub mod rundir;
pub mod text;
pub mod words;

use std::fmt;

/// Why a report could not be rendered.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    pub(crate) fn new(what: &str, why: impl fmt::Display) -> Self {
        Self(format!("{what}: {why}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Shorthand for renderers.
pub type Result<T, E = Error> = std::result::Result<T, E>;
