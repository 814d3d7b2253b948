//! What went in, what came out, and whether they are the same.

use std::collections::BTreeMap;
use std::path::Path;

/// A picture or an audio frame. Frames are compared within one kind of reader, so that the times have the same unit
/// (milliseconds) and the identities the same form.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Decoding time in milliseconds.
    pub dts: i64,
    /// Presentation time in milliseconds.
    pub pts: i64,
    /// True where a decoder can start; not known to every reader, then false.
    pub key: bool,
    /// Size and hash of the payload.
    pub id: String,
}

/// The frames of a stream, in the order they were read.
#[derive(Clone, Debug, Default)]
pub struct Media {
    /// Decoder configuration records for the video.
    pub video_config: Vec<Vec<u8>>,
    /// AudioSpecificConfigs.
    pub audio_config: Vec<Vec<u8>>,
    /// Pictures.
    pub video: Vec<Frame>,
    /// Audio frames.
    pub audio: Vec<Frame>,
}

/// Where a viewer's frames stand in what was published.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Index of its first frame.
    pub first: usize,
    /// Index after its last frame.
    pub end: usize,
    /// Its times less the publisher's, in milliseconds.
    pub offset: i64,
}

/// Both tracks of a viewer.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Of the pictures.
    pub video: Part,
    /// Of the audio frames.
    pub audio: Part,
}

/// Finds `got` in `whole`: the same frames without a gap, the same composition times, all times shifted by one constant (1 ms
/// is allowed for rounding). Panics with the first difference.
#[track_caller]
pub fn part(who: &str, whole: &[Frame], got: &[Frame]) -> Part {
    assert!(!got.is_empty(), "{who}: no frame came out");
    let mut longest = (0, 0, String::new());
    for first in (0..whole.len()).filter(|at| whole[*at].id == got[0].id) {
        match difference(&whole[first..], got) {
            None => return Part { first, end: first + got.len(), offset: got[0].dts - whole[first].dts },
            Some((at, why)) if at >= longest.0 => longest = (at, first, why),
            Some(_) => {}
        }
    }
    let (at, first, why) = longest;
    if why.is_empty() {
        panic!("{who}: its first frame ({:?}) was never published", got[0]);
    }
    panic!("{who}: of {} frames, number {at} (published as {}) differs: {why}", got.len(), first + at);
}

fn difference(whole: &[Frame], got: &[Frame]) -> Option<(usize, String)> {
    let offset = got[0].dts - whole[0].dts;
    for (at, frame) in got.iter().enumerate() {
        let Some(published) = whole.get(at) else {
            return Some((at, format!("published was nothing, got {frame:?}")));
        };
        let same = frame.id == published.id
            && (frame.dts - published.dts - offset).abs() <= 1
            && (frame.pts - published.pts - offset).abs() <= 1
            && (frame.pts - frame.dts).abs_diff(published.pts - published.dts) <= 1;
        if !same {
            return Some((
                at,
                format!("published {published:?}, got {frame:?}, times are {offset} ms apart"),
            ));
        }
    }
    None
}

/// [`part`] for both tracks, which have to be shifted by the same constant, and the codec configuration, which has to be the
/// publisher's.
#[track_caller]
pub fn parts(who: &str, whole: &Media, got: &Media) -> Parts {
    for (kind, want, have) in
        [("video", &whole.video_config, &got.video_config), ("audio", &whole.audio_config, &got.audio_config)]
    {
        assert!(!have.is_empty(), "{who}: no {kind} configuration came out");
        assert!(
            have.iter().all(|c| c == &want[0]),
            "{who}: {kind} configuration {have:02x?}, want {want:02x?}"
        );
    }
    let video = part(&format!("{who}, video"), &whole.video, &got.video);
    let audio = part(&format!("{who}, audio"), &whole.audio, &got.audio);
    let apart = (video.offset - audio.offset).abs();
    assert!(apart <= 1, "{who}: video is shifted by {} ms, audio by {} ms", video.offset, audio.offset);
    assert!(whole.video[video.first].key, "{who}: begins with frame {}, which is no key frame", video.first);
    Parts { video, audio }
}

/// Reads what ffmpeg's framemd5 wrote: frames in milliseconds, the MD5 of each packet, and of the configuration.
pub fn framemd5(file: &Path) -> Media {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut streams: BTreeMap<&str, Stream> = BTreeMap::new();
    for line in text.lines() {
        // `#tb 0: 1/1000`, but `#extradata 0, 46, HASH`.
        if let Some((name, rest)) = line.strip_prefix('#').and_then(|head| head.split_once(' ')) {
            let Some((stream, value)) = rest.split_once([':', ',']) else { continue };
            let value = value.trim();
            let stream = match name {
                "media_type" | "tb" | "extradata" => streams.entry(stream).or_default(),
                _ => continue,
            };
            match name {
                "media_type" => stream.is_video = value == "video",
                "tb" => {
                    stream.base = value.split_once('/').map(|(n, d)| (n.parse().unwrap(), d.parse().unwrap()))
                }
                _ => stream.config.push(value.as_bytes().to_vec()),
            }
            continue;
        }
        // A file that is still being written may end within a line.
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [stream, dts, pts, _duration, size, hash, ..] = fields[..] else { continue };
        let Some(stream) = streams.get_mut(stream) else { continue };
        let (num, den) = stream.base.unwrap_or((1, 1000));
        // Where ffmpeg knows no time it writes the smallest number there is.
        let milliseconds =
            |ticks: &str| ticks.parse::<i64>().unwrap_or_default().saturating_mul(num * 1000) / den;
        let (dts, pts) = (milliseconds(dts), milliseconds(pts));
        stream.frames.push(Frame { dts, pts, key: false, id: format!("{size} bytes {hash}") });
    }
    let mut media = Media::default();
    for stream in streams.into_values() {
        if stream.is_video {
            media.video_config.extend(stream.config);
            media.video.extend(stream.frames);
        } else {
            media.audio_config.extend(stream.config);
            media.audio.extend(stream.frames);
        }
    }
    media
}

#[derive(Default)]
struct Stream {
    is_video: bool,
    base: Option<(i64, i64)>,
    config: Vec<Vec<u8>>,
    frames: Vec<Frame>,
}
