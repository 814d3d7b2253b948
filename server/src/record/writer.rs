//! The thread that writes a recording's files.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use ::session::Time;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::step::Step;
use super::{Entry, State};
use crate::shared::Shared;

/// Steps and bytes that may wait for the disk.
const QUEUE: usize = 256;
const QUEUE_BYTES: usize = 64 << 20;
/// How long a recording waits for a disk that is behind. Its stream's publisher waits with it only if it sends more
/// than half a ring in that time.
const PATIENCE: Duration = Duration::from_secs(2);
/// Files that one recording may have: codecs that change more often are not worth following.
const MOST_FILES: u32 = 200;
/// Names that are tried for a file.
const TRIES: u32 = 1_000;

/// What the thread is sent: a step, when it happened, and the bytes it holds of the queue's.
struct Order {
    step: Step,
    time: Time,
    _room: OwnedSemaphorePermit,
}

/// The sending side.
pub struct Writer {
    queue: Option<Sender<Order>>,
    room: Arc<Semaphore>,
    /// How long to wait for room: not at all from the moment patience ran out until there is room again.
    patience: Duration,
    thread: Option<JoinHandle<()>>,
    /// Fragments that the disk was too slow for.
    pub dropped: u64,
    /// Resolves when the thread has ended.
    pub ended: oneshot::Receiver<()>,
}

impl Writer {
    /// Starts the thread of one stream's recording.
    pub fn start(path: &Arc<str>, directory: &Path, shared: Arc<Shared>) -> io::Result<Self> {
        let (queue, orders) = channel(QUEUE);
        let directory = place(directory, path)?;
        let scribe = Scribe { path: Arc::clone(path), directory, shared, open: None, files: 0 };
        let (lives, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("record".to_owned()).spawn(move || {
            scribe.run(orders);
            drop(lives);
        })?;
        let room = Arc::new(Semaphore::new(QUEUE_BYTES));
        let (queue, thread) = (Some(queue), Some(thread));
        Ok(Self { queue, room, patience: PATIENCE, thread, dropped: 0, ended })
    }

    /// Hands on a step, and waits a little where the disk is behind; false where the thread has given up.
    pub async fn send(&mut self, step: Step, time: Time) -> bool {
        let Some(queue) = &self.queue else { return false };
        let bytes = match &step {
            Step::Write(pieces, ..) => pieces.iter().fold(0usize, |n, p| n.saturating_add(p.len())),
            _ => 0,
        };
        // What is larger than the queue goes alone.
        let bytes = u32::try_from(bytes.min(QUEUE_BYTES)).unwrap_or(u32::MAX);
        let place = async {
            let slot = queue.reserve().await.ok()?;
            Some((Arc::clone(&self.room).acquire_many_owned(bytes).await.ok()?, slot))
        };
        match tokio::time::timeout(self.patience, place).await {
            Ok(Some((room, slot))) => {
                slot.send(Order { step, time, _room: room });
                self.patience = PATIENCE;
                true
            }
            Ok(None) => false,
            Err(_) => {
                self.patience = Duration::ZERO;
                self.dropped = self.dropped.saturating_add(1);
                true
            }
        }
    }

    /// Waits until everything is written. Blocks.
    pub fn close(mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Makes the directory of recordings where there is none, and a file in it, which goes away again: who asked for
/// recordings is to hear at once that there would be none.
pub(crate) fn can_write(directory: &Path) -> io::Result<()> {
    if directory.exists() && !directory.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    std::fs::create_dir_all(directory)?;
    let name = directory.join(format!(".streamgauge-{}", std::process::id()));
    match OpenOptions::new().write(true).create_new(true).open(&name) {
        // One that was left behind: that it can be removed says as much.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => std::fs::remove_file(&name),
    }
}

/// DIR/PATH, where no segment of PATH leads anywhere else.
fn place(directory: &Path, path: &str) -> io::Result<PathBuf> {
    let mut place = directory.to_path_buf();
    for segment in path.split('/') {
        let leaves = segment.is_empty() || segment == "." || segment == "..";
        if leaves || segment.contains(['\\', '\0']) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{path:?} is no path for a file"),
            ));
        }
        place.push(segment);
    }
    Ok(place)
}

