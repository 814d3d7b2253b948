//! Playlists of HTTP Live Streaming (RFC 8216 §4): their lines, tags and attribute lists, each with its place.
//!
//! ```text
//! #EXTM3U                                   tag without a value
//! #EXT-X-TARGETDURATION:4                   tag with a value
//! #EXT-X-MAP:URI="init.mp4",BYTERANGE="9@0" tag with an attribute list (§4.2)
//! # a comment
//! segment-7.m4s                             URI
//! ```
//!
//! Nothing is judged here but what cannot be read at all: unknown tags, doubled attributes and wrong orders are lexed
//! as they stand, so that whoever judges sees them. An error ends its line or its attribute list and nothing else.

use std::fmt::Write as _;
use std::ops::Range;

use crate::error::{Error, Result};

/// Text with the byte at which it begins in the playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'b> {
    /// The text.
    pub text: &'b str,
    /// Its first byte.
    pub at: usize,
}

impl<'b> Text<'b> {
    /// Text that begins at byte `at`.
    pub fn new(text: &'b str, at: usize) -> Self {
        Self { text, at }
    }

    /// Its bytes in the playlist.
    pub fn span(&self) -> Range<usize> {
        self.at..self.at.saturating_add(self.text.len())
    }

    /// Splits at the first `mark`, which neither side keeps.
    fn split(self, mark: char) -> Option<(Self, Self)> {
        let (before, after) = self.text.split_once(mark)?;
        let at = self.at.saturating_add(before.len()).saturating_add(mark.len_utf8());
        Some((Self { text: before, ..self }, Self { text: after, at }))
    }

    /// An error about this text.
    fn refuse(&self, field: &'static str, want: &'static str) -> Error {
        // The value is text: what an error can carry of it is its length.
        Error::value(self.at as u64, field, want, self.text.len() as u64)
    }

    /// decimal-integer: digits only, below 2^64 (§4.2).
    pub fn integer(&self) -> Result<u64> {
        let wrong = || self.refuse("decimal-integer", "digits of a number below 2^64");
        if self.text.is_empty() || !self.text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        self.text.parse().map_err(|_| wrong())
    }

    /// decimal-floating-point: digits with at most one point, not negative (§4.2).
    pub fn float(&self) -> Result<f64> {
        let digits = self.text.bytes().filter(u8::is_ascii_digit).count();
        let points = self.text.bytes().filter(|b| *b == b'.').count();
        let wrong = || self.refuse("decimal-floating-point", "digits with at most one point");
        if digits == 0 || points > 1 || digits.saturating_add(points) != self.text.len() {
            return Err(wrong());
        }
        self.text.parse().map_err(|_| wrong())
    }

    /// signed-decimal-floating-point (§4.2).
    pub fn signed_float(&self) -> Result<f64> {
        match self.text.strip_prefix('-') {
            Some(text) => Self { text, at: self.at.saturating_add(1) }.float().map(|v| -v),
            None => self.float(),
        }
    }

    /// decimal-resolution: width `x` height (§4.2).
    pub fn resolution(&self) -> Result<(u64, u64)> {
        let (width, height) =
            self.split('x').ok_or_else(|| self.refuse("decimal-resolution", "WIDTHxHEIGHT"))?;
        Ok((width.integer()?, height.integer()?))
    }

    /// A byte range `length[@offset]` (§4.3.2.2).
    pub fn byte_range(&self) -> Result<ByteRange> {
        match self.split('@') {
            Some((length, offset)) => {
                Ok(ByteRange { length: length.integer()?, offset: Some(offset.integer()?) })
            }
            None => Ok(ByteRange { length: self.integer()?, offset: None }),
        }
    }
}

/// A part of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Bytes.
    pub length: u64,
    /// First byte; without one the range begins where the one before ended.
    pub offset: Option<u64>,
}

/// One line of a playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'b> {
    /// 1 for the first.
    pub number: usize,
    /// Its bytes in the playlist, the line end left out.
    pub span: Range<usize>,
    /// What it is.
    pub what: What<'b>,
}

