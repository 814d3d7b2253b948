//! What is counted on the way: conversations and bandwidth.

pub mod bandwidth;
pub mod conversations;
