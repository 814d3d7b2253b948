//! Parameter sets of H.264 that come between pictures, and which of them are in force.

use bytes::Bytes;
use wire::Cursor;
use wire::codec::LengthPrefixed;
use wire::codec::avc::{self, NalType};

/// The largest parameter set kept, in bytes.
const MAX_SET: usize = 4096;
/// The most parameter sets of a kind kept: as many as a decoder configuration record has room for.
const MAX_SETS: usize = 31;

/// Parameter sets by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sets {
    sps: Vec<(u64, Bytes)>,
    pps: Vec<Pps>,
    /// The number of the SPS that the pictures use, once one was seen.
    active: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pps {
    id: u64,
    /// The SPS that it refers to.
    sps: u64,
    nal: Bytes,
    /// Its SPS is another by now, and it did not come again since.
    stale: bool,
}

impl Sets {
    /// Those of a decoder configuration record, the first SPS in force.
    pub fn of(config: &[u8]) -> Self {
        let mut sets = Self::default();
        let Ok(config) = avc::Config::decode(&mut Cursor::new(config)) else { return sets };
        config.sps.iter().chain(&config.pps).for_each(|nal| {
            sets.take(nal);
        });
        let first = config.first_sps().and_then(Result::ok).map(|sps| sps.id);
        sets.active = first.filter(|id| sets.sps.iter().any(|(known, _)| known == id));
        sets
    }

    /// Takes a parameter set; true where it is new or changed.
    pub fn take(&mut self, nal: &[u8]) -> bool {
        // Zeros behind it belong to a byte stream that it came from (H.264 §B.1).
        let end = nal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
        let nal = nal.get(..end).unwrap_or_default();
        if nal.len() > MAX_SET {
            return false;
        }
        match NalType::of(nal) {
            Some(NalType::SPS) => avc::Sps::from_nal(nal).is_ok_and(|sps| self.take_sps(sps.id, nal)),
            Some(NalType::PPS) => avc::Pps::decode(&mut Cursor::new(&wire::codec::unescape(nal)))
                .is_ok_and(|pps| self.take_pps(&pps, nal)),
            _ => false,
        }
    }

    fn take_sps(&mut self, id: u64, nal: &[u8]) -> bool {
        let at = self.sps.binary_search_by_key(&id, |(id, _)| *id);
        let (full, copy) = (self.sps.len() >= MAX_SETS, || (id, Bytes::copy_from_slice(nal)));
        match at {
            Ok(at) => {
                let Some(known) = self.sps.get_mut(at).filter(|(_, known)| known.as_ref() != nal) else {
                    return false;
                };
                *known = copy();
                self.pps.iter_mut().filter(|pps| pps.sps == id).for_each(|pps| pps.stale = true);
            }
            Err(_) if full => return false,
            Err(at) => self.sps.insert(at, copy()),
        }
        true
    }

    fn take_pps(&mut self, pps: &avc::Pps, nal: &[u8]) -> bool {
        let (id, sps) = (pps.id, pps.sps);
        let before = self.pps.len();
        // Whoever writes one anew for another SPS writes all of them anew that count.
        self.pps.retain(|known| known.id == id || known.sps != sps || !known.stale);
        let dropped = self.pps.len() < before;
        let full = self.pps.len() >= MAX_SETS;
        let copy = || Pps { id, sps, nal: Bytes::copy_from_slice(nal), stale: false };
        match self.pps.binary_search_by_key(&id, |known| known.id) {
            Ok(at) => {
                let Some(known) = self.pps.get_mut(at) else { return dropped };
                known.stale = false;
                if known.nal.as_ref() == nal {
                    return dropped;
                }
                *known = copy();
            }
            Err(_) if full => return dropped,
            Err(at) => self.pps.insert(at, copy()),
        }
        true
    }

    /// A picture whose first slice is this uses the SPS that its PPS refers to.
    pub fn activate(&mut self, slice: &[u8]) {
        let pps = avc::first_slice_pps(slice).and_then(|id| self.pps.iter().find(|pps| pps.id == id));
        if let Some(sps) = pps.map(|pps| pps.sps).filter(|sps| self.sps.iter().any(|(id, _)| id == sps)) {
            self.active = Some(sps);
        }
    }

    /// The SPS in force, or else the first.
    fn first(&self) -> Option<&(u64, Bytes)> {
        self.sps.iter().find(|(id, _)| Some(*id) == self.active).or(self.sps.first())
    }

    /// True where a decoder configured for `other` is configured for these as well.
    pub fn mean(&self, other: &Self) -> bool {
        self.sps == other.sps && self.pps == other.pps && self.first() == other.first()
    }

    /// The decoder configuration record, once there is one of each: the SPS in force first.
    pub fn record(&self) -> Option<Bytes> {
        let (first, _) = self.first()?;
        if self.pps.is_empty() {
            return None;
        }
        let others = self.sps.iter().filter(|(id, _)| id != first);
        let sps: Vec<&[u8]> = self.first().into_iter().chain(others).map(|(_, nal)| nal.as_ref()).collect();
        let pps: Vec<&[u8]> = self.pps.iter().map(|pps| pps.nal.as_ref()).collect();
        avc::encode(&sps, &pps).ok().map(Bytes::from)
    }

