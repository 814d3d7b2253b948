//! From the hub's ring to a file: one task for each recording.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::session::Session;
use super::writer::Writer;
use crate::hub::{Taken, Took, Viewer};
use crate::shared::Shared;

/// Why a recording does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No directory is configured.
    Nowhere,
    /// Nobody publishes on the path.
    NoStream,
    /// It is recorded already.
    Already,
}

/// Records a path that somebody publishes on, until the publisher leaves or it is stopped.
pub(crate) fn start(path: &str, shared: &Arc<Shared>) -> Result<(), Refusal> {
    if shared.config.record.dir.is_none() {
        return Err(Refusal::Nowhere);
    }
    if !shared.hub.list().iter().any(|s| *s.path == *path && s.publisher.is_some()) {
        return Err(Refusal::NoStream);
    }
    run(shared.hub.keep(path), shared)
}

/// Records what `viewer` sees, in a task of its own.
pub(crate) fn run(viewer: Viewer, shared: &Arc<Shared>) -> Result<(), Refusal> {
    let directory = shared.config.record.dir.clone().ok_or(Refusal::Nowhere)?;
    let path = Arc::clone(viewer.stream().path());
    let stopped = shared.recorder.claim(&path).ok_or(Refusal::Already)?;
    let task = tokio::spawn(record(viewer, path, directory, stopped, Arc::clone(shared)));
    shared.recorder.keep(task);
    Ok(())
}

async fn record(
    mut viewer: Viewer,
    path: Arc<str>,
    directory: PathBuf,
    mut stopped: watch::Receiver<bool>,
    shared: Arc<Shared>,
) {
    let mut writer = match Writer::start(&path, &directory, Arc::clone(&shared)) {
        Ok(writer) => writer,
        Err(error) => {
            tracing::error!(%path, %error, "cannot record");
            shared.recorder.release(&path);
            return;
        }
    };
    let mut session = Session::default();
    loop {
        let (taken, took) = viewer.media();
        session.at(shared.clock.now());
        for taken in taken {
            match taken {
                Taken::Track(track) => session.track(&track),
                Taken::Frame(frame) => session.frame(&frame),
            }
        }
        let over = took == Took::Ended || *stopped.borrow();
        if over {
            session.finish();
        }
        let now = shared.clock.now();
        let mut writes = true;
        for step in session.take() {
            writes &= writer.send(step, now).await;
        }
        if over || !writes {
            break;
        }
        if took == Took::All {
            tokio::select! {
                () = viewer.ready() => {}
                // It was given up.
                _ = &mut writer.ended => break,
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        } else {
            tokio::task::yield_now().await;
        }
    }
    let (lost, late) = (viewer.dropped(), writer.dropped);
    if lost > 0 || late > 0 {
        tracing::warn!(%path, frames = lost, fragments = late, "the recording has holes: the disk was too slow");
    }
    drop(viewer);
    let _ = tokio::task::spawn_blocking(move || writer.close()).await;
    shared.recorder.release(&path);
}
