//! Session descriptions (RFC 8866, before it RFC 4566).
//!
//! ```text
//! v=0                                       one letter, '=', value
//! o=- 1 1 IN IP4 0.0.0.0
//! s=name
//! t=0 0
//! a=control:*                               attribute of the session
//! m=video 0 RTP/AVP 96                      a media section begins
//! a=rtpmap:96 H264/90000                    attribute of that section
//! ```
//!
//! Reading is lenient: missing lines, a bare LF, any order; lines that are none are passed over and said.

use crate::cursor::Cursor;
use crate::error::{Error, Problem, Result};
use crate::rtsp::text;
use crate::trace::{Field, Trace, field};

static GROUP: Field =
    field("session description", "RFC 8866 §5", "What there is, how it is coded and where it is.");
static LINE: Field = field("SDP line", "RFC 8866 §5", "One letter and its value.");
static TYPE: Field =
    field("type", "RFC 8866 §5", "v version, o origin, s name, c connection, t time, m media, a attribute.");
static EQUALS: Field = field("equals sign", "RFC 8866 §5", "Without white space around it.");
static VALUE: Field = field("value", "RFC 8866 §5", "Meaning depends on the type.");
static ATTRIBUTE: Field = field("attribute name", "RFC 8866 §5.13", "rtpmap, fmtp, control, …");
static COLON: Field = field("colon", "RFC 8866 §5.13", "Before an attribute's value.");
static ATTRIBUTE_VALUE: Field = field("attribute value", "RFC 8866 §5.13", "As the attribute defines it.");
static UNREADABLE: Field =
    field("line that is none", "RFC 8866 §5", "No letter and equals sign; passed over.");

/// The most media sections read.
const MAX_MEDIA: usize = 64;
/// The most lines read.
const MAX_LINES: usize = 4096;

/// An attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// What stands behind the colon; none for a flag.
    pub value: Option<String>,
    /// Where its line begins.
    pub at: usize,
}

/// A media section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// `video`, `audio`, `application`, …
    pub kind: String,
    /// Port; 0 where RTSP decides.
    pub port: u16,
    /// `RTP/AVP`.
    pub protocol: String,
    /// Payload types as they stand.
    pub formats: Vec<String>,
    /// The address of a `c=` line of its own.
    pub connection: Option<String>,
    /// Attributes in order.
    pub attributes: Vec<Attribute>,
    /// Where its line begins.
    pub at: usize,
}

/// What an `rtpmap` says of a payload type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpMap {
    /// `H264`, `mpeg4-generic`, …, as spelled.
    pub encoding: String,
    /// Ticks per second.
    pub clock: u32,
    /// Audio channels, where they were said.
    pub channels: Option<u32>,
}

impl RtpMap {
    /// Whether the encoding is the one of a name, in any case of letters.
    pub fn is(&self, encoding: &str) -> bool {
        self.encoding.eq_ignore_ascii_case(encoding)
    }
}

/// Parameters of a format: `name=value` between semicolons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(pub Vec<(String, String)>);

impl Parameters {
    /// Reads what stands behind the payload type.
    pub fn parse(text: &str) -> Self {
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (name.trim().to_owned(), value.trim().to_owned())
        };
        Self(text.split(';').map(pair).filter(|(name, _)| !name.is_empty()).collect())
    }

    /// The value of a parameter, its name in any case of letters.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The value of a parameter that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        text::number(self.value(name)?)
    }
}

fn attribute<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Attribute> {
    attributes.iter().find(|a| a.name.eq_ignore_ascii_case(name))
}

