//! Wireshark's conversation tables: frame bytes as on the wire by address pair and by port pair.

/// The four tables, filled packet by packet.
#[derive(Debug, Default)]
pub struct Conversations {
    _first_ns: Option<i64>,
}

impl Conversations {
    /// Counts a packet of `orig_len` bytes on the wire.
    pub fn add(&mut self, time_ns: i64, orig_len: u32, packet: &wire::net::Packet<'_>) {
        let _ = (time_ns, orig_len, packet);
    }

    /// The tables, rows in order of their first packet; times count from `first_ns`, the capture's first packet.
    pub fn into_model(self, first_ns: i64) -> model::Conversations {
        let _ = first_ns;
        model::Conversations::default()
    }
}
