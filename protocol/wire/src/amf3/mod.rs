//! Action Message Format 3, inside AMF0 behind its marker 0x11.
//!
//! ```text
//! +--------+------------------+
//! | marker | U29, value       |   AMF3 §3.1: what was sent before is referred to by its number
//! +--------+------------------+
//! ```
//!
//! Strings are told from references by the lowest bit of their U29, and shared, so that a reference costs nothing;
//! objects stay references. Nesting and the number of values are bounded, and no count on the
//! wire sizes an allocation.

use std::sync::Arc;

use crate::cursor::Cursor;
use crate::error::{Error, Problem, Result};
use crate::trace::{Field, Trace, field};

/// Deepest nesting that is followed, in AMF0 as well.
pub const MAX_DEPTH: u32 = 32;
/// Most values that one message may hold, in AMF0 as well.
pub const MAX_VALUES: u32 = 4096;

static MARKER: Field = field("marker", "AMF3 §3.1", "type of the value that follows");
static INTEGER: Field = field("integer", "AMF3 §3.6", "29 bits with a sign, in one to four bytes");
static DOUBLE: Field = field("double", "AMF3 §3.7", "IEEE 754 double in network order");
static HEADER: Field = field(
    "U29",
    "AMF3 §1.3.1",
    "a length or count, or the number of an earlier value; flags in its lowest bits",
);
static MORE: Field = field("more follows", "AMF3 §1.3.1", "another byte of the number follows");
static BITS: Field = field("value bits", "AMF3 §1.3.1", "the next bits of the number, highest first");
static INLINE: Field = field("by value", "AMF3 §1.3.2", "0 refers to an earlier value by its number");
static TRAITS_INLINE: Field = field("traits by value", "AMF3 §3.12", "0 refers to earlier traits");
static EXTERNAL: Field = field("externalizable", "AMF3 §3.12", "the class writes its own bytes");
static DYNAMIC: Field = field("dynamic", "AMF3 §3.12", "names and values follow the sealed members");
static STRING: Field = field("string", "AMF3 §3.8", "UTF-8 text");
static KEY: Field = field("name", "AMF3 §3.12", "name of a member; empty ends a list");
static CLASS: Field = field("class name", "AMF3 §3.12", "alias of the class, empty for none");
static XML: Field = field("XML", "AMF3 §3.13", "a document as text");
static DATE: Field = field("date", "AMF3 §3.10", "milliseconds since 1970 in UTC");
static ARRAY: Field = field("array", "AMF3 §3.11", "named values, then values by ordinal index");
static OBJECT: Field = field("object", "AMF3 §3.12", "class, sealed members, then dynamic ones");
static BYTES: Field = field("byte array", "AMF3 §3.14", "bytes as they are");
static VECTOR: Field = field("vector", "AMF3 §3.15", "values of one type");
static FIXED: Field = field("fixed", "AMF3 §3.15", "1 where the length may not change");
static ITEM: Field = field("item", "AMF3 §3.15", "of the vector");
static DICTIONARY: Field = field("dictionary", "AMF3 §3.16", "keys of any type, and values");
static WEAK: Field = field("weak keys", "AMF3 §3.16", "1 where keys are held weakly");
static OPAQUE: Field =
    field("externalized bytes", "AMF3 §3.12", "only the class knows where they end, so all the rest");

pub use write::{encode, encode_all};

/// Flags in the U29 of an object, lowest first; other values have the first alone.
static FLAGS: [&Field; 4] = [&INLINE, &TRAITS_INLINE, &EXTERNAL, &DYNAMIC];

/// Classes that write exactly one AMF3 value.
const WRAPPERS: [&str; 3] =
    ["flex.messaging.io.ArrayCollection", "flex.messaging.io.ArrayList", "flex.messaging.io.ObjectProxy"];

/// A string, shared by all that refer to it.
pub type Text = Arc<str>;

/// An AMF3 value. Members keep their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Amf3 {
    /// Marker 0x00.
    Undefined,
    /// Marker 0x01.
    Null,
    /// Markers 0x02 and 0x03.
    Boolean(bool),
    /// Marker 0x04.
    Integer(i32),
    /// Marker 0x05.
    Double(f64),
    /// Marker 0x06.
    String(Text),
    /// Marker 0x07, the older XML type.
    XmlDocument(Text),
    /// Marker 0x08: milliseconds since 1970.
    Date(f64),
    /// Marker 0x09: named values, then those by index.
    Array(Vec<(Text, Amf3)>, Vec<Amf3>),
    /// Marker 0x0A.
    Object(Object),
    /// Marker 0x0B.
    Xml(Text),
    /// Marker 0x0C.
    ByteArray(Vec<u8>),
    /// Marker 0x0D: fixed, items.
    IntVector(bool, Vec<i32>),
    /// Marker 0x0E.
    UintVector(bool, Vec<u32>),
    /// Marker 0x0F.
    DoubleVector(bool, Vec<f64>),
    /// Marker 0x10: fixed, class of the items, items.
    ObjectVector(bool, Text, Vec<Amf3>),
    /// Marker 0x11: weak keys, pairs.
    Dictionary(bool, Vec<(Amf3, Amf3)>),
    /// The complex value of this number, counted from 0 in the message; with the marker of its type.
    Reference(u8, u32),
}

