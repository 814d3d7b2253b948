//! AMF3 values: whatever is read can be written, and reads the same again; with a field tree the result is the same, and the
//! leaves tile what was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{Cursor, Tree, amf3};

fuzz_target!(|data: &[u8]| {
    let (values, error) = amf3::decode_all(&mut Cursor::new(data));

    let written = amf3::encode_all(&values);
    let (again, trouble) = amf3::decode_all(&mut Cursor::new(&written));
    // Written out, traits and strings that were referred to may be too many.
    if trouble.as_ref().is_some_and(|error| matches!(error.problem, wire::Problem::TooLarge { .. })) {
        return;
    }
    assert_eq!(trouble, None, "what was written cannot be read");
    // By their bytes: a number may be NaN, which equals nothing.
    assert_eq!(amf3::encode_all(&again), written);

    let mut traced = Cursor::traced(data, Tree::default());
    let (same, same_error) = amf3::decode_all(&mut traced);
    assert_eq!(amf3::encode_all(&same), written);
    assert_eq!(same_error, error);
    let mut end = 0;
    let tree = traced.into_trace();
    for leaf in tree.leaves() {
        assert_eq!(leaf.bits.start, end, "a gap or an overlap before {:?}", leaf.field);
        end = leaf.bits.end;
    }
    assert!(end <= data.len() as u64 * 8);
});
