//! Every protocol in, every protocol out, at once and with real peers: the same slices and audio frames, their presentation
//! times apart by one constant, B-frames included.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod common;

use std::path::{Path, PathBuf};

use common::frames::{Frame, Media, Part, framemd5, part};
use common::peer::{Peer, ffmpeg_publishes};
use common::relay::{Packet, Relay, of_kind};
use common::retina_viewer::RetinaViewer;
use common::rml::Viewer;
use common::rtsp_media::{
    by_presentation, ffmpeg_publishes_rtsp, ffmpeg_slices, gstreamer_plays_rtsp, gstreamer_publishes_rtsp,
    slices_of,
};
use common::server::Server;
use common::{GST_RTSP_PLAYER, GST_RTSP_PUBLISHER, clip, flv, installed, rtp, wait_for};

/// Pictures in the clip.
const PICTURES: usize = 200;
/// Pictures from one key frame to the next.
const GOP: usize = 50;
/// Ticks of an AAC frame.
const SAMPLES: i64 = 1024;

/// The clip in the words of each kind of reader.
struct Published {
    /// MD5 by ffmpeg.
    ffmpeg: Media,
    /// Hashes of our tests.
    ours: Media,
    /// The publisher's packets, where it spoke RTSP: times are ticks.
    wire: Option<Media>,
}

impl Published {
    /// What the clip holds; of the audio, as much as the publisher sent. ffmpeg gathers audio frames in a packet, and does not
    /// send the one it was filling at the end: the wire tells.
    fn new(directory: &Path, input: Input, packets: Option<&[Packet]>) -> Self {
        let mut ffmpeg = by_presentation(slices_of(directory, "source", &clip()));
        let mut ours = by_presentation(flv::slices(&flv::tags(&clip())));
        assert_eq!((ffmpeg.video.len(), ours.video.len()), (PICTURES, PICTURES));
        let wire = packets.map(|packets| Media {
            video: rtp::pictures(of_kind(packets, true)),
            audio: input.audio(packets),
            ..Media::default()
        });
        if let Some(wire) = &wire {
            let scaled = in_milliseconds(wire);
            assert_eq!(scaled.video.len(), PICTURES, "all pictures were sent");
            assert!(ours.audio.len() - scaled.audio.len() <= 8, "more than a packet of audio was not sent");
            for media in [&mut ours, &mut ffmpeg] {
                retime(&mut media.video, &scaled.video);
                retime(&mut media.audio, &scaled.audio);
            }
            let same = |a: &[Frame], b: &[Frame]| a.iter().map(|f| &f.id).eq(b.iter().map(|f| &f.id));
            assert!(same(&ours.video, &wire.video) && same(&ours.audio, &wire.audio), "the clip was sent");
        }
        Self { ffmpeg, ours, wire }
    }
}

/// Audio frames that were sent before the first picture was whole.
fn audio_before_pictures(input: Input, packets: &[Packet]) -> usize {
    let whole = |p: &Packet| p.video && !p.rtcp && rtp::rtp(&p.bytes).marker;
    let first = packets.iter().position(whole).unwrap();
    input.audio(&packets[..first]).len()
}

/// Gives the clip's frames the times that the publisher told: GStreamer gives the first two audio frames the same time. The
/// others, and its sender reports, are right.
fn retime(frames: &mut Vec<Frame>, sent: &[Frame]) {
    frames.truncate(sent.len());
    let shift = frames.last().unwrap().pts - sent.last().unwrap().pts;
    for (frame, sent) in frames.iter_mut().zip(sent) {
        let pts = sent.pts + shift;
        assert!((frame.pts - pts).abs() <= 25, "{frame:?} was sent at {pts} ms");
        (frame.dts, frame.pts) = (pts, pts);
    }
}

fn in_milliseconds(media: &Media) -> Media {
    let scaled = |frames: &[Frame], clock: i64| -> Vec<Frame> {
        let ms = |ticks: i64| (ticks * 1000).div_euclid(clock);
        frames.iter().map(|f| Frame { dts: ms(f.dts), pts: ms(f.pts), ..f.clone() }).collect()
    };
    Media { video: scaled(&media.video, 90_000), audio: scaled(&media.audio, 48_000), ..Media::default() }
}

/// From some key frame to the very end, on both tracks.
#[track_caller]
fn whole(who: &str, published: &Media, got: &Media) -> (Part, Part) {
    let video = part(&format!("{who}, video"), &published.video, &got.video);
    let audio = part(&format!("{who}, audio"), &published.audio, &got.audio);
    assert!(video.first.is_multiple_of(GOP), "{who} begins with picture {}", video.first);
    assert_eq!((video.end, audio.end), (PICTURES, published.audio.len()), "{who}: the end is missing");
    (video, audio)
}