/// The kinds of lines (§4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What<'b> {
    /// Nothing.
    Blank,
    /// `#`, but not `#EXT`.
    Comment(Text<'b>),
    /// `#EXT…`.
    Tag(Tag<'b>),
    /// Anything else.
    Uri(Text<'b>),
}

/// A tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'b> {
    /// Its name without `#`: `EXTM3U`, `EXT-X-MAP`.
    pub name: Text<'b>,
    /// What stands behind the colon; `None` without a colon.
    pub value: Option<Text<'b>>,
}

impl<'b> Tag<'b> {
    fn lex(line: Text<'b>) -> Self {
        let body =
            Text { text: line.text.strip_prefix('#').unwrap_or(line.text), at: line.at.saturating_add(1) };
        match body.split(':') {
            Some((name, value)) => Self { name, value: Some(value) },
            None => Self { name: body, value: None },
        }
    }

    /// Whether this is the tag of a name (without `#`).
    pub fn is(&self, name: &str) -> bool {
        self.name.text == name
    }

    /// The value, which this tag has to have.
    pub fn wanted(&self) -> Result<Text<'b>> {
        let at = self.name.span().end as u64;
        self.value.ok_or_else(|| Error::value(at, "tag value", "a colon and a value", 0))
    }

    /// The value read as an attribute list; a tag without one has no attributes.
    pub fn attributes(&self) -> Attributes<'b> {
        let end = Text { text: "", at: self.name.span().end };
        Attributes { rest: self.value.unwrap_or(end), done: self.value.is_none_or(|v| v.text.is_empty()) }
    }

    /// The first attribute of a name, where the list can be read so far.
    pub fn attribute(&self, name: &str) -> Option<Value<'b>> {
        let mut readable = self.attributes().map_while(Result::ok);
        readable.find(|a| a.name.text == name).map(|a| a.value)
    }

    /// Duration in seconds and title of an EXTINF (§4.3.2.1).
    pub fn segment(&self) -> Result<(f64, Option<Text<'b>>)> {
        let value = self.wanted()?;
        match value.split(',') {
            Some((duration, title)) => Ok((duration.float()?, Some(title))),
            None => Ok((value.float()?, None)),
        }
    }
}

/// One attribute of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'b> {
    /// Its name.
    pub name: Text<'b>,
    /// Its value.
    pub value: Value<'b>,
}

/// The value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'b> {
    /// Between quotes, which are left out.
    Quoted(Text<'b>),
    /// Numbers, resolutions and enumerated strings.
    Bare(Text<'b>),
}

impl<'b> Value<'b> {
    /// The text in either form.
    pub fn text(&self) -> Text<'b> {
        match self {
            Self::Quoted(text) | Self::Bare(text) => *text,
        }
    }
}

/// The attributes of a list, in order.
#[derive(Clone, Debug)]
pub struct Attributes<'b> {
    rest: Text<'b>,
    done: bool,
}

impl<'b> Attributes<'b> {
    fn attribute(&mut self) -> Result<Attribute<'b>> {
        let (name, value) = self
            .rest
            .split('=')
            .filter(|(name, _)| !name.text.contains(','))
            .ok_or_else(|| self.rest.refuse("attribute", "NAME=value"))?;
        let valid = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-';
        if name.text.is_empty() || !name.text.bytes().all(valid) {
            return Err(name.refuse("attribute name", "A-Z, 0-9 and -"));
        }
        let Some(quoted) = value.text.strip_prefix('"') else {
            let (bare, rest) = match value.split(',') {
                Some((bare, rest)) => (bare, Some(rest)),
                None => (value, None),
            };
            self.go_on(rest);
            return Ok(Attribute { name, value: Value::Bare(bare) });
        };
        let inside = Text { text: quoted, at: value.at.saturating_add(1) };
        let (text, behind) =
            inside.split('"').ok_or_else(|| value.refuse("quoted-string", "a closing quote"))?;
        match behind.text.strip_prefix(',') {
            Some(rest) => self.go_on(Some(Text { text: rest, at: behind.at.saturating_add(1) })),
            None if behind.text.is_empty() => self.go_on(None),
            None => return Err(behind.refuse("attribute list", "a comma behind the closing quote")),
        }
        Ok(Attribute { name, value: Value::Quoted(text) })
    }

    fn go_on(&mut self, rest: Option<Text<'b>>) {
        match rest {
            Some(rest) => self.rest = rest,
            None => self.done = true,
        }
    }
}

impl<'b> Iterator for Attributes<'b> {
    type Item = Result<Attribute<'b>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let attribute = self.attribute();
        self.done |= attribute.is_err();
        Some(attribute)
    }
}

/// The lines of a playlist.
pub fn lines(bytes: &[u8]) -> Lines<'_> {
    Lines { bytes, at: 0, number: 0 }
}

