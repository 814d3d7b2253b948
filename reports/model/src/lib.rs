//! A run and its analysis as plain, versioned data: what every renderer reads and what scripts rely on.
//!
//! The types here are the JSON documents of the program; their JSON Schemas are generated from them and
//! checked in beside this crate. A field that is not known is `null` or absent, never a guess.

mod analysis;
mod run;
mod schema;
mod verdicts;

pub use analysis::*;
pub use run::*;
pub use schema::*;
pub use verdicts::*;
