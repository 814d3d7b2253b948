//! What `analyze --live` shows while it listens: a table that changes in place on a terminal, now and then a line elsewhere.

use std::cell::RefCell;
use std::io;
use std::time::Instant;

use analyzer::live::Counts;
use analyzer::now::{IDLE_S, Row, Snapshot, Watch};
use analyzer::track::ongoing::Lost;
use reports::figures;
use reports::words::{self, left, middle, right};

use super::capture::sentence;
use crate::output;
use crate::progress::Display;

/// Seconds between two lines where stderr is no terminal.
const LINE_S: u64 = 10;
/// Columns and lines of a terminal that does not say how large it is.
const USUAL: (usize, usize) = (80, 24);
/// Lines of the table that are no sessions: its head, the total, the counts, and the cursor's own.
const FRAME: usize = 4;

/// Shows sessions as they go on.
pub struct Live<'a> {
    watch: &'a Watch,
    began: Instant,
    quiet: bool,
    shown: RefCell<Shown>,
}

struct Shown {
    display: Display,
    latest: Snapshot,
    /// When it came.
    came: Instant,
    lines: u64,
}

impl<'a> Live<'a> {
    /// Shows what the watched analysis knows.
    pub fn new(watch: &'a Watch, quiet: bool) -> Self {
        let shown = Shown {
            display: Display::new(quiet),
            latest: Snapshot::default(),
            came: Instant::now(),
            lines: 0,
        };
        Self { watch, began: Instant::now(), quiet, shown: RefCell::new(shown) }
    }

    /// Shows this moment in place of the one before; to be called about once a second.
    pub fn show(&self, counts: &Counts) {
        let shown = &mut *self.shown.borrow_mut();
        match self.watch.ask() {
            Some(snapshot) => (shown.latest, shown.came) = (snapshot, Instant::now()),
            // No packet came since the last question.
            None if shown.came.elapsed().as_secs() < IDLE_S => shown.latest.fall_silent(),
            None => shown.latest = Snapshot::default(),
        }
        let seconds = self.began.elapsed().as_secs();
        if shown.display.is_on() {
            let size = terminal_size::terminal_size_of(io::stderr());
            let size = size.map_or(USUAL, |(columns, lines)| (usize::from(columns.0), usize::from(lines.0)));
            shown.display.draw(&table(&shown.latest, counts, size));
        } else if !self.quiet && seconds / LINE_S > shown.lines {
            shown.lines = seconds / LINE_S;
            output::say(&line(&shown.latest, counts));
        }
    }

    /// Clears the table for what comes next.
    pub fn end(&self) {
        self.shown.borrow_mut().display.clear();
    }
}

/// `3 sessions, 4.21 Mbit/s; 12,345 packets, 6,789,012 bytes; none lost`
fn line(snapshot: &Snapshot, counts: &Counts) -> String {
    let sessions = figures::plural(snapshot.sessions() as u64, "session");
    format!("{sessions}, {}; {}", figures::rate(Some(snapshot.bps())), sentence(counts))
}

/// The table on so many columns and lines.
fn table(snapshot: &Snapshot, counts: &Counts, (width, height): (usize, usize)) -> Vec<String> {
    let fit = |line: &str| middle(line.trim_end(), width);
    let room = height.saturating_sub(FRAME);
    if room == 0 || width < Columns::LEAST {
        return vec![fit(&line(snapshot, counts))];
    }
    let columns = Columns::of(width);
    let titles = ["client", "", "role", "path", "codecs", "bit/s", "lost"].map(str::to_owned);
    let mut lines = vec![columns.line(&titles)];
    // One line is that of the sessions that find no room.
    let whole = snapshot.more == 0 && snapshot.rows.len() <= room;
    let shown = if whole { room } else { room.saturating_sub(1) };
    let (rows, rest) = snapshot.rows.split_at(shown.min(snapshot.rows.len()));
    lines.extend(rows.iter().map(|row| columns.line(&cells(row))));
    if !whole {
        let bps = rest.iter().filter_map(|row| row.bps).sum::<f64>() + snapshot.more_bps;
        lines.push(
            columns.sum(&format!("and {} more", figures::count((rest.len() + snapshot.more) as u64)), bps),
        );
    }
    lines.push(columns.sum(&figures::plural(snapshot.sessions() as u64, "session"), snapshot.bps()));
    lines.push(sentence(counts));
    lines.iter().map(|line| fit(line)).collect()
}

/// How wide the columns are: client, protocol, role, path, codecs, rate, loss.
struct Columns([usize; 7]);

impl Columns {
    const FIXED: usize = 21 + 4 + 9 + 10 + 6 + 7;
    /// The narrowest table; below that there is one line.
    const LEAST: usize = Self::FIXED + 6 + 8;

    fn of(width: usize) -> Self {
        let spare = width - Self::FIXED - 6;
        // Long paths get what a wide terminal has, then IPv6 addresses.
        let client = spare.saturating_sub(40).min(26);
        Self([21 + client, 4, 9, spare - client, 10, 6, 7])
    }

