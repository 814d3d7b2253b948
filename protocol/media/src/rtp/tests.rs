//! Whole ways: frames of the sample clip to packets, over a path that loses and reorders, and back.
#![allow(clippy::arithmetic_side_effects)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use wire::Cursor;
use wire::flv::file::TagHeader;
use wire::sdp::Description;

use super::*;
use crate::flv::Demuxer;
use crate::{Codec, Frame, Track, Unit};

const HEADING: Heading<'_> = Heading { name: "test", id: 1, v6: false, live: false };

/// Frames and tracks of the sample clip, by track: video first.
fn sample() -> (Vec<Arc<Track>>, Vec<Frame>) {
    let bytes = include_bytes!("../../../../scenarios/samples/h264-aac.flv");
    let mut c = Cursor::new(&bytes[13..]);
    let mut demuxer = Demuxer::new();
    let (mut tracks, mut frames) = (Vec::new(), Vec::new());
    while !c.is_empty() {
        let tag = TagHeader::decode(&mut c).unwrap();
        let body = Bytes::copy_from_slice(&c.peek()[..tag.size as usize]);
        let units = match tag.kind {
            9 => demuxer.video(tag.timestamp, body).unwrap(),
            8 => demuxer.audio(tag.timestamp, body).unwrap(),
            _ => (None, None),
        };
        for unit in [units.0, units.1].into_iter().flatten() {
            match unit {
                Unit::Track(track) => tracks.push(track),
                Unit::Frame(frame) => frames.push(frame),
                Unit::Metadata(_) => {}
            }
        }
        c = Cursor::new(&c.peek()[tag.size as usize + 4..]);
    }
    tracks.sort_by_key(|t| t.kind());
    (tracks, frames)
}

/// NAL units of a picture that a decoder needs besides parameter sets; the raw frame for audio.
fn essence(frame: &Frame) -> Vec<Vec<u8>> {
    if frame.track.codec != Codec::H264 {
        return vec![frame.payload.to_vec()];
    }
    let units = wire::codec::LengthPrefixed::new(&frame.payload, 4).map(|n| n.unwrap().to_vec());
    units.filter(|n| matches!(n[0] & 0x1f, 1..=6)).collect()
}

/// One track's packets: arrival in milliseconds, RTCP or RTP, bytes.
struct Sent {
    place: usize,
    at: u64,
    rtcp: bool,
    bytes: Bytes,
}

fn send(tracks: &[Arc<Track>], frames: &[Frame], reports: bool) -> Vec<Sent> {
    let mut senders: Vec<Sender> =
        tracks.iter().enumerate().map(|(n, t)| Sender::new(t, n, 99 + n as u64).unwrap()).collect();
    let wall = Duration::from_secs(1_700_000_000);
    let anchor = Anchor::new(wall, frames[0].pts, frames[0].track.clock);
    let mut out = Vec::new();
    if reports {
        for (place, sender) in senders.iter().enumerate() {
            out.push(Sent { place, at: 1000, rtcp: true, bytes: sender.report(&anchor, wall, "c@h") });
        }
    }
    for frame in frames {
        let place = tracks.iter().position(|t| t.kind() == frame.track.kind()).unwrap();
        let timestamp = senders[place].timestamp(frame);
        for piece in packetize(frame, MAX_PAYLOAD) {
            let header = senders[place].header(timestamp, &piece);
            let bytes = [&header[..], &piece.payload].concat().into();
            // Video arrives late, as behind an encoder's look-ahead.
            let late = if place == 0 { 700 } else { 0 };
            let at = 1000 + u64::try_from(frame.dts_ms()).unwrap() + late;
            out.push(Sent { place, at, rtcp: false, bytes });
        }
    }
    out.sort_by_key(|s| s.at);
    out
}

fn receive(ingest: &mut Ingest, sent: &[Sent]) -> Vec<(usize, Frame)> {
    let mut got = Vec::new();
    let mut take = |ingest: &mut Ingest| {
        while let Some((place, unit)) = ingest.poll() {
            if let Unit::Frame(frame) = unit {
                got.push((place, frame));
            }
        }
    };
    for Sent { place, at, rtcp, bytes } in sent {
        if *rtcp {
            assert!(ingest.rtcp(*at, *place, bytes));
        } else {
            assert!(ingest.rtp(*at, *place, bytes.clone()));
        }
        take(ingest);
    }
    ingest.finish(sent.last().unwrap().at);
    take(ingest);
    got
}

fn ingest(tracks: &[Arc<Track>], config: IngestConfig) -> Ingest {
    let sdp = describe(tracks, &HEADING).unwrap();
    Ingest::new(&Description::parse(sdp.as_bytes()).unwrap(), config).unwrap()
}

