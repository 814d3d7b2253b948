use std::net::IpAddr;

use proptest::prelude::*;

use super::Filter;
use crate::dissect::facts::{Facts, Value};

fn facts() -> Facts {
    let mut facts = Facts::on();
    facts.number("rtmp.type", 8);
    facts.number("rtmp.type", 9);
    facts.number("tcp.len", 1200);
    facts.text("stream", "live/a");
    facts.push("ip.src", Value::Address(IpAddr::from([10, 0, 0, 1])));
    facts.push("video.cts", Value::Signed(-40));
    facts.push("tcp.syn", Value::Flag(false));
    facts
}

fn holds(text: &str) -> bool {
    Filter::parse(text).unwrap_or_else(|e| panic!("{e}")).matches(&facts())
}

#[test]
fn tests_of_every_type() {
    for yes in [
        "rtmp.type == audio && stream == \"live/a\"",
        "rtmp.type == 9",
        "ip.src == 10.0.0.1",
        "ip.src == 10.0.0.0/8 and not ip.src == 10.1.0.0/16",
        "tcp.len > 0x400 && tcp.len <= 1200",
        "stream contains \"e/a\"",
        "video.cts < 0",
        "tcp.syn == false",
        "rtmp",
        "rtmp.type",
        "!rtp && !(rtsp || http)",
        "rtmp.type == command || stream == live/a",
        "rtmp.type != command",
    ] {
        assert!(holds(yes), "{yes}");
    }
    for no in [
        "rtmp.type == command",
        // One of the two is audio.
        "rtmp.type != audio",
        "stream == \"live/b\"",
        "ip.src == 10.0.0.2",
        "ip.src == ::1",
        "rtsp",
        "!rtmp",
        // Where a field is not there, no comparison with it holds.
        "rtp.seq != 5",
        "rtp.seq < 5",
    ] {
        assert!(!holds(no), "{no}");
    }
}

#[test]
fn and_binds_tighter_than_or() {
    assert!(holds("rtmp || rtsp && http"));
    assert!(!holds("(rtmp || rtsp) && http"));
}

#[test]
fn errors_point_and_suggest() {
    let error = |text: &str| Filter::parse(text).unwrap_err().to_string();
    assert_eq!(
        error("rtmp.tpye == audio"),
        "filter, column 1: there is no field `rtmp.tpye`\n  rtmp.tpye == audio\n  ^ did you mean `rtmp.type`?"
    );
    let value = error("stream == \"a\" && rtmp.type == auido");
    assert!(value.contains("column 31") && value.ends_with("^ did you mean `audio`?"), "{value}");
    assert!(error("ip.src == 10.0.0").contains("no address"));
    assert!(error("rtmp.type == ").contains("missing"));
    assert!(error("(rtmp").contains("never closed"));
    assert!(error("rtmp rtsp").contains("column 6"));
    assert!(error("stream == \"a").contains("closing quote"));
    assert!(error("rtp.seq > abc").contains("is a number"));
    assert!(error("rtmp & rtsp").ends_with("did you mean `&&`?"));
    assert!(error("").contains("ends"));
    assert!(error(&"!".repeat(100_000)).contains("deep"));
}

proptest! {
    #[test]
    fn any_text_is_a_filter_or_an_error_that_points_into_it(text in "[a-z.!()<>=&|\"0-9 ]{0,40}") {
        if let Err(error) = Filter::parse(&text) {
            prop_assert!(error.at <= text.chars().count());
        }
    }
}
