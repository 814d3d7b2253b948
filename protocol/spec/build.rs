//! Turns the requirement catalogues into statics.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

use serde::Deserialize;

const FILES: [&str; 5] = ["rtmp.toml", "rtsp.toml", "rtsp-extra.toml", "hls.toml", "capture.toml"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    requirement: Vec<Requirement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    id: String,
    group: Option<String>,
    title: String,
    spec: String,
    level: String,
    actor: String,
    passive: String,
    active: String,
    severity: String,
    teach: String,
    confidence: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    // One module for each first part of an id: `rtmp.chunk.csid2-reserved` is `rtmp::CHUNK_CSID2_RESERVED`.
    let mut modules: BTreeMap<String, String> = BTreeMap::new();
    let mut all = String::new();
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
        let catalogue: Catalogue = toml::from_str(&fs::read_to_string(file)?)?;
        for r in &catalogue.requirement {
            let (module, rest) =
                r.id.split_once('.').ok_or_else(|| format!("{file}: {} has no dot", r.id))?;
            let name = rest.replace(['.', '-'], "_").to_uppercase();
            let group = match &r.group {
                Some(group) => group.clone(),
                None => rest.split('.').next().unwrap_or(rest).to_owned(),
            };
            let out = modules.entry(module.to_owned()).or_default();
            write!(
                out,
                "    #[doc = {:?}]\n    pub static {name}: Requirement = Requirement {{ id: {:?}, group: {:?}, title: {:?}, \
                 spec: {:?}, level: Level::{}, actor: Actor::{}, passive: {:?}, active: {:?}, \
                 severity: Severity::{}, teach: {:?}, confidence: Confidence::{} }};\n",
                doc(&r.title, &r.spec),
                r.id,
                group,
                r.title,
                r.spec,
                variant(&r.level),
                variant(&r.actor),
                r.passive,
                r.active,
                variant(&r.severity),
                r.teach,
                variant(&r.confidence),
            )?;
            writeln!(all, "    &{module}::{name},")?;
        }
    }
    let mut text = String::new();
    for (module, body) in &modules {
        writeln!(
            text,
            "#[doc = \"Requirements whose ids begin with `{module}.`\"]\npub mod {module} {{\n    \
             use super::{{Actor, Confidence, Level, Requirement, Severity}};\n{body}}}\n"
        )?;
    }
    writeln!(
        text,
        "/// Every requirement, in the order of the catalogue.\npub static ALL: &[&Requirement] = &[\n{all}];"
    )?;
    let out = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    fs::write(Path::new(&out).join("catalogue.rs"), text)?;
    Ok(())
}

/// Documentation of a static; brackets and angles would be read as links and tags.
fn doc(title: &str, spec: &str) -> String {
    let text = format!("{title} ({spec})");
    text.chars()
        .flat_map(|c| {
            matches!(c, '[' | ']' | '<' | '>' | '_' | '*' | '`').then_some('\\').into_iter().chain([c])
        })
        .collect()
}

fn variant(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}
