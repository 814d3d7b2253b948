//! The Transport header (RFC 2326 §12.39).
//!
//! ```text
//! RTP/AVP[/UDP];unicast;client_port=4588-4589[,RTP/AVP/TCP;unicast;interleaved=0-1]
//! RTP/AVP/TCP;unicast;interleaved=0-1;mode="RECORD";ssrc=0D12F123
//! ```

use std::fmt;

use super::text;
use crate::cursor::Cursor;
use crate::error::{Error, Problem, Result};
use crate::trace::{Field, Trace, field};

const SPEC: &str = "RFC 2326 §12.39";
static GROUP: Field = field("Transport", SPEC, "One way to carry the media; the first that fits is taken.");
static PROTOCOL: Field = field("transport protocol", SPEC, "RTP/AVP over UDP, or RTP/AVP/TCP.");
static NAME: Field = field("transport parameter", SPEC, "unicast, client_port, interleaved, mode, …");
static VALUE: Field =
    field("transport parameter value", SPEC, "Ports and channels: the first for RTP, then RTCP.");

/// The most alternatives read in one header.
const MAX_OFFERS: usize = 32;

/// What carries RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lower {
    /// `RTP/AVP` or `RTP/AVP/UDP`.
    Udp,
    /// `RTP/AVP/TCP`: interleaved in the RTSP connection.
    Tcp,
    /// Another profile or protocol.
    Other,
}

/// What a transport is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Media to the client.
    #[default]
    Play,
    /// Media to the server.
    Record,
    /// Something else.
    Other,
}

/// One transport of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Protocol, profile and lower transport as they stand.
    pub protocol: String,
    /// True where `multicast` stands; without either word RFC 2326 means multicast, and peers mean unicast.
    pub multicast: bool,
    /// True where `unicast` stands.
    pub unicast: bool,
    /// Channels of the connection for RTP and RTCP.
    pub interleaved: Option<(u8, u8)>,
    /// The client's ports for RTP and RTCP.
    pub client_port: Option<(u16, u16)>,
    /// The server's ports for RTP and RTCP.
    pub server_port: Option<(u16, u16)>,
    /// Ports of a multicast group.
    pub port: Option<(u16, u16)>,
    /// Where the client wants the media.
    pub destination: Option<String>,
    /// Where the server sends it from.
    pub source: Option<String>,
    /// The SSRC of the sender.
    pub ssrc: Option<u32>,
    /// What for; none where it was not said, which means play.
    pub mode: Option<Mode>,
    /// Parameters without a place above, as they stand.
    pub others: Vec<(String, Option<String>)>,
    /// Values that cannot be read, and where they stand.
    pub problems: Vec<Error>,
}

