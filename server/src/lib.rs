//! The reference server.
//!
//! [`Server::start`] takes a [`Config`] and gives a [`RunningServer`] that can be asked and shut down.

mod clock;
pub mod config;
mod rate;
mod registry;
mod server;
mod signal;
mod units;

pub use clock::Clock;
pub use config::{Config, ConfigError};
pub use registry::{ClientSnapshot, Outcome, StreamTraffic, protocol_name, role_name};
pub use server::{PublisherSnapshot, Ready, RunningServer, Server, StartError, StreamSnapshot};
pub use units::{bytes as parse_bytes, span as parse_span};
