//! Runs made up for the tests and for the gallery: always the same, in every detail that a report shows.
#![allow(dead_code)]

use std::collections::BTreeMap;

use model::*;

/// A small generator of noise: the same numbers every time.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to 1.
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.0 >> 33).unwrap()) / f64::from(1u32 << 31)
    }
}

pub fn endpoint(address: &str, port: u16) -> Endpoint {
    Endpoint { address: address.parse().unwrap(), port: Some(port) }
}

pub fn video(frames: u64, key_frames: u64, bytes: u64) -> Track {
    Track {
        kind: TrackKind::Video,
        codec: Some("h264".into()),
        profile: Some("High".into()),
        level: Some("3.1".into()),
        width: Some(1280),
        height: Some(720),
        frame_rate: Some(30.0),
        sample_rate: None,
        channels: None,
        frames,
        end_of_sequence: 0,
        key_frames,
        bytes,
        bps: Some(2_214_000.0),
        packets: None,
        lost_packets: None,
        reordered: None,
        duplicates: None,
        jitter_ms: None,
        declared: Some(BTreeMap::from([("framerate".into(), "30".into()), ("width".into(), "1280".into())])),
        reported: None,
        description: "H.264 High@3.1 1280x720 30 fps".into(),
        gop: Some(Gop { min_frames: 60, mean_frames: 60.0, max_frames: 60, mean_s: 2.0 }),
    }
}

pub fn audio(frames: u64, bytes: u64) -> Track {
    Track {
        kind: TrackKind::Audio,
        codec: Some("aac".into()),
        profile: Some("LC".into()),
        level: None,
        width: None,
        height: None,
        frame_rate: None,
        sample_rate: Some(48_000),
        channels: Some(2),
        frames,
        end_of_sequence: 0,
        key_frames: 0,
        bytes,
        bps: Some(128_400.0),
        packets: None,
        lost_packets: None,
        reordered: None,
        duplicates: None,
        jitter_ms: None,
        declared: Some(BTreeMap::from([
            ("sound_rate".into(), "44 kHz".into()),
            ("sound_type".into(), "stereo".into()),
        ])),
        reported: None,
        description: "AAC-LC 48000 Hz stereo".into(),
        gop: None,
    }
}

pub fn session(
    id: &str,
    role: Role,
    path: &str,
    agent: &str,
    port: u16,
    start_s: f64,
    duration_s: f64,
) -> Session {
    let sent = (duration_s * 2_360_000.0 / 8.0).round();
    let media = format!("{sent:.0}").parse().unwrap();
    let control = 3_537;
    let (bytes_to_server, bytes_to_client) =
        if role == Role::Publisher { (media, control) } else { (control, media) };
    let (client, server) = (endpoint("127.0.0.1", port), endpoint("127.0.0.1", 1935));
    let frames = format!("{:.0}", duration_s * 30.0).parse().unwrap();
    let filter = format!("tcp.port == {port} && tcp.port == 1935");
    Session {
        id: id.into(),
        protocol: Protocol::Rtmp,
        transport: Transport::Tcp,
        role,
        client,
        server,
        path: Some(path.into()),
        agent: Some(agent.into()),
        start_s,
        duration_s,
        bytes_to_server,
        bytes_to_client,
        mean_bps: Some(2_361_000.0),
        peak_bps: Some(3_480_000.0),
        first_frame_ms: Some(if role == Role::Publisher { 48.3 } else { 12.7 }),
        retransmitted_bytes: None,
        rtt_ms: None,
        complete: true,
        unsent: None,
        segments: None,
        connections: vec![Connection {
            client,
            server,
            start_s,
            duration_s,
            bytes_to_server,
            bytes_to_client,
            end: Some("fin".into()),
        }],
        filter,
        tracks: vec![
            video(frames, frames.div_ceil(60), media / 20 * 19),
            audio(format!("{:.0}", duration_s * 46.875).parse().unwrap(), media / 20),
        ],
    }
}