impl Transport {
    /// A transport without parameters.
    pub fn new(protocol: &str) -> Self {
        Self {
            protocol: protocol.to_owned(),
            multicast: false,
            unicast: false,
            interleaved: None,
            client_port: None,
            server_port: None,
            port: None,
            destination: None,
            source: None,
            ssrc: None,
            mode: None,
            others: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// RTP over UDP between these ports of a client.
    pub fn udp(client_port: (u16, u16)) -> Self {
        Self { unicast: true, client_port: Some(client_port), ..Self::new("RTP/AVP") }
    }

    /// RTP within the RTSP connection.
    pub fn tcp(interleaved: (u8, u8)) -> Self {
        Self { unicast: true, interleaved: Some(interleaved), ..Self::new("RTP/AVP/TCP") }
    }

    /// What carries RTP.
    pub fn lower(&self) -> Lower {
        let is = |name: &str| self.protocol.eq_ignore_ascii_case(name);
        if is("RTP/AVP") || is("RTP/AVP/UDP") {
            Lower::Udp
        } else if is("RTP/AVP/TCP") {
            Lower::Tcp
        } else {
            Lower::Other
        }
    }

    /// Reads a header value: all transports that are offered, in order of preference.
    pub fn decode_all<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Vec<Self>> {
        let mut offers = Vec::new();
        loop {
            text::spaces(c)?;
            if !c.is_empty() {
                offers.push(Self::decode(c)?);
            }
            if !text::separator(c, b',')? {
                return Ok(offers);
            }
            if offers.len() >= MAX_OFFERS {
                let (limit, got) = (MAX_OFFERS as u64, (offers.len() as u64).saturating_add(1));
                return Err(c.error(&GROUP, Problem::TooLarge { limit, got }));
            }
        }
    }

    /// As [`decode_all`](Self::decode_all), from text.
    pub fn parse_all(value: &str) -> Result<Vec<Self>> {
        Self::decode_all(&mut Cursor::new(value.as_bytes()))
    }

    /// Reads one transport.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        c.group(&GROUP, |c| {
            let mut transport = Self::new(&text::trimmed(c, &PROTOCOL, b";,")?);
            while text::separator(c, b';')? {
                let name = text::trimmed(c, &NAME, b"=;,")?;
                if name.is_empty() {
                    continue;
                }
                let value = if text::separator(c, b'=')? { Some(value(c)?) } else { None };
                let at = c.error(&VALUE, Problem::Value { want: "", got: 0 });
                if let Err(want) = transport.set(&name, value.as_deref()) {
                    // The value is text: what an error can carry of it is its length.
                    let got = value.map_or(0, |v| v.len() as u64);
                    transport.problems.push(Error { problem: Problem::Value { want, got }, ..at });
                }
            }
            Ok(transport)
        })
    }

    fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), &'static str> {
        let text = value.unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "unicast" => self.unicast = true,
            "multicast" => self.multicast = true,
            "interleaved" => {
                let (rtp, rtcp) = pair(text, 255).ok_or("two channels below 256")?;
                self.interleaved = Some((u8::try_from(rtp).unwrap_or(0), u8::try_from(rtcp).unwrap_or(0)));
            }
            "client_port" => self.client_port = Some(ports(text)?),
            "server_port" => self.server_port = Some(ports(text)?),
            "port" => self.port = Some(ports(text)?),
            "destination" => self.destination = Some(text.to_owned()),
            "source" => self.source = Some(text.to_owned()),
            // Eight digits; some peers leave out leading zeros or put spaces before them.
            "ssrc" => {
                let digits = text.trim();
                let short = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
                let ssrc = u32::from_str_radix(digits, 16).ok().filter(|_| short);
                self.ssrc = Some(ssrc.ok_or("eight hexadecimal digits")?);
            }
            "mode" => {
                let mode = text.trim_matches(['"', '\'']);
                self.mode = Some(if mode.eq_ignore_ascii_case("play") {
                    Mode::Play
                } else if mode.eq_ignore_ascii_case("record") || mode.eq_ignore_ascii_case("receive") {
                    Mode::Record
                } else {
                    Mode::Other
                });
            }
            _ => self.others.push((name.to_owned(), value.map(str::to_owned))),
        }
        Ok(())
    }
}

/// A value up to `;` or `,`, or between quotes.
fn value<T: Trace>(c: &mut Cursor<'_, T>) -> Result<String> {
    if c.peek().first() == Some(&b'"') {
        let behind = c.peek().get(1..).unwrap_or_default();
        let inside = behind.iter().position(|b| *b == b'"').unwrap_or(behind.len());
        let whole = inside.saturating_add(2).min(c.remaining());
        let quoted = c.text(&VALUE, whole)?;
        text::spaces(c)?;
        return Ok(quoted.trim_matches('"').to_owned());
    }
    text::trimmed(c, &VALUE, b";,")
}

fn ports(text: &str) -> Result<(u16, u16), &'static str> {
    let (rtp, rtcp) = pair(text, 0xffff).ok_or("two ports below 65536")?;
    Ok((u16::try_from(rtp).unwrap_or(0), u16::try_from(rtcp).unwrap_or(0)))
}

