//! Arranges a run's bandwidth into a scene.

use model::{Role, Run};

use super::axis::{Scale, TimeAxis, rates, time};
use super::curve::{Curve, Steps};
use super::palette::Color;
use super::scene::{Anchor, Scene, Type, fit, measure, register_fonts};
use crate::Result;
use crate::clients::{Client, endpoint, mean_of_all, observed_s, protocol_line, role, streams, with_role};
use crate::figures::{decimal, plural, rate, span};
use crate::words::clean;

const WIDTH: u32 = 1040;
const LEFT: f64 = 20.0;
const RIGHT: f64 = 1020.0;
/// Labels end here at the latest.
const LABEL_END: f64 = 250.0;
/// Tick labels end here.
const TICK_END: f64 = 322.0;
const PLOT_LEFT: f64 = 330.0;
const PLOT_RIGHT: f64 = 872.0;
const STATS: f64 = 886.0;
const TOTAL_TOP: f64 = 104.0;
const TOTAL_HEIGHT: f64 = 140.0;
const LANE_HEIGHT: f64 = 56.0;
const GAP: f64 = 24.0;

/// As many clients have a lane of their own; the others share one.
const MAX_LANES: usize = 12;
/// As many of them at most are publishers where not all have a lane.
const MAX_PUBLISHERS: usize = 4;

const TITLE: Type = Type { size: 19.0, bold: true };
const LABEL: Type = Type { size: 14.0, bold: true };
const PLAIN: Type = Type { size: 13.0, bold: false };

/// A client's strip of the picture, or that of several together.
struct Lane {
    label: String,
    lines: Vec<String>,
    color: Color,
    /// Publishers are drawn thick.
    thick: bool,
    /// The sum of the clients that have no lane of their own.
    shared: bool,
    curve: Curve,
    /// Its publisher's curve.
    echo: Option<Curve>,
    mean: String,
    peak: String,
}

/// The picture of a run.
pub(super) fn layout(run: &Run) -> Result<Scene> {
    register_fonts()?;
    let bandwidth = &run.analysis.bandwidth;
    let steps = Steps::of(bandwidth);
    let total = steps.curve(&bandwidth.total_bps);
    let lanes = lanes(run, &steps);
    let axis = time(if steps.end_s > 0.0 { steps.end_s } else { observed_s(&run.analysis) });

    let bottom = lanes.iter().fold(TOTAL_TOP + TOTAL_HEIGHT, |y, _| y + GAP + LANE_HEIGHT);
    let mut picture = Picture { scene: empty(run, &lanes, &axis, bottom), steps, axis };
    picture.header(run)?;
    picture.total(run, &total)?;
    let top = lanes.iter().filter(|l| !l.shared).map(|l| l.curve.max()).fold(0.0, f64::max);
    let scale = rates(top, 2.0);
    let mut y = TOTAL_TOP + TOTAL_HEIGHT + GAP;
    for lane in &lanes {
        // The sum of many would flatten the curves of the single ones.
        let own_scale = lane.shared.then(|| rates(lane.curve.max(), 2.0));
        picture.lane(lane, y, own_scale.as_ref().unwrap_or(&scale))?;
        y += GAP + LANE_HEIGHT;
    }
    if !(total.mean.is_empty() && lanes.is_empty()) {
        picture.legend(&lanes)?;
        picture.time_axis(bottom);
    }
    Ok(picture.scene)
}

