//! The RTP-Info header (RFC 2326 §12.33): `url=…;seq=n;rtptime=n[,url=…]`.

use std::fmt;

use super::text;
use crate::cursor::Cursor;
use crate::error::Result;
use crate::trace::{Field, Trace, field};

const SPEC: &str = "RFC 2326 §12.33";
static GROUP: Field = field("RTP-Info", SPEC, "Where a stream's packets begin after PLAY.");
static NAME: Field = field("RTP-Info parameter", SPEC, "url, seq, rtptime.");
static VALUE: Field =
    field("RTP-Info parameter value", SPEC, "seq: of the first packet; rtptime: of the Range's start.");

/// What is said about one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RtpInfo {
    /// The URL of the stream as it was set up.
    pub url: String,
    /// Sequence number of the first packet.
    pub seq: Option<u16>,
    /// RTP timestamp that corresponds to the start of the range.
    pub rtptime: Option<u32>,
}

impl RtpInfo {
    /// Reads a header value. A URL may hold `;` and `,`: it ends where another parameter or stream begins.
    pub fn decode_all<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        text::spaces(c)?;
        while !c.is_empty() {
            all.push(c.group(&GROUP, |c| Self::one(c))?);
            if !text::separator(c, b',')? {
                break;
            }
        }
        Ok(all)
    }

    /// As [`decode_all`](Self::decode_all), from text.
    pub fn parse_all(value: &str) -> Vec<Self> {
        Self::decode_all(&mut Cursor::new(value.as_bytes())).unwrap_or_default()
    }

    fn one<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        let mut info = Self::default();
        loop {
            let name = text::trimmed(c, &NAME, b"=;,")?;
            if text::separator(c, b'=')? {
                if name.eq_ignore_ascii_case("url") {
                    let url = c.text(&VALUE, url_length(c.peek()))?;
                    info.url = url.trim().trim_matches('"').to_owned();
                } else {
                    let value = text::trimmed(c, &VALUE, b";,")?;
                    let number = text::number(&value).and_then(|n| u32::try_from(n).ok());
                    if name.eq_ignore_ascii_case("seq") {
                        info.seq = number.and_then(|n| u16::try_from(n).ok());
                    } else if name.eq_ignore_ascii_case("rtptime") {
                        info.rtptime = number;
                    }
                }
            }
            if !text::separator(c, b';')? {
                return Ok(info);
            }
        }
    }
}

fn url_length(rest: &[u8]) -> usize {
    let ends = |at: usize| {
        let tail = rest.get(at..).unwrap_or_default();
        let Some((mark, behind)) = tail.split_first() else { return true };
        let behind = behind.trim_ascii_start();
        let begins = |name: &[u8]| behind.get(..name.len()).is_some_and(|b| b.eq_ignore_ascii_case(name));
        match mark {
            b';' => behind.is_empty() || begins(b"seq=") || begins(b"rtptime=") || begins(b"ssrc="),
            b',' => behind.is_empty() || begins(b"url="),
            _ => false,
        }
    };
    (0..rest.len()).find(|at| ends(*at)).unwrap_or(rest.len())
}

impl fmt::Display for RtpInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "url={}", self.url)?;
        if let Some(seq) = self.seq {
            write!(f, ";seq={seq}")?;
        }
        match self.rtptime {
            Some(rtptime) => write!(f, ";rtptime={rtptime}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_the_rfc() {
        let text =
            "url=rtsp://foo.com/bar.avi/streamid=0;seq=45102,url=rtsp://foo.com/bar.avi/streamid=1;seq=30211";
        let all = RtpInfo::parse_all(text);
        assert_eq!(all.len(), 2);
        assert_eq!((all[1].url.as_str(), all[1].seq), ("rtsp://foo.com/bar.avi/streamid=1", Some(30211)));
        let again: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(again.join(","), text);
    }

    #[test]
    fn urls_with_marks_of_their_own_and_trailing_semicolons() {
        let all = RtpInfo::parse_all(
            "url=rtsp://h/a;b,c?x=1;seq=1;rtptime=4294967295; , URL=\"rtsp://h/2\";seq=70000;",
        );
        assert_eq!(
            all[0],
            RtpInfo { url: "rtsp://h/a;b,c?x=1".into(), seq: Some(1), rtptime: Some(u32::MAX) }
        );
        assert_eq!(all[1], RtpInfo { url: "rtsp://h/2".into(), seq: None, rtptime: None });
        assert!(RtpInfo::parse_all("").is_empty());
    }
}