fn conversation(s: &Session) -> Conversation {
    let (packets_ab, packets_ba) = (s.bytes_to_server / 1200 + 40, s.bytes_to_client / 1200 + 40);
    let (bytes_ab, bytes_ba) = (s.bytes_to_server + packets_ab * 66, s.bytes_to_client + packets_ba * 66);
    let bps = |bytes: u64| Some(f64::from(u32::try_from(bytes).unwrap()) * 8.0 / s.duration_s);
    Conversation {
        a: s.client,
        b: s.server,
        packets: packets_ab + packets_ba,
        bytes: bytes_ab + bytes_ba,
        packets_ab,
        bytes_ab,
        packets_ba,
        bytes_ba,
        start_s: s.start_s,
        duration_s: s.duration_s,
        bps_ab: bps(bytes_ab),
        bps_ba: bps(bytes_ba),
        reused: 0,
    }
}

/// One publisher, seven viewers who come and go, one of them too slow; 20 seconds in tenths.
pub fn eight_clients() -> Run {
    let agents = [
        ("camera", Role::Publisher, "FMLE/3.0 (compatible; Lavf59.27.100)", 0.0, 20.2),
        ("first viewer", Role::Viewer, "LNX 9,0,124,2", 1.0, 19.1),
        ("second viewer", Role::Viewer, "LNX 9,0,124,2", 1.2, 18.9),
        ("late viewer", Role::Viewer, "GStreamer/1.22.0 rtmp2src", 8.0, 12.1),
        ("short visit", Role::Viewer, "rml_rtmp 0.8", 4.0, 5.0),
        ("slow viewer", Role::Viewer, "VLC/3.0.18 LibVLC/3.0.18", 2.0, 18.0),
        ("browser", Role::Viewer, "Mozilla/5.0 (X11; Linux x86_64) hls.js/1.7.4", 5.0, 15.0),
        ("second encoder's check", Role::Viewer, "OBS-Studio/29.0.2", 10.0, 10.0),
    ];
    let mut sessions: Vec<Session> = Vec::new();
    for (i, (_, role, agent, start, duration)) in agents.iter().enumerate() {
        let port = 41_230 + u16::try_from(i).unwrap() * 2;
        sessions.push(session(
            &format!("rtmp-{}", i + 1),
            *role,
            "live/sample",
            agent,
            port,
            *start,
            *duration,
        ));
    }
    sessions[5].mean_bps = Some(1_214_000.0);
    sessions[5].peak_bps = Some(1_640_000.0);
    sessions[5].bytes_to_client = 2_731_500;
    sessions[5].tracks[0].frames -= 112;
    let conversations =
        Conversations { tcp: sessions.iter().map(conversation).collect(), ..Conversations::default() };
    let bandwidth = curves(&sessions, 0.1, 203);
    let server_clients =
        sessions.iter().zip(agents).enumerate().map(|(i, (s, agent))| server_client(i, s, agent.0));
    let mut run = Run {
        schema: RUN_SCHEMA.into(),
        kind: "demo".into(),
        title: "One camera, seven viewers".into(),
        generator: "streamgauge 0.1.0".into(),
        started: "2026-11-22T19:40:12Z".into(),
        duration_s: 20.6,
        server_clients: server_clients.collect(),
        recordings: vec![Recording {
            path: "live/camera".into(),
            file: "recordings/live/camera/2026-11-22T19-40-12.318Z.mp4".into(),
            duration_s: 20.04,
            bytes: 2_704_811,
            pictures: 600,
            audio_frames: 938,
            tracks: vec!["H.264 High 3.1 640x360".into(), "AAC-LC 48000 Hz stereo".into()],
        }],
        analysis: Analysis {
            captures: vec![Capture {
                file: "capture.pcapng".into(),
                format: "pcapng".into(),
                link_type: "RAW".into(),
                packets: 35_120,
                bytes: 42_345_678,
                first_time: Some(1_795_376_412.25),
                last_time: Some(1_795_376_432.55),
                duration_s: 20.3,
                truncated_packets: 0,
                synthetic: true,
            }],
            conversations,
            sessions,
            bandwidth,
            findings: findings(),
            ..Analysis::default()
        },
        checks: Vec::new(),
        artifacts: artifacts(),
        notes: vec![
            "In the demo the server and the analyzer come out of the same program and share its decoders: the two \
             counts of bytes agree more easily than they would with somebody else's server."
                .into(),
            "The capture was written by the server's own tap: its TCP headers are made up, so that round-trip times \
             and retransmissions are unknown."
                .into(),
        ],
    };
    run.server_clients[5].bytes_out += 18_250;
    run.server_clients[5].frames_dropped = 112;
    run.analysis.sessions[5].unsent = Some(18_250);
    run.checks = checks(&run);
    run
}

