//! Captures that are damaged on purpose, and everything that reads them.

use std::io::Cursor;

use streamgauge_analyzer::capture::Reader;
use streamgauge_analyzer::dissect::render::{self, Style};
use streamgauge_analyzer::dissect::{Dissector, Place, Row, Trees, Wants};
use streamgauge_analyzer::{Analyzer, Options};

/// What is done to a capture.
#[derive(Clone, Copy, Debug)]
pub enum Harm {
    /// One byte is another one.
    Byte(usize, u8),
    /// It ends here.
    Cut(usize),
    /// Every so many bytes from the first place on, one byte is another one.
    Comb(usize, usize, u8),
}

impl Harm {
    /// The capture with that done to it.
    pub fn of(self, whole: &[u8]) -> Vec<u8> {
        let mut bytes = whole.to_vec();
        match self {
            Self::Byte(at, by) => bytes[at] ^= by,
            Self::Cut(at) => bytes.truncate(at),
            Self::Comb(at, every, by) => bytes.iter_mut().skip(at).step_by(every).for_each(|b| *b ^= by),
        }
        bytes
    }
}

/// Analysis and rules.
pub fn judge(name: &str, bytes: Vec<u8>) {
    let mut analyzer = Analyzer::new(Options::default());
    let _ = analyzer.reader(name, Cursor::new(bytes));
    let (analysis, cases) = analyzer.judge();
    assert!(
        analysis.bandwidth.total_bps.len() <= 2_000,
        "a curve of {} points",
        analysis.bandwidth.total_bps.len()
    );
    assert!(cases.iter().all(|case| !case.rule.is_empty()));
}

/// Trees of every packet, whose leaves tile the bytes.
pub fn dissect(name: &str, bytes: Vec<u8>) {
    let Ok(mut reader) = Reader::new(name, Cursor::new(bytes)) else { return };
    let mut dissector = Dissector::new(Wants { trees: Trees::All, facts: true });
    let style = Style { width: 160, color: false };
    let mut text = String::new();
    let mut row = |row: &Row<'_>| {
        for part in row.parts {
            let mut end = 0;
            for leaf in part.tree.leaves() {
                let (title, number) = (&part.title, row.number);
                assert_eq!(leaf.bits.start, end, "a gap or an overlap in {title} of frame {number}");
                end = leaf.bits.end;
            }
        }
        text.clear();
        render::line(row, style, &mut text);
        if row.number.is_multiple_of(8) {
            render::parts(row.parts, style, &mut text);
            render::json(row, None, &mut text);
        }
    };
    let place = Place { file: 0, several: false, interfaces: 2 };
    while let Some(next) = reader.next() {
        let Ok(packet) = next else { continue };
        dissector.packet(place, &packet, &mut row);
    }
    dissector.finish(&mut row);
}
