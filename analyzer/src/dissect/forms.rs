//! Bytes without a capture: a named form says how to read them.

use wire::codec::{aac::AudioSpecificConfig, avc, hevc};
use wire::{Cursor, amf0, flv};

use super::filter::fields::closest;
use super::provenance::Provenance;
use super::tree::{Part, codec, flv as media, mp4, rtmp, rtp, text, ts};

/// A form of bytes.
#[derive(Debug)]
pub struct Form {
    /// `rtmp.chunk`.
    pub name: &'static str,
    /// What it is.
    pub doc: &'static str,
    read: fn(&[u8], Provenance) -> Vec<Part>,
}

/// All forms, by name.
pub static FORMS: &[Form] = &[
    Form { name: "aac.asc", doc: "AudioSpecificConfig", read: asc },
    Form { name: "amf0", doc: "AMF0 values", read: |b, o| one("AMF0 values", b, o, values) },
    Form { name: "amf3", doc: "AMF3 values", read: |b, o| one("AMF3 values", b, o, values3) },
    Form { name: "avc.config", doc: "AVCDecoderConfigurationRecord", read: avc_config },
    Form { name: "ethernet", doc: "an Ethernet frame", read: ethernet },
    Form { name: "flv", doc: "an FLV file", read: |b, o| one("FLV file", b, o, file) },
    Form {
        name: "flv.audio",
        doc: "body of an FLV audio tag or RTMP audio message",
        read: |b, o| media::audio_parts(b, o, "audio message body", 0),
    },
    Form {
        name: "flv.video",
        doc: "body of an FLV video tag or RTMP video message",
        read: |b, o| media::video_parts(b, o, "video message body", 4, 0),
    },
    Form { name: "hevc.config", doc: "HEVCDecoderConfigurationRecord", read: hevc_config },
    Form { name: "http", doc: "an HTTP/1 head, and its body", read: http },
    Form { name: "m3u8", doc: "an HLS playlist", read: |b, o| one("HLS playlist", b, o, text::playlist) },
    Form { name: "mp4", doc: "MP4 boxes", read: |b, o| mp4::parts(b, &o) },
    Form { name: "rtcp", doc: "a compound RTCP packet", read: |b, o| vec![rtp::rtcp(b, o)] },
    Form { name: "rtmp.chunk", doc: "RTMP chunks, and the messages in them", read: chunks },
    Form {
        name: "rtmp.command",
        doc: "body of an AMF0 command message",
        read: |b, o| rtmp::message_parts(20, b, o, 4, 0),
    },
    Form { name: "rtmp.handshake", doc: "C0 and C1, S0 S1 S2, or C2", read: handshake },
    Form { name: "rtp", doc: "an RTP packet", read: |b, o| rtp::rtp(b, o, None) },
    Form { name: "rtp.h264", doc: "an RTP packet with H.264", read: |b, o| rtp::rtp(b, o, Some("H264")) },
    Form { name: "rtp.h265", doc: "an RTP packet with H.265", read: |b, o| rtp::rtp(b, o, Some("H265")) },
    Form { name: "rtsp", doc: "an RTSP message", read: rtsp },
    Form {
        name: "sdp",
        doc: "a session description",
        read: |b, o| one("SDP session description", b, o, |c| wire::sdp::Description::decode(c).map(drop)),
    },
    Form { name: "ts", doc: "packets of an MPEG transport stream", read: |b, o| ts::parts(b, &o) },
];

/// Reads bytes as the form of a name; the error lists the names.
pub fn read(name: &str, bytes: &[u8]) -> Result<Vec<Part>, String> {
    let Some(form) = FORMS.iter().find(|form| form.name == name) else {
        let guess = closest(name, FORMS.iter().map(|form| form.name));
        let guess = guess.map_or(String::new(), |guess| format!("; did you mean `{guess}`?"));
        let names: Vec<&str> = FORMS.iter().map(|form| form.name).collect();
        return Err(format!("no form is called `{name}`{guess}\nforms: {}", names.join(", ")));
    };
    Ok((form.read)(bytes, Provenance::frame(0, Some(0), bytes.len() as u64)))
}

/// Bytes from hexadecimal digits; blanks, colons, commas and `0x` may stand between them.
pub fn hex(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for word in
        text.split(|c: char| c.is_whitespace() || matches!(c, ':' | ',' | '-')).filter(|w| !w.is_empty())
    {
        let digits = word.strip_prefix("0x").unwrap_or(word);
        let chars: Vec<char> = digits.chars().collect();
        if let Some(wrong) = chars.iter().find(|c| !c.is_ascii_hexdigit()) {
            return Err(format!("`{wrong}` in `{word}` is no hexadecimal digit"));
        }
        if chars.len() % 2 == 1 {
            return Err(format!("`{word}` has an odd number of hexadecimal digits"));
        }
        let mut nibbles = chars.iter().filter_map(|c| c.to_digit(16)).filter_map(|d| u8::try_from(d).ok());
        while let (Some(high), Some(low)) = (nibbles.next(), nibbles.next()) {
            bytes.push(high << 4 | low);
        }
    }
    Ok(bytes)
}

