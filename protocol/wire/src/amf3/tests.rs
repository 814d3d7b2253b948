#![allow(clippy::arithmetic_side_effects)]

use proptest::prelude::*;

use super::*;
use crate::trace::Tree;

/// Reads with and without a tree; the leaves tile what was read.
fn both(bytes: &[u8]) -> (Vec<Amf3>, Option<Error>) {
    let plain = decode_all(&mut Cursor::new(bytes));
    let mut c = Cursor::traced(bytes, Tree::default());
    let traced = decode_all(&mut c);
    assert_eq!(traced.1, plain.1);
    assert_eq!(encode_all(&traced.0), encode_all(&plain.0));
    let read = c.position() as u64 * 8;
    let mut end = 0;
    for leaf in c.into_trace().leaves() {
        assert_eq!(leaf.bits.start, end, "before {:?}", leaf.field);
        end = leaf.bits.end;
    }
    assert!(plain.1.is_some() || end == read, "{end} of {read} bits");
    plain
}

fn one(bytes: &[u8]) -> Amf3 {
    let (mut values, error) = both(bytes);
    assert_eq!((values.len(), error), (1, None), "{bytes:02x?}");
    values.remove(0)
}

/// AMF3 §1.3.1 and §3.6: up to 7, 14, 21 bits, and 29 with all eight of the last byte.
#[test]
fn integers_of_one_to_four_bytes() {
    for (bytes, value) in [
        (&[0x04, 0x00][..], 0),
        (&[0x04, 0x7f], 127),
        (&[0x04, 0x81, 0x00], 128),
        (&[0x04, 0xff, 0x7f], 16_383),
        (&[0x04, 0x81, 0x80, 0x00], 16_384),
        (&[0x04, 0xff, 0xff, 0x7f], 2_097_151),
        (&[0x04, 0x80, 0xc0, 0x80, 0x00], 2_097_152),
        (&[0x04, 0xbf, 0xff, 0xff, 0xff], 268_435_455),
        (&[0x04, 0xc0, 0x80, 0x80, 0x00], -268_435_456),
        (&[0x04, 0xff, 0xff, 0xff, 0xff], -1),
    ] {
        assert_eq!(one(bytes), Amf3::Integer(value), "{bytes:02x?}");
        assert_eq!(encode_all(&[Amf3::Integer(value)]), bytes);
    }
    let (values, error) = both(&[0x04, 0xff, 0xff]);
    assert!(values.is_empty() && error.is_some_and(|e| e.is_short()));
}

/// §3.8: the second and third strings are references; the empty one is never in the table.
#[test]
fn strings_are_referred_to_by_number() {
    let bytes = b"\x06\x01\x06\x07foo\x06\x05hi\x06\x00\x06\x02";
    let (values, error) = both(bytes);
    assert_eq!(error, None);
    let texts: Vec<_> = values.iter().filter_map(Amf3::as_str).collect();
    assert_eq!(texts, ["", "foo", "hi", "foo", "hi"]);
    let (_, error) = both(b"\x06\x02");
    assert!(error.unwrap().to_string().contains("earlier string"));
}

/// §3.12: traits by value with two sealed members, then by reference; the second object is dynamic by its traits.
#[test]
fn objects_share_their_traits() {
    let bytes = b"\x0a\x2b\x05Pt\x03x\x03y\x04\x01\x04\x02\x03z\x03\x01\x0a\x01\x04\x05\x04\x06\x01\x0a\x00";
    let (values, error) = both(bytes);
    assert_eq!((values.len(), error), (3, None));
    assert_eq!(values[0].property("x"), Some(&Amf3::Integer(1)));
    assert_eq!(values[0].property("z"), Some(&Amf3::Boolean(true)));
    assert_eq!(values[1].property("y"), Some(&Amf3::Integer(6)));
    assert_eq!(values[2], Amf3::Reference(0x0a, 0));
    let Amf3::Object(second) = &values[1] else { panic!("{values:?}") };
    assert_eq!((&*second.class, &second.dynamic), ("Pt", &Some(Vec::new())));
}

