//! Parameter sets of H.264 that come between pictures.

use bytes::Bytes;
use wire::Cursor;
use wire::codec::avc::{self, NalType};

/// The largest parameter set kept, in bytes.
const MAX_SET: usize = 4096;
/// The most parameter sets of a kind kept.
const MAX_SETS: usize = 32;

/// Parameter sets by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sets {
    sps: Vec<(u64, Bytes)>,
    pps: Vec<(u64, Bytes)>,
}

impl Sets {
    /// Takes a parameter set; true where it is new or changed.
    pub fn take(&mut self, nal: &[u8]) -> bool {
        if nal.len() > MAX_SET {
            return false;
        }
        let (sets, id) = match NalType::of(nal) {
            Some(NalType::SPS) => match avc::Sps::from_nal(nal) {
                Ok(sps) => (&mut self.sps, sps.id),
                Err(_) => return false,
            },
            Some(NalType::PPS) => match avc::Pps::decode(&mut Cursor::new(&wire::codec::unescape(nal))) {
                Ok(pps) => (&mut self.pps, pps.id),
                Err(_) => return false,
            },
            _ => return false,
        };
        let full = sets.len() >= MAX_SETS;
        match sets.iter_mut().find(|(i, _)| *i == id) {
            Some((_, known)) if known.as_ref() == nal => false,
            Some((_, known)) => {
                *known = Bytes::copy_from_slice(nal);
                true
            }
            None if full => false,
            None => {
                sets.push((id, Bytes::copy_from_slice(nal)));
                true
            }
        }
    }

    /// The decoder configuration record, once there is one of each.
    pub fn record(&self) -> Option<Bytes> {
        if self.sps.is_empty() || self.pps.is_empty() {
            return None;
        }
        let refs = |sets: &'_ [(u64, Bytes)]| sets.iter().map(|(_, b)| b.clone()).collect::<Vec<_>>();
        let (sps, pps) = (refs(&self.sps), refs(&self.pps));
        let sps: Vec<&[u8]> = sps.iter().map(AsRef::as_ref).collect();
        let pps: Vec<&[u8]> = pps.iter().map(AsRef::as_ref).collect();
        avc::encode(&sps, &pps).ok().map(Bytes::from)
    }

    /// The first SPS, decoded.
    pub fn sps(&self) -> Option<avc::Sps> {
        self.sps.first().and_then(|(_, nal)| avc::Sps::from_nal(nal).ok())
    }
}