#[track_caller]
fn in_step(who: &str, (video, audio): (Part, Part)) {
    assert!((video.offset - audio.offset).abs() <= 1, "{who}: {video:?} {audio:?}");
}

/// Decoding times rise, and none is above its presentation time. Audio frames that stumble at the publisher's are a tick apart,
/// which milliseconds do not show.
#[track_caller]
fn decodable(who: &str, got: &Media) {
    for (frames, least) in [(&got.video, 1), (&got.audio, 0)] {
        let rise = frames.windows(2).all(|pair| pair[1].dts - pair[0].dts >= least);
        assert!(rise, "{who}: decoding times do not rise");
        assert!(frames.iter().all(|f| f.dts <= f.pts), "{who}: shown before it is decoded");
    }
}

/// ffmpeg reads a picture in full before it hands it on, and its parser begins at position -1 where packets have none, as in
/// RTP: so it never finds the time of the first picture, whoever the server is. That picture's time is what the other readers
/// show; here it has to be the one before the first that has a time.
#[track_caller]
fn without_the_untimed(who: &str, published: &Media, file: &Path) -> Media {
    const NONE: &str = "-9223372036854775808";
    let text = std::fs::read_to_string(file).unwrap();
    let (without, with): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.contains(NONE));
    let timed = file.with_extension("timed");
    std::fs::write(&timed, with.join("\n")).unwrap();
    let mut media = by_presentation(framemd5(&timed));
    let [line] = without[..] else { panic!("{who}: without a time are {without:?}") };
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let id = format!("{} bytes {}", fields[4], fields[5]);
    let Part { first, offset, .. } = part(&format!("{who}, video"), &published.video, &media.video);
    let before = first.checked_sub(1).unwrap_or_else(|| panic!("{who}: {id} is not the first picture"));
    assert_eq!(published.video[before].id, id, "{who}: its first picture");
    let pts = published.video[before].pts + offset;
    media.video.insert(0, Frame { dts: pts, pts, key: true, id });
    media
}

/// Over UDP packets come on two ports, and GStreamer may begin to play before it reads the first sender report, in whatever
/// step: gives what it played in the first group of pictures the times of what follows. After that a report that came with the
/// first packet is long read.
fn until_told(published: &Media, got: &mut Media) {
    for (published, got, early) in
        [(&published.video, &mut got.video, GOP), (&published.audio, &mut got.audio, 2 * GOP)]
    {
        let from = published.len() - got.len();
        let shift = got[early].pts - published[from + early].pts;
        for (frame, published) in got[..early].iter_mut().zip(&published[from..]) {
            assert!((frame.pts - published.pts - shift).abs() < 500, "{frame:?}, published {published:?}");
            (frame.dts, frame.pts) = (published.pts + shift, published.pts + shift);
        }
    }
}