/// See [`lines`].
#[derive(Clone, Debug)]
pub struct Lines<'b> {
    bytes: &'b [u8],
    at: usize,
    number: usize,
}

impl<'b> Iterator for Lines<'b> {
    type Item = Result<Line<'b>>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let start = self.at;
        let whole = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        self.at = start.saturating_add(whole).saturating_add(1);
        self.number = self.number.saturating_add(1);
        let line = rest.get(..whole).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = match std::str::from_utf8(line) {
            Ok(text) => Text { text, at: start },
            Err(error) => {
                let at = start.saturating_add(error.valid_up_to());
                let got = self.bytes.get(at).copied().unwrap_or_default();
                return Some(Err(Error::value(at as u64, "playlist line", "UTF-8", u64::from(got))));
            }
        };
        let what = if text.text.is_empty() {
            What::Blank
        } else if text.text.starts_with("#EXT") {
            What::Tag(Tag::lex(text))
        } else if text.text.starts_with('#') {
            What::Comment(text)
        } else {
            What::Uri(text)
        };
        Some(Ok(Line { number: self.number, span: text.span(), what }))
    }
}

/// Makes a reference of a playlist absolute (RFC 3986 §5.2): `base` is the playlist's own URL, or the path and query of
/// the request that fetched it, and the result is of the same form unless the reference names another host.
pub fn resolve(base: &str, reference: &str) -> String {
    let scheme_end = |url: &str| {
        let end = url.find(':')?;
        let scheme = url.get(..end)?;
        let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let first = scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
        (first && scheme.bytes().all(valid)).then_some(end)
    };
    let reference = reference.split('#').next().unwrap_or_default();
    if scheme_end(reference).is_some() {
        return reference.to_owned();
    }
    let (origin, rest) =
        match scheme_end(base).filter(|end| base.get(*end..).is_some_and(|r| r.starts_with("://"))) {
            Some(end) => {
                let host = end.saturating_add(3);
                let behind = base.get(host..).unwrap_or_default();
                let length = behind.find(['/', '?', '#']).unwrap_or(behind.len());
                base.split_at_checked(host.saturating_add(length)).unwrap_or((base, ""))
            }
            None => ("", base),
        };
    if reference.starts_with("//") {
        let scheme = scheme_end(origin).and_then(|end| origin.get(..=end)).unwrap_or_default();
        return format!("{scheme}{reference}");
    }
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    if reference.is_empty() {
        return format!("{origin}{}", rest.split('#').next().unwrap_or_default());
    }
    let (target, query) = match reference.split_once('?') {
        Some((target, query)) => (target, Some(query)),
        None => (reference, None),
    };
    let joined = if target.is_empty() {
        path.to_owned()
    } else if target.starts_with('/') {
        without_dots(target)
    } else {
        let directory = path.rfind('/').and_then(|end| path.get(..=end)).unwrap_or("/");
        without_dots(&format!("{directory}{target}"))
    };
    let mut out = format!("{origin}{joined}");
    if let Some(query) = query {
        let _ = write!(out, "?{query}");
    }
    out
}

