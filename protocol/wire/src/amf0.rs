//! Action Message Format 0, the values in RTMP commands and FLV script tags.
//!
//! ```text
//! +--------+-----------------+
//! | marker | value           |   AMF0 §2.1: one byte says what follows
//! +--------+-----------------+
//! ```
//!
//! Decoding is bounded: nesting by [`MAX_DEPTH`], the number of values by [`MAX_VALUES`]; no count on the wire
//! ever sizes an allocation. (Deeply nested arrays end several well-known servers.)

use crate::amf3::{self, Amf3, MAX_DEPTH, MAX_VALUES};
use crate::cursor::Cursor;
use crate::error::{Error, Problem, Result};
use crate::trace::{Field, Trace, field};

static MARKER: Field = field("marker", "AMF0 §2.1", "type of the value that follows");
static NUMBER: Field = field("number", "AMF0 §2.2", "IEEE 754 double in network order");
static BOOLEAN: Field = field("boolean", "AMF0 §2.3", "0 is false, all else true");
static LENGTH: Field = field("length", "AMF0 §1.3.1", "length of the string in bytes");
static STRING: Field = field("string", "AMF0 §2.4", "UTF-8 text");
static KEY: Field = field("name", "AMF0 §2.5", "name of a property");
static OBJECT: Field = field("object", "AMF0 §2.5", "properties up to the object end marker");
static ARRAY: Field = field("strict array", "AMF0 §2.12", "values by ordinal index");
static COUNT: Field = field("count", "AMF0 §2.10", "number of values; a mere hint in an ECMA array");
static END: Field = field("object end", "AMF0 §2.11", "closes the properties of an object");
static REFERENCE: Field = field("reference", "AMF0 §2.9", "index of an earlier complex value");
static DATE: Field = field("date", "AMF0 §2.13", "milliseconds since 1970 in UTC");
static ZONE: Field = field("time zone", "AMF0 §2.13", "reserved, should be 0");
static AMF3: Field = field("AMF3 value", "AMF0 §3.1", "what follows is written in AMF3");
static CLASS: Field = field("class name", "AMF0 §2.18", "alias of a typed object's class");

/// An AMF0 value. Properties keep their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Amf0 {
    /// Marker 0x00.
    Number(f64),
    /// Marker 0x01.
    Boolean(bool),
    /// Markers 0x02 and 0x0C.
    String(String),
    /// Marker 0x03.
    Object(Vec<(String, Amf0)>),
    /// Marker 0x05.
    Null,
    /// Marker 0x06.
    Undefined,
    /// Marker 0x07.
    Reference(u16),
    /// Marker 0x08, an object with a count that is only a hint.
    EcmaArray(Vec<(String, Amf0)>),
    /// Marker 0x0A.
    StrictArray(Vec<Amf0>),
    /// Marker 0x0B: milliseconds since 1970, time zone.
    Date(f64, i16),
    /// Marker 0x0D.
    Unsupported,
    /// Marker 0x0F.
    Xml(String),
    /// Marker 0x10: class name, properties.
    Typed(String, Vec<(String, Amf0)>),
    /// Marker 0x11: a value in AMF3.
    Amf3(Box<Amf3>),
}

impl Amf0 {
    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(s) | Self::Xml(s) => Some(s),
            Self::Amf3(value) => value.as_str(),
            _ => None,
        }
    }

    /// The value of a number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(n) => Some(*n),
            Self::Amf3(value) => value.as_f64(),
            _ => None,
        }
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(is) => Some(*is),
            _ => None,
        }
    }

    /// A number as a message stream or transaction id: whole and within 32 bits.
    pub fn as_u32(&self) -> Option<u32> {
        let n = self.as_f64()?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
        (n >= 0.0 && n <= f64::from(u32::MAX) && n.fract() == 0.0).then_some(n as u32)
    }

    /// The properties of an object of any kind.
    pub fn properties(&self) -> &[(String, Amf0)] {
        match self {
            Self::Object(p) | Self::EcmaArray(p) | Self::Typed(_, p) => p,
            _ => &[],
        }
    }

    /// The property of exactly this name.
    pub fn property(&self, name: &str) -> Option<&Amf0> {
        self.properties().iter().find(|(k, _)| k == name).map(|(_, v)| v)
    }

    /// The text of the property of this name, in AMF0 or AMF3.
    pub fn property_text(&self, name: &str) -> Option<&str> {
        match self {
            Self::Amf3(value) => value.property(name)?.as_str(),
            _ => self.property(name)?.as_str(),
        }
    }

    /// A string value.
    pub fn text(s: impl Into<String>) -> Self {
        Self::String(s.into())
    }

    /// An object from name and value pairs.
    pub fn object<const N: usize>(properties: [(&str, Amf0); N]) -> Self {
        Self::Object(properties.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
    }
}

