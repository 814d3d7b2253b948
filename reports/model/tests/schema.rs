//! The checked-in schemas follow the types, accept a full document and refuse damaged ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects)]

use std::path::Path;

use serde_json::{Value, json};
use streamgauge_model::{
    ANALYSIS_SCHEMA_TEXT, Analysis, RUN_SCHEMA_TEXT, Run, VERDICTS_SCHEMA_TEXT, analysis_schema, run_schema,
    verdicts_schema,
};

const ANALYSIS: &str = include_str!("analysis-full.json");
const RUN: &str = include_str!("run-full.json");

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The run document with the analysis document put in its place.
fn full_run() -> Value {
    let mut run = parse(RUN);
    run["analysis"] = parse(ANALYSIS);
    run
}

/// Fails where the checked-in text is not what the types give; writes it again when asked to.
fn fresh(file: &str, checked_in: &str, schema: &Value) {
    if std::env::var_os("STREAMGAUGE_BLESS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema").join(file);
        std::fs::write(path, format!("{schema:#}\n")).unwrap();
        return;
    }
    assert!(
        parse(checked_in) == *schema,
        "reports/model/schema/{file} does not follow the types any more. If the change of the document is meant \
         (fields may be added, never renamed or removed), write it again with\n    \
         STREAMGAUGE_BLESS=1 cargo test -p streamgauge-model --test schema"
    );
}

fn errors(schema: &Value, document: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(schema).unwrap();
    validator.iter_errors(document).map(|e| format!("{}: {e}", e.instance_path)).collect()
}

#[test]
fn the_analysis_schema_is_fresh() {
    fresh("analysis-1.json", ANALYSIS_SCHEMA_TEXT, &analysis_schema());
}

#[test]
fn the_run_schema_is_fresh() {
    fresh("run-1.json", RUN_SCHEMA_TEXT, &run_schema());
}

#[test]
fn the_verdicts_schema_is_fresh() {
    fresh("verdicts-1.json", VERDICTS_SCHEMA_TEXT, &verdicts_schema());
}

#[test]
fn a_full_analysis_is_valid_and_survives_a_round_trip() {
    let document = parse(ANALYSIS);
    assert_eq!(errors(&analysis_schema(), &document), [""; 0]);
    let analysis: Analysis = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(serde_json::to_value(analysis).unwrap(), document);
}

#[test]
fn a_full_run_is_valid_and_survives_a_round_trip() {
    let document = full_run();
    assert_eq!(errors(&run_schema(), &document), [""; 0]);
    let run: Run = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(serde_json::to_value(run).unwrap(), document);
}

#[test]
fn an_analysis_of_nothing_is_valid() {
    let document = serde_json::to_value(Analysis::default()).unwrap();
    assert_eq!(errors(&analysis_schema(), &document), [""; 0]);
}

#[test]
fn unknown_fields_are_allowed_so_that_documents_can_grow() {
    let mut document = parse(ANALYSIS);
    document["sessions"][0]["later"] = json!("a field of a later version");
    assert_eq!(errors(&analysis_schema(), &document), [""; 0]);
    assert!(serde_json::from_value::<Analysis>(document).is_ok());
}

#[test]
fn damaged_documents_are_refused_at_the_right_place() {
    let wrong: [(&str, Value); 9] = [
        ("/schema", json!("streamgauge.analysis/2")),
        ("/sessions/0/protocol", json!("RTMP")),
        ("/sessions/0/role", json!("player")),
        ("/sessions/0/bytes_to_client", json!(-1)),
        ("/sessions/0/client/port", json!(65536)),
        ("/sessions/0/tracks/0/frames", json!("451")),
        ("/bandwidth/total_bps/0", json!([3, 4])),
        ("/findings/0/severity", json!("fatal")),
        ("/conversations/tcp/0/bytes_ab", Value::Null),
    ];
    let schema = analysis_schema();
    for (place, value) in wrong {
        let mut document = parse(ANALYSIS);
        *document.pointer_mut(place).unwrap() = value;
        let errors = errors(&schema, &document);
        assert!(errors.iter().any(|e| e.starts_with(place)), "{place}: {errors:?}");
    }
}

#[test]
fn missing_fields_are_refused() {
    let schema = run_schema();
    for field in ["schema", "kind", "title", "generator", "started", "duration_s", "analysis"] {
        let mut document = full_run();
        document.as_object_mut().unwrap().remove(field);
        let errors = errors(&schema, &document);
        assert!(errors.iter().any(|e| e.contains(field)), "{field}: {errors:?}");
    }
}
