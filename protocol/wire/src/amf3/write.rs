//! Values to bytes; strings and traits are written out each time, references stay what they were.

use super::{Amf3, External, Object, Text};

/// Appends one value.
pub fn encode(out: &mut Vec<u8>, value: &Amf3) {
    match value {
        Amf3::Undefined => out.push(0x00),
        Amf3::Null => out.push(0x01),
        Amf3::Boolean(value) => out.push(0x02 | u8::from(*value)),
        Amf3::Integer(n) => {
            out.push(0x04);
            u29(out, n.cast_unsigned() & 0x1fff_ffff);
        }
        Amf3::Double(x) => {
            out.push(0x05);
            out.extend(x.to_bits().to_be_bytes());
        }
        Amf3::String(text) => {
            out.push(0x06);
            string(out, text);
        }
        Amf3::XmlDocument(text) => {
            out.push(0x07);
            string(out, text);
        }
        Amf3::Date(ms) => {
            out.extend([0x08, 0x01]);
            out.extend(ms.to_bits().to_be_bytes());
        }
        Amf3::Array(named, items) => {
            begin(out, 0x09, items.len());
            members(out, named);
            items.iter().for_each(|item| encode(out, item));
        }
        Amf3::Object(value) => object(out, value),
        Amf3::Xml(text) => {
            out.push(0x0b);
            string(out, text);
        }
        Amf3::ByteArray(bytes) => {
            begin(out, 0x0c, bytes.len());
            out.extend(bytes);
        }
        Amf3::IntVector(fixed, items) => {
            begin(out, 0x0d, items.len());
            out.push(u8::from(*fixed));
            items.iter().for_each(|n| out.extend(n.to_be_bytes()));
        }
        Amf3::UintVector(fixed, items) => {
            begin(out, 0x0e, items.len());
            out.push(u8::from(*fixed));
            items.iter().for_each(|n| out.extend(n.to_be_bytes()));
        }
        Amf3::DoubleVector(fixed, items) => {
            begin(out, 0x0f, items.len());
            out.push(u8::from(*fixed));
            items.iter().for_each(|x| out.extend(x.to_bits().to_be_bytes()));
        }
        Amf3::ObjectVector(fixed, class, items) => {
            begin(out, 0x10, items.len());
            out.push(u8::from(*fixed));
            string(out, class);
            items.iter().for_each(|item| encode(out, item));
        }
        Amf3::Dictionary(weak, pairs) => {
            begin(out, 0x11, pairs.len());
            out.push(u8::from(*weak));
            for (key, value) in pairs {
                encode(out, key);
                encode(out, value);
            }
        }
        Amf3::Reference(marker, index) => {
            out.push(*marker);
            u29(out, index << 1);
        }
    }
}

/// The values one after another.
pub fn encode_all(values: &[Amf3]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|value| encode(&mut out, value));
    out
}

/// The lowest 29 bits of a number.
fn u29(out: &mut Vec<u8>, n: u32) {
    let [.., c, b, a] = [n >> 21, n >> 14, n >> 7, n].map(|part| u8::try_from(part & 0x7f).unwrap_or(0));
    match n {
        0..0x80 => out.push(a),
        0x80..0x4000 => out.extend([b | 0x80, a]),
        0x4000..0x20_0000 => out.extend([c | 0x80, b | 0x80, a]),
        _ => {
            let high = [n >> 22, n >> 15, n >> 8].map(|part| u8::try_from(part & 0x7f).unwrap_or(0) | 0x80);
            out.extend(high);
            out.push(u8::try_from(n & 0xff).unwrap_or(0));
        }
    }
}

/// A length that says that the value follows; one beyond 28 bits cannot be written.
fn length(out: &mut Vec<u8>, length: usize) {
    u29(out, u32::try_from(length).unwrap_or(u32::MAX) << 1 | 1);
}

fn begin(out: &mut Vec<u8>, marker: u8, count: usize) {
    out.push(marker);
    length(out, count);
}

fn string(out: &mut Vec<u8>, text: &str) {
    length(out, text.len());
    out.extend(text.as_bytes());
}

fn members(out: &mut Vec<u8>, members: &[(Text, Amf3)]) {
    for (name, value) in members {
        string(out, name);
        encode(out, value);
    }
    string(out, "");
}

fn object(out: &mut Vec<u8>, object: &Object) {
    out.push(0x0a);
    if let Some(external) = &object.external {
        u29(out, 0b0111);
        string(out, &object.class);
        match external {
            External::Value(value) => encode(out, value),
            External::Opaque(bytes) => out.extend(bytes),
        }
        return;
    }
    let dynamic = u32::from(object.dynamic.is_some());
    u29(out, u32::try_from(object.sealed.len()).unwrap_or(u32::MAX) << 4 | dynamic << 3 | 0b011);
    string(out, &object.class);
    object.sealed.iter().for_each(|(name, _)| string(out, name));
    object.sealed.iter().for_each(|(_, value)| encode(out, value));
    if let Some(dynamic) = &object.dynamic {
        members(out, dynamic);
    }
}