fn empty(run: &Run, lanes: &[Lane], axis: &TimeAxis, bottom: f64) -> Scene {
    let clients = plural(crate::figures::len(&run.analysis.sessions), "client");
    let told = lanes
        .iter()
        .map(|l| format!("{}, {}: mean {}, peak {}.", l.label, l.lines.join(", "), l.mean, l.peak));
    Scene {
        width: WIDTH,
        height: pixels(bottom + 58.0),
        title: format!("Bandwidth of {clients} over {}", span(axis.end)),
        description: told.collect::<Vec<_>>().join(" "),
        shapes: Vec::new(),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn pixels(value: f64) -> u32 {
    // At most fourteen lanes high.
    value.ceil().clamp(1.0, 4_000.0) as u32
}

/// The lanes: all clients by stream, or the most important ones and the sum of the others.
fn lanes(run: &Run, steps: &Steps) -> Vec<Lane> {
    let streams = streams(&run.analysis, &run.server_clients);
    let many_streams = streams.len() > 1;
    let curve = |c: &Client<'_>| {
        let bins = run.analysis.bandwidth.per_session.get(&c.session.id);
        steps.curve(bins.map(Vec::as_slice).unwrap_or_default())
    };
    let clients: Vec<&Client<'_>> = streams.iter().flat_map(|s| &s.clients).collect();
    let (own, shared) = chosen(&clients);
    let mut lanes: Vec<Lane> = Vec::new();
    for client in own {
        let session = client.session;
        let publisher =
            clients.iter().find(|c| c.session.role == Role::Publisher && c.session.path == session.path);
        let mut what = format!("{} · {}", role(session.role), protocol_line(session));
        if let Some(path) = session.path.as_deref().filter(|_| many_streams) {
            what += &format!(" · {}", clean(path));
        }
        let thick = session.role == Role::Publisher;
        lanes.push(Lane {
            label: client.name().unwrap_or_else(|| session.id.clone()),
            lines: vec![endpoint(session.client), what],
            color: if thick { Color::Publisher(client.place) } else { Color::Viewer(client.place) },
            thick,
            shared: false,
            curve: curve(client),
            echo: publisher.filter(|p| !thick && p.session.id != session.id).map(|p| curve(p)),
            mean: rate(session.mean_bps),
            peak: rate(session.peak_bps),
        });
    }
    if !shared.is_empty() {
        lanes.push(together(&shared, curve, steps));
    }
    lanes
}

/// Which clients get a lane, in their order, and which share one.
fn chosen<'c, 'a>(clients: &[&'c Client<'a>]) -> (Vec<&'c Client<'a>>, Vec<&'c Client<'a>>) {
    if clients.len() <= MAX_LANES {
        return (clients.to_vec(), Vec::new());
    }
    let mut order: Vec<usize> = (0..clients.len()).collect();
    order.sort_by_key(|i| {
        (clients[*i].session.role != Role::Publisher, std::cmp::Reverse(clients[*i].bytes()))
    });
    let publishers = clients.iter().filter(|c| c.session.role == Role::Publisher).count();
    // Publishers beyond their share stand behind the viewers.
    if publishers > MAX_PUBLISHERS {
        order[MAX_PUBLISHERS..].rotate_left(publishers - MAX_PUBLISHERS);
    }
    let own = &order[..MAX_LANES];
    let pick = |wanted: bool| (0..clients.len()).filter(move |i| own.contains(i) == wanted);
    (pick(true).map(|i| clients[i]).collect(), pick(false).map(|i| clients[i]).collect())
}

fn together(clients: &[&Client<'_>], curve: impl Fn(&Client<'_>) -> Curve, steps: &Steps) -> Lane {
    let mut sum = Curve::default();
    clients.iter().for_each(|c| sum.add(&curve(c)));
    let bits = clients.iter().map(|c| crate::figures::as_f64(c.bytes()) * 8.0).sum::<f64>();
    Lane {
        label: format!("{} more clients", clients.len()),
        lines: vec!["added up, on a scale of".to_owned(), "their own".to_owned()],
        color: Color::Total,
        thick: false,
        shared: true,
        mean: rate((steps.end_s > 0.0).then(|| bits / steps.end_s)),
        peak: rate((steps.end_s > 0.0).then_some(sum.max())),
        curve: sum,
        echo: None,
    }
}

/// `1 s`, `0.1 s`, `2 d 21 h`.
pub(crate) fn step(seconds: f64) -> String {
    if seconds < 99.95 { format!("{} s", decimal(seconds)) } else { span(seconds) }
}

struct Picture {
    scene: Scene,
    steps: Steps,
    axis: TimeAxis,
}

impl Picture {
    fn header(&mut self, run: &Run) -> Result<()> {
        self.scene.text((LEFT, 26.0), "Bandwidth", TITLE, Anchor::Start, Color::Text);
        let end = LEFT + measure("Bandwidth", TITLE)? + 14.0;
        let mut paths: Vec<&str> = run.analysis.sessions.iter().filter_map(|s| s.path.as_deref()).collect();
        paths.sort_unstable();
        paths.dedup();
        let subject = match paths.as_slice() {
            [] => String::new(),
            [path] => clean(path),
            paths => format!("{} streams", paths.len()),
        };
        let subject = fit(&subject, PLAIN, RIGHT - end)?;
        self.scene.text((end, 27.5), &subject, PLAIN, Anchor::Start, Color::Muted);
        let base = step(self.steps.base_s);
        let shown = if self.steps.joined() {
            format!("steps: mean of {}; pale: highest {base} in it", step(self.steps.step_s))
        } else {
            format!("each step: mean of {base}")
        };
        let shown = format!("Transport payload of both directions; {shown}");
        self.scene.text((LEFT, 51.0), &shown, PLAIN, Anchor::Start, Color::Muted);
        Ok(())
    }

    /// One line that says what the colours and widths mean.
    fn legend(&mut self, lanes: &[Lane]) -> Result<()> {
        let mut entries = vec![(Color::Total, 2.0, "all clients together")];
        let of = |thick: bool| lanes.iter().find(|l| l.thick == thick && !l.shared);
        entries.extend(of(true).map(|l| (l.color, 3.2, "publisher (thick)")));
        entries.extend(of(false).map(|l| (l.color, 1.8, "viewer (a colour each)")));
        if lanes.iter().any(|l| l.echo.is_some()) {
            entries.push((Color::Echo, 1.2, "its publisher, behind a viewer"));
        }
        let mut x = LEFT;
        for (color, width, text) in entries {
            self.scene.line(vec![(x, 76.0), (x + 26.0, 76.0)], color, width);
            self.scene.text((x + 34.0, 76.0), text, PLAIN, Anchor::Start, Color::Text);
            x += 34.0 + measure(text, PLAIN)? + 24.0;
        }
        Ok(())
    }

    fn total(&mut self, run: &Run, curve: &Curve) -> Result<()> {
        if curve.mean.is_empty() && run.analysis.sessions.is_empty() {
            let middle = (f64::from(WIDTH) / 2.0, TOTAL_TOP + TOTAL_HEIGHT / 2.0);
            let text = "No RTMP, RTSP or HLS session was seen.";
            self.scene.text(middle, text, LABEL, Anchor::Middle, Color::Muted);
            return Ok(());
        }
        let scale = rates(curve.max(), 5.0);
        self.frame(TOTAL_TOP, TOTAL_HEIGHT, &scale, true);
        self.curve(curve, Color::Total, 2.0, TOTAL_TOP, TOTAL_HEIGHT, scale.top);
        let of = |role, noun| plural(with_role(&run.analysis, role), noun);
        let clients = [of(Role::Publisher, "publisher"), of(Role::Viewer, "viewer")];
        let mut lines = vec!["All clients".to_owned()];
        lines.extend(clients);
        self.label(&lines, Color::Total, 2.0, TOTAL_TOP)?;
        let seen = !curve.mean.is_empty();
        let mean = rate(mean_of_all(&run.analysis).filter(|_| seen));
        self.stats(&mean, &rate(seen.then(|| curve.max())), TOTAL_TOP)
    }

    fn lane(&mut self, lane: &Lane, top: f64, scale: &Scale) -> Result<()> {
        self.frame(top, LANE_HEIGHT, scale, false);
        if let Some(echo) = &lane.echo {
            let points = self.stairs(&echo.mean, top, LANE_HEIGHT, scale.top);
            self.scene.line(points, Color::Echo, 1.2);
        }
        let width = if lane.thick { 3.2 } else { 1.8 };
        self.curve(&lane.curve, lane.color, width, top, LANE_HEIGHT, scale.top);
        let lines: Vec<String> = std::iter::once(&lane.label).chain(&lane.lines).cloned().collect();
        self.label(&lines, lane.color, width, top)?;
        self.stats(&lane.mean, &lane.peak, top)
    }

    /// Grid, axis and tick labels of a strip.
    fn frame(&mut self, top: f64, height: f64, scale: &Scale, all_labels: bool) {
        let bottom = top + height;
        for (at, _) in &self.axis.ticks {
            let x = x(&self.axis, *at);
            self.scene.line(vec![(x, top), (x, bottom)], Color::Grid, 1.0);
        }
        for (i, (at, label)) in scale.ticks.iter().enumerate() {
            let y = bottom - at / scale.top * height;
            let last = i + 1 == scale.ticks.len();
            let color = if i == 0 { Color::Axis } else { Color::Grid };
            self.scene.line(vec![(PLOT_LEFT, y), (PLOT_RIGHT, y)], color, 1.0);
            if all_labels || i == 0 || last {
                let text = if last { format!("{label} {}", scale.unit) } else { label.clone() };
                self.scene.text((TICK_END, y), &text, PLAIN, Anchor::End, Color::Muted);
            }
        }
    }

    /// A curve over its area.
    fn curve(&mut self, curve: &Curve, color: Color, width: f64, top: f64, height: f64, max: f64) {
        if self.steps.joined() {
            self.fill(&curve.peak, color, 0.16, top, height, max);
        }
        self.fill(&curve.mean, color, 0.20, top, height, max);
        let points = self.stairs(&curve.mean, top, height, max);
        self.scene.line(points, color, width);
    }

    fn fill(&mut self, values: &[f64], color: Color, alpha: f64, top: f64, height: f64, max: f64) {
        let mut points = self.stairs(values, top, height, max);
        if let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) {
            points.push((last.0, top + height));
            points.push((first.0, top + height));
            self.scene.area(points, color, alpha);
        }
    }

    /// The steps from the first to the last in which anything was sent.
    fn stairs(&self, values: &[f64], top: f64, height: f64, max: f64) -> Vec<(f64, f64)> {
        let bottom = top + height;
        let busy = |v: &f64| *v > 0.0;
        let (Some(first), Some(last)) = (values.iter().position(busy), values.iter().rposition(busy)) else {
            return Vec::new();
        };
        let at = |i: usize| {
            let i = crate::figures::as_f64(u64::try_from(i).unwrap_or(u64::MAX));
            x(&self.axis, (i * self.steps.step_s).min(self.axis.end))
        };
        let mut points = vec![(at(first), bottom)];
        for (i, value) in values.iter().enumerate().take(last + 1).skip(first) {
            let y = bottom - (value / max).clamp(0.0, 1.0) * height;
            points.push((at(i), y));
            points.push((at(i + 1), y));
        }
        points.push((at(last + 1), bottom));
        points
    }

    /// What stands to the left of a strip: a sample of its line, then its name and what else is known.
    fn label(&mut self, lines: &[String], color: Color, width: f64, top: f64) -> Result<()> {
        let indent = LEFT + 26.0;
        self.scene.line(vec![(LEFT, top + 8.0), (LEFT + 18.0, top + 8.0)], color, width);
        let mut y = top + 8.0;
        for (i, line) in lines.iter().take(3).enumerate() {
            let (font, ink) = if i == 0 { (LABEL, color) } else { (PLAIN, Color::Muted) };
            let text = fit(line, font, LABEL_END - indent)?;
            self.scene.text((indent, y), &text, font, Anchor::Start, ink);
            y += 19.0;
        }
        Ok(())
    }

    fn stats(&mut self, mean: &str, peak: &str, top: f64) -> Result<()> {
        for (i, (name, value)) in [("mean", mean), ("peak", peak)].into_iter().enumerate() {
            let y = top + 8.0 + if i == 0 { 0.0 } else { 19.0 };
            self.scene.text((STATS, y), name, PLAIN, Anchor::Start, Color::Muted);
            let room = RIGHT - STATS - measure(name, PLAIN)? - 6.0;
            self.scene.text((RIGHT, y), &fit(value, PLAIN, room)?, PLAIN, Anchor::End, Color::Text);
        }
        Ok(())
    }

    fn time_axis(&mut self, bottom: f64) {
        for (at, label) in &self.axis.ticks {
            let x = x(&self.axis, *at);
            self.scene.line(vec![(x, bottom), (x, bottom + 5.0)], Color::Axis, 1.0);
            self.scene.text((x, bottom + 16.0), label, PLAIN, Anchor::Middle, Color::Muted);
        }
        let middle = ((PLOT_LEFT + PLOT_RIGHT) / 2.0, bottom + 38.0);
        let text = format!("time after the first packet ({})", self.axis.unit);
        self.scene.text(middle, &text, PLAIN, Anchor::Middle, Color::Muted);
    }
}

