//! Playlists through two parsers that are not ours, which have to agree.

use m3u8_rs::Playlist;
use quick_m3u8::config::ParsingOptionsBuilder;
use quick_m3u8::tag::KnownTag;
use quick_m3u8::tag::hls::Tag;
use quick_m3u8::{HlsLine, Reader};

/// A media playlist.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    /// EXT-X-VERSION.
    pub version: u64,
    /// EXT-X-TARGETDURATION in seconds.
    pub target: u64,
    /// EXT-X-MEDIA-SEQUENCE.
    pub first: u64,
    /// EXT-X-DISCONTINUITY-SEQUENCE.
    pub discontinuities: u64,
    /// EXT-X-ENDLIST.
    pub ended: bool,
    /// EXT-X-INDEPENDENT-SEGMENTS.
    pub independent: bool,
    /// What is listed.
    pub segments: Vec<Segment>,
}

/// A segment as it is listed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segment {
    /// Its URI.
    pub uri: String,
    /// EXTINF.
    pub seconds: f64,
    /// URI of the EXT-X-MAP that holds for it.
    pub map: String,
    /// EXT-X-DISCONTINUITY before it.
    pub broken: bool,
    /// EXT-X-PROGRAM-DATE-TIME, in milliseconds since 1970.
    pub date: Option<i64>,
}

/// The one variant of a multivariant playlist.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variant {
    /// Its URI.
    pub uri: String,
    /// BANDWIDTH.
    pub bandwidth: u64,
    /// AVERAGE-BANDWIDTH.
    pub average: u64,
    /// CODECS.
    pub codecs: String,
    /// RESOLUTION.
    pub size: (u64, u64),
    /// FRAME-RATE.
    pub frame_rate: f64,
    /// EXT-X-INDEPENDENT-SEGMENTS.
    pub independent: bool,
}

/// Every line as quick-m3u8 types it; a tag that it does not know is none that we write.
fn tags(text: &str) -> Vec<HlsLine<'_>> {
    let options = ParsingOptionsBuilder::new().with_parsing_for_all_tags().build();
    let mut reader = Reader::from_str(text, options);
    let lines: Vec<_> = std::iter::from_fn(|| reader.read_line().unwrap()).collect();
    let known = |l: &HlsLine<'_>| matches!(l, HlsLine::KnownTag(_) | HlsLine::Uri(_));
    assert!(lines.iter().all(known), "{lines:?}");
    lines
}

impl List {
    /// Number of the last segment.
    pub fn end(&self) -> u64 {
        self.first + self.segments.len() as u64 - 1
    }

    /// Reads a list with both parsers.
    #[track_caller]
    pub fn read(text: &str) -> Self {
        let (one, two) = (Self::by_m3u8_rs(text), Self::by_quick_m3u8(text));
        // m3u8-rs keeps durations in 32 bits.
        let rounded = |list: &Self| {
            let mut list = list.clone();
            list.segments.iter_mut().for_each(|s| s.seconds = (s.seconds * 1000.0).round());
            list
        };
        assert_eq!(rounded(&one), rounded(&two), "two parsers, two readings of\n{text}");
        two
    }

    fn by_m3u8_rs(text: &str) -> Self {
        let Ok(Playlist::MediaPlaylist(list)) = m3u8_rs::parse_playlist_res(text.as_bytes()) else {
            panic!("m3u8-rs finds no media playlist in\n{text}")
        };
        let mut map = String::new();
        let segments = list.segments.into_iter().map(|s| {
            if let Some(m) = s.map {
                map = m.uri;
            }
            assert!(s.unknown_tags.is_empty() && s.title.is_none_or(|t| t.is_empty()), "{text}");
            Segment {
                uri: s.uri,
                seconds: s.duration.into(),
                map: map.clone(),
                broken: s.discontinuity,
                date: s.program_date_time.map(|d| d.timestamp_millis()),
            }
        });
        Self {
            segments: segments.collect(),
            version: list.version.unwrap() as u64,
            target: list.target_duration,
            first: list.media_sequence,
            discontinuities: list.discontinuity_sequence,
            ended: list.end_list,
            independent: list.independent_segments,
        }
    }

