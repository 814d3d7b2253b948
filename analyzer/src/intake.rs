//! What every packet goes through before its connection is told of it: copies are left out, fragments put together.

use wire::net::Packet as Headers;

use crate::capture::Packet;
use crate::flow::{Duplicates, Flows, Fragments, Handler, Limits, frame_of};

/// Datagrams put together of one packet: fragments inside a tunnel that was fragmented itself.
const MAX_NESTED: usize = 4;

/// From packets to connections.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) flows: Flows,
    pub(crate) fragments: Fragments,
    pub(crate) duplicates: Duplicates,
}

impl Intake {
    /// Nothing taken in yet.
    pub(crate) fn new(limits: Limits) -> Self {
        Self { flows: Flows::new(limits), fragments: Fragments::default(), duplicates: Duplicates::default() }
    }

    /// Takes in one packet of the capture with this index; `elsewhere` says that there may be copies of it, from other
    /// interfaces or files.
    pub(crate) fn packet(
        &mut self,
        file: usize,
        packet: &Packet<'_>,
        parsed: &Headers<'_>,
        elsewhere: bool,
        handler: &mut impl Handler,
    ) {
        if elsewhere || parsed.interface.is_some() {
            let interface = u64::from(packet.interface) << 24 ^ u64::from(parsed.interface.unwrap_or(0));
            let place = u64::try_from(file).unwrap_or(0) << 48 ^ interface;
            if self.duplicates.is_copy(place, packet.time_ns, parsed) {
                return;
            }
        }
        let frame = frame_of(file, packet.number);
        if parsed.ip.is_none_or(|ip| ip.fragment.is_none()) {
            self.flows.packet(frame, packet.time_ns, parsed, handler);
            return;
        }
        let mut whole = self.fragments.add(packet.time_ns, parsed);
        for _ in 0..MAX_NESTED {
            let Some(datagram) = whole.take() else { return };
            let parsed = datagram.parse();
            if parsed.ip.is_some_and(|ip| ip.fragment.is_some()) {
                whole = self.fragments.add(packet.time_ns, &parsed);
            } else {
                self.flows.packet(frame, packet.time_ns, &parsed, handler);
            }
        }
    }
}