/// A time's place from left to right.
fn x(axis: &TimeAxis, seconds: f64) -> f64 {
    PLOT_LEFT + seconds / axis.end * (PLOT_RIGHT - PLOT_LEFT)
}

#[cfg(test)]
#[path = "../../tests/samples/mod.rs"]
mod samples;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::scene::Shape;

    /// A text's box: left, right, top, bottom.
    fn text_box(shape: &Shape) -> Option<(String, [f64; 4])> {
        let Shape::Text { at, text, font, anchor, .. } = shape else { return None };
        let width = measure(text, *font).unwrap();
        let left = match anchor {
            Anchor::Start => at.0,
            Anchor::Middle => at.0 - width / 2.0,
            Anchor::End => at.0 - width,
        };
        let half = font.size * 0.6;
        Some((text.clone(), [left, left + width, at.1 - half, at.1 + half]))
    }

    fn scenes() -> Vec<Scene> {
        let runs = [
            samples::eight_clients(),
            samples::good(),
            samples::empty(),
            samples::hostile(),
            samples::crowd(),
            samples::years(),
        ];
        runs.iter().map(|run| layout(run).unwrap()).collect()
    }

    #[test]
    fn every_text_lies_within_the_canvas() {
        for scene in scenes() {
            let (width, height) = (f64::from(scene.width), f64::from(scene.height));
            for (text, [left, right, top, bottom]) in scene.shapes.iter().filter_map(text_box) {
                assert!(
                    left >= 0.0 && right <= width && top >= 0.0 && bottom <= height,
                    "{text}: {left} to {right}"
                );
            }
        }
    }

    #[test]
    fn no_two_texts_overlap() {
        for scene in scenes() {
            let boxes: Vec<_> = scene.shapes.iter().filter_map(text_box).collect();
            for (i, (a, [left, right, top, bottom])) in boxes.iter().enumerate() {
                for (b, other) in &boxes[i + 1..] {
                    let apart =
                        *right <= other[0] || other[1] <= *left || *bottom <= other[2] || other[3] <= *top;
                    assert!(apart, "{a:?} and {b:?}");
                }
            }
        }
    }

    #[test]
    fn curves_lie_within_the_plot() {
        for scene in scenes() {
            for shape in &scene.shapes {
                let (Shape::Area { points, .. } | Shape::Line { points, .. }) = shape else { continue };
                for (x, y) in points {
                    assert!(
                        (0.0..=RIGHT).contains(x) && *y >= 0.0 && *y <= f64::from(scene.height),
                        "{x} {y}"
                    );
                }
            }
        }
    }

    #[test]
    fn publishers_keep_their_lanes_in_a_crowd() {
        let run = samples::crowd();
        let lanes = lanes(&run, &Steps::of(&run.analysis.bandwidth));
        assert_eq!((lanes.len(), lanes.iter().filter(|l| l.thick).count()), (13, 3));
        assert!(lanes.last().unwrap().shared);
    }
}