/// An object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Alias of its class, or empty.
    pub class: Text,
    /// Sealed members.
    pub sealed: Vec<(Text, Amf3)>,
    /// Members of this object alone, where its class allows them.
    pub dynamic: Option<Vec<(Text, Amf3)>>,
    /// What an externalizable class wrote.
    pub external: Option<External>,
}

/// What an externalizable class wrote.
#[derive(Clone, Debug, PartialEq)]
pub enum External {
    /// One value, of classes known to write that.
    Value(Box<Amf3>),
    /// Bytes that only the class can read: all the rest of the message.
    Opaque(Vec<u8>),
}

impl Amf3 {
    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Xml(text) | Self::XmlDocument(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Integer(n) => Some(f64::from(*n)),
            Self::Double(n) => Some(*n),
            _ => None,
        }
    }

    /// The member of exactly this name.
    pub fn property(&self, name: &str) -> Option<&Amf3> {
        let named = |list: &'_ [(Text, Amf3)]| list.iter().position(|(key, _)| &**key == name);
        match self {
            Self::Object(object) => {
                let dynamic = object.dynamic.as_deref().unwrap_or_default();
                let sealed = named(&object.sealed).and_then(|at| object.sealed.get(at));
                sealed.or_else(|| named(dynamic).and_then(|at| dynamic.get(at))).map(|(_, value)| value)
            }
            Self::Array(list, _) => named(list).and_then(|at| list.get(at)).map(|(_, value)| value),
            _ => None,
        }
    }
}

/// What the values of one message may refer to.
#[derive(Clone, Debug, Default)]
pub struct Context {
    strings: Vec<Text>,
    traits: Vec<Arc<Traits>>,
    objects: u32,
    values: u32,
}

#[derive(Debug)]
struct Traits {
    class: Text,
    members: Vec<Text>,
    dynamic: bool,
    external: bool,
}

/// Reads values up to the end of the buffer: those before the first error, and the error.
pub fn decode_all<T: Trace>(c: &mut Cursor<'_, T>) -> (Vec<Amf3>, Option<Error>) {
    let (mut context, mut values) = (Context::default(), Vec::new());
    while !c.is_empty() {
        match context.decode(c) {
            Ok(value) => values.push(value),
            Err(error) => return (values, Some(error)),
        }
    }
    (values, None)
}

/// A U29, and how many bytes it has; none where it is cut short.
fn peek_u29(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0u32;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        let size = at.saturating_add(1);
        if size == 4 {
            return Some((value << 8 | u32::from(*byte), 4));
        }
        value = value << 7 | u32::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, size));
        }
    }
    None
}

/// Reads a U29; its lowest bits are the flags that `flags` tells for its value, lowest first.
fn u29<T: Trace>(c: &mut Cursor<'_, T>, flags: fn(u32) -> &'static [&'static Field]) -> Result<u32> {
    c.group(&HEADER, |c| {
        let Some((value, size)) = peek_u29(c.peek()) else {
            let got = c.remaining() as u64;
            return Err(c.error(&HEADER, Problem::Short { want: got.saturating_add(1), got }));
        };
        let flags = flags(value);
        for at in 1..=size {
            if at < 4 {
                c.bits(&MORE, 1)?;
            }
            let room = if at < 4 { 7u32 } else { 8 };
            let low = if at == size { u32::try_from(flags.len()).unwrap_or(0) } else { 0 };
            c.bits(&BITS, room.saturating_sub(low))?;
            if at == size {
                for flag in flags.iter().rev() {
                    c.bits(flag, 1)?;
                }
            }
        }
        c.makes(i64::from(value >> flags.len().min(4)));
        Ok(value)
    })
}

fn by_value(_: u32) -> &'static [&'static Field] {
    FLAGS.get(..1).unwrap_or_default()
}

fn object_flags(value: u32) -> &'static [&'static Field] {
    let count = match value & 7 {
        n if n & 1 == 0 => 1,
        n if n & 2 == 0 => 2,
        _ => 4,
    };
    FLAGS.get(..count).unwrap_or_default()
}

