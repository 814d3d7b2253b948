//! Connections by address pair, the one silent longest first in line to go.

use std::collections::{HashMap, VecDeque};

use super::conn::Conn;
use super::hash::{Key, Seeded};

/// Connections that are over and remembered, so that late packets open no new one.
const REMEMBERED: usize = 4096;

/// Marks the end of the line.
const NONE: u32 = u32::MAX;

#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    by_key: HashMap<Key, u32, Seeded>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The open connections, longest silent first.
    line: Line,
    open: usize,
    over: VecDeque<u32>,
    latest: Option<(Key, u32)>,
}

#[derive(Clone, Debug)]
struct Slot {
    conn: Option<Box<Conn>>,
    before: u32,
    behind: u32,
}

#[derive(Clone, Debug)]
struct Line {
    first: u32,
    last: u32,
}

impl Default for Line {
    fn default() -> Self {
        Self { first: NONE, last: NONE }
    }
}

impl Table {
    /// Connections that are not over.
    pub fn open(&self) -> usize {
        self.open
    }

    /// The place of a connection.
    #[inline]
    pub fn find(&mut self, key: &Key) -> Option<u32> {
        if let Some((latest, place)) = &self.latest
            && latest == key
        {
            return Some(*place);
        }
        let place = *self.by_key.get(key)?;
        self.latest = Some((*key, place));
        Some(place)
    }

    #[inline]
    pub fn at(&mut self, place: u32) -> Option<&mut Conn> {
        self.slot(place)?.conn.as_deref_mut()
    }

    fn slot(&mut self, place: u32) -> Option<&mut Slot> {
        usize::try_from(place).ok().and_then(|place| self.slots.get_mut(place))
    }

    /// Adds an open connection at the end of the line.
    pub fn insert(&mut self, conn: Conn) -> u32 {
        let key = conn.key;
        let slot = Slot { conn: Some(Box::new(conn)), before: NONE, behind: NONE };
        let place = match self.free.pop() {
            Some(place) => {
                if let Some(free) = self.slot(place) {
                    *free = slot;
                }
                place
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len().saturating_sub(1)).unwrap_or(NONE)
            }
        };
        self.by_key.insert(key, place);
        self.latest = Some((key, place));
        self.open = self.open.saturating_add(1);
        self.append(place);
        place
    }

    /// The connection just had a packet: it goes to the end of the line.
    #[inline]
    pub fn touch(&mut self, place: u32) {
        if self.line.last != place {
            self.unlink(place);
            self.append(place);
        }
    }

    /// The open connection that has been silent longest.
    #[inline]
    pub fn longest_silent(&self) -> Option<u32> {
        (self.line.first != NONE).then_some(self.line.first)
    }

    /// Keeps an ended connection only to recognise late packets; the oldest such one is forgotten.
    pub fn retire(&mut self, place: u32) {
        self.unlink(place);
        self.open = self.open.saturating_sub(1);
        self.over.push_back(place);
        if self.over.len() > REMEMBERED
            && let Some(oldest) = self.over.pop_front()
        {
            self.release(oldest);
        }
    }

    /// Forgets a connection that is over.
    pub fn forget(&mut self, place: u32) {
        if let Some(index) = self.over.iter().position(|p| *p == place) {
            self.over.remove(index);
            self.release(place);
        }
    }

    fn release(&mut self, place: u32) {
        if let Some(conn) = self.slot(place).and_then(|slot| slot.conn.take()) {
            self.by_key.remove(&conn.key);
            self.free.push(place);
        }
        self.latest = None;
    }

    /// Places of the open connections in the order they were opened.
    pub fn in_order(&self) -> Vec<u32> {
        let open = self.slots.iter().enumerate().filter_map(|(place, slot)| {
            let conn = slot.conn.as_deref().filter(|conn| !conn.over)?;
            Some((conn.id, u32::try_from(place).ok()?))
        });
        let mut open: Vec<_> = open.collect();
        open.sort_unstable();
        open.into_iter().map(|(_, place)| place).collect()
    }

    fn append(&mut self, place: u32) {
        let last = self.line.last;
        if let Some(slot) = self.slot(place) {
            (slot.before, slot.behind) = (last, NONE);
        }
        match self.slot(last) {
            Some(slot) => slot.behind = place,
            None => self.line.first = place,
        }
        self.line.last = place;
    }

    fn unlink(&mut self, place: u32) {
        let Some(slot) = self.slot(place) else { return };
        let (before, behind) = (slot.before, slot.behind);
        (slot.before, slot.behind) = (NONE, NONE);
        match self.slot(before) {
            Some(slot) => slot.behind = behind,
            None => self.line.first = behind,
        }
        match self.slot(behind) {
            Some(slot) => slot.before = before,
            None => self.line.last = before,
        }
    }
}