/// What an AMF3 value is in the older format. References and externalized bytes, which it cannot say, become undefined.
impl From<&Amf3> for Amf0 {
    fn from(value: &Amf3) -> Self {
        let named = |list: &[(amf3::Text, Amf3)]| -> Vec<(String, Amf0)> {
            list.iter().map(|(name, value)| (name.to_string(), Self::from(value))).collect()
        };
        match value {
            Amf3::Null => Self::Null,
            Amf3::Boolean(b) => Self::Boolean(*b),
            Amf3::Integer(n) => Self::Number(f64::from(*n)),
            Amf3::Double(n) => Self::Number(*n),
            Amf3::String(text) => Self::text(&**text),
            Amf3::Xml(text) | Amf3::XmlDocument(text) => Self::Xml(text.to_string()),
            Amf3::Date(ms) => Self::Date(*ms, 0),
            Amf3::Array(names, items) if names.is_empty() => {
                Self::StrictArray(items.iter().map(Self::from).collect())
            }
            Amf3::Array(names, items) => {
                let items = items.iter().enumerate().map(|(n, item)| (n.to_string(), Self::from(item)));
                Self::EcmaArray(named(names).into_iter().chain(items).collect())
            }
            Amf3::Object(object) => match &object.external {
                Some(amf3::External::Value(value)) => Self::from(&**value),
                Some(amf3::External::Opaque(_)) => Self::Undefined,
                None => {
                    let mut all = named(&object.sealed);
                    all.extend(named(object.dynamic.as_deref().unwrap_or_default()));
                    if object.class.is_empty() {
                        Self::Object(all)
                    } else {
                        Self::Typed(object.class.to_string(), all)
                    }
                }
            },
            Amf3::IntVector(_, items) => {
                Self::StrictArray(items.iter().map(|n| Self::Number(f64::from(*n))).collect())
            }
            Amf3::UintVector(_, items) => {
                Self::StrictArray(items.iter().map(|n| Self::Number(f64::from(*n))).collect())
            }
            Amf3::DoubleVector(_, items) => {
                Self::StrictArray(items.iter().map(|n| Self::Number(*n)).collect())
            }
            Amf3::ObjectVector(_, _, items) => Self::StrictArray(items.iter().map(Self::from).collect()),
            Amf3::ByteArray(_) | Amf3::Dictionary(..) | Amf3::Reference(..) | Amf3::Undefined => {
                Self::Undefined
            }
        }
    }
}

/// Reads one value.
pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Amf0> {
    Decoder::default().value(c, 0)
}

/// Reads values up to the end of the buffer: those before the first error, and the error.
pub fn decode_all<T: Trace>(c: &mut Cursor<'_, T>) -> (Vec<Amf0>, Option<Error>) {
    let mut decoder = Decoder::default();
    let mut values = Vec::new();
    while !c.is_empty() {
        match decoder.value(c, 0) {
            Ok(value) => values.push(value),
            Err(error) => return (values, Some(error)),
        }
    }
    (values, None)
}

#[derive(Default)]
struct Decoder {
    values: u32,
    /// What AMF3 values refer to, through the whole message.
    amf3: amf3::Context,
}