    /// The SPS in force, decoded.
    pub fn sps(&self) -> Option<avc::Sps> {
        self.first().and_then(|(_, nal)| avc::Sps::from_nal(nal).ok())
    }
}

/// Parameter sets as they come, and those that a track was last made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Following {
    pub sets: Sets,
    told: Option<Sets>,
}

impl Following {
    /// Begins with what is known before the first picture; a track is made of it where that is enough.
    pub fn from(sets: Sets) -> Self {
        Self { told: sets.record().map(|_| sets.clone()), sets }
    }

    /// A picture of NAL units behind lengths of `length_size` bytes follows: the decoder configuration record of it, where
    /// that is another than before. One changes where a decoder can start only: what comes between is for the pictures that
    /// carry it.
    pub fn picture(&mut self, key: bool, payload: &[u8], length_size: u8) -> Option<Bytes> {
        if !key && self.told.is_some() {
            return None;
        }
        if self.sets.sps.len() > 1 {
            let mut units = LengthPrefixed::new(payload, length_size).map_while(Result::ok);
            let slice = units.find(|nal| NalType::of(nal).is_some_and(NalType::is_vcl));
            self.sets.activate(slice.unwrap_or_default());
        }
        if self.told.as_ref().is_some_and(|told| told.mean(&self.sets)) {
            return None;
        }
        let record = self.sets.record()?;
        self.told = Some(self.sets.clone());
        Some(record)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// SPS number 0 of 320x180, and of 640x360.
    pub const SMALL: &[u8] = &[
        0x67, 0x4d, 0x40, 0x0d, 0xec, 0xa0, 0xa0, 0xcf, 0xcf, 0x80, 0x88, 0, 0, 3, 0, 8, 0, 0, 3, 1, 0x90,
        0x78, 0xa1, 0x4c, 0xb0,
    ];
    pub const LARGE: &[u8] = &[
        0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01,
        0x00, 0x00, 0x03, 0x00, 0x32, 0x0f, 0x16, 0x2d, 0x96,
    ];
    /// PPS 0 of SPS 0, and PPS 1.
    pub const PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x20];
    const PPS_1: &[u8] = &[0x68, 0x5b, 0xe3, 0xcb, 0x20];

    #[test]
    fn a_changed_sps_takes_the_pps_along_that_come_with_it() {
        let mut sets = Sets::default();
        assert!(sets.take(SMALL) && sets.record().is_none());
        assert!(sets.take(PPS) && sets.take(PPS_1));
        let before = sets.clone();
        assert!(!sets.take(SMALL) && !sets.take(PPS) && sets.mean(&before));
        assert!(!sets.take(&[SMALL, &[0, 0]].concat()), "zeros behind it are none of it");
        assert!(sets.take(LARGE) && sets.take(PPS), "of two, one came again");
        let record = sets.record().unwrap();
        let config = avc::Config::decode(&mut Cursor::new(&record)).unwrap();
        assert_eq!((config.sps, config.pps), (vec![LARGE], vec![PPS]));
        assert!(!sets.mean(&before) && Sets::of(&record).mean(&sets));
        assert_eq!(sets.sps().map(|sps| (sps.width, sps.height)), Some((640, 360)));
    }

    #[test]
    fn the_sps_that_pictures_use_goes_first() {
        // Behind profile and level stands its number, 1.
        let other = [
            0x67, 0x42, 0xc0, 0x1f, 0x56, 0x80, 0x50, 0x05, 0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10,
            0x00, 0x00, 0x03, 0x03, 0xc0, 0xf1, 0x83, 0x2a,
        ];
        let number = avc::Sps::from_nal(&other).unwrap().id;
        let (mut sets, pps) = (Sets::default(), [0x68, 0b0100_1011, 0xe3, 0xcb, 0x20]);
        let refers = avc::Pps::decode(&mut Cursor::new(&pps)).unwrap();
        assert_eq!((number, refers.id, refers.sps), (1, 1, 1));
        [SMALL, PPS, &other, &pps].into_iter().for_each(|nal| assert!(sets.take(nal)));
        let first = |sets: &Sets| Sets::of(&sets.record().unwrap()).first().map(|(id, _)| *id);
        assert_eq!(first(&sets), Some(0));
        let before = sets.clone();
        // first_mb 0 (1), slice_type 7 (0001000), PPS 1 (010).
        sets.activate(&[0x65, 0b1000_1000, 0b0100_0000]);
        assert_eq!((first(&sets), sets.mean(&before)), (Some(1), false));
        sets.activate(&[0x65, 0b1000_1000, 0b1000_0000]);
        assert_eq!((first(&sets), sets.mean(&before)), (Some(0), true));
    }
}