impl Context {
    /// Reads one value.
    pub fn decode<T: Trace>(&mut self, c: &mut Cursor<'_, T>) -> Result<Amf3> {
        self.value(c, 0)
    }

    fn value<T: Trace>(&mut self, c: &mut Cursor<'_, T>, depth: u32) -> Result<Amf3> {
        if depth > MAX_DEPTH {
            return Err(c.error(&MARKER, Problem::TooDeep { limit: u64::from(MAX_DEPTH) }));
        }
        self.count(c, 1)?;
        let deeper = depth.saturating_add(1);
        let marker = c.u8(&MARKER)?;
        match marker {
            0x00 => Ok(Amf3::Undefined),
            0x01 => Ok(Amf3::Null),
            0x02 | 0x03 => Ok(Amf3::Boolean(marker == 0x03)),
            0x04 => c.group(&INTEGER, |c| {
                let value = u29(c, |_| &[])?;
                // The sign is bit 28.
                let value = (value << 3).cast_signed() >> 3;
                c.makes(i64::from(value));
                Ok(Amf3::Integer(value))
            }),
            0x05 => Ok(Amf3::Double(c.f64(&DOUBLE)?)),
            0x06 => Ok(Amf3::String(self.string(c, &STRING)?)),
            0x07 | 0x0b => match self.complex(c, marker)? {
                Ok(reference) => Ok(reference),
                Err(length) => {
                    let text = c.text(&XML, length)?.into();
                    Ok(if marker == 0x07 { Amf3::XmlDocument(text) } else { Amf3::Xml(text) })
                }
            },
            0x08 => match self.complex(c, marker)? {
                Ok(reference) => Ok(reference),
                Err(_) => Ok(Amf3::Date(c.f64(&DATE)?)),
            },
            0x09 => c.group(&ARRAY, |c| self.array(c, marker, deeper)),
            0x0a => c.group(&OBJECT, |c| self.object(c, marker, deeper)),
            0x0c => match self.complex(c, marker)? {
                Ok(reference) => Ok(reference),
                Err(length) => Ok(Amf3::ByteArray(c.bytes(&BYTES, length)?.to_vec())),
            },
            0x0d..=0x10 => c.group(&VECTOR, |c| self.vector(c, marker, deeper)),
            0x11 => c.group(&DICTIONARY, |c| self.dictionary(c, marker, deeper)),
            other => Err(c.refuse(&MARKER, 1, "an AMF3 type marker", u64::from(other))),
        }
    }

    fn count<T: Trace>(&mut self, c: &Cursor<'_, T>, more: u32) -> Result<()> {
        self.values = self.values.saturating_add(more);
        if self.values > MAX_VALUES {
            let problem = Problem::TooLarge { limit: u64::from(MAX_VALUES), got: u64::from(self.values) };
            return Err(c.error(&HEADER, problem));
        }
        Ok(())
    }

    /// The header of a value that can be referred to: a reference, or what its U29 says beside.
    fn complex<T: Trace>(
        &mut self,
        c: &mut Cursor<'_, T>,
        marker: u8,
    ) -> Result<std::result::Result<Amf3, usize>> {
        let header = u29(c, by_value)?;
        if header & 1 == 0 {
            return self.reference(c, marker, header >> 1).map(Ok);
        }
        self.objects = self.objects.saturating_add(1);
        Ok(Err(usize::try_from(header >> 1).unwrap_or(usize::MAX)))
    }

    fn reference<T: Trace>(&self, c: &Cursor<'_, T>, marker: u8, index: u32) -> Result<Amf3> {
        if index >= self.objects {
            return Err(c.refuse(&HEADER, 1, "the number of an earlier value", u64::from(index)));
        }
        Ok(Amf3::Reference(marker, index))
    }

    fn string<T: Trace>(&mut self, c: &mut Cursor<'_, T>, field: &'static Field) -> Result<Text> {
        let header = u29(c, by_value)?;
        let number = usize::try_from(header >> 1).unwrap_or(usize::MAX);
        if header & 1 == 0 {
            let known = self.strings.get(number).cloned();
            let got = u64::from(header >> 1);
            return known.ok_or_else(|| c.refuse(field, 1, "the number of an earlier string", got));
        }
        let text: Text = c.text(field, number)?.into();
        // The empty string is never referred to (§3.8).
        if !text.is_empty() {
            self.strings.push(Arc::clone(&text));
        }
        Ok(text)
    }

    /// Names and values up to an empty name.
    fn members<T: Trace>(&mut self, c: &mut Cursor<'_, T>, depth: u32) -> Result<Vec<(Text, Amf3)>> {
        let mut members = Vec::new();
        loop {
            let name = self.string(c, &KEY)?;
            if name.is_empty() {
                return Ok(members);
            }
            members.push((name, self.value(c, depth)?));
        }
    }

