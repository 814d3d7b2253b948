//! `streamgauge publish`.

use std::net::SocketAddr;

use scenarios::client::{self, ClientConfig, ClientError, ClientRole, How, Prepared, Published, publish};
use scenarios::demo::GENERATOR;
use scenarios::feed::Feed;
use scenarios::url::{Scheme, StreamUrl};
use tokio::sync::watch;

use crate::args::{Common, Over, Publish};
use crate::exit::{Code, Ended, Failure};
use crate::output;

/// What is going to be published, ready for its protocol.
enum Media {
    Rtmp(Feed),
    Rtsp(Prepared, client::Over),
}

/// Publishes a file in real time.
pub fn run(args: &Publish, common: &Common) -> Ended {
    let url = StreamUrl::parse(&args.url).map_err(Failure::usage)?;
    let feed = Feed::file(&args.file).map_err(Failure::usage)?;
    let media = match (url.scheme, args.over) {
        (Scheme::Rtmp, None) => Media::Rtmp(feed),
        (Scheme::Rtmp, Some(_)) => {
            return Err(Failure::usage("--over is for rtsp:// URLs: RTMP has one way only"));
        }
        (Scheme::Http, _) => return Err(Failure::usage("nothing is published over HTTP")),
        (Scheme::Rtsp, over) => {
            let over = if over == Some(Over::Udp) { client::Over::Udp } else { client::Over::Tcp };
            Media::Rtsp(Prepared::new(feed).map_err(Failure::usage)?, over)
        }
    };
    if !common.quiet {
        let (feed, others) = match &media {
            Media::Rtmp(feed) => (feed, &[][..]),
            Media::Rtsp(prepared, _) => (prepared.feed(), prepared.left_out()),
        };
        for track in feed.left_out() {
            output::say(&format!("left out: {track}"));
        }
        for track in others {
            output::say(&format!("left out, because RTSP cannot carry it here: {track}"));
        }
    }
    super::runtime()?.block_on(on_air(args, common, &url, media))
}

async fn on_air(args: &Publish, common: &Common, url: &StreamUrl, media: Media) -> Ended {
    let server = super::resolve(url).await?;
    let (is_on_air, mut on_air) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let task = transmit(server, url, media, args.r#loop, is_on_air, stopped);
    tokio::pin!(task);
    let (quiet, name) = (common.quiet, url.plain());
    tokio::spawn(async move {
        if on_air.wait_for(|on| *on).await.is_ok() && !quiet {
            output::say(&format!("on air: {name}"));
        }
    });
    let mut interrupted = false;
    let published = tokio::select! {
        published = &mut task => published,
        asked = super::asked_to_stop() => {
            asked?;
            interrupted = true;
            stop.send_replace(true);
            task.await
        }
    };
    let published = published.map_err(|error| match error {
        ClientError::Feed(error) => Failure::usage(error),
        other => Failure::environment(format!("{}: {other}", url.plain())),
    })?;
    if !common.quiet {
        output::say(&format!("off air: {} frames in {:.1} s", published.frames, published.seconds));
    }
    Ok(if interrupted { Code::Interrupted } else { Code::Expected })
}

async fn transmit(
    server: SocketAddr,
    url: &StreamUrl,
    media: Media,
    again: bool,
    on_air: watch::Sender<bool>,
    stop: watch::Receiver<bool>,
) -> Result<Published, ClientError> {
    // Nobody should be able to guess where numbers and SSRCs begin.
    let seed = super::seed();
    let how = How { again, account: false, length: None };
    match media {
        Media::Rtmp(feed) => {
            let (app, name) = url.app_and_name();
            let tc_url = format!("rtmp://{}/{app}", url.authority());
            let new = ClientConfig::new(ClientRole::Publish, "", "", GENERATOR);
            let config = ClientConfig { app, name, tc_url, ..new };
            publish(server, config, seed, feed, how, on_air, stop).await
        }
        Media::Rtsp(prepared, over) => {
            let names = (url.plain(), GENERATOR);
            client::publish_rtsp(server, (&names.0, names.1), over, seed, prepared, how, on_air, stop).await
        }
    }
}