impl Decoder {
    fn value<T: Trace>(&mut self, c: &mut Cursor<'_, T>, depth: u32) -> Result<Amf0> {
        if depth > MAX_DEPTH {
            return Err(c.error(&MARKER, Problem::TooDeep { limit: u64::from(MAX_DEPTH) }));
        }
        self.values = self.values.saturating_add(1);
        if self.values > MAX_VALUES {
            let problem = Problem::TooLarge { limit: u64::from(MAX_VALUES), got: u64::from(self.values) };
            return Err(c.error(&COUNT, problem));
        }
        let deeper = depth.saturating_add(1);
        match c.u8(&MARKER)? {
            0x00 => Ok(Amf0::Number(c.f64(&NUMBER)?)),
            0x01 => Ok(Amf0::Boolean(c.u8(&BOOLEAN)? != 0)),
            0x02 => Ok(Amf0::String(short_string(c, &STRING)?)),
            0x03 => Ok(Amf0::Object(c.group(&OBJECT, |c| self.properties(c, deeper))?)),
            0x05 => Ok(Amf0::Null),
            0x06 => Ok(Amf0::Undefined),
            0x07 => Ok(Amf0::Reference(c.u16(&REFERENCE)?)),
            0x08 => c.group(&OBJECT, |c| {
                c.u32(&COUNT)?;
                Ok(Amf0::EcmaArray(self.properties(c, deeper)?))
            }),
            0x0a => c.group(&ARRAY, |c| {
                let count = c.u32(&COUNT)?;
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(self.value(c, deeper)?);
                }
                Ok(Amf0::StrictArray(items))
            }),
            0x0b => Ok(Amf0::Date(c.f64(&DATE)?, c.u16(&ZONE)?.cast_signed())),
            0x0c => Ok(Amf0::String(long_string(c)?)),
            0x0d => Ok(Amf0::Unsupported),
            0x0f => Ok(Amf0::Xml(long_string(c)?)),
            0x10 => c.group(&OBJECT, |c| {
                let class = short_string(c, &CLASS)?;
                Ok(Amf0::Typed(class, self.properties(c, deeper)?))
            }),
            0x11 => c.group(&AMF3, |c| Ok(Amf0::Amf3(Box::new(self.amf3.decode(c)?)))),
            marker => Err(c.refuse(&MARKER, 1, "an AMF0 type marker", u64::from(marker))),
        }
    }

    /// Properties up to the empty name and the object end marker. A buffer that ends right after a property
    /// is taken as the end too: some peers leave the marker of an ECMA array out.
    fn properties<T: Trace>(&mut self, c: &mut Cursor<'_, T>, depth: u32) -> Result<Vec<(String, Amf0)>> {
        let mut properties = Vec::new();
        while !c.is_empty() {
            if c.peek().starts_with(&[0, 0, 9]) {
                c.u24(&END)?;
                break;
            }
            let name = short_string(c, &KEY)?;
            properties.push((name, self.value(c, depth)?));
        }
        Ok(properties)
    }
}

fn short_string<T: Trace>(c: &mut Cursor<'_, T>, field: &'static Field) -> Result<String> {
    let length = c.u16(&LENGTH)?;
    c.text(field, usize::from(length))
}

fn long_string<T: Trace>(c: &mut Cursor<'_, T>) -> Result<String> {
    let length = c.u32(&LENGTH)?;
    c.text(&STRING, usize::try_from(length).unwrap_or(usize::MAX))
}

/// Appends one value.
pub fn encode(out: &mut Vec<u8>, value: &Amf0) {
    match value {
        Amf0::Number(n) => {
            out.push(0x00);
            out.extend(n.to_bits().to_be_bytes());
        }
        Amf0::Boolean(b) => out.extend([0x01, u8::from(*b)]),
        Amf0::String(s) => match u16::try_from(s.len()) {
            Ok(length) => {
                out.push(0x02);
                out.extend(length.to_be_bytes());
                out.extend(s.as_bytes());
            }
            Err(_) => encode_long(out, 0x0c, s),
        },
        Amf0::Object(properties) => {
            out.push(0x03);
            encode_properties(out, properties);
        }
        Amf0::Null => out.push(0x05),
        Amf0::Undefined => out.push(0x06),
        Amf0::Reference(index) => {
            out.push(0x07);
            out.extend(index.to_be_bytes());
        }
        Amf0::EcmaArray(properties) => {
            out.push(0x08);
            out.extend(u32::try_from(properties.len()).unwrap_or(u32::MAX).to_be_bytes());
            encode_properties(out, properties);
        }
        Amf0::StrictArray(items) => {
            out.push(0x0a);
            out.extend(u32::try_from(items.len()).unwrap_or(u32::MAX).to_be_bytes());
            items.iter().for_each(|item| encode(out, item));
        }
        Amf0::Date(ms, zone) => {
            out.push(0x0b);
            out.extend(ms.to_bits().to_be_bytes());
            out.extend(zone.to_be_bytes());
        }
        Amf0::Unsupported => out.push(0x0d),
        Amf0::Xml(s) => encode_long(out, 0x0f, s),
        Amf0::Typed(class, properties) => {
            out.push(0x10);
            encode_name(out, class);
            encode_properties(out, properties);
        }
        Amf0::Amf3(value) => {
            out.push(0x11);
            amf3::encode(out, value);
        }
    }
}

/// The values one after another.
pub fn encode_all(values: &[Amf0]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|value| encode(&mut out, value));
    out
}