struct Readers {
    rtmp: Viewer,
    ffmpeg: Vec<(&'static str, Peer, PathBuf)>,
    retina: Vec<(&'static str, RetinaViewer)>,
    gstreamer: Vec<(&'static str, Peer, PathBuf)>,
    hls: (Peer, PathBuf),
}

impl Readers {
    fn start(directory: &Path, server: &Server) -> Self {
        let url = format!("rtsp://{}/live/m", server.rtsp.unwrap());
        let ffmpeg = |name, over| {
            let (peer, out) = ffmpeg_slices(directory, name, &["-rtsp_transport", over], &url);
            (name, peer, out)
        };
        let gstreamer = |name, over| {
            let (peer, out) = gstreamer_plays_rtsp(directory, name, over, &url);
            (name, peer, out)
        };
        let index = format!("http://{}/live/m/index.m3u8", server.hls);
        Self {
            rtmp: Viewer::start(server.rtmp, "live", "m").unwrap(),
            retina: vec![
                ("retina-tcp", RetinaViewer::start(&url, false)),
                ("retina-udp", RetinaViewer::start(&url, true)),
            ],
            gstreamer: vec![gstreamer("gstreamer-tcp", "tcp"), gstreamer("gstreamer-udp", "udp")],
            ffmpeg: vec![ffmpeg("ffmpeg-tcp", "tcp"), ffmpeg("ffmpeg-udp", "udp")],
            hls: ffmpeg_slices(directory, "hls", &["-live_start_index", "0"], &index),
        }
    }

    /// Waits until all have come to the end by themselves, and compares.
    fn check(self, directory: &Path, published: &Published) {
        let rtmp = flv::slices(&self.rtmp.watched().tags);
        decodable("rtmp", &rtmp);
        in_step("rtmp", whole("rtmp", &published.ours, &by_presentation(rtmp)));
        for (who, viewer) in self.retina {
            let got = viewer.ended_well();
            assert_eq!(got.lost, 0, "{who}");
            match &published.wire {
                // Not a tick off.
                Some(wire) => whole(who, wire, &got.media),
                None => whole(who, &published.ours, &in_milliseconds(&got.media)),
            };
        }
        for (who, player, out) in self.ffmpeg {
            player.ended_well();
            let parts = whole(who, &published.ffmpeg, &without_the_untimed(who, &published.ffmpeg, &out));
            in_step(who, parts);
        }
        for (who, player, out) in self.gstreamer {
            player.ended_well();
            let mut got = by_presentation(slices_of(directory, &format!("{who}-got"), &out));
            if who.ends_with("udp") {
                until_told(&published.ffmpeg, &mut got);
            }
            in_step(who, whole(who, &published.ffmpeg, &got));
        }
        let (player, out) = self.hls;
        player.ended_well();
        let hls = framemd5(&out);
        decodable("hls", &hls);
        in_step("hls", whole("hls", &published.ffmpeg, &by_presentation(hls)));
    }
}

/// Who publishes.
#[derive(Clone, Copy)]
enum Input {
    Ffmpeg { rtsp: bool },
    Gstreamer { latm: bool },
}

impl Input {
    /// The audio frames in its packets.
    fn audio(self, packets: &[Packet]) -> Vec<Frame> {
        let packets = of_kind(packets, false);
        if matches!(self, Self::Gstreamer { latm: true }) {
            rtp::latm(packets)
        } else {
            rtp::audio(packets, SAMPLES)
        }
    }
}

/// `publish` gets the server's RTMP URL, or an RTSP URL that leads through a relay.
fn every_protocol_out(input: Input, publish: impl Fn(&Path, &str) -> Peer) {
    if !installed(&["ffmpeg", GST_RTSP_PUBLISHER, GST_RTSP_PLAYER]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let records = directory.join("rec");
    let server = Server::start(&["--record", records.to_str().unwrap()]);
    let rtsp = !matches!(input, Input::Ffmpeg { rtsp: false });
    let relay = rtsp.then(|| Relay::faithful(server.rtsp.unwrap()));
    let url = match &relay {
        Some(relay) => format!("rtsp://{}/live/m", relay.address()),
        None => server.url("live/m"),
    };
    let publisher = publish(directory, &url);
    wait_for("two tracks", || {
        let streams = server.list("streams");
        let tracks = streams.iter().find(|s| s["path"] == "live/m")?["tracks"].as_array()?.len();
        (tracks == 2).then_some(())
    });
    let readers = Readers::start(directory, &server);
    publisher.ended_well();
    let packets = relay.map(Relay::ended);
    let published = Published::new(directory, input, packets.as_deref());
    readers.check(directory, &published);

    let recording = wait_for("the recording's end", || {
        server.list("recordings").into_iter().find(|r| r["state"] == "finished")
    });
    let file = PathBuf::from(recording["file"].as_str().unwrap());
    let recorded = slices_of(directory, "recording", &file);
    decodable("recording", &recorded);
    let parts = whole("recording", &published.ffmpeg, &by_presentation(recorded));
    // It begins with the first picture: audio that came before that has no place in it.
    let early = packets.as_deref().map_or(0, |packets| audio_before_pictures(input, packets));
    assert_eq!(parts.0.first, 0, "the recording has all pictures");
    assert!(parts.1.first <= early, "the recording begins with audio frame {}", parts.1.first);
    in_step("recording", parts);
    server.stop();
}

#[test]
fn rtmp_by_ffmpeg_goes_out_over_everything() {
    every_protocol_out(Input::Ffmpeg { rtsp: false }, ffmpeg_publishes);
}

#[test]
fn interleaved_rtsp_by_ffmpeg_goes_out_over_everything() {
    every_protocol_out(Input::Ffmpeg { rtsp: true }, |directory, url| {
        ffmpeg_publishes_rtsp(directory, "tcp", url)
    });
}

#[test]
fn rtsp_over_udp_by_ffmpeg_goes_out_over_everything() {
    every_protocol_out(Input::Ffmpeg { rtsp: true }, |directory, url| {
        ffmpeg_publishes_rtsp(directory, "udp", url)
    });
}

#[test]
fn interleaved_rtsp_by_gstreamer_goes_out_over_everything() {
    every_protocol_out(Input::Gstreamer { latm: false }, |directory, url| {
        gstreamer_publishes_rtsp(directory, "tcp", false, url)
    });
}

/// With its defaults: its AAC comes as LATM.
#[test]
fn rtsp_over_udp_by_gstreamer_goes_out_over_everything() {
    every_protocol_out(Input::Gstreamer { latm: true }, |directory, url| {
        gstreamer_publishes_rtsp(directory, "udp", true, url)
    });
}
