//! A body as it lies in the stream, with headers of format 3 between its chunks.

use wire::rtmp::chunk::write_basic;

/// A body whose length may not be known.
#[derive(Clone, Debug)]
pub(super) struct Laid<'b> {
    bytes: &'b [u8],
    /// Where the body begins in `bytes`.
    start: usize,
    chunk_size: u32,
    /// What stands between two chunks.
    joint: Vec<u8>,
}

impl<'b> Laid<'b> {
    /// The body of a message on a chunk stream; `extended` is the time that is repeated between its chunks.
    pub(super) fn new(
        bytes: &'b [u8],
        start: usize,
        chunk_size: u32,
        csid: u32,
        extended: Option<u32>,
    ) -> Self {
        let mut joint = Vec::with_capacity(7);
        write_basic(&mut joint, 3, csid);
        if let Some(time) = extended {
            joint.extend(time.to_be_bytes());
        }
        Self { bytes, start, chunk_size: chunk_size.max(1), joint }
    }

    /// The same with another chunk size.
    pub(super) fn with(&self, chunk_size: u32) -> Self {
        Self { chunk_size: chunk_size.max(1), ..self.clone() }
    }

    /// Where a byte of the body lies.
    fn place(&self, at: u32) -> usize {
        let joints = usize::try_from(at.checked_div(self.chunk_size).unwrap_or(0)).unwrap_or(usize::MAX);
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        self.start.saturating_add(at).saturating_add(joints.saturating_mul(self.joint.len()))
    }

    /// A byte of the body.
    pub(super) fn byte(&self, at: u32) -> Option<u8> {
        self.bytes.get(self.place(at)).copied()
    }

    /// How many joints a body of this length has.
    pub(super) fn joints(&self, length: u32) -> u32 {
        length.saturating_sub(1).checked_div(self.chunk_size).unwrap_or(0)
    }

    /// The length of the body that ends at a place; none where no body does.
    pub(super) fn length_to(&self, end: usize) -> Option<u32> {
        let total = u32::try_from(end.checked_sub(self.start)?).ok().filter(|total| *total > 0)?;
        let joint = u32::try_from(self.joint.len()).ok()?;
        let joints = total.saturating_sub(1).checked_div(self.chunk_size.saturating_add(joint))?;
        let length = total.checked_sub(joints.checked_mul(joint)?)?;
        (length > 0 && self.joints(length) == joints).then_some(length)
    }

    /// False where a body of this length lacks one of its joints.
    pub(super) fn joins(&self, length: u32) -> bool {
        (1..=self.joints(length)).all(|n| {
            let behind = self.place(n.saturating_mul(self.chunk_size));
            let here = behind.saturating_sub(self.joint.len());
            self.bytes.get(here..).is_none_or(|rest| {
                rest.starts_with(&self.joint) || rest.len() < self.joint.len() && self.joint.starts_with(rest)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_measured_with_its_joints() {
        let mut bytes = vec![0xff, 1, 2, 3, 4, 0xc6, 5, 6, 7, 8, 0xc6, 9];
        let laid = Laid::new(&bytes, 1, 4, 6, None);
        let whole: Vec<u8> = (0..9).map(|n| laid.byte(n).unwrap()).collect();
        assert_eq!(whole, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!((laid.length_to(12), laid.joints(9), laid.joins(9)), (Some(9), 2, true));
        // One chunk exactly, and a joint behind which nothing comes.
        assert_eq!((laid.length_to(5), laid.joints(4), laid.length_to(6)), (Some(4), 0, None));
        assert_eq!(laid.byte(9), None);
        bytes[10] = 0xc7;
        let laid = Laid::new(&bytes, 1, 4, 6, None);
        assert!(laid.joins(8) && !laid.joins(9));
    }
}
