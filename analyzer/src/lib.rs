//! Tells from packets alone who streamed what, with which codecs, at which bandwidth, and what is wrong.
//!
//! ```no_run
//! let mut analyzer = streamgauge_analyzer::Analyzer::new(streamgauge_analyzer::Options::default());
//! analyzer.file("capture.pcapng")?;
//! for session in analyzer.finish().sessions {
//!     println!("{} {:?} {:?}", session.id, session.role, session.path);
//! }
//! # Ok::<(), streamgauge_analyzer::capture::CaptureError>(())
//! ```
//!
//! Packets go from [`capture`] through [`flow`], which puts TCP streams together, to the trackers in [`track`];
//! [`measure`] counts on the way.

mod analyze;
pub mod capture;
pub mod dissect;
pub mod finding;
pub mod flow;
mod hub;
mod intake;
#[cfg(feature = "live")]
pub mod live;
pub mod measure;
pub mod now;
mod report;
pub mod rules;
mod sniff;
pub mod trace;
pub mod track;
pub mod transcript;

pub use analyze::{Analyzer, Options};