    fn by_quick_m3u8(text: &str) -> Self {
        let (mut list, mut open) = (Self::default(), Segment::default());
        for line in tags(text) {
            match line {
                HlsLine::Uri(uri) => {
                    let map = open.map.clone();
                    list.segments.push(Segment { uri: uri.into_owned(), ..std::mem::take(&mut open) });
                    open.map = map;
                }
                HlsLine::KnownTag(KnownTag::Hls(tag)) => match tag {
                    Tag::M3u(_) => {}
                    Tag::Version(t) => list.version = t.version(),
                    Tag::Targetduration(t) => list.target = t.target_duration(),
                    Tag::MediaSequence(t) => list.first = t.media_sequence(),
                    Tag::DiscontinuitySequence(t) => list.discontinuities = t.discontinuity_sequence(),
                    Tag::Endlist(_) => list.ended = true,
                    Tag::IndependentSegments(_) => list.independent = true,
                    Tag::Discontinuity(_) => open.broken = true,
                    Tag::Map(t) => open.map = t.uri().to_owned(),
                    Tag::Inf(t) => open.seconds = t.duration(),
                    Tag::ProgramDateTime(t) => open.date = Some(milliseconds(&t.program_date_time())),
                    other => panic!("{other:?} in\n{text}"),
                },
                _ => {}
            }
        }
        list
    }
}

/// Milliseconds since 1970 of a date in UTC.
fn milliseconds(date: &quick_m3u8::date::DateTime) -> i64 {
    let (year, month, day) =
        (i64::from(date.date_fullyear), i64::from(date.date_month), i64::from(date.date_mday));
    // Days since 1970, with years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719_468;
    let minutes = days * 1440 + i64::from(date.time_hour) * 60 + i64::from(date.time_minute);
    minutes * 60_000 + (date.time_second * 1000.0).round() as i64
}

impl Variant {
    /// Reads a multivariant playlist of one variant with both parsers.
    #[track_caller]
    pub fn read(text: &str) -> Self {
        let (one, two) = (Self::by_m3u8_rs(text), Self::by_quick_m3u8(text));
        assert_eq!(one, two, "two parsers, two readings of\n{text}");
        two
    }

    fn by_m3u8_rs(text: &str) -> Self {
        let Ok(Playlist::MasterPlaylist(list)) = m3u8_rs::parse_playlist_res(text.as_bytes()) else {
            panic!("m3u8-rs finds no multivariant playlist in\n{text}")
        };
        assert_eq!(list.variants.len(), 1, "{text}");
        let variant = list.variants[0].clone();
        assert!(variant.other_attributes.is_none() && list.unknown_tags.is_empty(), "{text}");
        let size = variant.resolution.unwrap();
        Self {
            uri: variant.uri,
            bandwidth: variant.bandwidth,
            average: variant.average_bandwidth.unwrap(),
            codecs: variant.codecs.unwrap(),
            size: (size.width, size.height),
            frame_rate: variant.frame_rate.unwrap(),
            independent: list.independent_segments,
        }
    }

    fn by_quick_m3u8(text: &str) -> Self {
        let mut variant = Self::default();
        for line in tags(text) {
            match line {
                HlsLine::Uri(uri) => variant.uri = uri.into_owned(),
                HlsLine::KnownTag(KnownTag::Hls(Tag::IndependentSegments(_))) => variant.independent = true,
                HlsLine::KnownTag(KnownTag::Hls(Tag::StreamInf(t))) => {
                    let size = t.resolution().unwrap();
                    variant.bandwidth = t.bandwidth();
                    variant.average = t.average_bandwidth().unwrap();
                    variant.codecs = t.codecs().unwrap().to_owned();
                    variant.size = (size.width, size.height);
                    variant.frame_rate = t.frame_rate().unwrap();
                }
                _ => {}
            }
        }
        variant
    }
}