impl Media {
    /// The first attribute of a name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        attribute(&self.attributes, name)
    }

    /// The control URL of the section as it stands (RFC 2326 §C.1.1).
    pub fn control(&self) -> Option<&str> {
        self.attribute("control")?.value.as_deref()
    }

    /// The first payload type.
    pub fn payload_type(&self) -> Option<u8> {
        text::number(self.formats.first()?).and_then(|n| u8::try_from(n).ok()).filter(|n| *n < 128)
    }

    /// The values of an attribute that begin with a payload type, without it.
    fn of_format<'a>(&'a self, name: &'a str, payload_type: u8) -> impl Iterator<Item = &'a str> {
        let named = self.attributes.iter().filter(move |a| a.name.eq_ignore_ascii_case(name));
        named.filter_map(move |a| {
            let value = a.value.as_deref()?.trim_start();
            let (format, rest) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
            (text::number(format) == Some(u64::from(payload_type))).then(|| rest.trim())
        })
    }

    /// What a payload type is: as said, or what RFC 3551 says of the static ones.
    pub fn rtpmap(&self, payload_type: u8) -> Option<RtpMap> {
        let said = self.of_format("rtpmap", payload_type).find_map(|text| {
            let mut parts = text.split('/');
            let encoding = parts.next()?.trim().to_owned();
            let clock = u32::try_from(text::number(parts.next()?.trim())?).ok().filter(|n| *n > 0)?;
            let channels =
                parts.next().and_then(|p| text::number(p.trim())).and_then(|n| u32::try_from(n).ok());
            Some(RtpMap { encoding, clock, channels })
        });
        said.or_else(|| {
            let (encoding, clock, channels) = match payload_type {
                0 => ("PCMU", 8000, Some(1)),
                8 => ("PCMA", 8000, Some(1)),
                9 => ("G722", 8000, Some(1)),
                14 => ("MPA", 90_000, None),
                26 => ("JPEG", 90_000, None),
                32 => ("MPV", 90_000, None),
                33 => ("MP2T", 90_000, None),
                _ => return None,
            };
            Some(RtpMap { encoding: encoding.to_owned(), clock, channels })
        })
    }

    /// The parameters of a payload type. Some cameras number them wrongly: with one format and no line of its own, the
    /// only line there is counts.
    pub fn fmtp(&self, payload_type: u8) -> Option<Parameters> {
        if let Some(text) = self.of_format("fmtp", payload_type).next() {
            return Some(Parameters::parse(text));
        }
        let mut lines = self.attributes.iter().filter(|a| a.name.eq_ignore_ascii_case("fmtp"));
        let only = lines.next().filter(|_| lines.next().is_none() && self.formats.len() == 1)?;
        let value = only.value.as_deref()?.trim();
        Some(Parameters::parse(value.split_once(char::is_whitespace)?.1))
    }
}

/// A description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Whether `v=0` stands.
    pub version: bool,
    /// `o=`.
    pub origin: Option<String>,
    /// `s=`.
    pub name: Option<String>,
    /// `t=`, the first.
    pub time: Option<String>,
    /// `c=` of the session.
    pub connection: Option<String>,
    /// Attributes of the session.
    pub attributes: Vec<Attribute>,
    /// Media sections.
    pub media: Vec<Media>,
    /// Lines that cannot be read, and where they stand.
    pub problems: Vec<Error>,
}

