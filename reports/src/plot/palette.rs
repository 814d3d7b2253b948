//! The colours, each in a light and a dark shade. All texts have a contrast of 4.5 : 1 or more to the ground.

use plotters::style::RGBColor;

/// The ground a colour stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shade {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

/// What a colour is used for. Each has a value no other has, so that a style sheet can tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Color {
    /// The paper.
    Ground,
    /// Titles and labels.
    Text,
    /// Figures and axis labels.
    Muted,
    /// Axis lines.
    Axis,
    /// Grid lines.
    Grid,
    /// The curve of all clients together.
    Total,
    /// The publisher's curve behind a viewer's.
    Echo,
    /// A publisher, by its place among them.
    Publisher(usize),
    /// Another client, by its place among them.
    Viewer(usize),
}

/// Light and dark shade.
type Pair = (u32, u32);

const PUBLISHERS: [Pair; 3] = [(0xb4_5309, 0xf5_a04e), (0x92_400e, 0xe8_8c3a), (0xa1_6207, 0xe6_b84d)];

/// Hues far apart also for those who tell red from green badly; neighbours differ in lightness too.
const VIEWERS: [Pair; 8] = [
    (0x0e_7490, 0x4f_c3dc),
    (0x5b_4bb3, 0xa9_9ef0),
    (0x15_803d, 0x62_c882),
    (0xb0_2a64, 0xf0_83b0),
    (0x1d_4ed8, 0x80_a8ff),
    (0x6b_6a12, 0xc6_c354),
    (0x86_3a9c, 0xd5_92e6),
    (0x0f_766d, 0x4f_c7ba),
];

impl Color {
    fn pair(self) -> Pair {
        match self {
            Self::Ground => (0xff_ffff, 0x10_1a21),
            Self::Text => (0x14_2630, 0xe6_edf1),
            Self::Muted => (0x4c_606b, 0xa3_b4be),
            Self::Axis => (0x8a_9ba5, 0x5f_727d),
            Self::Grid => (0xe1_e8ec, 0x25_333c),
            Self::Total => (0x37_4f5c, 0xb7_c9d3),
            Self::Echo => (0xa9_977f, 0x85_7560),
            Self::Publisher(n) => PUBLISHERS[n % PUBLISHERS.len()],
            Self::Viewer(n) => VIEWERS[n % VIEWERS.len()],
        }
    }

    /// Every colour there is.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let fixed = [Self::Ground, Self::Text, Self::Muted, Self::Axis, Self::Grid, Self::Total, Self::Echo];
        let publishers = (0..PUBLISHERS.len()).map(Self::Publisher);
        fixed.into_iter().chain(publishers).chain((0..VIEWERS.len()).map(Self::Viewer))
    }

    /// `#0E7490`, as plotters writes it.
    pub(crate) fn hex(self, shade: Shade) -> String {
        format!("#{:06X}", self.value(shade))
    }

    fn value(self, shade: Shade) -> u32 {
        let (light, dark) = self.pair();
        if shade == Shade::Light { light } else { dark }
    }

    /// For plotters.
    pub(crate) fn rgb(self, shade: Shade) -> RGBColor {
        let [_, r, g, b] = self.value(shade).to_be_bytes();
        RGBColor(r, g, b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luminance(color: RGBColor) -> f64 {
        let linear = |c: u8| {
            let c = f64::from(c) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(color.0) + 0.7152 * linear(color.1) + 0.0722 * linear(color.2)
    }

    fn contrast(a: Color, b: Color, shade: Shade) -> f64 {
        let (a, b) = (luminance(a.rgb(shade)), luminance(b.rgb(shade)));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn texts_and_curves_stand_out_from_the_ground_in_both_shades() {
        for shade in [Shade::Light, Shade::Dark] {
            for color in Color::all() {
                let least = match color {
                    Color::Text | Color::Muted | Color::Publisher(_) | Color::Viewer(_) | Color::Total => 4.5,
                    Color::Axis | Color::Echo => 2.0,
                    Color::Ground | Color::Grid => continue,
                };
                let contrast = contrast(color, Color::Ground, shade);
                assert!(contrast >= least, "{color:?} {shade:?}: {contrast:.2}");
            }
        }
    }

    #[test]
    fn no_two_uses_share_a_value() {
        for shade in [Shade::Light, Shade::Dark] {
            let mut values: Vec<String> = Color::all().map(|c| c.hex(shade)).collect();
            let before = values.len();
            values.sort();
            values.dedup();
            assert_eq!(values.len(), before);
        }
    }
}