/// `a-b`, or `a` alone, which means a and the next.
fn pair(text: &str, limit: u64) -> Option<(u64, u64)> {
    let (first, second) = match text.split_once('-') {
        Some((first, second)) => (text::number(first.trim())?, text::number(second.trim())?),
        None => {
            let first = text::number(text.trim())?;
            (first, first.saturating_add(1).min(limit))
        }
    };
    (first <= limit && second <= limit).then_some((first, second))
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.protocol)?;
        if self.multicast {
            f.write_str(";multicast")?;
        }
        if self.unicast {
            f.write_str(";unicast")?;
        }
        if let Some(destination) = &self.destination {
            write!(f, ";destination={destination}")?;
        }
        if let Some(source) = &self.source {
            write!(f, ";source={source}")?;
        }
        let pairs =
            [("client_port", self.client_port), ("server_port", self.server_port), ("port", self.port)];
        for (name, value) in pairs {
            if let Some((rtp, rtcp)) = value {
                write!(f, ";{name}={rtp}-{rtcp}")?;
            }
        }
        if let Some((rtp, rtcp)) = self.interleaved {
            write!(f, ";interleaved={rtp}-{rtcp}")?;
        }
        if let Some(ssrc) = self.ssrc {
            write!(f, ";ssrc={ssrc:08X}")?;
        }
        // The RFC quotes the value; GStreamer and FFmpeg read it either way, and FFmpeg sends it bare.
        match self.mode {
            Some(Mode::Play) => f.write_str(";mode=play")?,
            Some(Mode::Record) => f.write_str(";mode=record")?,
            Some(Mode::Other) | None => {}
        }
        for (name, value) in &self.others {
            match value {
                Some(value) => write!(f, ";{name}={value}")?,
                None => write!(f, ";{name}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use crate::trace::Tree;
    use proptest::prelude::*;

    #[test]
    fn the_header_of_the_rfc_offers_two_transports() {
        let offers = Transport::parse_all(
            "RTP/AVP;multicast;ttl=127;mode=\"PLAY\",RTP/AVP;unicast;client_port=3456-3457;mode=\"PLAY\"",
        )
        .unwrap();
        assert_eq!(offers.len(), 2);
        assert!(offers[0].multicast && !offers[0].unicast);
        assert_eq!(offers[0].others, [("ttl".to_owned(), Some("127".to_owned()))]);
        assert_eq!((offers[1].client_port, offers[1].mode), (Some((3456, 3457)), Some(Mode::Play)));
        assert_eq!(offers[1].lower(), Lower::Udp);
        assert_eq!(offers[1].to_string(), "RTP/AVP;unicast;client_port=3456-3457;mode=play");
    }

    #[test]
    fn what_real_peers_write_is_read() {
        let one = |text: &str| Transport::parse_all(text).unwrap().remove(0);
        let ffmpeg = one("RTP/AVP/TCP;unicast;interleaved=0-1;mode=record");
        assert_eq!(
            (ffmpeg.lower(), ffmpeg.interleaved, ffmpeg.mode),
            (Lower::Tcp, Some((0, 1)), Some(Mode::Record))
        );
        let spaced = one("rtp/avp/udp; unicast; client_port = 5000 - 5001;;ssrc=  D12F123;");
        assert_eq!((spaced.client_port, spaced.ssrc), (Some((5000, 5001)), Some(0xd12_f123)));
        assert_eq!(one("RTP/AVP;client_port=7000").client_port, Some((7000, 7001)));
        assert_eq!(one("RTP/SAVPF;unicast").lower(), Lower::Other);
        for bad in
            ["client_port=70000-70001", "interleaved=256-257", "ssrc=xyz", "client_port=", "client_port=-1"]
        {
            let transport = one(&format!("RTP/AVP;unicast;{bad}"));
            assert_eq!(transport.problems.len(), 1, "{bad}");
            assert_eq!((transport.client_port, transport.interleaved, transport.ssrc), (None, None, None));
        }
        assert_eq!(Transport::parse_all(""), Ok(vec![]));
        assert!(Transport::parse_all(&"RTP/AVP,".repeat(40)).is_err());
    }

    proptest! {
        #[test]
        fn leaves_tile_and_what_is_written_reads_the_same(text in "[a-zA-Z/;=,\" \t0-9-]{0,60}") {
            let mut c = Cursor::traced(text.as_bytes(), Tree::default());
            let read = Transport::decode_all(&mut c);
            let end = c.position() as u64 * 8;
            let mut at = 0;
            for leaf in c.into_trace().leaves() {
                prop_assert_eq!(leaf.bits.start, at);
                at = leaf.bits.end;
            }
            prop_assert_eq!(at, end);
            for mut offer in read.unwrap_or_default() {
                offer.problems.clear();
                offer.others.clear();
                let again = Transport::parse_all(&offer.to_string()).unwrap();
                if !offer.protocol.is_empty() && offer.mode != Some(Mode::Other) {
                    prop_assert_eq!(again, vec![offer]);
                }
            }
        }
    }
}
