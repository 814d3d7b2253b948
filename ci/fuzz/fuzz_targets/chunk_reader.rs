//! RTMP chunks, in one piece and cut anywhere: the same messages, or the same error at the same byte. What is held never
//! exceeds what arrived.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::rtmp::reader::{Message, Reader};

/// Longest message that is accepted, as an endpoint would set it.
const MAX_MESSAGE: u32 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else { return };
    let whole = read(stream, stream.len().max(1));
    let pieces = read(stream, usize::from(*cut).max(1));
    assert_eq!(whole, pieces, "cut every {cut} bytes");
});

/// Reads as an endpoint does: Set Chunk Size and Abort are obeyed.
fn read(stream: &[u8], cut: usize) -> (Vec<Message>, Result<u64, wire::Error>) {
    let mut reader = Reader::new(MAX_MESSAGE, 0);
    let mut messages = Vec::new();
    let mut arrived = 0;
    for piece in stream.chunks(cut) {
        arrived += piece.len();
        let mut input = piece;
        loop {
            let message = match reader.next(&mut input) {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            };
            assert!(message.payload.len() <= MAX_MESSAGE as usize);
            if let Some(number) = message.payload.first_chunk::<4>() {
                let number = u32::from_be_bytes(*number) & 0x7fff_ffff;
                match message.head.type_id {
                    1 => reader.set_chunk_size(number),
                    2 => reader.abort(number),
                    _ => {}
                }
            }
            messages.push(message);
        }
        assert!(input.is_empty(), "bytes were left without a reason");
        assert!(reader.held() <= arrived, "{} bytes are held of {arrived} that arrived", reader.held());
        assert!(reader.position() <= arrived as u64);
    }
    (messages, Ok(reader.position()))
}
