//! Scripted clients: publishers and viewers that keep account of what they sent and saw, and the demo that
//! puts them around a server.

// Counts of a run's own making are added here; what the network sends is decoded in `session` and `media`.
#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

pub mod account;
pub mod client;
pub mod demo;
pub mod engine;
pub mod feed;
pub mod glob;
pub mod relay;
pub mod replay;
pub mod sample;
pub mod script;
mod span;
pub mod url;