    fn line(&self, cells: &[String; 7]) -> String {
        let mut out = String::new();
        for (number, (cell, width)) in cells.iter().zip(self.0).enumerate() {
            out.push_str(&if number < 5 { left(cell, width) } else { right(cell, width) });
            out.push(' ');
        }
        out
    }

    /// A line of words and a rate.
    fn sum(&self, words: &str, bps: f64) -> String {
        let before = self.0[..5].iter().sum::<usize>() + 4;
        format!("{} {}", left(words, before), right(&figures::short_rate(Some(bps)), self.0[5]))
    }
}

fn cells(row: &Row) -> [String; 7] {
    [
        row.client.to_string(),
        words::protocol(row.protocol).to_owned(),
        words::role(row.role).to_owned(),
        row.path.clone().unwrap_or_else(|| figures::UNKNOWN.to_owned()),
        row.codecs.join("+"),
        figures::short_rate(row.bps),
        lost(row.lost),
    ]
}

/// `0`, `0.41 %` of the packets, or `1.2 kB` that the capture lacks.
fn lost(lost: Lost) -> String {
    match lost {
        Lost::Unknown => figures::UNKNOWN.to_owned(),
        Lost::Packets { lost: 0, .. } | Lost::Bytes(0) => "0".to_owned(),
        Lost::Packets { lost, sent } => {
            let share = figures::as_f64(lost) * 100.0 / figures::as_f64(sent.max(1));
            if share < 0.01 { "<0.01 %".to_owned() } else { format!("{} %", figures::decimal(share)) }
        }
        Lost::Bytes(bytes) => figures::size(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Protocol, Role};

    fn row(protocol: Protocol, role: Role, client: &str, path: Option<&str>) -> Row {
        Row {
            protocol,
            role,
            client: client.parse().unwrap(),
            path: path.map(str::to_owned),
            codecs: vec!["h264".to_owned(), "aac".to_owned()],
            bps: Some(1_214_000.0),
            lost: Lost::Bytes(0),
        }
    }

    fn sample() -> Snapshot {
        use Protocol::{Hls, Rtmp, Rtsp};
        use Role::{Publisher, Viewer};
        let rows = vec![
            row(Rtmp, Publisher, "192.168.100.200:50000", Some("live/camera")),
            Row {
                lost: Lost::Packets { lost: 12, sent: 2400 },
                codecs: vec!["h265".to_owned(), "opus".to_owned()],
                ..row(Rtsp, Publisher, "10.0.0.1:8", Some("a/very/long/path/of/a/stream"))
            },
            Row {
                lost: Lost::Bytes(1460),
                bps: None,
                ..row(Rtmp, Viewer, "[2001:db8:85a3::8a2e:370:7334]:44321", Some("live/\u{1b}[2Jhostile"))
            },
            Row { lost: Lost::Unknown, codecs: Vec::new(), ..row(Hls, Viewer, "127.0.0.1:33211", None) },
            row(Rtsp, Viewer, "10.1.1.1:5000", Some("live/camera")),
        ];
        Snapshot { rows, more: 40, more_bps: 20e6 }
    }

    const COUNTS: Counts = Counts { packets: 12_345, bytes: 6_789_012, dropped: 0, interface_dropped: 0 };

    #[test]
    fn the_table_on_80_columns() {
        let whole = table(&sample(), &COUNTS, (80, 24));
        insta::assert_snapshot!("live_80", whole.join("\n"));
        let alone = table(&Snapshot::default(), &Counts::default(), (80, 24));
        insta::assert_snapshot!("live_nobody", alone.join("\n"));
    }

    #[test]
    fn whatever_the_terminal_nothing_wraps_or_scrolls_and_every_session_counts() {
        for width in [1, 20, 70, 72, 79, 80, 81, 120, 132, 300] {
            for height in [1, 2, 4, 5, 6, 8, 9, 10, 24, 100] {
                let lines = table(&sample(), &COUNTS, (width, height));
                assert!(lines.len() < height.max(2), "{width} x {height}: {lines:#?}");
                assert!(lines.iter().all(|l| words::columns(l) <= width), "{width} x {height}: {lines:#?}");
                assert!(!lines.concat().contains('\u{1b}'));
            }
        }
        let small = table(&sample(), &COUNTS, (80, 7));
        assert!(small[1].contains("live/camera") && small[3].starts_with("and 43 more"), "{small:#?}");
        // Of the three that find no room one has no rate of its own.
        assert!(small[3].ends_with("22.4 M") && small[4].starts_with("45 sessions"), "{small:#?}");
    }

    #[test]
    fn a_plain_line_says_the_same_sums() {
        let told = line(&sample(), &COUNTS);
        assert_eq!(told, "45 sessions, 24.9 Mbit/s; 12,345 packets, 6,789,012 bytes; none lost");
    }
}
