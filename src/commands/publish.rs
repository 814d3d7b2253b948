//! `streamgauge publish`.

use std::net::SocketAddr;

use scenarios::client::{ClientConfig, ClientError, ClientRole, How, publish};
use scenarios::demo::GENERATOR;
use scenarios::feed::Feed;
use scenarios::url::RtmpUrl;
use tokio::sync::watch;

use crate::args::{Common, Publish};
use crate::exit::{Code, Ended, Failure};
use crate::output;

/// Publishes a file in real time.
pub fn run(args: &Publish, common: &Common) -> Ended {
    let url = RtmpUrl::parse(&args.url).map_err(Failure::usage)?;
    let feed = Feed::file(&args.file).map_err(Failure::usage)?;
    super::runtime()?.block_on(on_air(args, common, &url, feed))
}

async fn on_air(args: &Publish, common: &Common, url: &RtmpUrl, feed: Feed) -> Ended {
    let server = resolve(url).await?;
    let (app, name) = url.app_and_name();
    let tc_url = format!("rtmp://{}/{app}", url.authority());
    let config =
        ClientConfig { app, name, tc_url, ..ClientConfig::new(ClientRole::Publish, "", "", GENERATOR) };
    let (is_on_air, mut on_air) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let how = How { again: args.r#loop, account: false };
    // The seed only tells one handshake from another.
    let task = publish(server, config, u64::from(std::process::id()), feed, how, is_on_air, stopped);
    tokio::pin!(task);
    let (quiet, name) = (common.quiet, args.url.clone());
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
        other => Failure::environment(format!("{}: {other}", args.url)),
    })?;
    if !common.quiet {
        output::say(&format!("off air: {} messages in {:.1} s", published.frames, published.seconds));
    }
    Ok(if interrupted { Code::Interrupted } else { Code::Expected })
}

async fn resolve(url: &RtmpUrl) -> Result<SocketAddr, Failure> {
    let failed = |why: String| Failure::environment(format!("{}: {why}", url.authority()));
    let mut found =
        tokio::net::lookup_host((url.host.as_str(), url.port)).await.map_err(|e| failed(e.to_string()))?;
    found.next().ok_or_else(|| failed("no address".to_owned()))
}
