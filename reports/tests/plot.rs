//! The bandwidth picture as SVG and PNG.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::string_slice)]

mod samples;

use model::Run;
use streamgauge_reports::plot::{Theme, bandwidth_png, bandwidth_svg};

/// The value of an attribute.
fn attribute<'a>(element: &'a str, name: &str) -> &'a str {
    let start = element.find(&format!(" {name}=\"")).unwrap_or_else(|| panic!("no {name} in {element}"));
    element[start + name.len() + 3..].split('"').next().unwrap()
}

fn number(element: &str, name: &str) -> f64 {
    attribute(element, name).parse().unwrap()
}

/// The text elements: their tag and what they say.
fn texts(svg: &str) -> Vec<(&str, &str)> {
    let parts = svg.split("<text").skip(1);
    parts
        .map(|t| t.split_once("</text>").unwrap().0.split_once('>').unwrap())
        .map(|(a, b)| (a, b.trim()))
        .collect()
}

/// CSS pixels for each unit of the viewBox.
fn pixels_per_unit(svg: &str) -> f64 {
    let view: Vec<f64> = attribute(svg, "viewBox").split(' ').map(|n| n.parse().unwrap()).collect();
    number(svg, "width") / view[2]
}

#[test]
fn every_text_is_12_pixels_or_more() {
    for run in [samples::eight_clients(), samples::crowd(), samples::empty(), samples::hostile()] {
        let svg = bandwidth_svg(&run, Theme::Auto).unwrap();
        let scale = pixels_per_unit(&svg);
        for (tag, text) in texts(&svg) {
            let size = number(tag, "font-size") * scale;
            assert!(size >= 12.0, "{text}: {size}");
        }
    }
}

#[test]
fn eight_clients_are_told_apart_by_name_address_and_colour() {
    let run = samples::eight_clients();
    let svg = bandwidth_svg(&run, Theme::Light).unwrap();
    let texts = texts(&svg);
    let mut colors = Vec::new();
    for client in &run.server_clients {
        let name = client.name.as_deref().unwrap().replace('\'', "&apos;");
        let label =
            texts.iter().find(|(_, text)| *text == name).unwrap_or_else(|| panic!("{name} is missing"));
        colors.push(attribute(label.0, "fill"));
        let address = format!("127.0.0.1:{}", client.address.port.unwrap());
        assert!(texts.iter().any(|(_, text)| *text == address), "{address} is missing");
    }
    for color in &colors {
        let lines = svg.lines().filter(|l| l.starts_with("<polyline") && attribute(l, "stroke") == *color);
        assert!(lines.count() >= 2, "a curve and a sample of it in {color}");
    }
    colors.sort_unstable();
    colors.dedup();
    assert_eq!(colors.len(), 8);
}

#[test]
fn axes_have_units_and_a_legend_says_what_is_what() {
    let svg = bandwidth_svg(&samples::eight_clients(), Theme::Light).unwrap();
    let texts: Vec<&str> = texts(&svg).into_iter().map(|(_, text)| text).collect();
    let needed = [
        "time after the first packet (s)",
        "25 Mbit/s",
        "6 Mbit/s",
        "publisher (thick)",
        "viewer (a colour each)",
        "all clients together",
        "All clients",
    ];
    for needed in needed {
        assert!(texts.contains(&needed), "{needed}: {texts:?}");
    }
}

#[test]
fn a_publisher_is_drawn_thicker_than_its_viewers() {
    let run = samples::eight_clients();
    let svg = bandwidth_svg(&run, Theme::Light).unwrap();
    let width = |name: &str| {
        let color =
            texts(&svg).into_iter().find(|(_, text)| *text == name).map(|(tag, _)| attribute(tag, "fill"));
        let line = svg.lines().find(|l| l.starts_with("<polyline") && Some(attribute(l, "stroke")) == color);
        number(line.unwrap(), "stroke-width")
    };
    assert!(width("camera") > 1.5 * width("first viewer"));
}

