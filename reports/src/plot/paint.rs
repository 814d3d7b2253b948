//! Draws a scene as SVG or PNG.

use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{PathElement, Polygon, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, TextStyle};

use super::palette::{Color, Shade};
use super::scene::{Anchor, Scene, Shape};
use crate::{Error, Result};

/// plotters knows whole coordinates only: an SVG is drawn this much larger and shrunk by its viewBox.
const SVG_SCALE: u32 = 4;

/// Pixels of the PNG for each CSS pixel.
const PNG_SCALE: u32 = 2;

/// The bitmap backend does not smooth lines: each pixel is the mean of this many squared.
const SAMPLES: u32 = 2;

/// How far below its point the bitmap backend has to be told to put a text, in ems, for the middle of its digits
/// to be there; in an SVG they are there anyway.
const PNG_DROP: f64 = 0.19;

/// The scene as an SVG document. With `follow` it carries both shades and a style sheet that chooses.
pub(super) fn svg(scene: &Scene, shade: Shade, follow: bool) -> Result<String> {
    let mut drawn = String::new();
    let backend = SVGBackend::with_string(&mut drawn, (scene.width * SVG_SCALE, scene.height * SVG_SCALE));
    draw(&backend.into_drawing_area(), scene, shade, SVG_SCALE, 0.0)?;
    let body = drawn.split_once('>').map(|(_, body)| body).unwrap_or_default();
    let Scene { width, height, title, description, .. } = scene;
    Ok(format!(
        "<svg class=\"bandwidth\" role=\"img\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {} {}\" \
         xmlns=\"http://www.w3.org/2000/svg\">\n<title>{}</title>\n<desc>{}</desc>\n{}{}",
        width * SVG_SCALE,
        height * SVG_SCALE,
        escape(title),
        escape(description),
        if follow { style_sheet(shade) } else { String::new() },
        body.trim_start(),
    ))
}

/// Gives each colour its dark value where dark is preferred. A style rule outranks the presentation
/// attributes that plotters writes.
fn style_sheet(shade: Shade) -> String {
    let rules = Color::all().map(|color| {
        let (from, to) = (color.hex(shade), color.hex(Shade::Dark));
        format!(".bandwidth [fill=\"{from}\"]{{fill:{to}}}.bandwidth [stroke=\"{from}\"]{{stroke:{to}}}")
    });
    format!("<style>@media (prefers-color-scheme:dark){{{}}}</style>\n", rules.collect::<String>())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The scene as a PNG document.
pub(super) fn png(scene: &Scene, shade: Shade) -> Result<Vec<u8>> {
    let (width, height) = (scene.width * PNG_SCALE, scene.height * PNG_SCALE);
    let large = (width * SAMPLES, height * SAMPLES);
    let mut pixels = vec![0u8; size(large.0)? * size(large.1)? * 3];
    let backend = BitMapBackend::with_buffer(&mut pixels, large);
    draw(&backend.into_drawing_area(), scene, shade, PNG_SCALE * SAMPLES, PNG_DROP)?;
    let smooth = shrink(&pixels, size(large.0)?, size(SAMPLES)?);

    let mut document = Vec::new();
    let mut encoder = png::Encoder::new(&mut document, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Best);
    encoder.set_adaptive_filter(png::AdaptiveFilterType::Adaptive);
    let failed = |e| Error::new("cannot write PNG", e);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&smooth).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(document)
}

fn size(pixels: u32) -> Result<usize> {
    usize::try_from(pixels).map_err(|e| Error::new("cannot draw so large a picture", e))
}

/// Averages squares of `n` by `n` RGB pixels.
fn shrink(pixels: &[u8], width: usize, n: usize) -> Vec<u8> {
    let row = width * 3;
    let samples = u32::try_from(n * n).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(pixels.len() / (n * n));
    let mut sums = vec![0u32; row / n];
    for rows in pixels.chunks_exact(row * n) {
        sums.fill(0);
        for line in rows.chunks_exact(row) {
            for (i, square) in line.chunks_exact(3 * n).enumerate() {
                for (j, value) in square.iter().enumerate() {
                    sums[i * 3 + j % 3] += u32::from(*value);
                }
            }
        }
        out.extend(sums.iter().map(|sum| u8::try_from(sum / samples).unwrap_or(u8::MAX)));
    }
    out
}

fn draw<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    scene: &Scene,
    shade: Shade,
    scale: u32,
    text_drop: f64,
) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| Error::new("cannot draw", e);
    area.fill(&Color::Ground.rgb(shade)).map_err(|e| failed(&e))?;
    let scale = f64::from(scale);
    let place = |p: &(f64, f64)| (whole(p.0 * scale), whole(p.1 * scale));
    for shape in &scene.shapes {
        match shape {
            Shape::Area { points, color, alpha } => {
                let points: Vec<_> = points.iter().map(place).collect();
                area.draw(&Polygon::new(points, color.rgb(shade).mix(*alpha))).map_err(|e| failed(&e))?;
            }
            Shape::Line { points, color, width } => {
                let points: Vec<_> = points.iter().map(place).collect();
                let width = whole(width * scale).max(1).unsigned_abs();
                let style = color.rgb(shade).stroke_width(width);
                area.draw(&PathElement::new(points, style)).map_err(|e| failed(&e))?;
            }
            Shape::Text { at, text, font, anchor, color } => {
                let h_pos = match anchor {
                    Anchor::Start => HPos::Left,
                    Anchor::Middle => HPos::Center,
                    Anchor::End => HPos::Right,
                };
                let color = color.rgb(shade);
                let style =
                    TextStyle::from(font.font(scale)).color(&color).pos(Pos::new(h_pos, VPos::Center));
                let at = (at.0, at.1 + text_drop * font.size);
                area.draw(&Text::new(text.clone(), place(&at), style)).map_err(|e| failed(&e))?;
            }
        }
    }
    area.present().map_err(|e| failed(&e))
}

#[allow(clippy::cast_possible_truncation)]
fn whole(value: f64) -> i32 {
    // A float that fits no i32 becomes the nearest one.
    value.round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_averages_squares() {
        // Two squares of 2 x 2 pixels: one half black and half white, one all red.
        let (black, white, red) = ([0, 0, 0], [255, 255, 255], [255, 0, 0]);
        let rows = [[black, white, red, red], [white, black, red, red]];
        assert_eq!(shrink(rows.as_flattened().as_flattened(), 4, 2), [127, 127, 127, 255, 0, 0]);
    }
}
