//! A coded picture as an MP4 sample: what its NAL units are.

use bytes::Bytes;
use wire::Cursor;
use wire::codec::LengthPrefixed;
use wire::codec::avc::{self, NalType};
use wire::codec::hevc;

use crate::frame::{Codec, Frame, Track};

/// How to read the pictures of a track whose samples are NAL units.
#[derive(Clone, Debug)]
pub(super) struct Pictures {
    hevc: bool,
    length_size: u8,
    /// Parameter sets that the sample entry holds.
    sets: Vec<Bytes>,
    /// Sync samples have them too.
    pub in_band: bool,
}

impl Pictures {
    pub fn of(track: &Track) -> Option<Self> {
        let copied = |sets: Vec<&[u8]>| sets.into_iter().map(Bytes::copy_from_slice).collect();
        let mut c = Cursor::new(&track.config);
        match track.codec {
            Codec::H264 => {
                let avc::Config { length_size, sps, pps, .. } = avc::Config::decode(&mut c).ok()?;
                Some(Self { hevc: false, length_size, sets: copied([sps, pps].concat()), in_band: false })
            }
            Codec::H265 => {
                let hevc::Config { length_size, units, .. } = hevc::Config::decode(&mut c).ok()?;
                let sets = units.into_iter().filter(|(kind, _)| (32..=34).contains(kind));
                Some(Self {
                    hevc: true,
                    length_size,
                    sets: copied(sets.map(|(_, set)| set).collect()),
                    in_band: false,
                })
            }
            _ => None,
        }
    }

    /// Whether a picture is a sync sample, and its bytes as a sample. Sync samples are IDR and IRAP pictures only
    /// (ISO 14496-15 §5.4.4.1, §8.4.3), whatever the publisher's flags say, and parameter sets that the sample entry
    /// holds are not in samples (§5.3.1), unless that is asked for. Bytes that are no NAL units stay as they are.
    pub fn sample(&self, frame: &Frame) -> (bool, Bytes) {
        let (mut coded, mut sync, mut drop) = (false, false, false);
        let units = LengthPrefixed::new(&frame.payload, self.length_size);
        for unit in units.clone() {
            let Ok(unit) = unit else { return (frame.key, frame.payload.clone()) };
            let (vcl, random) = if self.hevc {
                let kind = hevc::nal_type(unit).unwrap_or(u8::MAX);
                (hevc::is_vcl(kind), hevc::is_random_access(kind))
            } else {
                let kind = NalType::of(unit);
                (kind.is_some_and(NalType::is_vcl), kind == Some(NalType::IDR))
            };
            coded |= vcl;
            sync |= random;
            drop |= self.has(unit);
        }
        let sync = if coded { sync } else { frame.key };
        let adds = self.in_band && sync && coded;
        if !drop && !adds {
            return (sync, frame.payload.clone());
        }
        let mut sample = Vec::with_capacity(frame.payload.len().saturating_add(64));
        let sets = self.sets.iter().filter(|_| adds).map(AsRef::as_ref);
        for unit in sets.chain(units.flatten().filter(|unit| !self.has(unit))) {
            let length = (unit.len() as u64).to_be_bytes();
            let from = length.len().saturating_sub(usize::from(self.length_size));
            sample.extend_from_slice(length.get(from..).unwrap_or_default());
            sample.extend_from_slice(unit);
        }
        (sync, Bytes::from(sample))
    }

    fn has(&self, unit: &[u8]) -> bool {
        self.sets.iter().any(|set| *set == *unit)
    }
}
