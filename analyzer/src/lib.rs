//! Tells from packets alone who streamed what, with which codecs, at which bandwidth, and what is wrong.

pub mod capture;
pub mod flow;
pub mod measure;
