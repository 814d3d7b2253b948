//! ffmpeg and GStreamer as RTSP publishers, ffmpeg as a player.

use std::path::{Path, PathBuf};

use super::frames::{Media, framemd5};
use super::peer::Peer;
use super::{GST_RTSP_PLAYER, GST_RTSP_PUBLISHER, clip, root};

/// Filters that leave the slices of pictures alone: parameter sets and the like stand in other places in each protocol.
pub const SLICES: &str = "h264_mp4toannexb,filter_units=pass_types=1-5";

/// ffmpeg publishes the clip once, in real time, without coding it again. `over` is `tcp` or `udp`.
pub fn ffmpeg_publishes_rtsp(directory: &Path, over: &str, url: &str) -> Peer {
    let clip = clip();
    let clip = clip.to_str().unwrap();
    let arguments = ["-hide_banner", "-nostdin", "-re", "-i", clip, "-c", "copy", "-f", "rtsp"];
    let arguments: Vec<&str> = arguments.into_iter().chain(["-rtsp_transport", over, url]).collect();
    Peer::start(directory, "ffmpeg-publisher", "ffmpeg", &arguments)
}

/// ffmpeg reads `input`; the slices of its pictures and its raw audio frames go to `NAME.framemd5`. `options` go before the input.
pub fn ffmpeg_slices(directory: &Path, name: &str, options: &[&str], input: &str) -> (Peer, PathBuf) {
    let out = directory.join(format!("{name}.framemd5"));
    let mut arguments = vec!["-hide_banner", "-nostdin"];
    arguments.extend(options);
    arguments.extend(["-i", input, "-c", "copy", "-bsf:v", SLICES, "-copyts", "-flush_packets", "1"]);
    arguments.extend(["-y", "-f", "framemd5", out.to_str().unwrap()]);
    (Peer::start(directory, name, "ffmpeg", &arguments), out)
}

/// GStreamer publishes the clip once, in real time, its AAC as LATM or as what is called mpeg4-generic.
pub fn gstreamer_publishes_rtsp(directory: &Path, over: &str, latm: bool, url: &str) -> Peer {
    let clip = clip();
    let arguments = [clip.to_str().unwrap(), url, over].into_iter().chain(latm.then_some("latm"));
    let arguments: Vec<&str> = arguments.collect();
    let program = root().join(GST_RTSP_PUBLISHER);
    Peer::start(directory, "gstreamer-publisher", program.to_str().unwrap(), &arguments)
}

/// GStreamer plays over `tcp` or `udp`; what it gets goes to `NAME.mkv`.
pub fn gstreamer_plays_rtsp(directory: &Path, name: &str, over: &str, url: &str) -> (Peer, PathBuf) {
    let out = directory.join(format!("{name}.mkv"));
    let program = root().join(GST_RTSP_PLAYER);
    (Peer::start(directory, name, program.to_str().unwrap(), &[url, over, out.to_str().unwrap()]), out)
}

/// Frames that ffmpeg reads in a file, by their slices.
pub fn slices_of(directory: &Path, name: &str, file: &Path) -> Media {
    let (reader, out) = ffmpeg_slices(directory, name, &[], file.to_str().unwrap());
    reader.ended_well();
    framemd5(&out)
}

/// Frames by presentation time alone: RTP carries no other, and readers guess decoding times.
pub fn by_presentation(mut media: Media) -> Media {
    for frame in media.video.iter_mut().chain(&mut media.audio) {
        frame.dts = frame.pts;
    }
    media
}
