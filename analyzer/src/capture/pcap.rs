//! Steps through a pcap file.

use std::io;

use wire::net::LinkType;
use wire::pcap::{FILE_HEADER, FileHeader, Record, file_header, record};
use wire::{Cursor, Error};

use super::buffer::Buffer;
use super::{Found, Place, Step, Trouble};

/// How far times may lie apart for a record to be believed after damage, in seconds.
const PLAUSIBLE_STEP: u32 = 86_400;

#[derive(Clone, Debug)]
pub(super) struct Pcap {
    file: FileHeader,
    /// Seconds of the last good record.
    last: Option<u32>,
}

impl Pcap {
    pub(super) fn is_magic(first: &[u8]) -> bool {
        match file_header(&mut Cursor::new(first)) {
            Ok(_) => true,
            Err(error) => error.is_short(),
        }
    }

    /// Reads the file header.
    pub(super) fn begin(buffer: &mut Buffer) -> Result<Self, Trouble> {
        let bytes = buffer.fill(FILE_HEADER).map_err(|e| Trouble::io(0, e))?;
        if bytes.len() < FILE_HEADER {
            return Err(Trouble::cut(0, "the file header", FILE_HEADER, bytes.len()));
        }
        let file = file_header(&mut Cursor::new(bytes)).map_err(|e| Trouble::damaged(e, Place::End))?;
        buffer.take(FILE_HEADER);
        Ok(Self { file, last: None })
    }

    pub(super) fn header(&self) -> FileHeader {
        self.file
    }

    pub(super) fn link(&self) -> LinkType {
        self.file.link
    }

    pub(super) fn step(&mut self, buffer: &mut Buffer) -> Result<Step, Trouble> {
        let at = buffer.position();
        let size = self.file.record_header();
        let bytes = buffer.fill(size).map_err(|e| Trouble::io(at, e))?;
        if bytes.is_empty() {
            return Ok(Step::End);
        }
        if bytes.len() < size {
            return Err(Trouble::cut(at, "a packet record", size, bytes.len()));
        }
        let record = self.read(bytes, at).map_err(|e| Trouble::damaged(e, Place::Lost))?;
        let captured = usize::try_from(record.captured).unwrap_or(usize::MAX);
        let whole = size.saturating_add(captured);
        let bytes = buffer.fill(whole).map_err(|e| Trouble::io(at, e))?;
        if bytes.len() < whole {
            let got = bytes.len();
            return Err(self.unfinished(&record, at, whole, got));
        }
        self.last = Some(record.seconds);
        let place = buffer.take(whole);
        let start = place.start.saturating_add(size);
        // A record longer than its packet holds something behind it that was never sent.
        let kept = captured.min(usize::try_from(record.original).unwrap_or(usize::MAX));
        Ok(Step::Packet(Found {
            time_ns: Some(self.file.time_ns(&record)),
            link: self.file.link,
            interface: 0,
            data: start..start.saturating_add(kept),
            orig_len: record.original,
            record: place,
            at,
        }))
    }

    /// The file ends inside a record: it was cut, or the record's length is damaged and others follow inside.
    fn unfinished(&self, record: &Record, at: u64, want: usize, got: usize) -> Trouble {
        let mut trouble = Trouble::cut(at, "a packet record", want, got);
        if !self.believes(record) {
            trouble.then = Place::Lost;
        }
        trouble
    }

    fn read(&self, bytes: &[u8], at: u64) -> Result<Record, Error> {
        record(&mut Cursor::based(bytes, at), &self.file)
    }

    fn believes(&self, record: &Record) -> bool {
        let near = self.last.is_none_or(|last| last.abs_diff(record.seconds) <= PLAUSIBLE_STEP);
        near && self.file.is_plausible(record)
    }

    /// Goes forward from a place that is no record to one that is, and is followed by another or by the end.
    pub(super) fn search(&mut self, buffer: &mut Buffer) -> io::Result<bool> {
        let size = self.file.record_header();
        buffer.take(1);
        loop {
            let bytes = buffer.fill(size)?;
            if bytes.len() < size {
                buffer.take(size);
                return Ok(false);
            }
            let record = self.read(bytes, 0).ok().filter(|r| self.believes(r));
            if let Some(record) = record {
                let whole = size.saturating_add(usize::try_from(record.captured).unwrap_or(usize::MAX));
                let bytes = buffer.fill(whole.saturating_add(size))?;
                let next = bytes.get(whole..).unwrap_or_default();
                let follows = if next.len() < size {
                    bytes.len() == whole
                } else {
                    self.read(next, 0).is_ok_and(|r| self.believes(&r))
                };
                if follows {
                    return Ok(true);
                }
            }
            buffer.take(1);
        }
    }
}
