//! The JSON Schemas of the documents, generated from the types and checked in beside them.

use serde_json::Value;

use crate::{Analysis, Run, Verdicts};

/// The checked-in schema of `streamgauge.analysis/1`, JSON Schema 2020-12.
pub const ANALYSIS_SCHEMA_TEXT: &str = include_str!("../schema/analysis-1.json");

/// The checked-in schema of `streamgauge.run/1`, JSON Schema 2020-12.
pub const RUN_SCHEMA_TEXT: &str = include_str!("../schema/run-1.json");

/// The checked-in schema of `streamgauge.verdicts/1`, JSON Schema 2020-12.
pub const VERDICTS_SCHEMA_TEXT: &str = include_str!("../schema/verdicts-1.json");

/// The schema of [`Analysis`] as the types have it now.
pub fn analysis_schema() -> Value {
    schemars::schema_for!(Analysis).to_value()
}

/// The schema of [`Verdicts`] as the types have it now.
pub fn verdicts_schema() -> Value {
    schemars::schema_for!(Verdicts).to_value()
}

/// The schema of [`Run`] as the types have it now.
pub fn run_schema() -> Value {
    schemars::schema_for!(Run).to_value()
}
