//! `streamgauge.verdicts/1`: how conformance rules came out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Severity, Verdict};

/// Value of [`Verdicts::schema`].
pub const VERDICTS_SCHEMA: &str = "streamgauge.verdicts/1";

/// How the rules came out over a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdicts {
    /// Always [`VERDICTS_SCHEMA`].
    #[schemars(extend("const" = VERDICTS_SCHEMA))]
    pub schema: String,
    /// What was checked: the capture files.
    pub target: String,
    /// One entry for each selected rule, in the order of the catalogue.
    pub cases: Vec<Case>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Case {
    /// Id of its requirement.
    pub rule: String,
    /// The worst that any session came to; `pass` where one passed and none was worse.
    pub verdict: Verdict,
    /// False where this is a surprise: a failure nobody announced, or a pass where a failure was announced.
    pub expected: bool,
    /// `must`, `should`, `convention` or `may`.
    pub level: String,
    /// Why nothing was judged, or why the failure is expected.
    pub reason: Option<String>,
    /// What was wanted, at the first breach.
    pub want: Option<String>,
    /// What was there, at the first breach.
    pub got: Option<String>,
    /// The first breach.
    pub evidence: Option<Evidence>,
    /// What judging took, in seconds: rules share one pass over the captures, whose time this is.
    pub seconds: f64,
    /// What is required, in one line.
    pub title: String,
    /// Document and clause.
    pub clause: String,
    /// How much a breach hurts.
    pub severity: Severity,
    /// Why it matters.
    pub why: String,
    /// The sentence about the first breach.
    pub message: Option<String>,
    /// How often the requirement applied, breaches included.
    pub applied: u64,
    /// How often it was broken.
    pub breaches: u64,
    /// How many sessions came to which verdict.
    pub sessions: Sessions,
    /// The first breach of further sessions; at most 20.
    #[serde(default)]
    pub more: Vec<Evidence>,
}

/// How many sessions came to which verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sessions {
    /// Kept it.
    pub pass: u64,
    /// Broke it.
    pub fail: u64,
    /// Broke what is no must.
    pub warn: u64,
    /// Had nothing to judge.
    pub skip: u64,
    /// Lack the bytes it would take.
    pub inconclusive: u64,
}

/// Where a breach is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// The capture file.
    pub file: Option<String>,
    /// Frame number, 1-based.
    pub frame: Option<u64>,
    /// Id of the session.
    pub flow: Option<String>,
    /// Byte of its direction's stream.
    pub offset: Option<u64>,
    /// Frame of the latest breach in this session.
    pub last_frame: Option<u64>,
    /// A Wireshark display filter that shows the frame.
    pub filter: Option<String>,
}
