//! Words for numbers in a field tree.

use wire::Field;
use wire::codec::avc::NalType;
use wire::ts::Elementary;

use super::tree::codec::Nal;
use super::tree::rtmp::type_name;
use super::tree::ts;

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
        "EtherType" | "protocol" | "next header" => match value {
            0x0800 => "IPv4",
            0x86dd => "IPv6",
            0x0806 => "ARP",
            0x8100 => "VLAN",
            6 => "TCP",
            17 => "UDP",
            1 => "ICMP",
            58 => "ICMPv6",
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
        "flags" if field.spec.starts_with("RFC 9293") => {
            const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
            let set =
                NAMES.iter().enumerate().filter(|(bit, _)| value >> bit & 1 == 1).map(|(_, name)| *name);
            return Some(set.collect::<Vec<_>>().join(", "));
        }
        _ => return None,
    };
    Some(text.to_owned())
}