#[test]
fn every_other_type() {
    assert_eq!(one(&[0x00]), Amf3::Undefined);
    assert_eq!(one(&[0x01]), Amf3::Null);
    assert_eq!(one(&[0x02]), Amf3::Boolean(false));
    assert_eq!(one(b"\x05\x3f\xf8\0\0\0\0\0\0"), Amf3::Double(1.5));
    assert_eq!(one(b"\x08\x01\x42\x76\xf2\xb3\xf0\0\0\0"), Amf3::Date(f64::from_bits(0x4276_f2b3_f000_0000)));
    assert_eq!(one(b"\x0b\x09<a/>"), Amf3::Xml("<a/>".into()));
    assert_eq!(one(b"\x07\x09<b/>"), Amf3::XmlDocument("<b/>".into()));
    assert_eq!(one(b"\x0c\x07\x01\x02\x03"), Amf3::ByteArray(vec![1, 2, 3]));
    let array = one(b"\x09\x05\x03k\x04\x01\x01\x04\x02\x03");
    let items = vec![Amf3::Integer(2), Amf3::Boolean(true)];
    assert_eq!(array, Amf3::Array(vec![("k".into(), Amf3::Integer(1))], items));
    assert_eq!(one(b"\x0d\x05\x01\xff\xff\xff\xff\0\0\0\x02"), Amf3::IntVector(true, vec![-1, 2]));
    assert_eq!(one(b"\x0e\x03\x00\xff\xff\xff\xff"), Amf3::UintVector(false, vec![u32::MAX]));
    assert_eq!(one(b"\x0f\x03\x00\x3f\xf0\0\0\0\0\0\0"), Amf3::DoubleVector(false, vec![1.0]));
    assert_eq!(
        one(b"\x10\x03\x00\x03C\x06\x03v"),
        Amf3::ObjectVector(false, "C".into(), vec![Amf3::String("v".into())])
    );
    let pair = (Amf3::Integer(1), Amf3::String("v".into()));
    assert_eq!(one(b"\x11\x03\x00\x04\x01\x06\x03v"), Amf3::Dictionary(false, vec![pair]));
}

#[test]
fn an_externalizable_object_is_opaque_unless_its_class_is_known() {
    let Amf3::Object(known) = one(b"\x0a\x07\x43flex.messaging.io.ArrayCollection\x09\x03\x01\x04\x07")
    else {
        panic!()
    };
    assert!(matches!(known.external, Some(External::Value(_))));
    let Amf3::Object(other) = one(b"\x0a\x07\x07Foo\xde\xad\xbe\xef") else { panic!() };
    assert_eq!(other.external, Some(External::Opaque(vec![0xde, 0xad, 0xbe, 0xef])));
}

#[test]
fn depth_numbers_and_lengths_are_bounded() {
    let deep: Vec<u8> = std::iter::repeat_n([0x09, 0x03, 0x01], 100_000).flatten().collect();
    assert_eq!(both(&deep).1.unwrap().problem, Problem::TooDeep { limit: 32 });
    let mut many = vec![0x09, 0xff, 0xff, 0xff, 0xff, 0x01];
    many.resize(100_000, 0x01);
    assert_eq!(both(&many).1.unwrap().problem, Problem::TooLarge { limit: 4096, got: 4097 });
    assert!(both(b"\x0d\xff\xff\xff\xff\x00\0\0\0\0").1.unwrap().is_short());
    assert!(both(b"\x0c\xff\xff\xff\xff\x00").1.unwrap().is_short());
    assert!(both(&[0x0a, 0x02]).1.unwrap().to_string().contains("earlier"));
}

fn value() -> impl Strategy<Value = Amf3> {
    let text = || "[a-z]{1,6}".prop_map(Text::from);
    let leaf = prop_oneof![
        Just(Amf3::Null),
        any::<bool>().prop_map(Amf3::Boolean),
        (-0x1000_0000i32..0x1000_0000).prop_map(Amf3::Integer),
        any::<i32>().prop_map(|n| Amf3::Double(f64::from(n))),
        "\\PC{0,12}".prop_map(|s| Amf3::String(s.into())),
        any::<i32>().prop_map(|n| Amf3::Date(f64::from(n))),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(Amf3::ByteArray),
        (any::<bool>(), prop::collection::vec(any::<i32>(), 0..4)).prop_map(|(f, v)| Amf3::IntVector(f, v)),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        let members = prop::collection::vec((text(), inner.clone()), 0..4);
        let items = prop::collection::vec(inner.clone(), 0..4);
        let pairs = prop::collection::vec((inner.clone(), inner), 0..3);
        prop_oneof![
            (members.clone(), items.clone()).prop_map(|(m, i)| Amf3::Array(m, i)),
            (text(), members.clone(), prop::option::of(members)).prop_map(|(class, sealed, dynamic)| {
                Amf3::Object(Object { class, sealed, dynamic, external: None })
            }),
            (any::<bool>(), text(), items).prop_map(|(f, c, i)| Amf3::ObjectVector(f, c, i)),
            (any::<bool>(), pairs).prop_map(|(w, p)| Amf3::Dictionary(w, p)),
        ]
    })
}

proptest! {
    #[test]
    fn values_survive_the_round_trip(values in prop::collection::vec(value(), 0..4)) {
        let bytes = encode_all(&values);
        prop_assert_eq!(both(&bytes), (values, None));
    }

    #[test]
    fn random_bytes_end_in_values_or_one_error(bytes in prop::collection::vec(0u8..0x30, 0..300)) {
        let (values, _) = both(&bytes);
        prop_assert!(values.len() <= bytes.len());
    }
}