struct Scribe {
    path: Arc<str>,
    directory: PathBuf,
    shared: Arc<Shared>,
    open: Option<Open>,
    files: u32,
}

struct Open {
    file: File,
    name: PathBuf,
    number: u64,
    /// Bytes that are whole.
    bytes: u64,
}

impl Scribe {
    fn run(mut self, mut orders: Receiver<Order>) {
        while let Some(order) = orders.blocking_recv() {
            if let Err(error) = self.step(order.step) {
                self.give_up(&error, order.time);
                return;
            }
        }
        self.close();
    }

    fn step(&mut self, step: Step) -> io::Result<()> {
        match step {
            Step::Open(extension, tracks, started) => {
                self.close();
                self.files = self.files.saturating_add(1);
                if self.files > MOST_FILES {
                    return Err(io::Error::other("the codecs change too often"));
                }
                std::fs::create_dir_all(&self.directory)?;
                let (file, name) = self.create(extension, started)?;
                let entry = Entry {
                    path: Arc::clone(&self.path),
                    file: name.clone(),
                    started,
                    micros: 0,
                    bytes: 0,
                    tracks,
                    state: State::Recording,
                };
                tracing::info!(path = %self.path, file = %name.display(), "recording");
                let number = self.shared.recorder.enter(entry);
                self.open = Some(Open { file, name, number, bytes: 0 });
                Ok(())
            }
            Step::Write(pieces, micros, patches) => {
                // Without its beginning, which was dropped, a file is none.
                let Some(open) = &mut self.open else { return Ok(()) };
                let bytes = open.append(&pieces)?;
                for (at, patch) in patches {
                    open.file.seek(SeekFrom::Start(at))?;
                    open.file.write_all(&patch)?;
                }
                self.shared.recorder.note(open.number, |entry| (entry.micros, entry.bytes) = (micros, bytes));
                Ok(())
            }
            Step::Close => {
                self.close();
                Ok(())
            }
        }
    }

    /// A file that did not exist, named after the time.
    fn create(&self, extension: &str, time: Time) -> io::Result<(File, PathBuf)> {
        let form = format_description!("[year]-[month]-[day]T[hour]-[minute]-[second].[subsecond digits:3]Z");
        let mut date = OffsetDateTime::from(self.shared.clock.wall(time));
        for _ in 0..TRIES {
            let stamp = date.format(form).map_err(io::Error::other)?;
            let name = self.directory.join(format!("{stamp}.{extension}"));
            match OpenOptions::new().write(true).create_new(true).open(&name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    date = date.checked_add(time::Duration::MILLISECOND).unwrap_or(date);
                }
                result => return result.map(|file| (file, name)),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        tracing::info!(path = %self.path, file = %open.name.display(), bytes = open.bytes, "recording finished");
        self.shared.recorder.note(open.number, |entry| entry.state = State::Finished);
    }

    fn give_up(&mut self, error: &io::Error, time: Time) {
        let recorder = &self.shared.recorder;
        recorder.failed.fetch_add(1, Ordering::Relaxed);
        let reason = error.to_string();
        let number = match self.open.take() {
            Some(open) => {
                // Half a fragment at the end is nothing that plays.
                let _ = open.file.set_len(open.bytes);
                open.number
            }
            None => recorder.enter(Entry {
                path: Arc::clone(&self.path),
                file: self.directory.clone(),
                started: time,
                micros: 0,
                bytes: 0,
                tracks: Vec::new(),
                state: State::Recording,
            }),
        };
        tracing::error!(path = %self.path, %error, "recording given up");
        recorder.note(number, |entry| entry.state = State::Failed(reason));
    }
}

impl Open {
    /// Appends, and says how long the file is then.
    fn append(&mut self, pieces: &[bytes::Bytes]) -> io::Result<u64> {
        self.file.seek(SeekFrom::Start(self.bytes))?;
        let mut end = self.bytes;
        for piece in pieces {
            self.file.write_all(piece)?;
            end = end.saturating_add(piece.len() as u64);
        }
        self.bytes = end;
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out_of_the_directory() {
        let of = |path| place(Path::new("/rec"), path).ok();
        assert_eq!(of("live/a b"), Some(PathBuf::from("/rec/live/a b")));
        for wrong in ["", "/etc", "a/../b", "..", "a//b", "a/.", "a\\b", "a\0b"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
