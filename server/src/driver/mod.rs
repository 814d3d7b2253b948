//! What drives a session of any protocol: taking connections, and a socket with what waits for it, its accounts, its
//! deadlines and its end.

mod accept;
mod link;
mod outbox;
mod timer;

pub(crate) use accept::Accepting;
pub(crate) use link::{End, Link, SLICE, TAKE, raised, scratch};
pub(crate) use outbox::Outbox;
pub(crate) use timer::Timer;
