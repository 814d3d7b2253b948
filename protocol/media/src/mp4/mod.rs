//! MP4: fragments out of frames, and frames out of files.

mod cadence;
mod demux;
mod entry;
mod fragment;
mod init;
mod lane;
mod picture;
#[cfg(test)]
mod tests;
mod waiting;

pub use demux::{Demuxer, Source, Trouble};
pub use entry::{carries, codec_string, picture_size};
pub use fragment::{Fragment, Fragmenter};
pub use init::{Lengths, file_head, init_section};
