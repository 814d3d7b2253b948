//! Recordings, read back from their files.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use media::Kind;
use model::Recording;

use crate::account::Account;

/// The newest file of a path that is no older than the run.
pub fn newest(dir: &Path, since: SystemTime) -> Result<PathBuf, String> {
    let files = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let dated = files.filter_map(|file| {
        let file = file.ok()?;
        Some((file.metadata().ok()?.modified().ok()?, file.path()))
    });
    let newest = dated.filter(|(at, _)| *at >= since).max();
    newest.map(|(_, path)| path).ok_or_else(|| "no recording".to_owned())
}

/// Every frame of an MP4 file.
pub fn read(file: &Path) -> Result<Account, String> {
    let bytes = std::fs::read(file).map_err(|e| e.to_string())?;
    let mut demuxer = media::mp4::Demuxer::open(Bytes::from(bytes)).map_err(|e| e.to_string())?;
    let mut account = Account::default();
    account.tracks.extend(demuxer.tracks().map(|track| track.description.clone()));
    while let Some(frame) = demuxer.next() {
        account.frame(&frame.map_err(|e| e.to_string())?);
    }
    Ok(account)
}

/// A recording as reports show it; its file is named as seen from `out`.
pub fn describe(path: &str, file: &Path, out: &Path, account: Account) -> Recording {
    let count = |kind| account.of(kind).count() as u64;
    Recording {
        path: path.to_owned(),
        file: file.strip_prefix(out).unwrap_or(file).display().to_string(),
        duration_s: account.span_us() as f64 / 1e6,
        bytes: file.metadata().map_or(0, |m| m.len()),
        pictures: count(Kind::Video),
        audio_frames: count(Kind::Audio),
        tracks: account.tracks,
    }
}
