//! Places that look like the header of a message, by themselves: what a search steps on.

use wire::Cursor;
use wire::rtmp::chunk::{Basic, EXTENDED, MessageHeader};

use super::likely::{self, Guess, body, guess};
use super::message::known_type;

/// The longest header and the beginning of a body, in bytes.
pub(super) const LOOK: usize = 32;
/// Signs kept; a window of small messages has fewer.
const MAX_SIGNS: usize = 1 << 15;
/// Pairs of chunk stream and type that are counted.
const MAX_KINDS: usize = 256;
/// Signs of one kind that show that its chunk stream is in use.
const MANY: u32 = 3;
/// The same where no more bytes will come.
const MANY_AT_END: u32 = 2;
/// The longest delta of a sign, in milliseconds.
const NEAR_MS: u32 = 10_000;
/// Extended timestamps of a sign are below: 149 hours.
const LATE: u32 = 0x2000_0000;
/// The longest message of a sign.
const MAX_LENGTH: u32 = 4 << 20;

/// Something that looks like a header with the beginning of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sign {
    /// Position in the bytes that are searched.
    pub(super) at: usize,
    pub(super) csid: u32,
    pub(super) type_id: u8,
    /// What its body says for itself, in bits.
    pub(super) bits: u32,
    /// Of format 2 or 3.
    pub(super) brief: bool,
}

/// The signs in the bytes that are searched, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Signs {
    all: Vec<Sign>,
    /// Chunk stream, type, how many signs.
    kinds: Vec<(u32, u8, u32)>,
    /// Positions before this one were looked at.
    looked: usize,
}