fn server_client(i: usize, session: &Session, name: &str) -> ServerClient {
    ServerClient {
        id: (i + 1).to_string(),
        name: Some(name.into()),
        protocol: session.protocol,
        role: session.role,
        address: session.client,
        path: session.path.clone(),
        bytes_in: session.bytes_to_server,
        bytes_out: session.bytes_to_client,
        frames_dropped: 0,
        connected_s: session.duration_s,
        session: Some(session.id.clone()),
    }
}

/// Noisy curves with a burst where a viewer joins, as a cached group of pictures makes it.
pub fn curves(sessions: &[Session], interval_s: f64, bins: u32) -> Bandwidth {
    let mut total = vec![0.0; usize::try_from(bins).unwrap()];
    let mut per_session = BTreeMap::new();
    for (n, session) in sessions.iter().enumerate() {
        let mut noise = Noise::new(77);
        let mut own = Noise::new(1000 + u64::try_from(n).unwrap());
        let mut row: Vec<Bin> = Vec::new();
        for i in 0..bins {
            let t = f64::from(i) * interval_s;
            let wave = 1.0 + 0.25 * (t / 3.1).sin() + 0.5 * (noise.next() - 0.5);
            let key = if i % 20 == 0 { 2.2 } else { 0.9 };
            let jitter = 0.95 + 0.1 * own.next();
            let mut bps = session.mean_bps.unwrap_or(0.0) * wave * key * jitter;
            let since = t - session.start_s;
            if session.role == Role::Viewer && (0.0..interval_s).contains(&since) {
                bps *= 4.0;
            }
            if (0.0..session.duration_s).contains(&since) {
                total[usize::try_from(i).unwrap()] += bps;
                row.push(Bin::Bps(bps));
            } else if let Some(Bin::Gap((), gap)) = row.last_mut() {
                *gap += 1;
            } else {
                row.push(Bin::Gap((), 1));
            }
        }
        per_session.insert(session.id.clone(), row);
    }
    Bandwidth { interval_s, total_bps: total.into_iter().map(Bin::Bps).collect(), per_session }
}

fn findings() -> Vec<Finding> {
    vec![
        Finding {
            rule: "rtmp.audio.flags".into(),
            level: "convention".into(),
            severity: Severity::Info,
            session: Some("rtmp-1".into()),
            file: Some("capture.pcapng".into()),
            frame: Some(41),
            stream_offset: Some(4_711),
            filter: Some("frame.number == 41".into()),
            time_s: Some(0.0481),
            want: Some("44 kHz, 16 bit, stereo".into()),
            got: Some("AAC-LC 48000 Hz stereo in the AudioSpecificConfig".into()),
            message:
                "The flag bits of an AAC tag say 44 kHz; they are constants, the AudioSpecificConfig counts."
                    .into(),
            count: 8,
        },
        Finding {
            rule: "rtmp.video.missing".into(),
            level: "should".into(),
            severity: Severity::Warning,
            session: Some("rtmp-6".into()),
            file: Some("capture.pcapng".into()),
            frame: Some(9_120),
            stream_offset: Some(1_204_112),
            filter: Some("tcp.port == 41240 && frame.number >= 9120".into()),
            time_s: Some(6.402),
            want: Some("every picture between two key frames".into()),
            got: Some("112 pictures left out".into()),
            message: "The viewer was too slow and was moved to the next key frame.".into(),
            count: 4,
        },
    ]
}

