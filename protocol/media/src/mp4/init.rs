//! The head of a fragmented file: ftyp and a moov without samples.

use std::sync::Arc;

use wire::mp4::Writer;

use super::entry::Entry;
use crate::frame::{Kind, Track};

/// Where lengths stand in an initialisation section, to be filled in as the file grows: byte, ticks per second, and
/// the track whose length it is (from 0) or none for the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lengths(Vec<(u64, u32, Option<usize>)>);

impl Lengths {
    /// Offset and eight bytes for each place, for tracks of these lengths in microseconds.
    pub fn patches(&self, tracks: &[u64]) -> Vec<(u64, [u8; 8])> {
        let whole = tracks.iter().max().copied().unwrap_or(0);
        let patch = |(at, timescale, track): &(u64, u32, Option<usize>)| {
            let micros = track.map_or(Some(whole), |t| tracks.get(t).copied()).unwrap_or(0);
            let ticks = u128::from(micros).saturating_mul(u128::from(*timescale)).div_euclid(1_000_000);
            (*at, u64::try_from(ticks).unwrap_or(u64::MAX).to_be_bytes())
        };
        self.0.iter().map(patch).collect()
    }
}

/// The head of a live stream, for tracks numbered from 1; those that fragments cannot hold are left out. Nothing in it
/// says how long it will be.
pub fn init_section(tracks: &[Arc<Track>]) -> Vec<u8> {
    section(tracks, None).0
}

/// The head of a file, and where in it the lengths stand. What `edits` has for a track, in its ticks, is where its
/// presentation begins in its media.
pub fn file_head(tracks: &[Arc<Track>], edits: &[u64]) -> (Vec<u8>, Lengths) {
    section(tracks, Some(edits))
}

fn section(tracks: &[Arc<Track>], edits: Option<&[u64]>) -> (Vec<u8>, Lengths) {
    let mut w = Writer::new();
    let mut lengths = Lengths::default();
    let ftyp = w.open(b"ftyp");
    w.bytes(b"iso6");
    w.u32(0);
    w.bytes(b"iso6isommp41");
    w.close(ftyp);
    let moov = w.open(b"moov");
    let mvhd = w.open_full(b"mvhd", 1, 0);
    w.zeros(16);
    w.u32(1000);
    length(&mut w, &mut lengths, 1000, None);
    w.u32(0x1_0000);
    w.u16(0x100);
    w.zeros(10);
    w.matrix();
    w.zeros(24);
    let next = tracks.len().saturating_add(1);
    w.u32(u32::try_from(next).unwrap_or(u32::MAX));
    w.close(mvhd);
    let held = || tracks.iter().filter_map(|t| Some((t, Entry::of(t)?))).zip(1u32..);
    for (((track, entry), id), edit) in
        held().zip(edits.unwrap_or_default().iter().chain(std::iter::repeat(&0)))
    {
        trak(&mut w, &mut lengths, track, &entry, (id, *edit));
    }
    let mvex = w.open(b"mvex");
    if edits.is_some() {
        let mehd = w.open_full(b"mehd", 1, 0);
        length(&mut w, &mut lengths, 1000, None);
        w.close(mehd);
    }
    for (_, id) in held() {
        let trex = w.open_full(b"trex", 0, 0);
        w.u32(id);
        w.u32(1);
        w.zeros(12);
        w.close(trex);
    }
    w.close(mvex);
    w.close(moov);
    (w.into_bytes(), lengths)
}

fn length(w: &mut Writer, lengths: &mut Lengths, timescale: u32, track: Option<usize>) {
    lengths.0.push((w.position() as u64, timescale, track));
    w.u64(0);
}

fn trak(w: &mut Writer, lengths: &mut Lengths, track: &Track, entry: &Entry, (id, edit): (u32, u64)) {
    let video = track.kind() == Kind::Video;
    let index = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
    let trak = w.open(b"trak");
    let tkhd = w.open_full(b"tkhd", 1, 7);
    w.zeros(16);
    w.u32(id);
    w.u32(0);
    length(w, lengths, 1000, index);
    w.zeros(8);
    w.u16(0);
    w.u16(u16::from(!video));
    w.u16(if video { 0 } else { 0x100 });
    w.u16(0);
    w.matrix();
    let (width, height) = entry.shown();
    w.u32(width);
    w.u32(height);
    w.close(tkhd);
    if edit > 0 {
        let edts = w.open(b"edts");
        let elst = w.open_full(b"elst", 1, 0);
        w.u32(1);
        w.u64(0);
        w.u64(edit);
        w.u32(0x1_0000);
        w.close(elst);
        w.close(edts);
    }
    let mdia = w.open(b"mdia");
    let mdhd = w.open_full(b"mdhd", 1, 0);
    w.zeros(16);
    w.u32(entry.timescale);
    length(w, lengths, entry.timescale, index);
    // The language "und", five bits a letter.
    w.u16(0x55c4);
    w.u16(0);
    w.close(mdhd);
    let hdlr = w.open_full(b"hdlr", 0, 0);
    w.u32(0);
    w.bytes(if video { b"vide" } else { b"soun" });
    w.zeros(12);
    w.bytes(if video { b"video\0" } else { b"audio\0" });
    w.close(hdlr);
    let minf = w.open(b"minf");
    if video {
        let vmhd = w.open_full(b"vmhd", 0, 1);
        w.zeros(8);
        w.close(vmhd);
    } else {
        let smhd = w.open_full(b"smhd", 0, 0);
        w.zeros(4);
        w.close(smhd);
    }
    let dinf = w.open(b"dinf");
    let dref = w.open_full(b"dref", 0, 0);
    w.u32(1);
    let url = w.open_full(b"url ", 0, 1);
    w.close(url);
    w.close(dref);
    w.close(dinf);
    let stbl = w.open(b"stbl");
    let stsd = w.open_full(b"stsd", 0, 0);
    w.u32(1);
    entry.write(track, w);
    w.close(stsd);
    for (kind, zeros) in [(b"stts", 4), (b"stsc", 4), (b"stsz", 8), (b"stco", 4)] {
        let table = w.open_full(kind, 0, 0);
        w.zeros(zeros);
        w.close(table);
    }
    w.close(stbl);
    w.close(minf);
    w.close(mdia);
    w.close(trak);
}
