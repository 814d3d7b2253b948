//! RTSP: players and publishers, whose packets travel over UDP or in the connection.

mod ports;
mod publisher;
mod viewer;

pub(crate) use ports::even_pair;
pub use publisher::{Prepared, publish_rtsp};
pub use viewer::watch_rtsp;

use std::time::Duration;

use session::rtsp::Carry;

use self::ports::Ports;
use super::connection::ClientError;
use super::{told, until};

/// How RTP travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// In datagrams.
    Udp,
    /// In the RTSP connection.
    Tcp,
}

/// The name of a client's tracks in RTCP.
const CNAME: &str = "streamgauge";
/// Reports go out this often (RFC 3550 §6.2).
const REPORTS: Duration = Duration::from_secs(5);
/// Packets of several ports overtake each other: so long after a goodbye on one port others may bring what was sent before.
const SETTLE: Duration = Duration::from_millis(200);
/// The largest datagram there is.
const DATAGRAM: usize = 64 << 10;

/// How the tracks are to travel; for UDP each gets a pair of ports.
async fn carries(
    over: Over,
    places: impl Iterator<Item = usize>,
    ports: &mut Ports,
) -> Result<Vec<(usize, Carry)>, ClientError> {
    let mut carries = Vec::new();
    for place in places {
        let carry = match over {
            Over::Udp => Carry::Udp { client_port: ports.bind(place).await?, server_port: None },
            Over::Tcp => {
                let channel = u8::try_from(2 * carries.len()).map_err(|_| {
                    ClientError::Unusable("the stream has more tracks than a connection has channels")
                })?;
                Carry::Tcp { channels: (channel, channel.saturating_add(1)) }
            }
        };
        carries.push((place, carry));
    }
    Ok(carries)
}
