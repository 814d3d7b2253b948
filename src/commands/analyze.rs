//! `streamgauge analyze`.

use std::time::Instant;

use analyzer::{Analyzer, Options};
use model::{Analysis, Artifact, RUN_SCHEMA, Run, Severity};

use crate::args::{Analyze, Common, FailOn, Format};
use crate::exit::{Code, Ended, Failure};
use crate::output;

/// Reads captures and tells what is in them.
pub fn run(args: &Analyze, common: &Common) -> Ended {
    let began = Instant::now();
    let started = scenarios::demo::now_rfc3339();
    let (analysis, ended) = read(args, common)?;
    let code = match ended {
        Code::Expected => code(&analysis, args.fail_on),
        ended => ended,
    };
    if let Some(dir) = &args.out {
        let run = document(args, &analysis, started, began.elapsed().as_secs_f64());
        reports::rundir::write(dir, &run, &[]).map_err(Failure::environment)?;
    }
    let text = match args.format {
        Format::Json => reports::json::analysis(&analysis).map_err(Failure::environment)?,
        Format::Text => reports::text::analysis(&analysis, &output::text_options(common)),
    };
    output::print(&text)?;
    if let Some(dir) = &args.out
        && !common.quiet
    {
        output::say(&format!("report: {}", dir.join("index.html").display()));
    }
    Ok(code)
}

/// What there is to read, and how the reading ended.
fn read(args: &Analyze, common: &Common) -> Result<(Analysis, Code), Failure> {
    #[cfg(feature = "live")]
    if let Some(interface) = &args.live {
        return sniff(interface, args, common);
    }
    let _ = common;
    // A file of which no packet could be read is an error; whatever follows a first packet is a finding.
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.files(&args.files).map_err(Failure::usage)?;
    Ok((analyzer.finish(), Code::Expected))
}

/// What passes an interface, from now until somebody wants it to end.
#[cfg(feature = "live")]
fn sniff(interface: &str, args: &Analyze, common: &Common) -> Result<(Analysis, Code), Failure> {
    use super::capture::{failure, listening, over, sentence, stop_flag};
    use super::live::Live;
    use analyzer::live::{Sniffer, WHOLE};
    use analyzer::now::Watch;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    let sniffer = Sniffer::open(interface, args.filter.as_deref(), WHOLE).map_err(failure)?;
    let asked = stop_flag()?;
    let (end, mut pipe) = std::io::pipe().map_err(Failure::environment)?;
    let watch = Arc::new(Watch::default());
    let live = Live::new(&watch, common.quiet);
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.watched(Arc::clone(&watch));
    listening(interface, common.quiet);
    let (analyzer, counts) = std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let read = analyzer.reader(interface, end);
            (analyzer, read)
        });
        let stop = || asked.load(Ordering::Relaxed);
        let counts = sniffer.run(&mut pipe, args.length, &stop, &mut |counts| live.show(counts));
        // The reader sees the end of the file.
        drop(pipe);
        (reading.join(), counts)
    });
    live.end();
    let counts = counts.map_err(failure)?;
    let (analyzer, read) = analyzer.map_err(|_| Failure::environment("the analysis broke off"))?;
    // On a silent interface there was nothing to read, and that is an answer too.
    if counts.packets > 0 {
        read.map_err(Failure::environment)?;
    }
    if !common.quiet {
        output::say(&sentence(&counts));
    }
    Ok((analyzer.finish(), over(args.length, &asked)))
}

fn code(analysis: &Analysis, fail_on: Option<FailOn>) -> Code {
    let bad = match fail_on {
        None => return Code::Expected,
        Some(FailOn::Error) => Severity::Error,
        Some(FailOn::Warning) => Severity::Warning,
    };
    if analysis.findings.iter().any(|f| f.severity >= bad) { Code::Unexpected } else { Code::Expected }
}

fn document(args: &Analyze, analysis: &Analysis, started: String, duration_s: f64) -> Run {
    let names: Vec<String> = args
        .files
        .iter()
        .map(|f| f.file_name().unwrap_or(f.as_os_str()).to_string_lossy().into_owned())
        .collect();
    #[cfg(feature = "live")]
    let names: Vec<String> = names.into_iter().chain(args.live.clone()).collect();
    let artifact = |(file, title): (&str, &str)| Artifact { file: file.to_owned(), title: title.to_owned() };
    Run {
        schema: RUN_SCHEMA.to_owned(),
        kind: "analyze".to_owned(),
        title: format!("Analysis of {}", names.join(", ")),
        generator: scenarios::demo::GENERATOR.to_owned(),
        started,
        duration_s,
        analysis: analysis.clone(),
        server_clients: Vec::new(),
        recordings: Vec::new(),
        checks: Vec::new(),
        artifacts: [
            ("index.html", "this report"),
            ("bandwidth.svg", "bandwidth over time"),
            ("bandwidth.png", "the same as a picture"),
            ("run.json", "everything in this report, for programs"),
            ("junit.xml", "the findings, for CI"),
        ]
        .map(artifact)
        .to_vec(),
        notes: vec![
            "Bytes are transport payload, each byte once; conversations count whole frames.".to_owned(),
        ],
    }
}
