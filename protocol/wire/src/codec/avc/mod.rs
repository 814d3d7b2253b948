//! H.264: the decoder configuration record, parameter sets, NAL units (ISO 14496-10, ISO 14496-15).

mod config;
mod hrd;
mod nal;
mod sps;
mod vui;

pub use config::{Config, encode};
pub use nal::{NalType, Pps, SliceType, first_slice_pps, first_slice_type, is_idr};
pub use sps::{Sps, level_text};
pub use vui::Vui;