type Reader<'b> = Cursor<'b, wire::Tree>;

fn one(
    title: &str,
    bytes: &[u8],
    origin: Provenance,
    f: impl FnOnce(&mut Reader<'_>) -> wire::Result<()>,
) -> Vec<Part> {
    vec![Part::read(title, bytes, origin, f).0]
}

fn values(c: &mut Reader<'_>) -> wire::Result<()> {
    amf0::decode_all(c).1.map_or(Ok(()), Err)
}

fn values3(c: &mut Reader<'_>) -> wire::Result<()> {
    wire::amf3::decode_all(c).1.map_or(Ok(()), Err)
}

fn asc(bytes: &[u8], origin: Provenance) -> Vec<Part> {
    let (mut part, config) = Part::read("AudioSpecificConfig", bytes, origin, AudioSpecificConfig::decode);
    if let Some(config) = config {
        part.note("in short", codec::aac_text(&config));
    }
    vec![part]
}

fn avc_config(bytes: &[u8], origin: Provenance) -> Vec<Part> {
    let (part, _) =
        Part::read("AVC configuration", bytes, origin.clone(), |c| avc::Config::decode(c).map(drop));
    let config = avc::Config::decode(&mut Cursor::new(bytes));
    let sets = config.as_ref().map(codec::avc_sets).unwrap_or_default();
    std::iter::once(part).chain(codec::parameter_sets(bytes, &origin, &sets, 1)).collect()
}

fn hevc_config(bytes: &[u8], origin: Provenance) -> Vec<Part> {
    let (part, _) =
        Part::read("HEVC configuration", bytes, origin.clone(), |c| hevc::Config::decode(c).map(drop));
    let config = hevc::Config::decode(&mut Cursor::new(bytes));
    let sets = config.as_ref().map(codec::hevc_sets).unwrap_or_default();
    std::iter::once(part).chain(codec::parameter_sets(bytes, &origin, &sets, 1)).collect()
}

fn ethernet(bytes: &[u8], origin: Provenance) -> Vec<Part> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    one("Ethernet frame", bytes, origin, |c| {
        wire::net::decode(c, wire::net::LinkType::ETHERNET, length).error.map_or(Ok(()), Err)
    })
}

fn file(c: &mut Reader<'_>) -> wire::Result<()> {
    flv::file::Header::decode(c)?;
    flv::file::previous_tag_size(c)?;
    while !c.is_empty() {
        let tag = flv::file::TagHeader::decode(c)?;
        c.bytes(&flv::PAYLOAD, usize::try_from(tag.size).unwrap_or(usize::MAX))?;
        flv::file::previous_tag_size(c)?;
    }
    Ok(())
}

fn http(bytes: &[u8], origin: Provenance) -> Vec<Part> {
    let head = wire::http::head_length(bytes).unwrap_or(bytes.len());
    let (first, body) = bytes.split_at(head.min(bytes.len()));
    let mut parts = vec![text::http(first, origin.slice(0..first.len() as u64))];
    if !body.is_empty() {
        let kind = wire::http::Head::decode(&mut Cursor::new(first));
        let kind = kind.ok().and_then(|h| h.field("Content-Type").map(str::to_owned)).unwrap_or_default();
        parts.extend(text::body(body, origin.slice(first.len() as u64..bytes.len() as u64), &kind));
    }
    parts
}

fn rtsp(bytes: &[u8], origin: Provenance) -> Vec<Part> {
    let head = wire::http::head_length(bytes).unwrap_or(bytes.len());
    text::rtsp(bytes, head, &origin)
}

fn handshake(bytes: &[u8], origin: Provenance) -> Vec<Part> {
    match bytes.len() {
        0..=1536 => one("RTMP handshake C2", bytes, origin, rtmp::c2),
        1537 => one("RTMP handshake C0+C1", bytes, origin, rtmp::c0c1),
        _ => one("RTMP handshake S0+S1+S2", bytes, origin, rtmp::s0s1s2),
    }
}

fn chunks(bytes: &[u8], origin: Provenance) -> Vec<Part> {
    let (part, messages) = Part::read("RTMP chunks", bytes, origin, rtmp::free_chunks);
    let mut parts = vec![part];
    for (type_id, body) in messages.unwrap_or_default() {
        let origin = Provenance::frame(0, None, body.len() as u64);
        parts.extend(rtmp::message_parts(type_id, &body, origin, 4, 1));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_may_be_written_in_many_ways() {
        let bytes = vec![0xaf, 0, 0x11, 0x90];
        for text in ["af 00 11 90", "af001190", "AF:00:11:90", "0xaf,0x00,0x11,0x90"] {
            assert_eq!(hex(text), Ok(bytes.clone()));
        }
        assert!(hex("af 0").unwrap_err().contains("odd"));
        assert!(hex("zz").unwrap_err().contains("`z`"));
    }

    #[test]
    fn an_unknown_form_suggests_the_nearest_and_lists_all() {
        let error = read("flv.audoi", &[]).unwrap_err();
        assert!(error.contains("did you mean `flv.audio`?") && error.contains("rtmp.chunk"), "{error}");
    }
}
