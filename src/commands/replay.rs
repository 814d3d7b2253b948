//! `streamgauge replay`.

use std::fs;
use std::path::Path;

use model::{Case, VERDICTS_SCHEMA, Verdict, Verdicts};
use scenarios::replay::{self, Options, Replayed};
use scenarios::url::StreamUrl;
use tokio::sync::watch;

use super::expect::Expectations;
use super::verdicts::{checks, directory, write};
use crate::args::{self, Common};
use crate::exit::{Code, Ended, Failure};
use crate::output;

/// Plays a captured session again.
pub fn run(args: &args::Replay, common: &Common) -> Ended {
    let url = StreamUrl::parse(&args.url).map_err(Failure::usage)?;
    if args.file == Path::new("-") {
        return Err(Failure::usage("a capture is read twice here: name a file, not the standard input"));
    }
    let bless = args.verdicts.bless;
    let known = args.verdicts.expect.as_deref().map(|path| Expectations::read(path, bless)).transpose()?;
    let (interrupt, interrupted) = watch::channel(false);
    let replayed = super::runtime()?.block_on(async {
        let asked = tokio::spawn(async move {
            if super::asked_to_stop().await.is_ok() {
                interrupt.send_replace(true);
            }
            // Whoever waits for it goes on waiting where nobody can ask.
            std::future::pending::<()>().await;
        });
        let replayed = play(args, common, url, interrupted).await;
        asked.abort();
        replayed
    })?;
    report(args, common, replayed, known)
}

async fn play(
    args: &args::Replay,
    common: &Common,
    url: StreamUrl,
    mut interrupted: watch::Receiver<bool>,
) -> Result<Replayed, Failure> {
    let options = Options {
        file: args.file.clone(),
        server: super::resolve(&url).await?,
        url,
        session: args.session.clone(),
        fast: args.fast,
        timeout: args.timeout,
        fail_fast: args.verdicts.fail_fast,
        seed: super::seed(),
        out: args.verdicts.out.clone(),
    };
    let authority = options.url.authority();
    let failed = |error: replay::ReplayError| match error {
        replay::ReplayError::Unreachable(_) => Failure::environment(format!("{authority}: {error}")),
        replay::ReplayError::Out(_) => Failure::environment(error),
        replay::ReplayError::Capture(_) => Failure::usage(error),
        replay::ReplayError::Unplayable(_) => Failure::usage(format!("{}: {error}", args.file.display())),
    };
    // A large capture takes its time; whoever does not want to wait for it need not.
    let (send, prepared) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || drop(send.send(replay::prepare(options))));
    let prepared = tokio::select! {
        prepared = prepared => prepared.map_err(Failure::environment)?.map_err(failed)?,
        _ = interrupted.wait_for(|stop| *stop) => {
            let message = "interrupted while the capture was read".to_owned();
            return Err(Failure { message, code: Code::Interrupted });
        }
    };
    if let Some(dir) = &args.verdicts.out {
        let wrong = |error| Failure::environment(format!("cannot make {}: {error}", dir.display()));
        fs::create_dir_all(dir).map_err(wrong)?;
    }
    if !common.quiet {
        output::say(&format!("replaying {}", prepared.title()));
    }
    prepared.play(interrupted).await.map_err(failed)
}

fn report(args: &args::Replay, common: &Common, replayed: Replayed, known: Option<Expectations>) -> Ended {
    let Replayed { mut run, mut cases, title, kept_from, interrupted, events } = replayed;
    let strict = args.verdicts.strict;
    cases.iter_mut().for_each(|case| case.seconds = run.duration_s);
    if let (Some(path), true) = (&args.verdicts.expect, args.verdicts.bless) {
        let blessed = known.unwrap_or_default().bless(&cases);
        blessed.write(path)?;
        blessed.apply(&mut cases, strict);
    } else if let Some(known) = &known {
        known.apply(&mut cases, strict);
        for rule in known.unheard(&cases).filter(|_| !common.quiet) {
            output::say(&format!("the file of known failures names {rule}, which was not judged"));
        }
    } else if strict {
        cases.iter_mut().filter(|c| c.verdict == Verdict::Warn).for_each(|c| c.expected = false);
    }
    run.checks = checks(&cases);
    let code = code(&cases, kept_from.is_some(), interrupted);
    let verdicts = Verdicts { schema: VERDICTS_SCHEMA.to_owned(), target: title, cases };
    if let Some(dir) = &args.verdicts.out {
        directory(dir, &run, &events, &verdicts)?;
    }
    write(&args.verdicts, common, &verdicts, &run, |verdicts, detail, options| {
        reports::text::replayed(verdicts, &run.notes, detail, options)
    })?;
    if let Some(dir) = args.verdicts.out.as_ref().filter(|_| !common.quiet) {
        output::say(&format!("report: {}", dir.join("index.html").display()));
    }
    if let Some(why) = kept_from {
        output::complain(&format!("{}: {why}", args.url));
    }
    Ok(code)
}

fn code(cases: &[Case], kept_from: bool, interrupted: bool) -> Code {
    if interrupted {
        Code::Interrupted
    } else if kept_from {
        Code::Environment
    } else if cases.iter().any(|case| !case.expected) {
        Code::Unexpected
    } else {
        Code::Expected
    }
}
