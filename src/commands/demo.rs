//! `streamgauge demo`.

use std::fs::{self, File};
use std::time::Duration;

use model::Verdict;
use scenarios::demo::{self, LOG, Options};
use tokio::sync::watch;

use crate::args::{Common, Demo};
use crate::exit::{Code, Ended, Failure};
use crate::progress::Display;
use crate::{logging, output};

/// Runs the demo and shows what came of it.
pub fn run(args: &Demo, common: &Common) -> Ended {
    let dir = &args.out;
    let unusable = |e| Failure::environment(format!("cannot write to {}: {e}", dir.display()));
    fs::create_dir_all(dir).map_err(unusable)?;
    logging::to_file(common, File::create(dir.join(LOG)).map_err(unusable)?);
    let options = Options { out: dir.clone(), air_time: Duration::from_secs(args.seconds), seed: args.seed };
    if !common.quiet {
        output::say(&format!(
            "One publisher and {} viewers on a server of their own, {} s on air.",
            demo::VIEWERS,
            args.seconds
        ));
    }

    let mut display = Display::new(common.quiet);
    let (interrupt, interrupted) = watch::channel(false);
    let result = super::runtime()?.block_on(async {
        let asked = tokio::spawn(async move {
            if super::asked_to_stop().await.is_ok() {
                interrupt.send_replace(true);
            }
            // The receiver reads the last value; keep the channel open for it.
            std::future::pending::<()>().await;
        });
        let result = demo::run(&options, |moment| display.show(moment), interrupted.clone()).await;
        asked.abort();
        result
    });
    display.clear();
    let demo = result.map_err(Failure::environment)?;
    reports::rundir::write(dir, &demo.run, &demo.events).map_err(Failure::environment)?;
    output::print(&reports::text::run_in(&demo.run, Some(dir), &output::text_options(common)))?;
    let failed = demo.run.checks.iter().any(|c| matches!(c.verdict, Verdict::Fail | Verdict::Error));
    Ok(match (*interrupted.borrow(), failed) {
        (true, _) => Code::Interrupted,
        (false, true) => Code::Unexpected,
        (false, false) => Code::Expected,
    })
}
