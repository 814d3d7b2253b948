//! The bandwidth picture: the total above, below it a lane for each client with one scale and one time axis.
//!
//! A lane has its own label and colour, so that clients with the same rate do not cover each other. A viewer's
//! lane shows its publisher's curve behind its own: where the two part, the viewer got something else.

mod axis;
mod curve;
mod layout;
mod paint;
pub(crate) mod palette;
mod scene;

use model::{Bandwidth, Run};

use crate::Result;
use curve::Steps;
pub(crate) use layout::step;
use palette::Shade;

/// The background to draw for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// Light.
    Light,
    /// Dark.
    Dark,
    /// As the viewer prefers (`prefers-color-scheme`); light where the format cannot know.
    Auto,
}

impl Theme {
    fn shade(self) -> Shade {
        match self {
            Self::Light | Self::Auto => Shade::Light,
            Self::Dark => Shade::Dark,
        }
    }
}

/// Total and per client bandwidth over time, as SVG.
pub fn bandwidth_svg(run: &Run, theme: Theme) -> Result<String> {
    paint::svg(&layout::layout(run)?, theme.shade(), theme == Theme::Auto)
}

/// Total and per client bandwidth over time, as PNG with two pixels a CSS pixel.
pub fn bandwidth_png(run: &Run, theme: Theme) -> Result<Vec<u8>> {
    paint::png(&layout::layout(run)?, theme.shade())
}

/// The highest rate of all clients together, in bit/s, and the length of time it is the mean of, in seconds.
pub(crate) fn highest(bandwidth: &Bandwidth) -> (f64, f64) {
    let steps = Steps::of(bandwidth);
    (steps.curve(&bandwidth.total_bps).max(), steps.base_s)
}
