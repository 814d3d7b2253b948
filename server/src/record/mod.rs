//! Recording: every stream, or those that the API names, into files that play however the recording ends.
//!
//! [`session`] and [`flv`] turn frames into bytes and do no I/O; [`task`] feeds them from the hub with a cursor of its
//! own, [`writer`] is a thread for each recording behind a bounded queue. Nothing here makes the hub wait.

mod flv;
mod session;
mod step;
mod task;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::session::Time;
use media::Track;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) use task::{Refusal, run, start};
pub(crate) use writer::can_write;

/// Finished recordings that are listed at most.
const FINISHED: usize = 1_000;

/// How a recording is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being written.
    Recording,
    /// Its file is closed.
    Finished,
    /// It was given up; the file holds what came before. The reason.
    Failed(String),
}

impl State {
    /// One word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Recording => "recording",
            Self::Finished => "finished",
            Self::Failed(_) => "failed",
        }
    }
}

/// One file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The stream's path.
    pub path: Arc<str>,
    /// Where it is written.
    pub file: PathBuf,
    /// When it began.
    pub started: Time,
    /// Media in it, in microseconds.
    pub micros: u64,
    /// Bytes in it.
    pub bytes: u64,
    /// What is in it.
    pub tracks: Vec<Arc<Track>>,
    /// How it is doing.
    pub state: State,
}

/// All recordings.
#[derive(Debug, Default)]
pub struct Recorder {
    inner: Mutex<Inner>,
    /// Files begun so far.
    pub begun: AtomicU64,
    /// Files given up so far.
    pub failed: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    /// Recordings that run, by path: how to stop them.
    running: BTreeMap<Arc<str>, watch::Sender<bool>>,
    /// Files, oldest first.
    files: VecDeque<(u64, Entry)>,
    last: u64,
    tasks: Vec<JoinHandle<()>>,
}

impl Recorder {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Files that are written, and the latest that were.
    pub fn list(&self) -> Vec<Entry> {
        self.inner().files.iter().map(|(_, entry)| entry.clone()).collect()
    }

    /// Ends the recording of a path; false where there is none.
    pub fn stop(&self, path: &str) -> bool {
        self.inner().running.get(path).is_some_and(|stop| stop.send(true).is_ok())
    }

    /// The right to record a path; `None` where it is recorded already.
    fn claim(&self, path: &Arc<str>) -> Option<watch::Receiver<bool>> {
        let mut inner = self.inner();
        if inner.running.contains_key(path) {
            return None;
        }
        let (stop, stopped) = watch::channel(false);
        inner.running.insert(Arc::clone(path), stop);
        Some(stopped)
    }

    fn release(&self, path: &str) {
        self.inner().running.remove(path);
    }

    fn keep(&self, task: JoinHandle<()>) {
        let mut inner = self.inner();
        inner.tasks.retain(|task| !task.is_finished());
        inner.tasks.push(task);
    }

    /// Enters a file.
    fn enter(&self, entry: Entry) -> u64 {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let mut inner = self.inner();
        inner.last = inner.last.saturating_add(1);
        let number = inner.last;
        inner.files.push_back((number, entry));
        while inner.files.len() > FINISHED {
            let Some(oldest) = inner.files.iter().position(|(_, e)| e.state != State::Recording) else {
                break;
            };
            inner.files.remove(oldest);
        }
        number
    }

    /// Changes the entry of a file.
    fn note(&self, number: u64, change: impl FnOnce(&mut Entry)) {
        let mut inner = self.inner();
        if let Some((_, entry)) = inner.files.iter_mut().find(|(n, _)| *n == number) {
            change(entry);
        }
    }

    /// Ends all recordings and waits until their files are closed.
    pub async fn finish(&self) {
        let tasks = {
            let mut inner = self.inner();
            for stop in inner.running.values() {
                let _ = stop.send(true);
            }
            std::mem::take(&mut inner.tasks)
        };
        for task in tasks {
            let _ = task.await;
        }
    }
}
