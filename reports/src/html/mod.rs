//! The report as one HTML file: no network, no script, light and dark, on screen and on paper.

mod context;

use minijinja::Environment;
use minijinja::value::Serde;
use model::Run;

use crate::plot::palette::{Color, Shade};
use crate::plot::{Theme, bandwidth_svg};
use crate::{Error, Result};

const TEMPLATE: &str = include_str!("../../templates/report.html");
const STYLE: &str = include_str!("../../templates/report.css");
const MARK: &str = include_str!("../../templates/mark.svg");

/// The report. Everything that came from outside is escaped by the template engine.
pub fn render(run: &Run) -> Result<String> {
    let failed = |e| Error::new("cannot write HTML", e);
    let mut environment = Environment::new();
    // The name's extension turns escaping on.
    environment.add_template("report.html", TEMPLATE).map_err(failed)?;
    let template = environment.get_template("report.html").map_err(failed)?;
    let context = minijinja::context! {
        report => Serde(context::of(run)),
        style => format!("{STYLE}{}", swatches()),
        mark => MARK.trim(),
        plot => bandwidth_svg(run, Theme::Auto)?,
    };
    template.render(context).map_err(failed)
}

/// The clients' colours as custom properties, the same as in the picture.
fn swatches() -> String {
    let class = |color: Color| match color {
        Color::Publisher(n) => Some(format!(".p{n}")),
        Color::Viewer(n) => Some(format!(".v{n}")),
        _ => None,
    };
    let rules = |shade: Shade| -> String {
        Color::all().filter_map(|c| Some(format!("{}{{--own:{}}}", class(c)?, c.hex(shade)))).collect()
    };
    format!(
        "{}@media (prefers-color-scheme:dark){{{}}}@media print{{{}}}\n",
        rules(Shade::Light),
        rules(Shade::Dark),
        rules(Shade::Light)
    )
}