#[test]
fn every_frame_of_the_sample_comes_back_with_its_times() {
    let (tracks, frames) = sample();
    for config in [IngestConfig::udp(), IngestConfig::tcp()] {
        let got = receive(&mut ingest(&tracks, config), &send(&tracks, &frames, true));
        let mut shifts = Vec::new();
        for (place, track) in tracks.iter().enumerate() {
            let want: Vec<&Frame> = frames.iter().filter(|f| f.track.kind() == track.kind()).collect();
            let back: Vec<&Frame> = got.iter().filter(|(p, _)| *p == place).map(|(_, f)| f).collect();
            assert_eq!(back.len(), want.len());
            let ms = |ticks: i64, clock: u32| ticks as f64 * 1000.0 / f64::from(clock);
            let shift = ms(back[0].pts, back[0].track.clock) - ms(want[0].pts, 1000);
            let mut last = i64::MIN;
            for (b, w) in back.iter().zip(&want) {
                assert_eq!(essence(b), essence(w));
                assert_eq!(b.key, w.key);
                let pts = ms(b.pts, b.track.clock) - ms(w.pts, 1000) - shift;
                assert!(pts.abs() <= 1.0, "presentation time off by {pts} ms");
                let dts = ms(b.dts, b.track.clock) - ms(w.dts, 1000) - shift;
                assert!(dts.abs() <= 1.0, "decoding time off by {dts} ms");
                assert!(b.dts > last && b.dts <= b.pts && b.dts >= 0);
                last = b.dts;
            }
            shifts.push(shift);
        }
        // The reports line the tracks up though one of them came 700 ms late.
        assert!((shifts[0] - shifts[1]).abs() <= 1.0, "{shifts:?}");
        assert_eq!(tracks[0].config, got.iter().find(|(p, _)| *p == 0).unwrap().1.track.config);
    }
}

#[test]
fn without_reports_the_first_frames_wait_no_longer_than_they_have_to() {
    let (tracks, frames) = sample();
    // As much as takes less than the wait.
    let sent = send(&tracks, &frames[..100], false);
    let mut ingest = ingest(&tracks, IngestConfig::udp());
    for s in &sent {
        ingest.rtp(s.at, s.place, s.bytes.clone());
    }
    let units = |ingest: &mut Ingest| std::iter::from_fn(|| ingest.poll()).count();
    assert_eq!(units(&mut ingest), 2, "the tracks are told at once, frames wait");
    let at = ingest.wake_at().unwrap();
    assert!(at <= sent[0].at + 3500);
    ingest.tick(at);
    assert_eq!(units(&mut ingest), 100);
    assert_eq!(ingest.wake_at(), None);
}

#[test]
fn what_is_held_is_told_and_comes_out_in_a_hurry() {
    let (tracks, frames) = sample();
    let mut ingest = ingest(&tracks, IngestConfig::tcp());
    while ingest.poll().is_some() {}
    assert_eq!((ingest.open_bytes(), ingest.open_since(), ingest.hurry(0)), (0, None, false));
    let sent = send(&tracks, &frames, false);
    let mut given = 0;
    for Sent { place, at, bytes, .. } in &sent[..200] {
        ingest.rtp(*at, *place, bytes.clone());
        given += bytes.len();
    }
    assert!(ingest.poll().is_none(), "they wait to be lined up");
    assert!(ingest.open_bytes() > given * 9 / 10, "{} of {given} bytes", ingest.open_bytes());
    assert_eq!(ingest.open_since(), Some(sent[0].at));
    let now = sent[199].at;
    assert!(ingest.hurry(now) && ingest.poll().is_some() && !ingest.hurry(now));
    // What is left is the picture in the making.
    assert!(ingest.open_bytes() < given / 4, "{} of {given} bytes", ingest.open_bytes());
    assert!(ingest.open_since() > Some(sent[0].at) || ingest.open_bytes() == 0);
    ingest.finish(now);
    assert_eq!(ingest.open_bytes(), 0);
}

#[test]
fn parameter_sets_in_the_stream_configure_a_track_that_was_described_without() {
    let (tracks, frames) = sample();
    let sdp = describe(&tracks[..1], &HEADING).unwrap();
    let bare = sdp.split(";sprop").next().unwrap();
    let description = Description::parse(bare.as_bytes()).unwrap();
    let mut ingest = Ingest::new(&description, IngestConfig::tcp()).unwrap();
    let video: Vec<Frame> = frames.into_iter().filter(|f| f.track.codec == Codec::H264).collect();
    let got = receive(&mut ingest, &send(&tracks[..1], &video, true));
    assert_eq!(got.len(), video.len());
    assert_eq!(got[0].1.track.config, tracks[0].config);
}