    fn array<T: Trace>(&mut self, c: &mut Cursor<'_, T>, marker: u8, depth: u32) -> Result<Amf3> {
        let length = match self.complex(c, marker)? {
            Ok(reference) => return Ok(reference),
            Err(length) => length,
        };
        let named = self.members(c, depth)?;
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(self.value(c, depth)?);
        }
        Ok(Amf3::Array(named, items))
    }

    fn object<T: Trace>(&mut self, c: &mut Cursor<'_, T>, marker: u8, depth: u32) -> Result<Amf3> {
        let header = u29(c, object_flags)?;
        if header & 1 == 0 {
            return self.reference(c, marker, header >> 1);
        }
        self.objects = self.objects.saturating_add(1);
        let traits = if header & 2 == 0 {
            let known = self.traits.get(usize::try_from(header >> 2).unwrap_or(usize::MAX)).cloned();
            let got = u64::from(header >> 2);
            known.ok_or_else(|| c.refuse(&HEADER, 1, "the number of earlier traits", got))?
        } else {
            self.traits(c, header)?
        };
        let class = Arc::clone(&traits.class);
        if traits.external {
            let external = if WRAPPERS.contains(&&*class) {
                External::Value(Box::new(self.value(c, depth)?))
            } else {
                External::Opaque(c.rest(&OPAQUE).to_vec())
            };
            let object = Object { class, sealed: Vec::new(), dynamic: None, external: Some(external) };
            return Ok(Amf3::Object(object));
        }
        let mut sealed = Vec::new();
        for name in &traits.members {
            sealed.push((Arc::clone(name), self.value(c, depth)?));
        }
        let dynamic = if traits.dynamic { Some(self.members(c, depth)?) } else { None };
        Ok(Amf3::Object(Object { class, sealed, dynamic, external: None }))
    }

    fn traits<T: Trace>(&mut self, c: &mut Cursor<'_, T>, header: u32) -> Result<Arc<Traits>> {
        let class = self.string(c, &CLASS)?;
        let (external, dynamic) = (header & 4 != 0, header & 8 != 0);
        let mut members = Vec::new();
        if !external {
            for _ in 0..header >> 4 {
                self.count(c, 1)?;
                members.push(self.string(c, &KEY)?);
            }
        }
        let traits = Arc::new(Traits { class, members, dynamic, external });
        self.traits.push(Arc::clone(&traits));
        Ok(traits)
    }

    fn vector<T: Trace>(&mut self, c: &mut Cursor<'_, T>, marker: u8, depth: u32) -> Result<Amf3> {
        let length = match self.complex(c, marker)? {
            Ok(reference) => return Ok(reference),
            Err(length) => length,
        };
        let fixed = c.u8(&FIXED)? != 0;
        // Numbers are refused before any is read where they cannot all be there.
        let fits = |c: &Cursor<'_, T>, size: usize| {
            let (want, got) = (length.saturating_mul(size), c.remaining());
            if want <= got {
                return Ok(());
            }
            Err(c.error(&ITEM, Problem::Short { want: want as u64, got: got as u64 }))
        };
        match marker {
            0x0d => {
                fits(c, 4)?;
                let items: Result<Vec<i32>> = (0..length).map(|_| c.i32(&ITEM)).collect();
                Ok(Amf3::IntVector(fixed, items?))
            }
            0x0e => {
                fits(c, 4)?;
                let items: Result<Vec<u32>> = (0..length).map(|_| c.u32(&ITEM)).collect();
                Ok(Amf3::UintVector(fixed, items?))
            }
            0x0f => {
                fits(c, 8)?;
                let items: Result<Vec<f64>> = (0..length).map(|_| c.f64(&ITEM)).collect();
                Ok(Amf3::DoubleVector(fixed, items?))
            }
            _ => {
                let class = self.string(c, &CLASS)?;
                let mut items = Vec::new();
                for _ in 0..length {
                    items.push(self.value(c, depth)?);
                }
                Ok(Amf3::ObjectVector(fixed, class, items))
            }
        }
    }

    fn dictionary<T: Trace>(&mut self, c: &mut Cursor<'_, T>, marker: u8, depth: u32) -> Result<Amf3> {
        let length = match self.complex(c, marker)? {
            Ok(reference) => return Ok(reference),
            Err(length) => length,
        };
        let weak = c.u8(&WEAK)? != 0;
        let mut pairs = Vec::new();
        for _ in 0..length {
            let key = self.value(c, depth)?;
            pairs.push((key, self.value(c, depth)?));
        }
        Ok(Amf3::Dictionary(weak, pairs))
    }
}

mod write;

#[cfg(test)]
mod tests;
