use std::path::Path;
use std::time::Duration;

use super::*;

/// The contract's example, with media the program has.
const LATE: &str = r#"
title  = "A viewer joins late, loses packets, and still starts on a key frame"
seed   = 7
target = { use = "reference", faults = [] }
capture = "full"

clients.cam    = { speaks = "rtmp", role = "publisher", path = "live/a", media = "sample:h264-aac", for = "20s" }
clients.late   = { speaks = "rtsp", over = "udp", path = "live/a", with = "retina" }
clients.crowd  = { speaks = "hls", path = "live/a", count = 50, ramp = "5s", buffer = "6s" }
clients.player = { speaks = "rtmp", path = "live/a", with = { command = "ffmpeg -i {url} -f null -" } }

steps = [
  { at = "0s",  who = "cam",    do = "publish" },
  { at = "2s",  who = ["crowd", "player"], do = "play" },
  { at = "4s",  who = "late",   do = "play" },
  { at = "8s",  who = "late",   net = { loss = "5%", delay = "40ms", jitter = "10ms" } },
  { at = "18s", who = "cam",    do = "stop" },
]
expect = [
  { who = "late",  key_frame_first = true, first_frame = "< 2s" },
  { who = "crowd", frames_missing = 0, stalls = 0 },
  { rules = "rtmp.* hls.*", findings = 0 },
  { record = "live/a", duration = "18s ± 0.5s" },
]
"#;

fn parse(text: &str) -> Result<Scenario, Mistakes> {
    Scenario::parse(text, "x.toml", Path::new("."))
}

#[test]
fn the_example_of_the_documentation_is_a_plan() {
    let plan = parse(LATE).unwrap_or_else(|e| panic!("{e}"));
    let names: Vec<_> = plan.clients.iter().map(|c| c.name.as_str()).collect();
    assert_eq!((plan.seed, names), (7, vec!["cam", "late", "crowd", "player"]));
    assert_eq!(plan.target, Target::Reference { faults: Vec::new(), record: false });
    let [cam, late, crowd, player] = &plan.clients[..] else { panic!() };
    assert_eq!(
        (cam.role, cam.length, &cam.media),
        (Role::Publisher, Some(Duration::from_secs(20)), &Media::Sample)
    );
    assert_eq!((late.over, &late.with, late.count), (Over::Udp, &With::Retina, 1));
    assert_eq!((crowd.count, crowd.ramp, crowd.buffer), (50, Duration::from_secs(5), Duration::from_secs(6)));
    assert_eq!(player.with, With::Program("ffmpeg -i {url} -f null -".to_owned()));
    assert_eq!(plan.steps[1].who, [2, 3]);
    let net = plan.steps[3].net.unwrap();
    assert_eq!(
        (net.loss, net.delay, net.jitter),
        (0.05, Duration::from_millis(40), Duration::from_millis(10))
    );
    assert_eq!(plan.expect.len(), 6);
    assert_eq!((plan.expect[0].line, plan.expect[5].line), (20, 23));
    assert_eq!(plan.length(), Duration::from_secs(20));
}