#[test]
fn tracks_that_were_not_set_up_are_none() {
    let (tracks, frames) = sample();
    let mut ingest = ingest(&tracks, IngestConfig::tcp());
    ingest.keep(|place| place == 1);
    let audio: Vec<Frame> = frames.into_iter().filter(|f| f.track.codec == Codec::Aac).collect();
    let mut sent = send(&tracks[1..], &audio, true);
    for s in &mut sent {
        s.place = 1;
        if !s.rtcp {
            let mut bytes = s.bytes.to_vec();
            bytes[1] += 1;
            s.bytes = bytes.into();
        }
    }
    assert_eq!((ingest.carries(0), ingest.carries(1), ingest.sections()), (false, true, 2));
    let mut told = Vec::new();
    while let Some((place, unit)) = ingest.poll() {
        assert!(matches!(unit, Unit::Track(_)));
        told.push(place);
    }
    assert_eq!(told, [1]);
    assert_eq!(receive(&mut ingest, &sent).len(), audio.len());
}

#[test]
fn a_clock_that_jumps_hours_is_taken_out() {
    let (tracks, frames) = sample();
    let audio: Vec<Frame> = frames.into_iter().filter(|f| f.track.codec == Codec::Aac).take(90).collect();
    let mut sent = send(&tracks[1..], &audio, false);
    for (n, s) in sent.iter_mut().enumerate().filter(|(n, _)| *n >= 30) {
        let mut bytes = s.bytes.to_vec();
        let jump: i32 = if n < 60 { -48_000 * 3600 } else { 48_000 * 3600 * 5 };
        let raw = u32::from_be_bytes(bytes[4..8].try_into().unwrap()).wrapping_add_signed(jump);
        bytes[4..8].copy_from_slice(&raw.to_be_bytes());
        s.bytes = bytes.into();
    }
    let mut ingest = ingest(&tracks[1..], IngestConfig::tcp());
    let got = receive(&mut ingest, &sent);
    assert_eq!((got.len(), ingest.counters(0).jumps), (90, 2));
    assert!(got.windows(2).all(|w| (900..1200).contains(&(w[1].1.dts - w[0].1.dts))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What is lost costs the frames it belonged to and no others, and nothing is made up.
    #[test]
    fn loss_and_disorder_cost_no_more_than_the_frames_hit(
        drops in proptest::collection::vec(0usize..600, 0..12), swaps in proptest::collection::vec(3usize..600, 0..40),
    ) {
        let (tracks, frames) = sample();
        let frames: Vec<Frame> = frames.into_iter().filter(|f| f.track.codec == Codec::H264).take(60).collect();
        let mut sent = send(&tracks[..1], &frames, true);
        for at in swaps {
            if at + 1 < sent.len() && at > 2 {
                sent.swap(at, at + 1);
                let t = sent[at].at.min(sent[at + 1].at);
                (sent[at].at, sent[at + 1].at) = (t, t);
            }
        }
        let mut n = 0;
        let mut hit = std::collections::BTreeSet::new();
        sent.retain(|s| {
            n += 1;
            let keep = n < 3 || !drops.contains(&(n - 1));
            if !keep { hit.insert(s.bytes[4..8].to_vec()); }
            keep
        });
        let mut ingest = ingest(&tracks[..1], IngestConfig::udp());
        let got = receive(&mut ingest, &sent);
        let all: Vec<_> = frames.iter().map(essence).collect();
        let mut from = 0;
        for (_, frame) in &got {
            let found = all[from..].iter().position(|e| *e == essence(frame));
            prop_assert!(found.is_some(), "a frame that was never sent, or twice, or out of order");
            from += found.unwrap() + 1;
        }
        prop_assert!(got.len() + hit.len() >= all.len(), "{} of {} with {} hit, {:?}", got.len(), all.len(), hit.len(), ingest.counters(0));
        prop_assert!(got.windows(2).all(|w| w[0].1.dts < w[1].1.dts && w[1].1.dts <= w[1].1.pts));
    }

    #[test]
    fn random_packets_never_panic(
        packets in proptest::collection::vec((0u64..9000, 0usize..3, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..60)), 0..60),
    ) {
        let (tracks, _) = sample();
        let mut ingest = ingest(&tracks, IngestConfig::udp());
        let mut now = 0;
        for (n, (step, place, rtcp, payload)) in packets.into_iter().enumerate() {
            now += step;
            if rtcp {
                ingest.rtcp(now, place, &payload);
            } else {
                let header = wire::rtp::Header {
                    marker: n % 2 == 0,
                    payload_type: 96 + u8::try_from(place).unwrap(),
                    sequence: u16::try_from(n).unwrap(),
                    timestamp: u32::try_from(step).unwrap().wrapping_mul(900_001),
                    ssrc: 1,
                };
                ingest.rtp(now, place, [&header.encode()[..], &payload].concat().into());
            }
            let mut last = [i64::MIN; 3];
            while let Some((place, unit)) = ingest.poll() {
                if let Unit::Frame(frame) = unit {
                    prop_assert!(frame.dts > last[place] && frame.dts <= frame.pts);
                    last[place] = frame.dts;
                }
            }
        }
        ingest.finish(now);
    }
}