/// remove_dot_segments of RFC 3986 §5.2.4, for a path that begins with a slash.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::string_slice)]
    use super::*;
    use proptest::prelude::*;

    const PLAYLIST: &str = "#EXTM3U\r\n#EXT-X-TARGETDURATION:4\n\n# hello\n#EXTINF:3.84,a title, too\nseg-1.m4s?x=1\n\
        #EXT-X-STREAM-INF:BANDWIDTH=1280000,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=640x360,FRAME-RATE=25.000\nv.m3u8";

    #[test]
    fn every_line_is_found_with_its_place() {
        let all: Vec<Line<'_>> = lines(PLAYLIST.as_bytes()).map(Result::unwrap).collect();
        for line in &all {
            let text = &PLAYLIST[line.span.clone()];
            assert!(!text.contains(['\r', '\n']), "{text:?}");
            match &line.what {
                What::Blank => assert_eq!(text, ""),
                What::Comment(t) | What::Uri(t) => assert_eq!(text, t.text),
                What::Tag(tag) => {
                    assert_eq!(&PLAYLIST[tag.name.span()], tag.name.text);
                    assert!(tag.value.is_none_or(|v| &PLAYLIST[v.span()] == v.text));
                }
            }
        }
        let numbers: Vec<usize> = all.iter().map(|l| l.number).collect();
        assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
        let What::Tag(target) = &all[1].what else { panic!() };
        assert_eq!(target.wanted().unwrap().integer(), Ok(4));
        let What::Tag(inf) = &all[4].what else { panic!() };
        let (duration, title) = inf.segment().unwrap();
        assert_eq!((duration, title.unwrap().text), (3.84, "a title, too"));
        assert!(matches!(all[5].what, What::Uri(t) if t.text == "seg-1.m4s?x=1"));
    }

    #[test]
    fn a_comma_between_quotes_ends_no_attribute() {
        let line = lines(PLAYLIST.as_bytes()).nth(6).unwrap().unwrap();
        let What::Tag(tag) = line.what else { panic!() };
        let names: Vec<&str> = tag.attributes().map(|a| a.unwrap().name.text).collect();
        assert_eq!(names, ["BANDWIDTH", "CODECS", "RESOLUTION", "FRAME-RATE"]);
        assert_eq!(tag.attribute("BANDWIDTH").unwrap().text().integer(), Ok(1_280_000));
        assert_eq!(tag.attribute("RESOLUTION").unwrap().text().resolution(), Ok((640, 360)));
        assert_eq!(tag.attribute("FRAME-RATE").unwrap().text().float(), Ok(25.0));
        let codecs = tag.attribute("CODECS").unwrap();
        assert!(matches!(codecs, Value::Quoted(t) if t.text == "avc1.64001f,mp4a.40.2"));
        assert_eq!(&PLAYLIST[codecs.text().span()], "avc1.64001f,mp4a.40.2");
        assert_eq!(tag.attribute("AUDIO"), None);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_with_its_byte() {
        let tag = |text| {
            let What::Tag(tag) = lines(text).next().unwrap().unwrap().what else { panic!() };
            tag.attributes().find_map(Result::err).unwrap().at
        };
        assert_eq!(tag(b"#EXT-X-MAP:URI"), 11);
        assert_eq!(tag(b"#EXT-X-MAP:URI=\"a,b"), 15);
        assert_eq!(tag(b"#EXT-X-MAP:A=1,uri=2"), 15);
        assert_eq!(tag(b"#EXT-X-MAP:A=\"1\"B=2"), 16);
        assert_eq!(tag(b"#EXT-X-MAP:A=1,"), 15);
        let error = lines(b"ab\xffc\nnext").next().unwrap().unwrap_err();
        assert_eq!((error.at, lines(b"ab\xffc\nnext").filter(Result::is_ok).count()), (2, 1));
        for wrong in ["", "+1", "1.5", " 1", "18446744073709551616"] {
            assert!(Text::new(wrong, 0).integer().is_err(), "{wrong}");
        }
        for wrong in ["", ".", "1.2.3", "-1", "inf", "1e3"] {
            assert!(Text::new(wrong, 0).float().is_err(), "{wrong}");
        }
        assert_eq!(Text::new("-1.5", 0).signed_float(), Ok(-1.5));
        assert_eq!(Text::new("9@3", 0).byte_range(), Ok(ByteRange { length: 9, offset: Some(3) }));
        assert_eq!(Text::new("9", 0).byte_range(), Ok(ByteRange { length: 9, offset: None }));
    }

    #[test]
    fn references_are_resolved_as_rfc_3986_says() {
        // The examples of §5.4 that a playlist can hold.
        let base = "http://a/b/c/d;p?q";
        for (reference, want) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("g:h", "g:h"),
        ] {
            assert_eq!(resolve(base, reference), want, "{reference}");
        }
        assert_eq!(
            resolve("/live/cam/index.m3u8?session=1", "video.m3u8?session=2"),
            "/live/cam/video.m3u8?session=2"
        );
        assert_eq!(resolve("/live/cam/index.m3u8", "http://b/x"), "http://b/x");
        assert_eq!(resolve("", "x"), "/x");
    }

    proptest! {
        #[test]
        fn any_bytes_are_lexed_within_themselves(bytes: Vec<u8>) {
            let mut end = 0;
            for line in lines(&bytes) {
                let Ok(line) = line else { continue };
                prop_assert!(line.span.start >= end && line.span.end <= bytes.len());
                end = line.span.end;
                if let What::Tag(tag) = line.what {
                    for attribute in tag.attributes().flatten() {
                        prop_assert!(attribute.value.text().span().end <= line.span.end);
                    }
                }
            }
        }

        #[test]
        fn any_reference_resolves(base: String, reference: String) {
            let _ = resolve(&base, &reference);
        }
    }
}
