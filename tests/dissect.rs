//! `dissect` beside tshark, and its trees over real captures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn capture(name: &str) -> Option<PathBuf> {
    common::capture(&format!("own/{name}"))
}

fn dissect(arguments: &[&str]) -> Output {
    Command::new(common::PROGRAM).arg("dissect").args(arguments).output().unwrap()
}

fn text(arguments: &[&str]) -> String {
    let output = dissect(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Frame number, protocol and Info as tshark prints them, with the preferences without which it loses RTMP.
fn tshark(file: &Path) -> Option<Vec<(u64, String, String)>> {
    if !common::installed(&["tshark"]) {
        return None;
    }
    let preferences = ["rtmpt.max_packet_size:16777215", "tcp.reassemble_out_of_order:TRUE"];
    let mut arguments =
        vec!["-n", "-r", file.to_str().unwrap(), "-d", "tcp.port==1936,rtmpt", "-T", "fields"];
    // RTP outside the ports of a Transport header is found only where it is told to look for it.
    ["rtp_udp", "rtcp_udp"].iter().for_each(|search| arguments.extend(["--enable-heuristic", search]));
    preferences.iter().for_each(|preference| arguments.extend(["-o", preference]));
    arguments.extend(["-e", "frame.number", "-e", "_ws.col.Protocol", "-e", "_ws.col.Info"]);
    let output = common::peer::output("tshark", &arguments);
    let row = |line: &str| {
        let mut cells = line.split('\t').map(str::to_owned);
        (cells.next().unwrap().parse().unwrap(), cells.next().unwrap(), cells.next().unwrap_or_default())
    };
    Some(output.lines().map(row).collect())
}

/// Every RTMP line is tshark's, message for message; what stands behind its words is what it leaves out: the type of a
/// publish, the stream of a `_result`, times of pings, codecs, composition times and NAL units.
#[test]
fn rtmp_lines_are_those_of_tshark_and_more() {
    let (mut messages, mut files) = (0, 0);
    for name in [
        "own/a_rtmp_1pub_3play.pcapng",
        "own/e_rtmp_chunk60000_port1936.pcapng",
        "own/p01_ertmp_hevc_srs.pcapng",
        "own/p03_rtmp_he_aac_xhe_aac.pcapng",
        "own/p09_rtmp_lossy_path_server_side.pcapng",
        "own/s1_ertmp_codecs.pcap",
        "own/s3_csid.pcap",
        "own/s8_aggregate_amf3.pcap",
        "own/p04_rtmp_h263_vp6_mp3.pcapng",
        "own/p11_rtmp_extended_timestamp.pcapng",
        "others/rtmp-cheetah-1080p-large-publish.pcap",
        "others/rtmp-cheetah-audio-only-publish.pcap",
        "others/rtmp-cheetah-h264-aac-publish.pcap",
        "others/rtmp-cheetah-vp9-play-probe.pcap",
        "others/rtmp-fq-ffmpeg-play-aac.pcap",
        "others/rtmp-twinx-connect.pcap",
        "others/rtmp-wiki-flash9-sample.cap",
    ] {
        let Some(file) = common::capture(name) else { continue };
        let Some(theirs) = tshark(&file) else { continue };
        let ours = text(&[file.to_str().unwrap(), "--format", "json"]);
        let ours: Vec<serde_json::Value> =
            ours.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(ours.len(), theirs.len());
        files += 1;
        for ((number, protocol, whole), ours) in theirs.iter().zip(&ours) {
            assert_eq!(ours["frame"], *number);
            let is_rtmp = protocol == "RTMP";
            assert_eq!(ours["protocol"] == "RTMP", is_rtmp, "{name} frame {number}");
            if !is_rtmp {
                continue;
            }
            let mine: Vec<&str> = ours["info"].as_str().unwrap().split('|').collect();
            // What it thinks of the TCP segment stands before the first message there.
            let info = whole.split_once("] |").filter(|_| whole.starts_with(TCP_ANALYSIS));
            let info = info.map_or(whole.as_str(), |(_, messages)| messages);
            let wanted: Vec<&str> = info.split('|').collect();
            assert_eq!(mine.len(), wanted.len(), "frame {number}: {mine:?} for {wanted:?}");
            for (mine, wanted) in mine.iter().zip(wanted) {
                assert!(mine.starts_with(wanted), "frame {number}: {mine} for {wanted}");
                messages += 1;
            }
        }
    }
    // Where none of them is here, each was said to be left out.
    assert!(files == 0 || messages > 100 * files, "{messages} in {files} captures");
}

/// An Info line without what is added behind the header of each RTP packet: `(H264, NAL slice)`.
fn without_codecs(info: &str) -> String {
    let mut bare = String::new();
    let mut rest = info;
    while let Some((before, behind)) = rest.split_once(" (") {
        bare.push_str(before);
        let last = before.rsplit(", ").next().unwrap_or_default();
        let header = last == "Mark" || last.starts_with("Time=");
        match behind.split_once(')').filter(|_| header) {
            Some((_, behind)) => rest = behind,
            None => {
                bare.push_str(" (");
                rest = behind;
            }
        }
    }
    bare + rest
}

/// Why a line of RTSP, RTP or RTCP is what it is beside tshark's; none where nothing explains it.
fn explained(theirs: (&str, &str), mine: (&str, &str)) -> Option<&'static str> {
    let ((their_protocol, info), (protocol, mine)) = (theirs, mine);
    let bare = without_codecs(mine);
    let bare = bare.trim_end();
    let wanted = info.trim_end_matches("[Malformed Packet]").trim_end();
    let same = their_protocol == protocol && bare == wanted;
    let message = wanted.strip_suffix(", Continuation");
    if same && wanted != info.trim_end() {
        // It reads the SPS of sprop-parameter-sets with its emulation prevention bytes.
        Some("a session description that it calls malformed")
    } else if same && bare != mine.trim_end() {
        Some("what a dynamic payload type stands for")
    } else if same {
        Some("the same")
    } else if protocol.starts_with("RTSP") && message == Some(bare) {
        // RFC 2326 §4.1: a receiver passes over blank lines before a message.
        Some("blank lines that it takes for a message")
    } else if protocol.starts_with("RTSP") && info.starts_with("[TCP Retransmission]") {
        Some("a segment that came late, and not again")
    } else if (their_protocol, protocol) == ("RTP", "UDP") {
        Some("one of the first packets of a source, before it is known by its behaviour")
    } else if protocol.starts_with("RT") && mine.starts_with("[byte ") {
        // A player opens the way through a NAT with random bytes.
        Some("no RTP on a port that was agreed for it")
    } else {
        None
    }
}

/// RTSP, RTP and RTCP lines are tshark's but for what a rule explains; every rule has its case.
#[test]
fn rtsp_and_rtp_lines_are_those_of_tshark_and_more() {
    let mut met: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
    let names = [
        "own/c1_rtsp_play_udp.pcapng",
        "own/c2_rtsp_play_tcp_interleaved.pcapng",
        "own/p06_rtsp_udp_hevc_aac_loss.pcapng",
        "others/rtsp-aflnet-live555.pcap",
        "others/rtsp-ipfixprobe.pcap",
        "others/rtsp-ndpi-setup-http.pcapng",
        "others/rtsp-profuzz-aac.pcap",
        "others/rtsp-profuzz-mp3.pcap",
        "others/rtsp-profuzz-webm.pcap",
        "others/rtsp-trex-160k-full.pcap",
        "others/rtsp-trex-rtsp0.pcap",
        "others/rtsp-trex-short.pcap",
        "others/rtp-tau-wilson-h265.pcap",
        "others/rtp-trex-g729-gap.pcap",
        "others/rtcp-ndpi-compound.pcap",
    ];
    let mut files = 0;
    let mut unsure = std::collections::BTreeMap::new();
    for name in names {
        let Some(file) = common::capture(name) else { continue };
        let Some(theirs) = tshark(&file) else { continue };
        let ours = text(&[file.to_str().unwrap(), "--format", "json"]);
        files += 1;
        for ((number, protocol, info), ours) in theirs.iter().zip(ours.lines()) {
            let ours: serde_json::Value = serde_json::from_str(ours).unwrap();
            let mine = [&ours["protocol"], &ours["info"]].map(|cell| cell.as_str().unwrap());
            if !protocol.starts_with("RT") && !mine[0].starts_with("RT") {
                continue;
            }
            let why = explained((protocol, info), (mine[0], mine[1]));
            let why = why.unwrap_or_else(|| panic!("{name} frame {number}: {mine:?} for {protocol} {info}"));
            *met.entry(why).or_default() += 1;
            if mine[0] == "UDP" {
                let first =
                    unsure.entry((name, ours["flow"].to_string(), ours["source"].to_string())).or_insert(0);
                *first += 1;
                assert!(*first <= 3, "{name} frame {number}: still not known");
            }
        }
    }
    println!("{met:#?}");
    if files == names.len() {
        assert_eq!(met.len(), 7, "{met:?}");
        assert!(met["the same"] > 3000 && met["what a dynamic payload type stands for"] > 5000, "{met:?}");
    }
}

#[test]
fn the_audio_header_that_started_it() {
    let shown = text(&["--as", "flv.audio", "--hex", "af 00 11 90"]);
    for line in [
        "Wireshark says: HE-AAC 44 kHz 16 bit stereo",
        "what is so: AAC sequence header, AudioSpecificConfig AAC-LC 48000 Hz stereo",
        "what counts: the second",
        "sampling frequency index: 3 (48000 Hz)",
    ] {
        assert!(shown.contains(line), "{line} in\n{shown}");
    }
}

#[test]
fn a_filter_selects_and_its_errors_point() {
    let Some(file) = capture("a_rtmp_1pub_3play.pcapng") else { return };
    let file = file.to_str().unwrap();
    let lines = text(&[file, "rtmp.command == publish && stream contains \"teststream\""]);
    assert_eq!(lines.lines().count(), 1, "{lines}");
    assert!(lines.contains("publish('teststream') live"), "{lines}");
    let output = dissect(&[file, "rtmp.type == auido"]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("^ did you mean `audio`?"), "{error}");
}

#[test]
fn one_frame_is_shown_down_to_its_amf_values() {
    let Some(file) = capture("a_rtmp_1pub_3play.pcapng") else { return };
    let file = file.to_str().unwrap();
    let shown = text(&[file, "--frame", "20"]);
    // The message begins in frame 18.
    for words in
        ["RTMP chunk stream", "frame 18 bytes", "frame 20 bytes", "\"releaseStream\"", "RTMP 1.0 §5.3.1.1"]
    {
        assert!(shown.contains(words), "{words} in\n{shown}");
    }
    let output = dissect(&[file, "--frame", "999999"]);
    assert_eq!(output.status.code(), Some(2));
}

/// Lines that are not TCP's own analysis of what was lost and sent again.
const TCP_ANALYSIS: &str = "[TCP ";

/// What tshark wrote of a TCP segment is what stands here: numbers, window, options.
#[test]
fn tcp_lines_are_those_of_tshark() {
    let mut compared = 0;
    for name in ["a_rtmp_1pub_3play.pcapng", "p09_rtmp_lossy_path_server_side.pcapng"] {
        let Some(file) = capture(name) else { continue };
        let Some(theirs) = tshark(&file) else { continue };
        let ours = text(&[file.to_str().unwrap(), "--format", "json"]);
        for ((number, protocol, info), ours) in theirs.iter().zip(ours.lines()) {
            let ours: serde_json::Value = serde_json::from_str(ours).unwrap();
            let mine = ours["info"].as_str().unwrap();
            let analysed = [info, mine].iter().any(|info| info.starts_with(TCP_ANALYSIS));
            if protocol != "TCP" || ours["protocol"] != "TCP" || analysed {
                continue;
            }
            let bare = |info: &str| info.split(" [TCP ").next().unwrap().to_owned();
            assert_eq!(bare(mine), bare(info), "{name} frame {number}");
            compared += 1;
        }
    }
    if compared > 0 {
        assert!(compared > 1_000, "{compared}");
    }
}

/// One frame of each kind, down to the bit, on 80 columns: the shortest packet whose line has these words.
#[test]
fn frames_of_each_kind_as_they_are_shown() {
    for (name, case, words) in [
        ("rtmp_command", "rtmp-status-elsewhere", "createStream()"),
        ("rtmp_handshake", "rtmp-status-elsewhere", "Handshake C2"),
        ("rtmp_audio", "ffmpeg-publish-play", "Audio Data"),
        ("rtsp_description", "gst-record-udp", "ANNOUNCE"),
        ("rtp_packet", "gst-record-udp", "PT=DynamicRTP-Type-96"),
        ("rtcp_report", "gst-record-udp", "Sender Report"),
        ("hls_playlist", "ffmpeg-watches-hls", "mpegurl"),
        ("hls_mp4_init", "ffmpeg-watches-hls", "206 Partial Content  (video/mp4)"),
        ("amf3_every_kind", "amf3-every-kind", "onEveryKind"),
        ("ts_tables_and_picture", "ffmpeg-sends-ts", "Program Association Table (PAT)"),
        ("ts_in_rtp", "ffmpeg-sends-ts", "(MPEG TS: audio-stream (PID 257, aac"),
    ] {
        let case = common::root().join("captures").join(case);
        let file = ["input.pcap", "input.pcapng"].map(|file| case.join(file));
        let file = file.iter().find(|file| file.exists()).unwrap().to_str().unwrap();
        let lines = text(&[file, "--format", "json"]);
        let rows = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let rows = rows.filter(|row| row["info"].as_str().unwrap().contains(words));
        let row = rows.min_by_key(|row| row["length"].as_u64()).unwrap_or_else(|| panic!("{words}"));
        let number = row["frame"].to_string();
        let output = Command::new(common::PROGRAM)
            .args(["dissect", file, "--frame", &number, "--color", "never"])
            .env("COLUMNS", "80")
            .output()
            .unwrap();
        insta::assert_snapshot!(name, String::from_utf8(output.stdout).unwrap());
    }
}

/// What tshark names in a datagram of a transport stream is named here, tables and PES packets in their order. It names
/// a PES packet where the last byte of it came, in the words of its stream id; here it stands where it begins.
#[test]
fn transport_stream_lines_have_the_words_of_tshark_and_facts() {
    let file = common::root().join("captures/ffmpeg-sends-ts/input.pcap");
    let Some(theirs) = tshark(&file) else { return };
    let lines = text(&[file.to_str().unwrap(), "--format", "json"]);
    let rows: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), theirs.len());
    let (mut datagrams, mut tables) = (0, 0);
    // PES packets of pictures in their lines and in ours; those of sound it overwrites with what it takes AAC for.
    let mut pictures = (0, 0);
    for ((number, protocol, info), row) in theirs.iter().zip(&rows) {
        let mine = row["info"].as_str().unwrap();
        assert!(protocol.starts_with("MPEG"), "frame {number}: {protocol}");
        // It lets the column say what is inside of RTP.
        let inside = mine.contains(" (MPEG TS: ");
        assert_eq!(row["protocol"], if inside { "RTP" } else { "MPEG TS" }, "frame {number}");
        datagrams += 1;
        for name in
            ["Program Association Table (PAT)", "Program Map Table (PMT)", "Service Description Table (SDT)"]
        {
            let count = |info: &str| info.matches(name).count();
            assert_eq!(count(mine), count(info), "frame {number}: {mine} for {info}");
            tables += count(mine);
        }
        pictures.0 += info.matches("video-stream").count();
        pictures.1 += mine.matches("video-stream (PID 256, h264, PTS ").count();
    }
    assert!(datagrams > 50 && tables > 10, "{datagrams}, {tables}");
    // The last of each of the two streams does not end.
    let (their, our) = pictures;
    assert!(our > 20 && (our - 2..=our).contains(&their), "{our} for {their}");
    // In RTP the sync bytes say what is inside, from the first packet on.
    assert_eq!(rows.iter().filter(|row| row["protocol"] == "UDP").count(), 0);
    let count = |filter: &str| text(&[file.to_str().unwrap(), filter]).lines().count();
    let of_rtp = rows.iter().filter(|row| row["protocol"] == "RTP").count();
    assert_eq!(count("rtp.pt == 33 && ts.pid >= 0"), of_rtp);
    assert_eq!(
        count("ts.table == pmt"),
        rows.iter().filter(|row| row["info"].as_str().unwrap().contains("(PMT)")).count()
    );
    assert!(count("ts.codec == \"aac\" && ts.stream_id == 192 && ts.pts > 90000") > 2);
    assert!(count("ts.pcr > 0 && ts.random_access && ts.codec == \"h264\"") >= 2);
    assert_eq!(count("ts.missing > 0"), 0);
}

