//! Times of PES packets.

use media::ts::Unit;

use crate::track::Stats;

/// PTS and DTS count 90 ticks in a millisecond.
const TICKS_MS: i64 = 90;

/// Counts a frame that begins with this PES packet.
pub(super) fn frame(stats: &mut Stats, unit: &Unit<'_>, key: bool) {
    let ms = |ticks: i64| ticks.div_euclid(TICKS_MS);
    let dts = unit.dts.map_or(0, ms);
    let composition = unit.pts.map_or(0, |pts| ms(pts).saturating_sub(dts));
    let dts = u32::try_from(dts.rem_euclid(1 << 32)).unwrap_or(0);
    stats.frame(dts, i32::try_from(composition).unwrap_or(0), key);
}