fn encode_long(out: &mut Vec<u8>, marker: u8, s: &str) {
    out.push(marker);
    out.extend(u32::try_from(s.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(s.as_bytes());
}

/// A name longer than its 16 bit length field allows is cut at that length.
fn encode_name(out: &mut Vec<u8>, name: &str) {
    let bytes = name.as_bytes().get(..usize::from(u16::MAX)).unwrap_or(name.as_bytes());
    out.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(bytes);
}

fn encode_properties(out: &mut Vec<u8>, properties: &[(String, Amf0)]) {
    for (name, value) in properties {
        encode_name(out, name);
        encode(out, value);
    }
    out.extend([0, 0, 9]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use crate::trace::Tree;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Amf0> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(|n| Amf0::Number(f64::from(n))),
            any::<bool>().prop_map(Amf0::Boolean),
            "\\PC{0,12}".prop_map(Amf0::String),
            Just(Amf0::Null),
            Just(Amf0::Undefined),
            Just(Amf0::Unsupported),
            any::<u16>().prop_map(Amf0::Reference),
            (any::<i32>(), any::<i16>()).prop_map(|(n, z)| Amf0::Date(f64::from(n), z)),
            "[a-z<>/]{0,9}".prop_map(Amf0::Xml),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let properties = prop::collection::vec(("[a-z]{1,8}", inner.clone()), 0..5);
            prop_oneof![
                properties.clone().prop_map(Amf0::Object),
                properties.clone().prop_map(Amf0::EcmaArray),
                ("[a-z]{0,5}", properties).prop_map(|(c, p)| Amf0::Typed(c, p)),
                prop::collection::vec(inner, 0..5).prop_map(Amf0::StrictArray),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_survive_the_round_trip_and_their_leaves_tile_the_bytes(v in value()) {
            let mut bytes = Vec::new();
            encode(&mut bytes, &v);
            prop_assert_eq!(decode(&mut Cursor::new(&bytes)), Ok(v.clone()));
            let mut c = Cursor::traced(&bytes, Tree::default());
            prop_assert_eq!(decode(&mut c), Ok(v));
            let mut end = 0;
            for leaf in c.into_trace().leaves() {
                prop_assert_eq!(leaf.bits.start, end);
                end = leaf.bits.end;
            }
            prop_assert_eq!(end, bytes.len() as u64 * 8);
        }

        #[test]
        fn random_bytes_end_in_values_or_one_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let (values, error) = decode_all(&mut Cursor::new(&bytes));
            prop_assert!(values.len() <= bytes.len());
            prop_assert!(error.is_none_or(|e| e.at <= bytes.len() as u64));
        }
    }

    #[test]
    fn a_connect_command_as_ffmpeg_writes_it() {
        let bytes = b"\x02\0\x07connect\0\x3f\xf0\0\0\0\0\0\0\x03\0\x03app\x02\0\x04live\0\0\x09";
        let (values, error) = decode_all(&mut Cursor::new(bytes));
        assert_eq!(error, None);
        let app = values.get(2).and_then(|o| o.property("app")).and_then(Amf0::as_str);
        assert_eq!((values.first().and_then(Amf0::as_str), app), (Some("connect"), Some("live")));
        assert_eq!(values.get(1).and_then(Amf0::as_u32), Some(1));
    }

    #[test]
    fn the_exact_name_is_found_not_a_prefix() {
        let v = Amf0::object([("application", Amf0::text("WRONG")), ("app", Amf0::text("live"))]);
        assert_eq!(v.property("app").and_then(Amf0::as_str), Some("live"));
    }

    #[test]
    fn deep_nesting_and_huge_counts_are_refused() {
        let deep: Vec<u8> = std::iter::repeat_n([0x0a, 0, 0, 0, 1], 100_000).flatten().collect();
        let error = decode(&mut Cursor::new(&deep)).unwrap_err();
        assert_eq!(error.problem, Problem::TooDeep { limit: 32 });
        let mut many = vec![0x0a, 0xff, 0xff, 0xff, 0xff];
        many.resize(100_000, 0x05);
        let error = decode(&mut Cursor::new(&many)).unwrap_err();
        assert_eq!(error.problem, Problem::TooLarge { limit: 4096, got: 4097 });
    }

    #[test]
    fn an_ecma_array_may_lie_about_its_count_and_lack_its_end() {
        let bytes = b"\x08\0\0\0\0\0\x05width\0\x40\x84\0\0\0\0\0\0";
        let v = decode(&mut Cursor::new(bytes)).unwrap();
        assert_eq!(v.property("width").and_then(Amf0::as_f64), Some(640.0));
    }
}
