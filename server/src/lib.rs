//! The reference server.
//!
//! [`Server::start`] takes a [`Config`] and gives a [`RunningServer`] that can be asked and shut down.

mod address;
mod budget;
mod clock;
pub mod config;
#[cfg(test)]
mod counted;
mod driver;
pub mod fault;
mod hls;
mod http;
mod hub;
mod limited;
mod rate;
mod record;
mod registry;
mod rtmp;
mod rtsp;
mod server;
mod shared;
mod signal;
pub mod tap;
mod totals;
mod units;

pub use clock::Clock;
pub use config::{Config, ConfigError};
pub use hub::PublisherSnapshot;
pub use registry::{ClientSnapshot, Outcome, StreamTraffic, protocol_name, role_name};
pub use server::{Ready, RunningServer, Server, StartError};
pub use shared::StreamSnapshot;
pub use units::{bytes as parse_bytes, span as parse_span};