impl Description {
    /// Reads a description; what follows its last line counts as part of it. An error where there are too many lines, or
    /// where nothing in it is a line of a description.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        c.group(&GROUP, |c| {
            let mut description = Self::default();
            let (mut lines, mut read) = (0usize, 0usize);
            while !c.is_empty() {
                if text::line_end(c)? {
                    continue;
                }
                lines = lines.saturating_add(1);
                if lines > MAX_LINES {
                    let (limit, got) = (MAX_LINES as u64, lines as u64);
                    return Err(c.error(&LINE, Problem::TooLarge { limit, got }));
                }
                read = read.saturating_add(usize::from(description.line(c)?));
            }
            if read == 0 {
                return Err(
                    c.error(&LINE, Problem::Value { want: "lines of a letter, = and a value", got: 0 })
                );
            }
            Ok(description)
        })
    }

    /// As [`decode`](Self::decode), without a trace.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Self::decode(&mut Cursor::new(bytes))
    }

    /// The control URL of the whole as it stands.
    pub fn control(&self) -> Option<&str> {
        attribute(&self.attributes, "control")?.value.as_deref()
    }

    /// The first attribute of the session of a name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        attribute(&self.attributes, name)
    }

    fn line<T: Trace>(&mut self, c: &mut Cursor<'_, T>) -> Result<bool> {
        let at = c.position();
        let (length, _) = text::line(c.peek());
        let line = c.peek().get(..length).unwrap_or_default();
        // White space before the letter is not allowed and seen.
        let blank = line.iter().take_while(|b| text::is_blank(**b)).count();
        let is_line = matches!(line.get(blank..), Some([letter, b'=', ..]) if letter.is_ascii_alphabetic());
        if !is_line {
            let want = "a letter and an equals sign";
            self.problems.push(c.error(&UNREADABLE, Problem::Value { want, got: length as u64 }));
            c.bytes(&UNREADABLE, length)?;
            text::line_end(c)?;
            return Ok(false);
        }
        c.group(&LINE, |c| {
            text::spaces(c)?;
            let letter = c.u8(&TYPE)?;
            c.bytes(&EQUALS, 1)?;
            if letter == b'a' {
                self.read_attribute(c, at)?;
            } else {
                let value = value(c, &VALUE)?;
                self.set(c, letter, value, at)?;
            }
            text::line_end(c)?;
            Ok(true)
        })
    }

    fn read_attribute<T: Trace>(&mut self, c: &mut Cursor<'_, T>, at: usize) -> Result<()> {
        let (length, _) = text::line(c.peek());
        let line = c.peek().get(..length).unwrap_or_default();
        let (name, value) = match line.iter().position(|b| *b == b':') {
            Some(n) => {
                let name = c.text(&ATTRIBUTE, n)?;
                c.bytes(&COLON, 1)?;
                (name, Some(value(c, &ATTRIBUTE_VALUE)?))
            }
            None => (value(c, &ATTRIBUTE)?, None),
        };
        let attribute = Attribute { name: name.trim().to_owned(), value, at };
        match self.media.last_mut() {
            Some(media) => media.attributes.push(attribute),
            None => self.attributes.push(attribute),
        }
        Ok(())
    }

    fn set<T: Trace>(&mut self, c: &Cursor<'_, T>, letter: u8, value: String, at: usize) -> Result<()> {
        match (letter, self.media.last_mut()) {
            (b'm', _) => {
                if self.media.len() >= MAX_MEDIA {
                    let (limit, got) = (MAX_MEDIA as u64, (self.media.len() as u64).saturating_add(1));
                    return Err(c.error(&LINE, Problem::TooLarge { limit, got }));
                }
                let mut words = value.split_ascii_whitespace().map(str::to_owned);
                let kind = words.next().unwrap_or_default();
                let port = words.next().unwrap_or_default();
                let port = port.split('/').next().and_then(text::number).and_then(|n| u16::try_from(n).ok());
                let protocol = words.next().unwrap_or_default();
                let (port, formats) = (port.unwrap_or(0), words.collect());
                self.media.push(Media { kind, port, protocol, formats, at, ..Media::default() });
            }
            (b'c', Some(media)) => media.connection = media.connection.take().or(Some(value)),
            (b'c', None) => self.connection = self.connection.take().or(Some(value)),
            (b'v', _) => self.version |= value.trim() == "0",
            (b'o', _) => self.origin = self.origin.take().or(Some(value)),
            (b's', None) => self.name = self.name.take().or(Some(value)),
            (b't', _) => self.time = self.time.take().or(Some(value)),
            _ => {}
        }
        Ok(())
    }
}

/// The rest of a line, the white space at its end read apart.
fn value<T: Trace>(c: &mut Cursor<'_, T>, what: &'static Field) -> Result<String> {
    let (length, _) = text::line(c.peek());
    let line = c.peek().get(..length).unwrap_or_default();
    let kept = line.trim_ascii_end().len();
    let value = c.text(what, kept)?;
    c.bytes(&text::SPACE, length.saturating_sub(kept))?;
    Ok(value)
}

