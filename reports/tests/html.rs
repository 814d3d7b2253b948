//! The HTML report: alone sufficient, escaped, well-formed, complete.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::string_slice)]

mod samples;

use model::Run;
use streamgauge_reports::html;

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

/// A start or end tag, as written.
fn tags(html: &str) -> Vec<&str> {
    let mut rest = html;
    let mut tags = Vec::new();
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').expect("a tag ends");
        tags.push(&rest[start + 1..end]);
        rest = &rest[end + 1..];
        // What stands in a style sheet is no markup.
        if tags.last().is_some_and(|t| t.starts_with("style")) {
            rest = &rest[rest.find("</style").expect("a style sheet ends")..];
        }
    }
    tags
}

fn name(tag: &str) -> &str {
    tag.split([' ', '\n', '/']).next().unwrap()
}

#[test]
fn every_element_is_closed_in_order() {
    for (label, run) in all() {
        let html = html::render(&run).unwrap();
        let mut open: Vec<&str> = Vec::new();
        for tag in tags(&html) {
            match tag.strip_prefix('/') {
                Some(end) => assert_eq!(open.pop(), Some(end), "{label}"),
                None if tag.ends_with('/') || tag.starts_with('!') || ["meta"].contains(&name(tag)) => {}
                None => open.push(name(tag)),
            }
        }
        assert_eq!(open, [""; 0], "{label}");
    }
}

#[test]
fn nothing_is_fetched_and_nothing_is_run() {
    for (label, run) in all() {
        let html = html::render(&run).unwrap();
        for tag in tags(&html) {
            let element = name(tag).to_ascii_lowercase();
            let refused =
                ["script", "link", "img", "iframe", "object", "embed", "base", "form", "image", "use"];
            assert!(!refused.contains(&element.as_str()), "{label}: <{tag}>");
            // Attribute names only: what stands in quotes is text.
            let names: String = tag.split('"').step_by(2).collect();
            for attribute in ["src=", "xlink:", "onerror", "onload", "srcset"] {
                assert!(!names.contains(attribute), "{label}: <{tag}>");
            }
            if let Some((_, target)) = tag.split_once("href=\"") {
                assert!(target.starts_with('#'), "{label}: <{tag}>");
            }
        }
        assert!(!html.contains("url("), "{label}");
        assert!(!html.contains("@import"), "{label}");
    }
}

#[test]
fn hostile_names_are_shown_and_not_obeyed() {
    let html = html::render(&samples::hostile()).unwrap();
    assert!(html.contains("&lt;script&gt;alert(1)&lt;&#x2f;script&gt;␛[31mred␇"), "the agent is not shown");
    assert!(html.contains("&lt;script src=&#x2f;&#x2f;evil&gt;"), "the path is not shown");
    let bad = html.chars().find(|c| c.is_control() && *c != '\n' || ('\u{202a}'..='\u{202e}').contains(c));
    assert_eq!(bad, None);
}

#[test]
fn every_client_is_told_with_all_that_is_known() {
    let run = samples::eight_clients();
    let html = html::render(&run).unwrap();
    for (session, counted) in run.analysis.sessions.iter().zip(&run.server_clients) {
        let name = counted.name.as_deref().unwrap().replace('\'', "&#x27;");
        let port = session.client.port.unwrap();
        for needed in [name, format!("127.0.0.1:{port}"), format!("id=\"{}\"", session.id)] {
            assert!(html.contains(&needed), "{needed}");
        }
        let filter = session.filter.replace('&', "&amp;");
        assert!(html.contains(&format!("<code>{filter}</code>")), "{filter}");
    }
    for needed in [
        "H.264 High@3.1 1280x720 30 fps",
        "606 frames, 11 of them key frames",
        "GOP 60 frames, 2 s",
        "FMLE&#x2f;3.0 (compatible; Lavf59.27.100)",
        "5,959,000",
        "+18,250",
        "<code>sound_rate</code> = 44 kHz, a constant of every AAC tag that means nothing",
        "7 of 10 checks passed",
        "share its decoders",
        "prefers-color-scheme:dark",
        "@media print",
    ] {
        assert!(html.contains(needed), "{needed}");
    }
}

#[test]
fn every_table_has_a_caption_and_scoped_headings() {
    for (label, run) in all() {
        let html = html::render(&run).unwrap();
        let tags = tags(&html);
        let tables = tags.iter().filter(|t| name(t) == "table").count();
        assert_eq!(tags.iter().filter(|t| name(t) == "caption").count(), tables, "{label}");
        assert!(tags.iter().filter(|t| name(t) == "th").all(|t| t.contains("scope=")), "{label}");
        assert_eq!(tags.iter().filter(|t| name(t) == "h1").count(), 1, "{label}");
    }
}

#[test]
fn links_inside_the_page_lead_somewhere() {
    let html = html::render(&samples::eight_clients()).unwrap();
    for tag in tags(&html) {
        if let Some((_, target)) = tag.split_once("href=\"#") {
            let id = target.trim_end_matches('"');
            assert!(html.contains(&format!("id=\"{id}\"")), "{id}");
        }
    }
}

#[test]
fn the_verdict_follows_checks_and_findings() {
    let state = |run: &Run| {
        let html = html::render(run).unwrap();
        html.split_once("class=\"answer ").unwrap().1.split('"').next().unwrap().to_owned()
    };
    assert_eq!(state(&samples::eight_clients()), "bad");
    assert_eq!(state(&samples::good()), "good");
    assert_eq!(state(&samples::empty()), "none");
    let mut run = samples::good();
    run.analysis.findings[0].severity = model::Severity::Warning;
    assert_eq!(state(&run), "doubtful");
}

/// Errors in the packets that a scenario expects are no failure of its; elsewhere they are.
#[test]
fn the_headline_goes_by_what_was_expected() {
    let word = |run: &Run| {
        let html = html::render(run).unwrap();
        let words = ["Something is wrong", "As expected", "All as it should be"];
        words.into_iter().find(|word| html.contains(word)).unwrap()
    };
    let mut run = samples::good();
    run.analysis.findings = samples::eight_clients().analysis.findings;
    run.analysis.findings[0].severity = model::Severity::Error;
    assert!(!run.checks.is_empty());
    run.kind = "demo".to_owned();
    assert_eq!(word(&run), "Something is wrong");
    run.kind = "run".to_owned();
    assert_eq!(word(&run), "As expected");
    run.checks[0].verdict = model::Verdict::Fail;
    assert_eq!(word(&run), "Something is wrong");
    run.analysis.findings.clear();
    run.checks[0].verdict = model::Verdict::Pass;
    assert_eq!(word(&run), "All as it should be");
}

#[test]
fn how_long_a_capture_took_to_read_is_not_said() {
    let mut run = samples::good();
    run.duration_s = 12.3;
    assert!(html::render(&run).unwrap().contains(" · 12.3 s · "));
    run.kind = "analyze".to_owned();
    let html = html::render(&run).unwrap();
    assert!(html.contains(">read ") && !html.contains(" · 12.3 s · "));
}
