use std::path::Path;

use model::Verdict;

use super::*;

/// Runs a scenario's text; each verdict by its id.
async fn verdicts(text: &str) -> Vec<(String, Verdict, String)> {
    verdicts_while(text, |_| {}).await
}

/// The same, with something that happens meanwhile.
async fn verdicts_while(text: &str, meanwhile: impl FnMut(&Moment)) -> Vec<(String, Verdict, String)> {
    let out = tempfile::tempdir().unwrap();
    let scenario = Scenario::parse(text, "test.toml", Path::new(".")).unwrap_or_else(|e| panic!("{e}"));
    let options = Options {
        out: out.path().to_owned(),
        targets: Vec::new(),
        seed: None,
        timeout: Duration::from_secs(120),
    };
    let (_keep, interrupted) = watch::channel(false);
    let outcome = run(&scenario, &options, meanwhile, interrupted).await.unwrap_or_else(|e| panic!("{e}"));
    let case = |case: Case| (case.rule, case.verdict, case.got.unwrap_or_default());
    outcome.cases.into_iter().map(case).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_expectation_can_pass_and_fail() {
    let found = verdicts(
        r#"
        title = "both ways"
        clients.cam  = { speaks = "rtmp", role = "publisher", path = "live/a" }
        clients.tv   = { speaks = "rtmp", path = "live/a" }
        clients.udp  = { speaks = "rtsp", over = "udp", path = "live/a", net = { loss = "10%" } }
        clients.lost = { speaks = "rtsp", path = "live/nobody" }
        steps = [
            { at = "0s", who = "cam", do = "publish" },
            { at = "1s", who = ["tv", "udp", "lost"], do = "play" },
            { at = "4s", who = "cam", do = "stop" },
        ]
        expect = [
            { who = "tv", frames = "> 50", pictures = "> 20", audio_frames = "> 20", first_frame = "< 30s" },
            { who = "tv", frames = "> 5000", pictures = 3, audio_frames = 4, first_frame = "> 30s" },
            { who = "tv", frames_missing = 0, frames_foreign = 0, longest_gap = "< 20s", stalls = "< 99" },
            { who = "tv", frames_missing = "> 0", frames_foreign = "> 0", longest_gap = "> 20s", stalls = "> 99" },
            { who = "tv", bitrate = "> 1 kbit/s", key_frame_first = true, codecs = ["aac", "h264"] },
            { who = "tv", bitrate = "> 1 Gbit/s", key_frame_first = false, codecs = ["opus"] },
            { who = "tv", outcome = "told" },
            { who = "tv", outcome = "refused" },
            { who = "udp", lost_packets = "> 0" },
            { who = "udp", lost_packets = 0 },
            { who = "lost", outcome = "refused" },
            { rules = "rtmp.*" },
            { rules = "rtmp.*", findings = 7 },
            { record = "live/a", duration = "> 1s", pictures = "> 20" },
            { record = "live/a", duration = "> 1h", pictures = 2 },
            { metric = "streamgauge_clients{role=\"publisher\"}", value = 1, at = "3s" },
            { metric = "streamgauge_clients{role=\"publisher\"}", value = 2, at = "3s" },
            { metric = "streamgauge_nonsense", value = 0 },
            { bytes_agree = true },
        ]
        "#,
    )
    .await;
    let mut surprises = Vec::new();
    for (rule, verdict, got) in &found {
        // The second of each kind was written to fail.
        let fails = rule.ends_with("#2") || rule == "metric.streamgauge_nonsense";
        let want = if fails { Verdict::Fail } else { Verdict::Pass };
        if *verdict != want {
            surprises.push(format!("{rule}: {verdict:?}, {got}"));
        }
    }
    assert!(surprises.is_empty(), "{surprises:#?}");
    assert_eq!(found.iter().filter(|(rule, ..)| rule.ends_with("#2")).count(), 17, "{found:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_fault_breaks_is_found_and_said_and_what_it_keeps_can_be_wanted() {
    let found = verdicts(
        r#"
        title = "a server with a fault"
        target = { use = "reference", faults = ["rtmp.reply-to-nobody"] }
        clients.cam = { speaks = "rtmp", role = "publisher", path = "live/a" }
        clients.tv  = { speaks = "rtmp", path = "live/a" }
        steps = [
            { at = "0s", who = "cam", do = "publish" },
            { at = "300ms", who = "tv", do = "play" },
            { at = "1500ms", who = "cam", do = "stop" },
        ]
        expect = [
            { rules = "rtmp.command.*", findings = ">= 1" },
            { rules = "rtmp.command.*", findings = 0 },
            { rules = "*", except = "rtmp.command.*" },
            { rules = "*", except = "rtmp.command.*", findings = ">= 1" },
            { rules = "*", except = "rtsp.* rtmp.status.*" },
        ]
        "#,
    )
    .await;
    let rules: Vec<_> = found.iter().filter(|(rule, ..)| rule.starts_with("rules.")).collect();
    let told: Vec<_> = rules.iter().map(|(rule, verdict, _)| (rule.as_str(), *verdict)).collect();
    let want = [
        ("rules.rtmp.command.*", Verdict::Pass),
        ("rules.rtmp.command.*#2", Verdict::Fail),
        ("rules.* except rtmp.command.*", Verdict::Pass),
        ("rules.* except rtmp.command.*#2", Verdict::Fail),
        ("rules.* except rtsp.* rtmp.status.*", Verdict::Fail),
    ];
    assert_eq!(told, want, "{found:#?}");
    for broken in [&rules[0], &rules[1], &rules[4]] {
        assert!(broken.2.starts_with("rtmp.command.result-transaction-id: "), "{broken:?}");
    }
    assert_eq!([&rules[2].2, &rules[3].2], ["none is broken"; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_freeze_read_slowly_come_back_and_are_cut_off_as_they_are_told() {
    let found = verdicts(
        r#"
        title = "behaviours"
        clients.first  = { speaks = "rtmp", role = "publisher", path = "live/a" }
        clients.second = { speaks = "rtmp", role = "publisher", path = "live/b" }
        clients.comes  = { speaks = "rtmp", role = "publisher", path = "live/b", reconnect = { after = "300ms", times = 20 } }
        clients.steady = { speaks = "rtmp", path = "live/a" }
        clients.frozen = { speaks = "rtmp", path = "live/a" }
        clients.slow   = { speaks = "rtmp", path = "live/a", reads = "200 kbit/s" }
        clients.cut    = { speaks = "rtmp", path = "live/a" }
        clients.gone   = { speaks = "rtmp", path = "live/a" }
        clients.back   = { speaks = "rtmp", path = "live/a", reconnect = { after = "100ms", times = 20 } }
        clients.broken = { speaks = "rtmp", path = "live/a" }
        steps = [
            { at = "0s", who = ["first", "second"], do = "publish" },
            { at = "500ms", who = ["steady", "frozen", "slow", "cut", "gone", "back", "broken"], do = "play" },
            { at = "500ms", who = "comes", do = "publish" },
            { at = "1500ms", who = "frozen", do = "freeze" },
            { at = "1500ms", who = "cut", net = { cut = true } },
            { at = "1500ms", who = "second", do = "stop" },
            { at = "2s", who = "gone", do = "abort" },
            { at = "2s", who = ["back", "broken"], do = "reset" },
            { at = "5500ms", who = "frozen", do = "resume" },
            { at = "5500ms", who = "cut", net = {} },
            { at = "7s", who = ["first", "comes", "slow", "back"], do = "stop" },
        ]
        expect = [
            { who = "steady", longest_gap = "< 3500ms" },
            { who = ["frozen", "cut"], longest_gap = ">= 3500ms" },
            { who = "slow", bitrate = "< 400 kbit/s" },
            { who = "comes", pictures = "> 20" },
            { who = "back", sessions = 2, key_frame_first = true, frames_missing = 0 },
            { who = "broken", sessions = 1, outcome = "lost" },
            { who = "broken", sessions = 2 },
        ]
        "#,
    )
    .await;
    let bad: Vec<_> = found.iter().filter(|(_, verdict, _)| *verdict != Verdict::Pass).collect();
    // One was written to fail.
    let [(rule, verdict, got)] = &bad[..] else { panic!("{bad:#?}") };
    assert_eq!((rule.as_str(), verdict, got.as_str()), ("broken.sessions#2", &Verdict::Fail, "1"));
}

/// However long it takes to get there: its length counts from then on, and who is to watch comes after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_timeline_stands_still_until_a_publisher_is_on_air() {
    let found = verdicts(
        r#"
        title = "a long way"
        clients.far = { speaks = "rtmp", role = "publisher", path = "live/a", for = "2s", net = { delay = "200ms" } }
        clients.tv  = { speaks = "rtsp", path = "live/a" }
        steps = [
            { at = "0s", who = "far", do = "publish" },
            { at = "100ms", who = "tv", do = "play" },
        ]
        expect = [
            { who = "far", pictures = 50, outcome = "ok" },
            { who = "tv", pictures = "> 5", outcome = "told" },
        ]
        "#,
    )
    .await;
    let bad: Vec<_> = found.iter().filter(|(_, verdict, _)| *verdict != Verdict::Pass).collect();
    assert!(bad.is_empty() && !found.is_empty(), "{bad:#?}");
}

/// Steps keep their distances where the machine has no time for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_that_are_late_are_not_made_up_for() {
    let mut stands_still = Some(Duration::from_secs(2));
    let found = verdicts_while(
        r#"
        title = "a machine that stands still"
        clients.cam = { speaks = "rtmp", role = "publisher", path = "live/a" }
        clients.tv  = { speaks = "rtsp", path = "live/a" }
        steps = [
            { at = "0s", who = "cam", do = "publish" },
            { at = "300ms", who = "tv", do = "play" },
            { at = "1300ms", who = "cam", do = "stop" },
        ]
        expect = [{ who = "tv", pictures = "> 5", outcome = "told" }]
        "#,
        |_| stands_still.take().into_iter().for_each(std::thread::sleep),
    )
    .await;
    let bad: Vec<_> = found.iter().filter(|(_, verdict, _)| *verdict != Verdict::Pass).collect();
    assert!(bad.is_empty() && !found.is_empty(), "{bad:#?}");
}