#[test]
fn many_clients_share_one_lane() {
    let svg = bandwidth_svg(&samples::crowd(), Theme::Light).unwrap();
    assert!(texts(&svg).iter().any(|(_, text)| *text == "48 more clients"));
    assert!(number(&svg, "height") < 1_600.0);
}

#[test]
fn years_cost_no_more_than_seconds() {
    let svg = bandwidth_svg(&samples::years(), Theme::Auto).unwrap();
    assert!(svg.len() < 400_000, "{}", svg.len());
    assert!(texts(&svg).iter().any(|(_, text)| text.ends_with("(years)")));
    let hostile = bandwidth_svg(&samples::hostile(), Theme::Auto).unwrap();
    assert!(hostile.len() < 400_000, "{}", hostile.len());
}

#[test]
fn hostile_names_stay_text() {
    let svg = bandwidth_svg(&samples::hostile(), Theme::Auto).unwrap();
    assert!(!svg.contains("<script"));
    assert_eq!(svg.matches("</svg>").count(), 1);
    assert!(svg.contains("&lt;/svg&gt;"), "the name is shown");
    assert_eq!(svg.chars().find(|c| c.is_control() && *c != '\n'), None);
}

#[test]
fn the_automatic_theme_carries_both_shades() {
    let run = samples::good();
    let [light, dark, auto] =
        [Theme::Light, Theme::Dark, Theme::Auto].map(|t| bandwidth_svg(&run, t).unwrap());
    assert!(auto.contains("@media (prefers-color-scheme:dark)") && !light.contains("<style>"));
    let colors = |svg: &str| {
        let shapes = svg.lines().filter(|l| l.starts_with('<') && l.contains(" fill=\"#"));
        let mut colors: Vec<String> = shapes.map(|l| attribute(l, "fill").to_owned()).collect();
        colors.sort();
        colors.dedup();
        colors
    };
    // Each light fill has a rule that gives it a dark one.
    for color in colors(&light) {
        assert!(auto.contains(&format!("[fill=\"{color}\"]{{fill:#")), "{color}");
    }
    assert!(colors(&light).iter().all(|c| !colors(&dark).contains(c)));
}

struct Picture {
    width: usize,
    pixels: Vec<[u8; 3]>,
}

fn decoded(run: &Run, theme: Theme) -> Picture {
    let document = bandwidth_png(run, theme).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(document)).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size()];
    let info = reader.next_frame(&mut bytes).unwrap();
    let pixels = bytes.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect();
    Picture { width: usize::try_from(info.width).unwrap(), pixels }
}

#[test]
fn the_png_keeps_a_clear_margin_so_that_no_label_is_clipped() {
    for run in [samples::eight_clients(), samples::hostile(), samples::crowd()] {
        let picture = decoded(&run, Theme::Light);
        assert_eq!(picture.width, 2_080);
        let rows: Vec<&[[u8; 3]]> = picture.pixels.chunks_exact(picture.width).collect();
        let clear = |p: &&[u8; 3]| **p == [255, 255, 255];
        assert!(rows[..8].iter().chain(&rows[rows.len() - 8..]).all(|row| row.iter().all(|p| clear(&p))));
        assert!(rows.iter().all(|row| row[..20].iter().chain(&row[row.len() - 20..]).all(|p| clear(&p))));
    }
}

#[test]
fn the_png_is_smooth_and_follows_the_theme() {
    let run = samples::good();
    let light = decoded(&run, Theme::Light);
    let dark = decoded(&run, Theme::Dark);
    assert_eq!((light.pixels[0], dark.pixels[0]), ([255, 255, 255], [0x10, 0x1a, 0x21]));
    let mut colors = light.pixels.clone();
    colors.sort_unstable();
    colors.dedup();
    assert!(colors.len() > 200, "edges have {} shades", colors.len());
}

#[test]
fn an_empty_run_says_so() {
    let svg = bandwidth_svg(&samples::empty(), Theme::Auto).unwrap();
    assert!(texts(&svg).iter().any(|(_, text)| *text == "No RTMP, RTSP or HLS session was seen."));
    assert!(!bandwidth_png(&samples::empty(), Theme::Auto).unwrap().is_empty());
}
