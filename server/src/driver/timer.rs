//! A deadline that moves often and passes seldom.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use session::Time;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::clock::Clock;

/// A timer that is armed again only where the new deadline is earlier: one that was put off is looked at when
/// the old one passes. No deadline, no timer.
#[derive(Debug, Default)]
pub struct Timer {
    armed: Option<(Time, Pin<Box<Sleep>>)>,
}

impl Timer {
    /// Ready when `deadline` has passed.
    pub fn poll(&mut self, deadline: Option<Time>, clock: &Clock, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(deadline) = deadline else {
                self.armed = None;
                return Poll::Pending;
            };
            if deadline <= clock.now() {
                return Poll::Ready(());
            }
            match &mut self.armed {
                Some((at, sleep)) if *at <= deadline => {
                    ready!(sleep.as_mut().poll(cx));
                    self.armed = None;
                }
                _ => {
                    let at = Instant::from_std(clock.instant(deadline));
                    self.armed = Some((deadline, Box::pin(sleep_until(at))));
                }
            }
        }
    }

    /// True where the timer would pass after `deadline`, so that it has to be polled again before waiting.
    pub fn is_late(&self, deadline: Option<Time>) -> bool {
        deadline.is_some_and(|deadline| self.armed.as_ref().is_none_or(|(at, _)| *at > deadline))
    }
}
