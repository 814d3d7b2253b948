//! From the hub's ring to segments: one task for each publisher.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Live;
use super::segmenter::Segmenter;
use crate::hub::{Taken, Took, Viewer};
use crate::shared::Shared;

/// How long a segment waits for its last sound where nothing comes.
const SOUND: Duration = Duration::from_millis(300);

/// Cuts what `viewer` sees until its publisher leaves. Returns at once; the work goes on in a task of its own.
pub(crate) fn run(viewer: Viewer, shared: &Arc<Shared>) {
    let seconds = shared.clock.wall_nanos().div_euclid(1_000_000_000);
    let stream = viewer.stream();
    let live = shared.hls.begin(stream.path(), &stream.totals, shared.config.hls.window, seconds);
    let Some(live) = live else {
        shared.log("hls", |kept| tracing::warn!(path = %stream.path(), kept, "too many paths for HLS"));
        return;
    };
    let publisher = live.shelf().publishers();
    tokio::spawn(segment(viewer, live, publisher, Arc::clone(shared)));
}

async fn segment(mut viewer: Viewer, live: Arc<Live>, publisher: u64, shared: Arc<Shared>) {
    let least = shared.config.hls.segment;
    let whole = least.max(shared.config.hls.target).as_millis().div_ceil(1000);
    let whole = u64::try_from(whole).unwrap_or(1);
    let (target, first) = {
        let shelf = live.shelf();
        (shelf.target(), shelf.first.clone())
    };
    let mut segmenter = Segmenter::new(least, target, first);
    let mut forced = false;
    loop {
        let (taken, took) = viewer.media();
        let wall = i128::from(shared.clock.wall_nanos());
        let wall =
            time::OffsetDateTime::from_unix_timestamp_nanos(wall).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
        for taken in taken {
            match taken {
                Taken::Track(track) => segmenter.track(&track),
                Taken::Frame(frame) => segmenter.frame(&frame, wall),
            }
        }
        let over = took == Took::Ended;
        if over {
            segmenter.finish();
        }
        let made = segmenter.take();
        let news = !made.is_empty() || over || segmenter.is_unfit();
        if news {
            let now = shared.clock.now();
            let mut shelf = live.shelf();
            for segment in made {
                if !segment.key && !std::mem::replace(&mut forced, true) {
                    tracing::warn!(path = %live.path, "segments of HLS begin between IDR pictures: these are further \
                        apart than the target duration, or groups of pictures are open; [hls] target = \"12s\" may help");
                }
                shelf.add(segment, whole, now);
            }
            if over && viewer.heard_goodbye() {
                shelf.end(publisher, now);
            } else if segmenter.is_unfit() {
                shelf.refuse();
            }
            segmenter.fix(shelf.target());
            shelf.first = segmenter.first().cloned();
            drop(shelf);
            live.changed.notify_waiters();
        }
        match took {
            Took::Ended if viewer.heard_goodbye() => return,
            Took::Ended => {
                drop(viewer);
                return wait(&live, publisher, &shared).await;
            }
            Took::All if segmenter.is_waiting() => {
                if timeout(SOUND, viewer.ready()).await.is_err() {
                    segmenter.give_up();
                }
            }
            Took::All => viewer.ready().await,
            Took::Some | Took::Began => tokio::task::yield_now().await,
        }
    }
}

/// A publisher whose connection was lost may come back: players stop for good where the list ends, so it is not ended
/// before a target duration has passed, the time in which another segment would have been due. Nobody comes back to a
/// server that goes.
async fn wait(live: &Live, publisher: u64, shared: &Shared) {
    let target = live.shelf().target().unwrap_or(0);
    let mut closing = shared.hls.closing.subscribe();
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(target)) => {}
        _ = closing.wait_for(|closing| *closing) => {}
    }
    live.shelf().end(publisher, shared.clock.now());
    live.changed.notify_waiters();
}
