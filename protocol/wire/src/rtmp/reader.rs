//! Chunks to messages, for an endpoint.
//!
//! The reader takes bytes as they arrive, cut anywhere, and yields whole messages. It holds the payload that
//! arrived, never what a header only promises, and a bounded number of chunk streams.

use std::collections::HashMap;

use super::chunk::{Basic, DEFAULT_CHUNK_SIZE, Head, MessageHeader, extended_timestamp};
use crate::cursor::Cursor;
use crate::error::{Error, Problem, Result};

/// Longest header: basic 3, message 11, extended timestamp 4.
const MAX_HEADER: usize = 18;
/// Chunk streams remembered per direction; real peers use about five.
const MAX_CHUNK_STREAMS: usize = 256;

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Type, time and streams.
    pub head: Head,
    /// The body.
    pub payload: Vec<u8>,
}

/// Reassembles one direction of a connection.
#[derive(Debug)]
pub struct Reader {
    chunk_size: u32,
    max_message: u32,
    streams: HashMap<u32, Stream>,
    /// Bytes that arrived before a header was whole; at most one header's worth.
    pending: Vec<u8>,
    /// The chunk whose payload is arriving: its stream and the bytes it still brings.
    open: Option<(u32, usize)>,
    /// Stream position of the next byte.
    at: u64,
    held: usize,
    mark: u64,
}

#[derive(Debug, Default)]
struct Stream {
    head: Head,
    length: u32,
    delta: u32,
    /// The last fmt 0-2 header of this stream had an extended timestamp: its field, delta or absolute.
    extended: Option<u32>,
    begun: bool,
    /// The reader's mark when the message began.
    mark: u64,
    payload: Vec<u8>,
}

impl Reader {
    /// A reader that refuses messages longer than `max_message`. `at` is the position of the first byte in
    /// its stream, for error messages.
    pub fn new(max_message: u32, at: u64) -> Self {
        Self {
            chunk_size: DEFAULT_CHUNK_SIZE,
            max_message,
            streams: HashMap::new(),
            pending: Vec::new(),
            open: None,
            at,
            held: 0,
            mark: 0,
        }
    }

    /// Applies a Set Chunk Size; holds for the next chunk on.
    pub fn set_chunk_size(&mut self, size: u32) {
        self.chunk_size = size.max(1);
    }

    /// Changes the longest message that is accepted.
    pub fn set_max_message(&mut self, bytes: u32) {
        self.max_message = bytes;
    }

    /// Applies an Abort: drops what a chunk stream has of an incomplete message.
    pub fn abort(&mut self, csid: u32) {
        if let Some(stream) = self.streams.get_mut(&csid) {
            self.held = self.held.saturating_sub(stream.payload.len());
            stream.payload = Vec::new();
            stream.begun = false;
        }
    }

    /// Stamps messages that begin from now on with the caller's `mark`, a time as a rule.
    pub fn set_mark(&mut self, mark: u64) {
        self.mark = mark;
    }

    /// The mark of the incomplete message that began first.
    pub fn oldest_open(&self) -> Option<u64> {
        self.streams.values().filter(|s| s.begun).map(|s| s.mark).min()
    }