/// The URL that a control attribute means (RFC 2326 §C.1.1): `base` is Content-Base, else Content-Location, else the URL of
/// the request.
///
/// `*` and nothing mean the base itself. A relative URL is joined behind the base with one slash, as every client in the field
/// does, rather than resolved by RFC 3986, which would drop the last segment of a base without a slash at its end. A query
/// string of the base stays where it is unless it would cut the control off: then the control goes before it.
pub fn control_url(base: &str, control: Option<&str>) -> String {
    let control = control.unwrap_or_default().trim();
    if control.is_empty() || control == "*" {
        return base.to_owned();
    }
    let scheme = control.split("://").next().unwrap_or_default();
    let absolute = scheme.len() < control.len() && scheme.bytes().all(|b| b.is_ascii_alphanumeric());
    if absolute && !scheme.is_empty() {
        return control.to_owned();
    }
    let (path, query) = match base.split_once('?') {
        // A base that ends in a slash behind its query was meant for joining: Dahua writes those.
        Some((path, query)) if !query.ends_with('/') => (path, Some(query)),
        _ => (base, None),
    };
    let joined = if path.ends_with('/') || control.starts_with('?') {
        format!("{path}{}", control.trim_start_matches('/'))
    } else {
        format!("{path}/{}", control.trim_start_matches('/'))
    };
    match query {
        Some(query) => format!("{joined}?{query}"),
        None => joined,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use crate::trace::Tree;
    use proptest::prelude::*;

    const SERVER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=Session streamed with GStreamer\r\nt=0 0\r\n\
        a=control:*\r\nm=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:96 H264/90000\r\n\
        a=fmtp:96 packetization-mode=1;profile-level-id=64001f; sprop-parameter-sets=Z2QA,aO4=\r\n\
        a=control:stream=0\r\nm=audio 0 RTP/AVP 97 0\r\na=rtpmap:97 mpeg4-generic/44100/2\r\n\
        a=fmtp:97 streamtype=5;mode=AAC-hbr;config=1210;SizeLength=13\r\na=control:stream=1\r\na=recvonly\r\n";

    #[test]
    fn a_description_of_a_real_server() {
        let sdp = Description::parse(SERVER.as_bytes()).unwrap();
        assert!(sdp.version && sdp.problems.is_empty());
        assert_eq!((sdp.control(), sdp.time.as_deref()), (Some("*"), Some("0 0")));
        let [video, audio] = &sdp.media[..] else { panic!() };
        assert_eq!(
            (video.kind.as_str(), video.payload_type(), video.control()),
            ("video", Some(96), Some("stream=0"))
        );
        let map = video.rtpmap(96).unwrap();
        assert!(map.is("h264") && map.clock == 90_000 && map.channels.is_none());
        let fmtp = video.fmtp(96).unwrap();
        assert_eq!(fmtp.value("sprop-parameter-sets"), Some("Z2QA,aO4="));
        assert_eq!(fmtp.number("packetization-mode"), Some(1));
        assert_eq!(audio.rtpmap(97).unwrap().channels, Some(2));
        assert_eq!(audio.fmtp(97).unwrap().number("sizelength"), Some(13));
        assert!(audio.rtpmap(0).unwrap().is("PCMU"));
        assert_eq!(audio.attribute("recvonly").unwrap().value, None);
        assert!(SERVER.as_bytes()[audio.at..].starts_with(b"m=audio"));
    }

    #[test]
    fn sloppy_descriptions_are_read_and_said() {
        let sdp = Description::parse(
            b"v=0\nm=video 0 RTP/AVP 96\n\nnonsense\n a=rtpmap:96 H264/90000 \na=fmtp:97 a=b\n",
        )
        .unwrap();
        assert_eq!(sdp.problems.len(), 1);
        assert!(sdp.media[0].rtpmap(96).unwrap().is("H264"));
        assert_eq!(sdp.media[0].fmtp(96).unwrap().value("a"), Some("b"));
        assert_eq!((sdp.name, sdp.time), (None, None));
        assert!(Description::parse(b"").is_err());
        assert!(Description::parse(b"hello\r\nworld").is_err());
        assert!(Description::parse("m=a 0 b 1\r\n".repeat(70).as_bytes()).is_err());
        assert!(Description::parse("x\r\n".repeat(5000).as_bytes()).is_err());
        let map = Description::parse(b"m=a 0 b 96\na=rtpmap:96 H264/0\n").unwrap();
        assert_eq!(map.media[0].rtpmap(96), None);
    }

    #[test]
    fn control_urls_in_all_their_forms() {
        for (base, control, want) in [
            ("rtsp://h/a/", Some("trackID=1"), "rtsp://h/a/trackID=1"),
            ("rtsp://h/a", Some("trackID=1"), "rtsp://h/a/trackID=1"),
            ("rtsp://h/a/", Some("rtsp://o/b"), "rtsp://o/b"),
            ("rtsp://h/a/", Some("*"), "rtsp://h/a/"),
            ("rtsp://h/a/", None, "rtsp://h/a/"),
            ("rtsp://h/a/", Some(""), "rtsp://h/a/"),
            ("rtsp://h/a", Some("/t"), "rtsp://h/a/t"),
            ("rtsp://h/a?x=1", Some("t"), "rtsp://h/a/t?x=1"),
            ("rtsp://h/a?x=1/", Some("t"), "rtsp://h/a?x=1/t"),
            ("rtsp://h/a", Some("?ctype=video"), "rtsp://h/a?ctype=video"),
        ] {
            assert_eq!(control_url(base, control), want, "{base} {control:?}");
        }
    }

    proptest! {
        #[test]
        fn leaves_tile_whatever_comes(text in "([a-z]=[ -~]{0,20}(\r\n|\n)|[ -~]{0,10}\n){0,12}", bytes: Vec<u8>) {
            for bytes in [text.as_bytes(), &bytes] {
                let mut c = Cursor::traced(bytes, Tree::default());
                let read = Description::decode(&mut c);
                let end = c.position() as u64 * 8;
                let mut at = 0;
                for leaf in c.into_trace().leaves() {
                    prop_assert_eq!(leaf.bits.start, at);
                    at = leaf.bits.end;
                }
                prop_assert_eq!(at, end);
                if read.is_ok() {
                    prop_assert_eq!(end, bytes.len() as u64 * 8);
                }
            }
        }
    }
}