impl Signs {
    /// Memory held, in bytes.
    pub(super) fn weight(&self) -> usize {
        let kinds = self.kinds.capacity().saturating_mul(size_of::<(u32, u8, u32)>());
        self.all.capacity().saturating_mul(size_of::<Sign>()).saturating_add(kinds)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// What it costs to ask whether a chunk stream is in use, in steps.
    pub(super) fn cost(&self) -> u32 {
        u32::try_from(self.kinds.len() / 32).unwrap_or(u32::MAX)
    }

    /// Looks at the bytes that have come.
    pub(super) fn look(&mut self, bytes: &[u8], last: bool) {
        while self.looked < bytes.len() && self.all.len() < MAX_SIGNS {
            let here = bytes.get(self.looked..).unwrap_or_default();
            if !last && here.len() < LOOK {
                break;
            }
            if let Some(sign) = may_begin(here, false).then(|| sign(here)).flatten() {
                let Sign { csid, type_id, brief, .. } = sign;
                // A whole header is no chance.
                let weight = if brief { 1 } else { MANY };
                self.all.push(Sign { at: self.looked, ..sign });
                let kind = self.kinds.iter_mut().find(|(id, kind, _)| (*id, *kind) == (csid, type_id));
                if let Some((_, _, count)) = kind {
                    *count = count.saturating_add(weight);
                } else if self.kinds.len() < MAX_KINDS {
                    self.kinds.push((csid, type_id, weight));
                }
            }
            self.looked = self.looked.saturating_add(1);
        }
    }

    /// The first bytes are gone.
    pub(super) fn drop_front(&mut self, count: usize) {
        self.looked = self.looked.saturating_sub(count);
        for gone in self.all.iter().take_while(|sign| sign.at < count) {
            let kind = self.kinds.iter_mut().find(|(id, kind, _)| (*id, *kind) == (gone.csid, gone.type_id));
            if let Some((_, _, n)) = kind {
                *n = n.saturating_sub(if gone.brief { 1 } else { MANY });
            }
        }
        self.kinds.retain(|(_, _, count)| *count > 0);
        self.all.retain(|sign| sign.at >= count);
        self.all.iter_mut().for_each(|sign| sign.at = sign.at.saturating_sub(count));
    }

    /// The signs behind a position.
    pub(super) fn behind(&self, position: usize) -> impl Iterator<Item = &Sign> {
        let from = self.all.partition_point(|sign| sign.at <= position);
        self.all.iter().skip(from)
    }

    fn at(&self, position: usize) -> Option<&Sign> {
        let index = self.all.binary_search_by_key(&position, |sign| sign.at).ok()?;
        self.all.get(index)
    }

    /// True where a header seems to stand.
    pub(super) fn is_at(&self, position: usize) -> bool {
        self.at(position).is_some()
    }

    /// True where a header of format 2 or 3 seems to stand.
    pub(super) fn is_brief(&self, position: usize) -> bool {
        self.at(position).is_some_and(|sign| sign.brief)
    }

    /// True where enough signs say that a chunk stream carries messages of a type.
    pub(super) fn are_many(&self, csid: u32, type_id: u8, last: bool) -> bool {
        let of_type = self.kinds.iter().filter(|(_, kind, _)| *kind == type_id);
        let most = of_type.clone().map(|(_, _, count)| *count).max().unwrap_or(0);
        let here = of_type.filter(|(id, ..)| *id == csid).map(|(_, _, count)| *count).sum::<u32>();
        // Sound or pictures that repeat themselves repeat what chance made of them.
        here >= if last { MANY_AT_END } else { MANY } && here.saturating_mul(2) >= most
    }
}

/// False where no header can stand by its first bytes, as most bytes of a body tell at once. Nothing but the beginning of
/// a body speaks for a brief header; where the chunk stream is `known`, that is no matter.
pub(super) fn may_begin(bytes: &[u8], known: bool) -> bool {
    let Some(first) = bytes.first() else { return false };
    let header = bytes.get(Basic::size_of(*first)..).unwrap_or_default();
    let near = matches!(header, [0, ..] | [0xff, 0xff, 0xff, ..]);
    match (first >> 6, header) {
        (0, [_, _, _, high, _, _, type_id, ..]) => known_type(*type_id) && *high <= 0x80,
        (1, [_, _, _, high, _, _, type_id, ..]) => near && known_type(*type_id) && *high <= 0x80,
        (2, [0xff, 0xff, 0xff, ..]) => true,
        (2, [0, _, _, body @ ..]) => known || likely::may_tell(body),
        (3, [0..=0x1f, _, _, _, body @ ..]) if likely::may_tell(body) => true,
        (3, body) => known || likely::may_tell(body),
        _ => false,
    }
}

/// What looks like a header here.
fn sign(bytes: &[u8]) -> Option<Sign> {
    let (basic, found) = look(bytes)?;
    // The last byte of a message may look like the first one of a longer basic header: the shorter one is meant.
    let shorter = |skip: u8| {
        let other = bytes.get(usize::from(skip)..).and_then(look);
        other.is_some_and(|(other, _)| other.fmt == basic.fmt)
    };
    (!(1..basic.size).any(shorter)).then_some(found)
}

fn look(bytes: &[u8]) -> Option<(Basic, Sign)> {
    let mut c = Cursor::new(bytes);
    let basic = Basic::decode(&mut c).ok()?;
    let header = MessageHeader::decode(&mut c, basic.fmt).ok()?;
    let behind = c.peek();
    let found =
        |type_id, bits| (basic, Sign { at: 0, csid: basic.csid, type_id, bits, brief: basic.fmt > 1 });
    if basic.fmt > 0 && header.time.is_some_and(|delta| delta > NEAR_MS) {
        return None;
    }
    if let (Some(type_id), Some(length)) = (header.type_id, header.length) {
        let good = known_type(type_id)
            && (1..=MAX_LENGTH).contains(&length)
            && header.stream_id.is_none_or(|id| id <= 16);
        let bits = body(type_id, length, behind).filter(|_| good)?;
        // Format 0 has four bytes with the message stream.
        return (bits >= 8 || basic.fmt == 0 && type_id > 6).then(|| found(type_id, bits.saturating_add(8)));
    }
    let (Guess { type_id, bits }, _) = guess_timed(basic.fmt, behind)?;
    Some(found(type_id, bits))
}

/// What a body behind a brief header shows. Behind one of format 3 an extended timestamp may stand first.
pub(super) fn guess_timed(fmt: u8, behind: &[u8]) -> Option<(Guess, Option<u32>)> {
    let timed = || {
        let (time, rest) = behind.split_first_chunk::<4>().filter(|_| fmt == 3)?;
        let time = Some(u32::from_be_bytes(*time)).filter(|time| (EXTENDED..LATE).contains(time))?;
        Some((guess(rest)?, Some(time)))
    };
    guess(behind).map(|guess| (guess, None)).or_else(timed)
}
