//! The documents themselves.

use model::{Analysis, Run, Verdicts};
use serde_json::Value;

use crate::{Error, Result};

/// `streamgauge.analysis/1`, indented, with a newline at its end.
pub fn analysis(analysis: &Analysis) -> Result<String> {
    pretty(serde_json::to_string_pretty(analysis))
}

/// `streamgauge.run/1`, indented, with a newline at its end.
pub fn run(run: &Run) -> Result<String> {
    pretty(serde_json::to_string_pretty(run))
}

/// `streamgauge.verdicts/1`, indented, with a newline at its end.
pub fn verdicts(verdicts: &Verdicts) -> Result<String> {
    pretty(serde_json::to_string_pretty(verdicts))
}

/// Events one a line, in the order they came.
pub fn jsonl(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

fn pretty(text: serde_json::Result<String>) -> Result<String> {
    text.map(|text| text + "\n").map_err(|e| Error::new("cannot write JSON", e))
}