    /// Bytes held of incomplete messages.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Stream position of the next byte that [`Reader::next`] will take.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Takes bytes from the front of `input` up to and including the end of a message; `None` when the input
    /// is used up. Call again until then. After an error the stream cannot be read on.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Message>> {
        loop {
            if let Some((csid, left)) = self.open {
                let (message, took) = if self.pending.is_empty() {
                    let (now, later) = input.split_at(left.min(input.len()));
                    *input = later;
                    (self.payload(csid, now), now.len())
                } else {
                    let now: Vec<u8> = self.pending.drain(..left.min(self.pending.len())).collect();
                    (self.payload(csid, &now), now.len())
                };
                self.at = self.at.saturating_add(took as u64);
                let left = left.saturating_sub(took);
                self.open = (left > 0).then_some((csid, left));
                if message.is_some() {
                    return Ok(message);
                }
                if left > 0 && input.is_empty() && self.pending.is_empty() {
                    return Ok(None);
                }
            } else if !self.header(input)? {
                return Ok(None);
            }
        }
    }

    fn payload(&mut self, csid: u32, bytes: &[u8]) -> Option<Message> {
        let stream = self.streams.get_mut(&csid)?;
        let held = stream.payload.len();
        let need = held.saturating_add(bytes.len());
        if need > stream.payload.capacity() {
            // A quarter more than is there, but no more than the message will have: a crowd of open messages
            // then takes little more memory than it has sent, and a whole message exactly its own.
            let length = usize::try_from(stream.length).unwrap_or(usize::MAX);
            let grown = need.saturating_add(held >> 2).min(length).max(need);
            stream.payload.reserve_exact(grown.saturating_sub(held));
        }
        stream.payload.extend_from_slice(bytes);
        self.held = self.held.saturating_add(bytes.len());
        if (stream.payload.len() as u64) < u64::from(stream.length) {
            return None;
        }
        stream.begun = false;
        let payload = std::mem::take(&mut stream.payload);
        self.held = self.held.saturating_sub(payload.len());
        Some(Message { head: stream.head, payload })
    }

    /// Reads a header if it is whole; otherwise keeps its bytes and returns false.
    fn header(&mut self, input: &mut &[u8]) -> Result<bool> {
        if self.pending.is_empty() {
            // The common case: the whole header lies in the input, nothing is copied.
            let used = self.decode_header(input)?;
            match used {
                Some(used) => {
                    *input = input.get(used..).unwrap_or_default();
                    self.at = self.at.saturating_add(used as u64);
                }
                None => {
                    self.pending.extend_from_slice(input);
                    *input = &[];
                }
            }
            return Ok(used.is_some());
        }
        // What is left of these bytes when the header is done is taken as payload from here.
        let room = MAX_HEADER.saturating_sub(self.pending.len()).min(input.len());
        let (now, later) = input.split_at(room);
        self.pending.extend_from_slice(now);
        *input = later;
        let mut pending = std::mem::take(&mut self.pending);
        let used = self.decode_header(&pending)?;
        if let Some(used) = used {
            pending.drain(..used.min(pending.len()));
            self.at = self.at.saturating_add(used as u64);
        }
        self.pending = pending;
        Ok(used.is_some())
    }

    /// The length of the header, or `None` where it is not whole yet; state changes only where it is.
    fn decode_header(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        let mut c = Cursor::based(bytes, self.at);
        let (basic, header) = match self.try_header(&mut c) {
            Ok(Some(both)) => both,
            Ok(None) => return Ok(None),
            Err(error) if error.is_short() => return Ok(None),
            Err(error) => return Err(error),
        };
        self.begin(basic, header)?;
        Ok(Some(c.position()))
    }

    fn try_header(&self, c: &mut Cursor<'_>) -> Result<Option<(Basic, MessageHeader)>> {
        let basic = Basic::decode(c)?;
        let mut header = MessageHeader::decode(c, basic.fmt)?;
        let Some(field) = self.streams.get(&basic.csid).and_then(|s| s.extended) else {
            return Ok(Some((basic, header)));
        };
        if basic.fmt == 3 {
            // §5.3.1.3 repeats the extended timestamp here, old encoders do not: four bytes that equal the
            // field are the field, others are payload.
            match c.peek().first_chunk::<4>() {
                Some(four) if u32::from_be_bytes(*four) == field => {
                    header.time = Some(extended_timestamp(c)?);
                    header.extended = true;
                }
                Some(_) => {}
                None if field.to_be_bytes().starts_with(c.peek()) => return Ok(None),
                None => {}
            }
        }
        Ok(Some((basic, header)))
    }

    fn begin(&mut self, basic: Basic, header: MessageHeader) -> Result<()> {
        let at = self.at;
        if !self.streams.contains_key(&basic.csid) {
            if basic.fmt != 0 {
                let got = u64::from(basic.fmt);
                return Err(Error::value(at, "fmt", "0 on the first chunk of a chunk stream", got));
            }
            if self.streams.len() >= MAX_CHUNK_STREAMS {
                let got = self.streams.len().saturating_add(1) as u64;
                return Err(Error::too_large(at, "chunk streams", MAX_CHUNK_STREAMS as u64, got));
            }
        }
        let stream = self.streams.entry(basic.csid).or_default();
        stream.head.csid = basic.csid;
        if stream.begun && basic.fmt != 3 {
            // A new header in mid-message: some peers continue so (a SHOULD NOT of §5.3.1.2.4). It is a
            // continuation where the length agrees, and a new message where it does not.
            let same = header.length.is_none_or(|l| l == stream.length);
            if !same || basic.fmt == 0 {
                self.held = self.held.saturating_sub(stream.payload.len());
                stream.payload = Vec::new();
                stream.begun = false;
            }
        }
        if basic.fmt != 3 {
            stream.extended = header.time.filter(|_| header.extended);
        }
        if !stream.begun {
            stream.apply(basic.fmt, &header);
            if stream.length > self.max_message {
                let problem =
                    Problem::TooLarge { limit: u64::from(self.max_message), got: u64::from(stream.length) };
                return Err(Error { at, field: "message length", within: "chunk header", problem });
            }
            stream.begun = true;
            stream.mark = self.mark;
        }
        let missing = u64::from(stream.length).saturating_sub(stream.payload.len() as u64);
        let chunk = missing.min(u64::from(self.chunk_size));
        self.open = Some((basic.csid, usize::try_from(chunk).unwrap_or(usize::MAX)));
        Ok(())
    }
}

