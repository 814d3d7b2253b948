//! The terminal reports: their look at 80 columns, and that nothing breaks it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects)]

mod samples;

use model::Run;
use streamgauge_reports::text::{self, TextOptions};
use streamgauge_reports::words::columns;

const PLAIN: TextOptions = TextOptions { color: false, width: 80 };

fn all() -> Vec<(&'static str, Run)> {
    vec![
        ("eight", samples::eight_clients()),
        ("good", samples::good()),
        ("empty", samples::empty()),
        ("hostile", samples::hostile()),
        ("crowd", samples::crowd()),
        ("years", samples::years()),
    ]
}

fn both(run: &Run, options: &TextOptions) -> [String; 2] {
    [text::analysis(&run.analysis, options), text::run(run, options)]
}

#[test]
fn the_report_of_an_analysis() {
    insta::assert_snapshot!(text::analysis(&samples::eight_clients().analysis, &PLAIN));
}

#[test]
fn the_end_screen_of_a_run() {
    insta::assert_snapshot!(text::run(&samples::eight_clients(), &PLAIN));
}

#[test]
fn an_analysis_of_nothing_says_so() {
    insta::assert_snapshot!(text::analysis(&samples::empty().analysis, &PLAIN));
}

#[test]
fn every_line_fits_80_columns_whatever_it_shows() {
    for (name, run) in all() {
        for text in both(&run, &PLAIN) {
            for line in text.lines() {
                assert!(columns(line) <= 80, "{name}: {} columns: {line}", columns(line));
            }
        }
    }
}

#[test]
fn a_wider_terminal_is_used_and_a_narrow_one_gets_80_columns() {
    let run = samples::hostile();
    for (width, limit) in [(40, 80), (100, 100), (1_000, 132)] {
        for text in both(&run, &TextOptions { color: false, width }) {
            let widest = text.lines().map(columns).max().unwrap();
            assert_eq!(widest, limit);
        }
    }
}

/// The text without the escape sequences that colour it.
fn without_color(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').unwrap().1)
}

#[test]
fn colour_changes_nothing_but_colour() {
    for (name, run) in all() {
        let colored = both(&run, &TextOptions { color: true, width: 80 });
        assert!(colored.iter().all(|text| text.contains("\u{1b}[1m")), "{name}");
        for (colored, plain) in colored.iter().zip(both(&run, &PLAIN)) {
            for (got, want) in without_color(colored).lines().zip(plain.lines()) {
                assert_eq!(got.trim_end(), want, "{name}");
            }
        }
    }
}

#[test]
fn no_name_can_steer_the_terminal() {
    for text in both(&samples::hostile(), &PLAIN) {
        let bad =
            text.chars().find(|c| c.is_control() && *c != '\n' || ('\u{202a}'..='\u{202e}').contains(c));
        assert_eq!(bad, None);
    }
}

#[test]
fn a_long_list_says_what_it_leaves_out() {
    let run = samples::crowd();
    let text = text::analysis(&run.analysis, &PLAIN);
    assert!(text.contains("… and 36 more, all of them in the JSON"), "{text}");
    assert!(text.contains("3 publishers and 57 viewers on 3 streams"), "{text}");
}

#[test]
fn the_end_screen_names_the_report_in_full() {
    let dir = std::path::Path::new("/a/very/long/path").join("x".repeat(100));
    let text = text::run_in(&samples::good(), Some(&dir), &PLAIN);
    assert!(text.contains(&format!("  {}\n", dir.join("index.html").display())), "{text}");
}