#[test]
fn faults_and_rules_left_out_are_read() {
    let text = LATE
        .replace("faults = []", r#"faults = ["rtp.marker-missing", "hls.map-missing"]"#)
        .replace("findings = 0", r#"except = "hls.map.* hls.live.*", findings = 0"#);
    let plan = parse(&text).unwrap_or_else(|e| panic!("{e}"));
    let Target::Reference { faults, .. } = plan.target else { panic!() };
    assert_eq!(faults.iter().map(|f| f.id).collect::<Vec<_>>(), ["rtp.marker-missing", "hls.map-missing"]);
    let Want::Rules { globs, except, .. } = &plan.expect[4].want else { panic!("{:?}", plan.expect[4]) };
    assert_eq!((globs.join(" "), except.join(" ")), ("rtmp.* hls.*".into(), "hls.map.* hls.live.*".into()));
}

/// Each mistake of a file: where it is and how its lines end.
fn mistakes(text: &str) -> Vec<(usize, usize, String)> {
    let all = parse(text).unwrap_err();
    all.0.iter().map(|m| (m.line, m.column, m.to_string())).collect()
}

/// A plan with one line changed.
fn changed(from: &str, to: &str) -> Vec<(usize, usize, String)> {
    assert!(LATE.contains(from), "{from}");
    mistakes(&LATE.replacen(from, to, 1))
}

#[test]
fn every_mistake_is_shown_with_its_place_and_what_was_meant() {
    // What is replaced, by what, which part of that is marked, and what is said.
    let cases = [
        (
            r#"who = "late",   do = "play""#,
            r#"who = "lat",   do = "play""#,
            r#""lat""#,
            "did you mean \"late\"?",
        ),
        (r#"do = "publish""#, r#"do = "publsh""#, r#""publsh""#, "did you mean \"publish\"?"),
        (r#"speaks = "rtsp""#, r#"speeks = "rtsp""#, "speeks", "did you mean \"speaks\"?"),
        ("stalls = 0", "stals = 0", "stals", "did you mean \"stalls\"?"),
        (r#"loss = "5%""#, r#"loss = "5""#, r#""5""#, "want a share such as 5%"),
        (r#"at = "8s""#, r#"at = 8"#, "8", "want a time such as 500ms"),
        (
            r#"rules = "rtmp.* hls.*""#,
            r#"rules = "rtmp.* hsl.*""#,
            r#""rtmp.* hsl.*""#,
            "no rule is called \"hsl.*\"",
        ),
        (
            "faults = []",
            r#"faults = ["rtp.marker"]"#,
            r#""rtp.marker""#,
            "did you mean \"rtp.marker-missing\"?",
        ),
        ("faults = []", r#"faults = "qq""#, r#""qq""#, "--fault list tells what there is"),
        ("findings = 0", r#"except = "hls.ma""#, r#""hls.ma""#, "no rule is called \"hls.ma\""),
        (r#"record = "live/a""#, r#"record = "live/b""#, r#""live/b""#, "did you mean \"live/a\"?"),
        ("\"sample:h264-aac\"", "\"sample:h265\"", "\"sample:h265\"", "the clip inside the program is"),
        (r#"capture = "full""#, r#"capture = "ful""#, r#""ful""#, "did you mean \"full\"?"),
        (r#"over = "udp""#, r#"over = "sctp""#, r#""sctp""#, "want \"udp\" or \"tcp\""),
        ("seed   = 7", "seed   = -7", "-7", "want a number from 0"),
        ("count = 50", "count = 0", "0", "want a number from 1"),
        ("title  =", "titel  =", "titel", "did you mean \"title\"?"),
        (
            r#"path = "live/a", with = "retina""#,
            r#"path = "../a", with = "retina""#,
            r#""../a""#,
            "is no path",
        ),
        ("first_frame = \"< 2s\"", "first_frame = \"< 2\"", "\"< 2\"", "want a time such as"),
    ];
    for (from, to, marked, says) in cases {
        let found = changed(from, to);
        let text = LATE.replacen(from, to, 1);
        let at = text.find(to).unwrap() + to.find(marked).unwrap();
        let before = text.get(..at).unwrap();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let hit = found.iter().any(|(l, c, text)| {
            let carets = text.matches('^').count();
            (*l, *c) == (line, column) && text.contains(says) && carets == marked.chars().count()
        });
        assert!(hit, "{to} at {line}:{column}: {found:#?}");
    }
}

#[test]
fn what_cannot_be_had_together_is_said() {
    let cases = [
        ("speaks = \"rtmp\", role", "speaks = \"hls\", role", "HLS has no publishers"),
        ("with = \"retina\"", "with = \"rml_rtmp\"", "rml_rtmp speaks rtmp only"),
        ("over = \"udp\", path", "over = \"tcp\", path", "only packets over UDP are lost"),
        ("who = \"cam\",    do = \"publish\"", "who = \"cam\",    do = \"play\"", "\"cam\" cannot play"),
        ("{ who = \"crowd\", frames_missing", "{ who = \"cam\", frames_missing", "only viewers have"),
        (", jitter = \"10ms\"", ", jitter = \"50ms\"", "larger than the delay"),
        ("speaks = \"hls\", path", "speaks = \"hls\", over = \"udp\", path", "only RTSP has a choice"),
        ("faults = []", "url = \"rtmp://h\"", "either use = \"reference\", a url, or a command"),
        (
            "{ rules = \"rtmp.* hls.*\", findings",
            "{ rules = \"rtmp.*\", who = \"cam\", findings",
            "about one of who",
        ),
        (
            "{ rules = \"rtmp.* hls.*\", findings",
            "{ rules = \"rtmp.*\", stalls = 1, findings",
            "does not go with",
        ),
        ("\"cam\",    do = \"stop\"", "\"cam\"", "needs something to do"),
        (
            "path = \"live/a\", media",
            "path = \"live/a\", count = 2, media",
            "two publishers cannot have one path",
        ),
    ];
    for (from, to, says) in cases {
        let found = changed(from, to);
        assert!(found.iter().any(|(.., text)| text.contains(says)), "{to}: {found:#?}");
    }
    let found = changed("who = [\"crowd\", \"player\"]", "who = [\"crowd\"]");
    assert!(found[0].2.contains("\"player\" never comes") && found[0].0 == 10, "{found:#?}");
}

#[test]
fn all_mistakes_come_at_once_in_the_order_of_the_file() {
    let found = mistakes("title = 3\nclients = {}\nsteps = [{ at = \"x\", who = \"a\" }]\n");
    let lines: Vec<_> = found.iter().map(|m| m.0).collect();
    assert!(found.len() >= 4 && lines.is_sorted(), "{found:#?}");
    let found = mistakes("title = \"cut");
    assert_eq!((found.len(), found[0].0), (1, 1), "{found:#?}");
    assert!(mistakes("").iter().any(|m| m.2.contains("needs \"title\"")));
}

#[test]
fn targets_are_the_reference_a_url_or_a_command() {
    let with = |target: &str| parse(&LATE.replace("{ use = \"reference\", faults = [] }", target));
    let running = with("{ url = [\"rtmp://h:1/live\", \"http://h\"] }").unwrap();
    assert_eq!(running.target, Target::Running(vec!["rtmp://h:1/live".to_owned(), "http://h".to_owned()]));
    let command = with(
        "{ command = \"nginx -c '{dir}/a b.conf'\", ready = \"tcp:{rtmp}\", ports = [\"rtmp\"], \
         url = \"rtmp://127.0.0.1:{rtmp}\", files = { \"a b.conf\" = \"listen {rtmp};\" }, patience = \"5s\" }",
    );
    let Target::Command(command) = command.unwrap_or_else(|e| panic!("{e}")).target else { panic!() };
    assert_eq!((command.ready, command.patience), (Ready::Tcp("{rtmp}".to_owned()), Duration::from_secs(5)));
    for (target, says) in [
        ("{ command = \"x\", ready = \"tcp:1\" }", "needs \"url\""),
        (
            "{ command = \"'x\", ready = \"tcp:1\", url = \"rtmp://h\" }",
            "a quote in the command is not closed",
        ),
        ("{ command = \"x\", ready = \"soon\", url = \"rtmp://h\" }", "want \"tcp:PORT\""),
        (
            "{ command = \"x\", ready = \"tcp:1\", url = \"rtmp://h\", files = { \"../x\" = \"\" } }",
            "is no name",
        ),
        ("{ url = \"ftp://h\" }", "is no URL of a server"),
        ("{ url = \"rtmp://h\", record = true }", "does not belong to this kind of target"),
        ("{ use = \"refrence\" }", "did you mean \"reference\"?"),
    ] {
        let found = with(target).unwrap_err().to_string();
        assert!(found.contains(says), "{target}: {found}");
    }
}