impl Stream {
    /// Takes over what the header of a new message says; the rest stays as it was.
    fn apply(&mut self, fmt: u8, header: &MessageHeader) {
        self.length = header.length.unwrap_or(self.length);
        self.head.type_id = header.type_id.unwrap_or(self.head.type_id);
        self.head.stream_id = header.stream_id.unwrap_or(self.head.stream_id);
        let time = header.time.unwrap_or(0);
        match fmt {
            0 => {
                self.head.timestamp = time;
                // §5.3.1.2.4: a fmt 3 message after a fmt 0 one has that timestamp as its delta.
                self.delta = time;
            }
            1 | 2 => {
                self.delta = time;
                self.head.timestamp = self.head.timestamp.wrapping_add(time);
            }
            _ => self.head.timestamp = self.head.timestamp.wrapping_add(self.delta),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::super::chunk::{write_basic, write_message};
    use super::*;
    use proptest::prelude::*;

    fn read_all(bytes: &[u8], cuts: usize) -> Result<Vec<Message>> {
        let mut reader = Reader::new(1 << 24, 0);
        let mut messages = Vec::new();
        for piece in bytes.chunks(cuts.max(1)) {
            let mut input = piece;
            while let Some(message) = reader.next(&mut input)? {
                if message.head.type_id == 1 {
                    let size = u32::from_be_bytes(message.payload.first_chunk().copied().unwrap_or_default());
                    reader.set_chunk_size(size);
                }
                messages.push(message);
            }
            assert!(input.is_empty());
        }
        assert_eq!(reader.held(), 0);
        Ok(messages)
    }

    proptest! {
        #[test]
        fn messages_survive_any_cut_and_any_chunk_size(
            specs in prop::collection::vec((2u32..70_000, any::<u32>(), 8u8..10, 0u32..4, 0usize..700), 1..12),
            size in 1u32..400,
            cut in 1usize..50,
        ) {
            let mut bytes = Vec::new();
            write_message(&mut bytes, 128, &Head { csid: 2, type_id: 1, ..Head::default() }, &[&size.to_be_bytes()]);
            let mut want = Vec::new();
            for (csid, timestamp, type_id, stream_id, length) in specs {
                let csid = csid.min(65_599);
                let head = Head { csid, timestamp, type_id, stream_id };
                let payload: Vec<u8> = (0..length).map(|i| u8::try_from((i * 7 + length) & 0xff).unwrap()).collect();
                write_message(&mut bytes, size, &head, &[&payload]);
                want.push(Message { head, payload });
            }
            let got = read_all(&bytes, cut).unwrap();
            prop_assert_eq!(&got[1..], &want[..]);
        }

        #[test]
        fn random_bytes_are_an_error_or_wait_for_more(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut reader = Reader::new(1 << 16, 10);
            let mut input = bytes.as_slice();
            loop {
                match reader.next(&mut input) {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => {
                        prop_assert!(error.at >= 10);
                        break;
                    }
                }
            }
            prop_assert!(reader.held() <= bytes.len());
        }
    }

    #[test]
    fn interleaved_messages_of_two_chunk_streams() {
        let mut video = Vec::new();
        write_message(
            &mut video,
            128,
            &Head { csid: 6, type_id: 9, timestamp: 5, stream_id: 1 },
            &[&[9; 200]],
        );
        let mut audio = Vec::new();
        write_message(
            &mut audio,
            128,
            &Head { csid: 4, type_id: 8, timestamp: 6, stream_id: 1 },
            &[&[8; 150]],
        );
        let bytes = [&video[..140], &audio[..140], &video[140..], &audio[140..]].concat();
        let got = read_all(&bytes, 7).unwrap();
        let kinds: Vec<_> = got.iter().map(|m| (m.head.type_id, m.payload.len())).collect();
        assert_eq!(kinds, [(9, 200), (8, 150)]);
    }

    #[test]
    fn deltas_of_fmt_1_2_and_3_add_up() {
        let mut b = Vec::new();
        write_message(&mut b, 128, &Head { csid: 4, type_id: 8, timestamp: 1000, stream_id: 1 }, &[&[1]]);
        b.extend([0x44, 0, 0, 40, 0, 0, 2, 8, 5, 5]); // fmt 1, delta 40, length 2
        b.extend([0x84, 0, 0, 20, 6, 6]); // fmt 2, delta 20
        b.extend([0xc4, 7, 7]); // fmt 3, the same delta again
        let times: Vec<_> = read_all(&b, 3).unwrap().iter().map(|m| m.head.timestamp).collect();
        assert_eq!(times, [1000, 1040, 1060, 1080]);
    }

    #[test]
    fn a_fmt_3_message_right_after_fmt_0_adds_the_timestamp_as_delta() {
        let mut b = Vec::new();
        write_message(&mut b, 128, &Head { csid: 4, type_id: 8, timestamp: 1000, stream_id: 1 }, &[&[1]]);
        b.extend([0xc4, 2]);
        let times: Vec<_> = read_all(&b, 1).unwrap().iter().map(|m| m.head.timestamp).collect();
        assert_eq!(times, [1000, 2000]);
    }

    #[test]
    fn extended_timestamps_with_and_without_their_repetition() {
        let head = Head { csid: 6, timestamp: 0x0100_0100, type_id: 9, stream_id: 1 };
        let mut with = Vec::new();
        write_message(&mut with, 128, &head, &[&[3; 300]]);
        let mut without = Vec::new();
        write_message(&mut without, 300, &head, &[&[3; 300]]);
        let body = without.split_off(16);
        for (i, piece) in body.chunks(128).enumerate() {
            if i > 0 {
                write_basic(&mut without, 3, 6);
            }
            without.extend(piece);
        }
        for bytes in [with, without] {
            let got = read_all(&bytes, 11).unwrap();
            assert_eq!((got[0].head, got[0].payload.as_slice()), (head, [3; 300].as_slice()));
        }
    }

    #[test]
    fn a_declared_length_alone_holds_no_memory_and_too_long_is_refused_at_the_header() {
        let header = [0x06, 0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0];
        let mut reader = Reader::new(0xff_ffff, 3073);
        assert_eq!(reader.next(&mut header.as_slice()), Ok(None));
        assert_eq!(reader.held(), 0);
        let mut reader = Reader::new(65_536, 3073);
        let error = reader.next(&mut header.as_slice()).unwrap_err();
        let text = "byte 3073: message length in chunk header: 16777215 is above the limit of 65536";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn abort_drops_the_incomplete_message_only() {
        let mut b = Vec::new();
        write_message(&mut b, 128, &Head { csid: 6, type_id: 9, timestamp: 1, stream_id: 1 }, &[&[9; 200]]);
        let mut reader = Reader::new(1 << 20, 0);
        assert_eq!(reader.next(&mut &b[..140]), Ok(None));
        assert_eq!(reader.held(), 128);
        reader.abort(6);
        assert_eq!(reader.held(), 0);
        let got = reader.next(&mut b.as_slice()).unwrap().unwrap();
        assert_eq!(got.payload.len(), 200);
    }
}