fn artifacts() -> Vec<Artifact> {
    let files = [
        ("run.json", "everything in this report, as data (streamgauge.run/1)"),
        ("run.jsonl", "what happened, event by event"),
        ("junit.xml", "the checks, for a CI system"),
        ("bandwidth.svg", "the bandwidth picture; bandwidth.png is the same"),
        ("capture.pcapng", "the packets; opens in Wireshark"),
        ("server.log", "the server's log"),
    ];
    files.map(|(file, title)| Artifact { file: file.into(), title: title.into() }).into()
}

fn checks(run: &Run) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    for (session, counted) in run.analysis.sessions.iter().zip(&run.server_clients) {
        let (want, got) = (session.bytes_to_client, counted.bytes_out);
        let name = counted.name.clone().unwrap_or_default();
        checks.push(Check {
            id: format!("demo.bytes.{}", session.id),
            title: format!("{name}: server and wire count the same bytes"),
            verdict: if want == got { Verdict::Pass } else { Verdict::Warn },
            want: format!("{want} bytes sent"),
            got: format!("{got} bytes sent"),
            reason: Some("the server's metrics beside the capture".into()),
            session: Some(session.id.clone()),
        });
    }
    checks.push(Check {
        id: "demo.frames.rtmp-6".into(),
        title: "slow viewer: every published picture arrived".into(),
        verdict: Verdict::Fail,
        want: "540 pictures".into(),
        got: "428 pictures".into(),
        reason: Some("payload hashes of the capture".into()),
        session: Some("rtmp-6".into()),
    });
    checks.push(Check {
        id: "demo.recording".into(),
        title: "the recording holds what was published".into(),
        verdict: Verdict::Skip,
        want: "a recording".into(),
        got: "recording was switched off".into(),
        reason: None,
        session: None,
    });
    checks
}

/// A run in which everything is right: no slow viewer, no failed check.
pub fn good() -> Run {
    let mut run = eight_clients();
    run.analysis.sessions.truncate(4);
    run.server_clients.truncate(4);
    run.analysis.conversations.tcp.truncate(4);
    run.analysis.bandwidth = curves(&run.analysis.sessions, 0.1, 203);
    run.analysis.findings.truncate(1);
    run.checks.retain(|c| c.verdict == Verdict::Pass);
    run.checks.truncate(4);
    run.title = "One camera, three viewers".into();
    run
}

/// No session, no traffic.
pub fn empty() -> Run {
    let mut run = eight_clients();
    run.kind = "analyze".into();
    run.title = "nothing.pcapng".into();
    run.analysis = Analysis::default();
    run.server_clients.clear();
    run.checks.clear();
    run.notes.clear();
    run
}

