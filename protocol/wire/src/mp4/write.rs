//! Writing boxes: those of an initialisation section, of a fragment, and of the head of a file.

use super::fragment::{FLAGS_INTER, FLAGS_KEY};

/// Appends boxes to a buffer; sizes are filled in when a box is closed.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

/// A box that is open, to be given to [`Writer::close`].
#[derive(Debug)]
#[must_use = "an open box has no size"]
pub struct Open(usize);

impl Writer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// Bytes so far.
    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// Begins a box.
    pub fn open(&mut self, kind: &[u8; 4]) -> Open {
        let open = Open(self.out.len());
        self.u32(0);
        self.bytes(kind);
        open
    }

    /// Begins a full box.
    pub fn open_full(&mut self, kind: &[u8; 4], version: u8, flags: u32) -> Open {
        let open = self.open(kind);
        self.u8(version);
        self.u24(flags);
        open
    }

    /// Ends a box.
    pub fn close(&mut self, open: Open) {
        let size = self.out.len().saturating_sub(open.0);
        self.patch(open.0, u32::try_from(size).unwrap_or(u32::MAX));
    }

    /// Writes a whole box.
    pub fn whole(&mut self, kind: &[u8; 4], content: &[u8]) {
        let open = self.open(kind);
        self.bytes(content);
        self.close(open);
    }

    /// Overwrites four bytes at `at`.
    pub fn patch(&mut self, at: usize, value: u32) {
        if let Some(place) = self.out.get_mut(at..at.saturating_add(4)) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }

    /// Appends a byte.
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends three bytes.
    pub fn u24(&mut self, value: u32) {
        let [_, a, b, c] = value.to_be_bytes();
        self.bytes(&[a, b, c]);
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends zeros.
    pub fn zeros(&mut self, n: usize) {
        self.out.resize(self.out.len().saturating_add(n), 0);
    }

    /// Appends bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// The unity matrix of mvhd and tkhd.
    pub fn matrix(&mut self) {
        for value in [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000] {
            self.u32(value);
        }
    }

    /// An esds for MPEG-4 audio (ISO 14496-14 §5.6), or for another object type without configuration.
    pub fn esds(&mut self, object_type: u8, config: &[u8]) {
        let specific = config.len().min(100);
        let decoder = 13usize.saturating_add(if specific > 0 { specific.saturating_add(2) } else { 0 });
        let stream = decoder.saturating_add(2 + 3 + 3);
        let open = self.open_full(b"esds", 0, 0);
        self.descriptor(3, stream);
        self.u16(0);
        self.u8(0);
        self.descriptor(4, decoder);
        self.u8(object_type);
        self.u8(0x15);
        self.zeros(11);
        if specific > 0 {
            self.descriptor(5, specific);
            self.bytes(config.get(..specific).unwrap_or_default());
        }
        self.descriptor(6, 1);
        self.u8(2);
        self.close(open);
    }

    fn descriptor(&mut self, tag: u8, length: usize) {
        self.u8(tag);
        // All of ours are below 128 bytes, which one byte can say.
        self.u8(u8::try_from(length.min(127)).unwrap_or(127));
    }
}

/// One sample of a run to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Ticks to the next.
    pub duration: u32,
    /// Bytes.
    pub size: u32,
    /// True where decoding can start here.
    pub key: bool,
    /// Presentation minus decoding time in ticks.
    pub composition: i32,
}

/// The samples of one track in a fragment to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The track.
    pub track: u32,
    /// Decoding time of the first sample, in ticks.
    pub decode_time: u64,
    /// The samples, whose data follow each other in mdat.
    pub samples: Vec<Sample>,
}

/// A moof and the head of its mdat; the data of all parts follow, in order.
pub fn fragment_head(sequence: u32, parts: &[Part]) -> Vec<u8> {
    let mut w = Writer::new();
    let moof = w.open(b"moof");
    let mfhd = w.open_full(b"mfhd", 0, 0);
    w.u32(sequence);
    w.close(mfhd);
    let mut offsets = Vec::new();
    for part in parts {
        let traf = w.open(b"traf");
        let tfhd = w.open_full(b"tfhd", 0, 0x02_0000);
        w.u32(part.track);
        w.close(tfhd);
        let tfdt = w.open_full(b"tfdt", 1, 0);
        w.u64(part.decode_time);
        w.close(tfdt);
        let trun = w.open_full(b"trun", 1, 0xf01);
        w.u32(u32::try_from(part.samples.len()).unwrap_or(u32::MAX));
        offsets.push(w.position());
        w.u32(0);
        for sample in &part.samples {
            w.u32(sample.duration);
            w.u32(sample.size);
            w.u32(if sample.key { FLAGS_KEY } else { FLAGS_INTER });
            w.u32(sample.composition.cast_unsigned());
        }
        w.close(trun);
        w.close(traf);
    }
    w.close(moof);
    let bytes = |part: &Part| part.samples.iter().fold(0u64, |n, s| n.saturating_add(u64::from(s.size)));
    let total = parts.iter().fold(0u64, |n, p| n.saturating_add(bytes(p)));
    // The long size is only written where it is needed: some players do not know it.
    let head: u64 = if total.saturating_add(8) > u64::from(u32::MAX) { 16 } else { 8 };
    let mut at = (w.position() as u64).saturating_add(head);
    for (offset, part) in offsets.into_iter().zip(parts) {
        w.patch(offset, u32::try_from(at).unwrap_or(u32::MAX));
        at = at.saturating_add(bytes(part));
    }
    let size = total.saturating_add(head);
    if head == 16 {
        w.u32(1);
        w.bytes(b"mdat");
        w.u64(size);
    } else {
        w.u32(u32::try_from(size).unwrap_or(u32::MAX));
        w.bytes(b"mdat");
    }
    w.into_bytes()
}
