//! Choosing among the transports a client offers.

use std::net::IpAddr;

use wire::rtsp::{Lower, Mode, Transport};

use super::io::{Carry, ServerConfig};

/// The transport that was chosen.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// How packets travel.
    pub carry: Carry,
    offer: Transport,
}

impl Choice {
    /// The header of the answer.
    pub fn answer(&self, server_port: Option<(u16, u16)>, ssrc: Option<u32>) -> Transport {
        let mut answer = Transport::new(&self.offer.protocol);
        answer.unicast = true;
        answer.mode = self.offer.mode;
        answer.ssrc = ssrc;
        match self.carry {
            Carry::Udp { client_port, .. } => {
                answer.client_port = Some(client_port);
                answer.server_port = server_port;
            }
            Carry::Tcp { channels } => answer.interleaved = Some(channels),
        }
        answer
    }
}

impl Carry {
    /// The same with the server's ports.
    pub(super) fn with(self, ports: Option<(u16, u16)>) -> Self {
        match self {
            Self::Udp { client_port, server_port } => {
                Self::Udp { client_port, server_port: ports.or(server_port) }
            }
            Self::Tcp { .. } => self,
        }
    }
}

/// The transports that could have been had, for the answer to an offer without one of them.
pub(super) fn possible(config: &ServerConfig, publish: bool) -> String {
    let all = [(config.udp, "RTP/AVP"), (config.tcp, "RTP/AVP/TCP")];
    let transport = |protocol: &str| Transport {
        unicast: true,
        mode: publish.then_some(Mode::Record),
        ..Transport::new(protocol)
    };
    let all = all.into_iter().filter(|(can, _)| *can).map(|(_, protocol)| transport(protocol).to_string());
    all.collect::<Vec<_>>().join(",")
}

/// The first transport that we can do, or the status code that says why there is none. `taken` are the channels of other
/// tracks.
pub(super) fn choose(
    header: &str,
    config: &ServerConfig,
    publish: bool,
    taken: &[u8],
) -> Result<Choice, u16> {
    let offers = Transport::parse_all(header).map_err(|_| 400u16)?;
    let mut status = 461;
    for offer in offers {
        let carry = match offer.lower() {
            _ if offer.multicast || !mode_fits(offer.mode, publish) => None,
            Lower::Udp if config.udp && offer.interleaved.is_none() => udp(&offer),
            // Some clients name the channels and leave out /TCP.
            Lower::Udp | Lower::Tcp if config.tcp => {
                let wanted = offer.interleaved;
                (offer.lower() == Lower::Tcp || wanted.is_some()).then(|| channels(wanted, taken)).flatten()
            }
            Lower::Udp | Lower::Tcp | Lower::Other => None,
        };
        let Some(carry) = carry else { continue };
        // Media for somebody who did not ask for it is an attack, whoever means it well.
        if offer.destination.as_deref().is_some_and(|to| !is_peer(to, config.peer)) {
            status = 403;
            continue;
        }
        return Ok(Choice { carry, offer });
    }
    Err(status)
}

fn mode_fits(mode: Option<Mode>, publish: bool) -> bool {
    match mode {
        None | Some(Mode::Play) => !publish,
        Some(Mode::Record) => publish,
        Some(Mode::Other) => false,
    }
}

fn udp(offer: &Transport) -> Option<Carry> {
    let (rtp, rtcp) = offer.client_port.filter(|(rtp, rtcp)| *rtp != 0 && *rtcp != 0 && rtp != rtcp)?;
    Some(Carry::Udp { client_port: (rtp, rtcp), server_port: None })
}

/// The channels asked for where they are free, else the first pair that is.
fn channels(wanted: Option<(u8, u8)>, taken: &[u8]) -> Option<Carry> {
    let free = |(rtp, rtcp): (u8, u8)| rtp != rtcp && !taken.contains(&rtp) && !taken.contains(&rtcp);
    let pairs = (0..=254u8).step_by(2).map(|rtp| (rtp, rtp.saturating_add(1)));
    let channels =
        wanted.filter(|pair| free(*pair)).or_else(|| pairs.into_iter().find(|pair| free(*pair)))?;
    Some(Carry::Tcp { channels })
}

fn is_peer(destination: &str, peer: Option<IpAddr>) -> bool {
    let address = destination.trim_matches(['[', ']', '"', ' ']).parse::<IpAddr>();
    address.is_ok_and(|address| peer.is_some_and(|peer| peer.to_canonical() == address.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(header: &str, publish: bool, taken: &[u8]) -> Result<Carry, u16> {
        let config =
            ServerConfig { peer: Some("::ffff:10.0.0.1".parse().unwrap()), ..ServerConfig::default() };
        super::choose(header, &config, publish, taken).map(|choice| choice.carry)
    }

    const fn udp(rtp: u16, rtcp: u16) -> Carry {
        Carry::Udp { client_port: (rtp, rtcp), server_port: None }
    }

    const fn tcp(rtp: u8, rtcp: u8) -> Carry {
        Carry::Tcp { channels: (rtp, rtcp) }
    }

    #[test]
    fn the_first_transport_that_can_be_done_is_taken() {
        for (header, want) in [
            ("RTP/AVP;unicast;client_port=5000-5001", Ok(udp(5000, 5001))),
            ("RTP/AVP/UDP;client_port=5000-5001", Ok(udp(5000, 5001))),
            ("RTP/SAVP;unicast;client_port=1-2,RTP/AVP/TCP;unicast", Ok(tcp(0, 1))),
            ("RTP/AVP;multicast;client_port=1-2,RTP/AVP/TCP;interleaved=168-169", Ok(tcp(168, 169))),
            ("RTP/AVP/TCP;interleaved=7-7", Ok(tcp(0, 1))),
            ("RTP/AVP;unicast;interleaved=4-5", Ok(tcp(4, 5))),
            ("", Err(461)),
            ("RTP/AVP;unicast", Err(461)),
            ("RTP/AVP;unicast;client_port=0-1", Err(461)),
            ("RTP/AVP/TCP;interleaved=0-1;mode=record", Err(461)),
            ("FOO/BAR;unicast", Err(461)),
            ("RTP/AVP;client_port=1-2;destination=10.0.0.1", Ok(udp(1, 2))),
            ("RTP/AVP;client_port=1-2;destination=10.0.0.2", Err(403)),
            ("RTP/AVP;client_port=1-2;destination=example.org", Err(403)),
        ] {
            assert_eq!(choose(header, false, &[]), want, "{header}");
        }
    }

    #[test]
    fn no_two_tracks_share_a_channel() {
        assert_eq!(choose("RTP/AVP/TCP;interleaved=0-1", false, &[0, 1]), Ok(tcp(2, 3)));
        assert_eq!(choose("RTP/AVP/TCP;interleaved=1-2", false, &[0, 1, 5]), Ok(tcp(2, 3)));
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(choose("RTP/AVP/TCP;interleaved=1-2", false, &all), Err(461));
        assert_eq!(choose("RTP/AVP/TCP;interleaved=0-1;mode=RECORD", true, &[]), Ok(tcp(0, 1)));
        assert_eq!(choose("RTP/AVP/TCP;interleaved=0-1", true, &[]), Err(461));
    }
}