/// Names and addresses that try to break a report, and a capture that spans years.
pub fn hostile() -> Run {
    let mut run = eight_clients();
    let long = "x".repeat(300);
    let sessions = &mut run.analysis.sessions;
    sessions[0].agent = Some("<script>alert(1)</script>\u{1b}[31mred\u{7}\"'&".into());
    sessions[0].path = Some("live/<script src=//evil></script>".into());
    sessions[1].agent = Some(format!("日本語のエージェント {long} 🎥🎥"));
    sessions[1].path = Some(format!("アプリ/{long}"));
    sessions[2].agent = Some("\u{202e}gnp.exe\u{200b}\r\nSet-Cookie: a=b".into());
    sessions[2].path = None;
    sessions[3].client = endpoint("2001:db8:85a3:1234:5678:8a2e:1370:7334", 65_535);
    sessions[3].server = endpoint("2001:db8:85a3:1234:5678:8a2e:1370:1111", 1935);
    sessions[4].bytes_to_client = u64::MAX;
    sessions[4].duration_s = 3e8;
    sessions[4].mean_bps = Some(f64::MAX);
    sessions[4].first_frame_ms = Some(1e12);
    sessions[5].mean_bps = None;
    sessions[5].peak_bps = None;
    sessions[5].first_frame_ms = None;
    sessions[6].protocol = Protocol::Rtsp;
    sessions[6].transport = Transport::Udp;
    sessions[6].role = Role::Control;
    sessions[6].tracks.clear();
    run.analysis.conversations.ipv6 = vec![Conversation {
        a: Endpoint { address: "2001:db8:85a3:1234:5678:8a2e:1370:7334".parse().unwrap(), port: None },
        b: Endpoint { address: "::1".parse().unwrap(), port: None },
        packets: u64::MAX,
        bytes: u64::MAX,
        packets_ab: u64::MAX,
        bytes_ab: u64::MAX,
        packets_ba: 1_234_567_890,
        bytes_ba: 1_234_567_890_123,
        start_s: 123_456_789.123_456,
        duration_s: 3e8,
        bps_ab: Some(1e18),
        bps_ba: None,
        reused: 3,
    }];
    run.analysis.captures[0].file = format!("/captures/{long}/<b>.pcapng");
    run.analysis.captures[0].duration_s = 3e8;
    run.analysis.findings[0].rule = format!("rtmp.{long}");
    run.analysis.findings[0].message = format!("<img src=x onerror=alert(1)> {long}");
    run.analysis.findings[0].filter = Some(format!("tcp contains \"{long}\""));
    run.analysis.findings[0].severity = Severity::Error;
    run.checks[0].title = format!("{long} <script>alert(2)</script>");
    run.checks[0].got = "]]> \u{0}\u{b} <&>".into();
    run.checks[0].verdict = Verdict::Fail;
    run.server_clients[2].name = Some("</svg><script>alert(3)</script>".into());
    run.title = format!("<title> {long}");
    run.notes.push(long);
    run.analysis.bandwidth.interval_s = 150_000.0;
    run.analysis.bandwidth.total_bps = vec![Bin::Bps(1.0), Bin::Gap((), u64::MAX), Bin::Bps(f64::MAX)];
    run
}

/// Sixty clients of three streams.
pub fn crowd() -> Run {
    let mut run = eight_clients();
    run.analysis.sessions.clear();
    for i in 0..60u16 {
        let role = if i % 20 == 0 { Role::Publisher } else { Role::Viewer };
        let path = format!("live/{}", ["a", "b", "c"][usize::from(i / 20)]);
        let start = f64::from(i % 20) * 0.4;
        let id = format!("rtmp-{}", i + 1);
        run.analysis.sessions.push(session(
            &id,
            role,
            &path,
            "LNX 9,0,124,2",
            50_000 + i,
            start,
            20.0 - start,
        ));
    }
    run.analysis.conversations.tcp = run.analysis.sessions.iter().map(conversation).collect();
    run.analysis.bandwidth = curves(&run.analysis.sessions, 0.1, 203);
    let clients = run.analysis.sessions.iter().enumerate();
    run.server_clients = clients.map(|(i, s)| server_client(i, s, &format!("client {}", i + 1))).collect();
    run
}

/// Three years in 2,000 bins.
pub fn years() -> Run {
    let mut run = good();
    let interval_s = 50_000.0;
    for session in &mut run.analysis.sessions {
        session.start_s *= 3_000_000.0;
        session.duration_s = 1e8 - session.start_s;
    }
    run.analysis.bandwidth = curves(&run.analysis.sessions, interval_s, 2_000);
    run.analysis.captures[0].duration_s = 1e8;
    run
}
