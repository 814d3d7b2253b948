//! What the tasks of a server have in common.

use std::sync::Arc;

use session::Time;

use crate::budget::Budget;
use crate::clock::Clock;
use crate::config::Config;
use crate::fault;
use crate::hls::Hls;
use crate::hub::{Hub, PublisherSnapshot, StreamState};
use crate::limited::Limited;
use crate::record::Recorder;
use crate::registry::{ClientSnapshot, Registry, StreamTraffic};
use crate::rtsp;
use crate::tap::Tap;

/// A stream's numbers at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSnapshot {
    /// Its path.
    pub path: String,
    /// Who publishes it; `None` while viewers wait for a publisher.
    pub publisher: Option<PublisherSnapshot>,
    /// What is published.
    pub tracks: Vec<Arc<media::Track>>,
    /// Viewers at the moment.
    pub viewers: usize,
    /// Bytes and rates.
    pub traffic: StreamTraffic,
    /// When its publisher began.
    pub started: Option<Time>,
}

/// What all tasks of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    pub(crate) registry: Registry,
    pub(crate) hub: Arc<Hub>,
    pub(crate) hls: Hls,
    pub(crate) recorder: Recorder,
    pub(crate) budget: Arc<Budget>,
    pub(crate) tap: Option<Tap>,
    /// The pair of ports for RTP and RTCP, where RTSP is served.
    pub(crate) rtp: Option<Arc<rtsp::Ports>>,
    /// What faults do to the answers of HLS, where one is on.
    pub(crate) hls_fault: Option<fault::hls::Breaker>,
    pub(crate) limited: Limited,
}

impl Shared {
    pub(crate) fn clients(&self) -> Vec<ClientSnapshot> {
        self.registry.clients(self.clock.now())
    }

    pub(crate) fn streams(&self) -> Vec<StreamSnapshot> {
        let streams = self.hub.list();
        let traffic = self.registry.traffic(&streams, self.clock.now());
        let snapshot = |(s, traffic): (StreamState, StreamTraffic)| {
            let (publisher, started) = s.publisher.unzip();
            StreamSnapshot {
                path: s.path.to_string(),
                publisher,
                tracks: s.tracks,
                viewers: s.viewers.saturating_add(self.hls.viewers.count(&s.path)),
                traffic,
                started,
            }
        };
        streams.into_iter().zip(traffic).map(snapshot).collect()
    }

    /// Calls `log` unless a line about the same cause was written just now; tells it how many were kept back.
    pub(crate) fn log(&self, cause: &'static str, log: impl FnOnce(u64)) {
        if let Some(kept) = self.limited.admit(cause, self.clock.now()) {
            log(kept);
        }
    }
}
