//! Words for numbers in a field tree.

use wire::Field;
use wire::codec::avc::NalType;
use wire::ts::Elementary;

use super::tree::codec::Nal;
use super::tree::rtmp::type_name;
use super::tree::ts;
use crate::track::rtp::encoding;

/// Types of AMF3 values by marker.
const AMF3: [&str; 18] = [
    "Undefined",
    "Null",
    "False",
    "True",
    "Integer",
    "Double",
    "String",
    "XML document",
    "Date",
    "Array",
    "Object",
    "XML",
    "Byte array",
    "Vector of integers",
    "Vector of unsigned integers",
    "Vector of doubles",
    "Vector of objects",
    "Dictionary",
];

/// What a number in this field means, where it has a name.
pub(super) fn meaning(field: &Field, value: u64) -> Option<String> {
    let low = u8::try_from(value).ok();
    let text = match field.name {
        "message type id" => type_name(low?)?,
        "sound format" => match value {
            0 => "linear PCM",
            1 => "ADPCM",
            2 => "MP3",
            3 => "linear PCM, little-endian",
            4 => "Nellymoser 16 kHz",
            5 => "Nellymoser 8 kHz",
            6 => "Nellymoser",
            7 => "G.711 A-law",
            8 => "G.711 µ-law",
            9 => "enhanced header",
            10 => "AAC",
            11 => "Speex",
            14 => "MP3 8 kHz",
            _ => return None,
        },
        "sound rate" => ["5.5 kHz", "11 kHz", "22 kHz", "44 kHz"].get(usize::from(low?)).copied()?,
        "sound size" => ["8 bit", "16 bit"].get(usize::from(low?)).copied()?,
        "sound type" => ["mono", "stereo"].get(usize::from(low?)).copied()?,
        "AACPacketType" => ["AudioSpecificConfig", "raw frame"].get(usize::from(low?)).copied()?,
        "AVCPacketType" => {
            ["configuration", "NAL units", "end of sequence"].get(usize::from(low?)).copied()?
        }
        "frame type" => {
            ["", "key frame", "inter frame", "disposable inter frame", "generated key frame", "command"]
                .get(usize::from(low?))
                .copied()
                .filter(|t| !t.is_empty())?
        }
        "codec id" => match value {
            2 => "Sorenson H.263",
            3 => "Screen video",
            4 => "VP6",
            5 => "VP6 with alpha",
            6 => "Screen video 2",
            7 => "H.264",
            12 => "H.265",
            _ => return None,
        },
        "nal_unit_type" | "fragmented type" => NalType(low?).name(),
        "HEVC nal_unit_type" => Nal::Hevc.name(low?),
        "event type" => match value {
            0 => "Stream Begin",
            1 => "Stream EOF",
            2 => "Stream Dry",
            3 => "Set Buffer Length",
            4 => "Stream Is Recorded",
            6 => "Ping Request",
            7 => "Ping Response",
            _ => return None,
        },
        "stream_type" => {
            let stream = Elementary { stream_type: low?, pid: 0, descriptors: Vec::new() };
            media::ts::Kind::of(&stream).name()?
        }
        "table_id" => ts::table_name(low?),
        "stream_id" => ts::stream_name(low?),
        "PTS_DTS_flags" => ["none", "forbidden", "PTS", "PTS and DTS"].get(usize::from(low?)).copied()?,
        "PID" => match value {
            0 => "program association",
            1 => "conditional access",
            17 => "service description",
            0x1fff => "filling",
            _ => return None,
        },
        "limit type" => ["Hard", "Soft", "Dynamic"].get(usize::from(low?)).copied()?,
        "marker" if field.spec.starts_with("AMF0") => match value {
            0 => "Number",
            1 => "Boolean",
            2 => "String",
            3 => "Object",
            5 => "Null",
            6 => "Undefined",
            7 => "Reference",
            8 => "ECMA array",
            9 => "Object end",
            10 => "Strict array",
            11 => "Date",
            12 => "Long string",
            13 => "Unsupported",
            15 => "XML",
            16 => "Typed object",
            17 => "AMF3 value",
            _ => return None,
        },
        "marker" if field.spec.starts_with("AMF3") => AMF3.get(usize::from(low?)).copied()?,
        "EtherType" | "protocol" | "protocol type" | "next header" => match value {
            0x0800 => "IPv4",
            0x86dd => "IPv6",
            0x0806 => "ARP",
            0x8100 => "VLAN",
            6 => "TCP",
            17 => "UDP",
            1 => "ICMP",
            58 => "ICMPv6",
            4 => "IPv4",
            41 => "IPv6",
            47 => "GRE",
            44 => "fragment",
            0x88a8 => "QinQ",
            0x8847 => "MPLS",
            0x8864 => "PPPoE session",
            _ => return None,
        },
        "sampling frequency index" => {
            const RATES: [&str; 13] = [
                "96000 Hz", "88200 Hz", "64000 Hz", "48000 Hz", "44100 Hz", "32000 Hz", "24000 Hz",
                "22050 Hz", "16000 Hz", "12000 Hz", "11025 Hz", "8000 Hz", "7350 Hz",
            ];
            RATES.get(usize::from(low?)).copied()?
        }
        "fourCC" | "type" if value > 0xffff => {
            let four = u32::try_from(value).ok()?.to_be_bytes();
            return Some(four.iter().map(|b| b.escape_ascii().to_string()).collect());
        }
        "control bits" if field.spec.starts_with("RFC 9293") => {
            const NAMES: [&str; 9] = ["AE", "CWR", "ECE", "URG", "ACK", "PSH", "RST", "SYN", "FIN"];
            let bits = (0..NAMES.len()).rev();
            let set = NAMES.iter().zip(bits).filter(|(_, bit)| value >> bit & 1 == 1).map(|(name, _)| *name);
            return Some(set.collect::<Vec<_>>().join(", ")).filter(|names| !names.is_empty());
        }
        "kind" if field.spec.starts_with("RFC 9293") => match value {
            0 => "end of options",
            1 => "no operation",
            2 => "maximum segment size",
            3 => "window scale",
            4 => "SACK permitted",
            5 => "SACK",
            8 => "timestamps",
            30 => "multipath TCP",
            34 => "fast open cookie",
            _ => return None,
        },
        "payload type" if field.spec.starts_with("RFC 3550") => {
            encoding::fixed(low?).map(|(name, ..)| name)?
        }
        "packet type" if field.spec.starts_with("RFC 3550") => match value {
            200 => "sender report",
            201 => "receiver report",
            202 => "source description",
            203 => "goodbye",
            204 => "application",
            205 => "transport feedback",
            206 => "payload feedback",
            207 => "extended report",
            _ => return None,
        },
        "SDES item type" => match value {
            0 => "end",
            1 => "CNAME",
            2 => "NAME",
            3 => "EMAIL",
            4 => "PHONE",
            5 => "LOC",
            6 => "TOOL",
            7 => "NOTE",
            8 => "PRIV",
            _ => return None,
        },
        "ECN" => ["not ECN-capable", "ECT(1)", "ECT(0)", "congestion experienced"]
            .get(usize::from(low?))
            .copied()?,
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::trace::field;

    #[test]
    fn numbers_of_the_lower_layers_have_names() {
        for (name, spec, value, want) in [
            ("control bits", "RFC 9293 §3.1", 0x18, Some("ACK, PSH")),
            ("control bits", "RFC 9293 §3.1", 0x1c2, Some("AE, CWR, ECE, SYN")),
            ("control bits", "RFC 9293 §3.1", 0, None),
            ("kind", "RFC 9293 §3.2", 3, Some("window scale")),
            ("payload type", "RFC 3550 §5.1", 33, Some("MP2T")),
            ("payload type", "RFC 3550 §5.1", 96, None),
            ("packet type", "RFC 3550 §6.4.1", 200, Some("sender report")),
            ("ECN", "RFC 3168 §5", 3, Some("congestion experienced")),
            ("EtherType", "IEEE 802.3 §3.2.6", 0x88a8, Some("QinQ")),
            ("flags", "RFC 9293 §3.1", 0x18, None),
        ] {
            assert_eq!(meaning(&field(name, spec, ""), value).as_deref(), want, "{name} {value:#x}");
        }
    }
}
