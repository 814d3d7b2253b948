//! A picture as a list of shapes in CSS pixels, before any backend draws it.

use std::sync::Once;

use plotters::style::{FontDesc, FontFamily, FontStyle};

use super::palette::Color;
use crate::{Error, Result};

/// The family both backends are asked for. An SVG viewer uses its own sans-serif face; the bitmap, and all
/// measuring, the embedded one, which is wider than most.
const FAMILY: &str = "sans-serif";

/// plotters divides a font's size by this before it writes it into an SVG.
const PLOTTERS_SIZE: f64 = 1.24;

/// Where a text stands relative to its point; its vertical middle is always on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    /// The text begins there.
    Start,
    /// The text is centred there.
    Middle,
    /// The text ends there.
    End,
}

/// A text's size and weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Type {
    /// Pixels an em.
    pub(super) size: f64,
    /// Bold or regular.
    pub(super) bold: bool,
}

impl Type {
    /// The face at `scale` times its size, as plotters wants it.
    pub(super) fn font(self, scale: f64) -> FontDesc<'static> {
        let style = if self.bold { FontStyle::Bold } else { FontStyle::Normal };
        FontDesc::new(FontFamily::from(FAMILY), self.size * scale * PLOTTERS_SIZE, style)
    }
}

/// One thing to draw.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// A filled polygon.
    Area { points: Vec<(f64, f64)>, color: Color, alpha: f64 },
    /// A polyline.
    Line { points: Vec<(f64, f64)>, color: Color, width: f64 },
    /// A line of text.
    Text { at: (f64, f64), text: String, font: Type, anchor: Anchor, color: Color },
}

/// The picture.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    /// Pixels.
    pub(super) width: u32,
    /// Pixels.
    pub(super) height: u32,
    /// What it shows, for those who do not see it.
    pub(super) title: String,
    /// The same at length.
    pub(super) description: String,
    /// Drawn in this order.
    pub(super) shapes: Vec<Shape>,
}

impl Scene {
    pub(super) fn line(&mut self, points: Vec<(f64, f64)>, color: Color, width: f64) {
        self.shapes.push(Shape::Line { points, color, width });
    }

    pub(super) fn area(&mut self, points: Vec<(f64, f64)>, color: Color, alpha: f64) {
        self.shapes.push(Shape::Area { points, color, alpha });
    }

    pub(super) fn text(&mut self, at: (f64, f64), text: &str, font: Type, anchor: Anchor, color: Color) {
        self.shapes.push(Shape::Text { at, text: text.to_owned(), font, anchor, color });
    }
}

/// Makes the embedded faces known to plotters.
pub(super) fn register_fonts() -> Result<()> {
    static ONCE: Once = Once::new();
    let mut good = true;
    ONCE.call_once(|| {
        let faces: [(FontStyle, &'static [u8]); 2] = [
            (FontStyle::Normal, include_bytes!("../../assets/DejaVuSans.subset.ttf")),
            (FontStyle::Bold, include_bytes!("../../assets/DejaVuSans-Bold.subset.ttf")),
        ];
        for (style, bytes) in faces {
            good &= plotters::style::register_font(FAMILY, style, bytes).is_ok();
        }
    });
    if good { Ok(()) } else { Err(Error::new("cannot plot", "the embedded font is damaged")) }
}

/// Pixels the text takes from left to right.
pub(super) fn measure(text: &str, font: Type) -> Result<f64> {
    // Measured large, for plotters rounds to whole pixels.
    const FINE: f64 = 8.0;
    let size = font.font(FINE).box_size(text).map_err(|e| Error::new("cannot measure text", e))?;
    Ok(f64::from(size.0) / FINE)
}

/// The text in at most `room` pixels; a longer one keeps its two ends around `…`.
pub(super) fn fit(text: &str, font: Type, room: f64) -> Result<String> {
    let mut columns = crate::words::columns(text);
    let mut shown = text.to_owned();
    while columns > 1 && measure(&shown, font)? > room {
        columns -= 1;
        shown = crate::words::middle(text, columns);
    }
    Ok(shown)
}