/// A command in AMF3, and the values behind the marker 0x11 in it.
#[test]
fn amf3_is_shown_to_the_bit() {
    let shown = text(&["--as", "rtmp.command", "--hex", "02 0001 66 11 0a 0b 01 03 78 04 81 00 01"]);
    for words in ["AMF3 value", "externalizable", "by value", "name: \"x\"", "dynamic: 1"] {
        assert!(shown.contains(words), "{words} in\n{shown}");
    }
    // Numbers, whatever the bytes they are in: AMF3 §1.3.1, §3.6 and §3.15.
    let file = common::root().join("captures/amf3-every-kind/input.pcapng");
    let shown = text(&[file.to_str().unwrap(), "--fields", "rtmp.command == \"onEveryKind\""]);
    let numbers = shown.lines().filter_map(|line| line.split_once("integer: ")).map(|(_, text)| text);
    let numbers = numbers.map(|text| text.split(' ').next().unwrap().parse::<i64>().unwrap());
    let want = [127, 128, 16_384, 2_097_152, 268_435_455, -268_435_456, -1, 1, 2, 3, 4, 5, 6, 1, 7];
    assert_eq!(numbers.collect::<Vec<_>>(), want);
    for words in
        ["item: -1", "item: 4294967295", "date: 1576978546688", "U29: 33 ", "externalized bytes: de ad be ef"]
    {
        assert!(shown.contains(words), "{words} in\n{shown}");
    }
    let Some(file) = capture("s8_aggregate_amf3.pcap") else { return };
    let lines = text(&[file.to_str().unwrap()]);
    assert!(lines.contains("connect("), "{lines}");
}

/// An enhanced tag has no flag bits that mean nothing: the note says what its first byte is.
#[test]
fn what_counts_is_said_of_enhanced_tags_too() {
    let shown = text(&["--as", "flv.video", "--hex", "91 68 76 63 31 00 00 00"]);
    assert!(shown.contains("the FourCC behind it names the codec"), "{shown}");
    assert!(!shown.contains("flag bits"), "{shown}");
}

#[test]
fn refusals_are_those_of_analyze_and_are_told_once() {
    let path = std::env::temp_dir().join(format!("streamgauge-no-capture-{}", std::process::id()));
    std::fs::write(&path, b"RTSS and no more of it, which is a NetMon file").unwrap();
    let file = path.to_str().unwrap();
    let told = |command: &str| {
        let output = Command::new(common::PROGRAM).args([command, file]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = told("dissect");
    assert_eq!((code, &error), (Some(2), &told("analyze").1));
    assert!(error.contains("editcap") && error.lines().count() == 1, "{error}");
    std::fs::remove_file(path).unwrap();
}
