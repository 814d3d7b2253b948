//! The rules of the house: who may know whom, how long a module may be, and that every dependency has its reason.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Lines a module may have.
const LONGEST: usize = 800;
/// Lines the median module may have.
const MEDIAN: usize = 300;
/// Tables of data, which may be longer; each with what it tabulates.
const TABLES: &[(&str, &str)] = &[];

/// Who may know whom; everything else is forbidden. Names are those of `[workspace.dependencies]`.
const ALLOWED: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("spec", &[]),
    ("model", &[]),
    ("media", &["wire"]),
    ("session", &["wire", "media"]),
    ("server", &["session", "media", "wire", "spec", "model"]),
    ("analyzer", &["media", "wire", "spec", "model"]),
    ("scenarios", &["wire", "spec", "model", "media", "session", "server", "analyzer"]),
    ("reports", &["model"]),
    (
        "streamgauge",
        &["wire", "spec", "model", "media", "session", "server", "analyzer", "scenarios", "reports"],
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap()
}

/// A crate's name within the house.
fn short(package: &Package) -> String {
    package.name.strip_prefix("streamgauge-").unwrap_or(&package.name).to_string()
}

fn of_the_workspace(metadata: &Metadata) -> Vec<&Package> {
    metadata.workspace_packages()
}

#[test]
fn every_crate_knows_only_whom_it_may_know() {
    let metadata = metadata();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let packages = of_the_workspace(&metadata);
    let names: BTreeMap<&str, String> = packages.iter().map(|p| (p.name.as_str(), short(p))).collect();
    let mut wrong = Vec::new();
    for package in &packages {
        let name = short(package);
        let Some(known) = allowed.get(name.as_str()) else {
            wrong.push(format!("{name} has no line in the table"));
            continue;
        };
        for dependency in &package.dependencies {
            let Some(other) = names.get(dependency.name.as_str()) else { continue };
            if !known.contains(&other.as_str()) {
                wrong.push(format!("{name} may not know {other}"));
            }
        }
    }
    let gone: Vec<_> = allowed.keys().filter(|name| !names.values().any(|n| n == *name)).collect();
    assert!(wrong.is_empty() && gone.is_empty(), "{wrong:#?}, not in the workspace: {gone:?}");
}

#[test]
fn the_decoders_and_endpoints_have_nothing_to_do_io_with() {
    // No I/O, clock, threads, randomness or logging where the same input has to give the same output.
    let banned = ["tokio", "socket2", "tracing", "rand", "time", "chrono", "log", "mio"];
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in of_the_workspace(&metadata) {
        if !["wire", "media", "session", "spec", "model"].contains(&short(package).as_str()) {
            continue;
        }
        let normal = package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
        wrong.extend(
            normal
                .filter(|d| banned.contains(&d.name.as_str()))
                .map(|d| format!("{} uses {}", package.name, d.name)),
        );
        for file in sources(package.manifest_path.parent().unwrap().as_std_path().join("src").as_path()) {
            let text = std::fs::read_to_string(&file).unwrap();
            for word in
                ["std::net::Tcp", "std::net::Udp", "std::fs", "Instant::now", "SystemTime", "std::thread"]
            {
                let code = text.split("#[cfg(test)]").next().unwrap();
                if code.contains(word) {
                    wrong.push(format!("{} uses {word}", shown(&file)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn modules_stay_short() {
    let mut lengths = Vec::new();
    let mut wrong = Vec::new();
    for file in all_sources() {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        if lines > LONGEST && !TABLES.iter().any(|(table, _)| *table == shown(&file)) {
            wrong.push(format!("{} has {lines} lines", shown(&file)));
        }
        lengths.push(lines);
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(wrong.is_empty(), "at most {LONGEST} lines: {wrong:#?}");
    assert!(median < MEDIAN, "the median module has {median} lines");
    for (table, _) in TABLES {
        assert!(root().join(table).is_file(), "{table} is in the list of tables and not in the house");
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let text = std::fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let mut reasons = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", name, reason, ..] = cells[..] {
            reasons.insert(name.trim_matches('`').to_string(), reason.to_string());
        }
    }
    let metadata = metadata();
    let packages = of_the_workspace(&metadata);
    let own: BTreeSet<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    let used: BTreeSet<&str> = packages
        .iter()
        .flat_map(|p| &p.dependencies)
        .map(|d| d.name.as_str())
        .filter(|name| !own.contains(name))
        .collect();
    assert!(used.len() > 10, "only {used:?} were found");
    let without: Vec<_> =
        used.iter().filter(|name| reasons.get(**name).is_none_or(|reason| reason.is_empty())).collect();
    assert!(without.is_empty(), "no row `| name | reason |` in CONTRIBUTING.md for {without:?}");
}

#[test]
fn no_test_is_switched_off() {
    let mark = format!("#[{}", "ignore");
    let off: Vec<String> = all_sources()
        .iter()
        .filter(|file| std::fs::read_to_string(file).unwrap().contains(&mark))
        .map(|file| shown(file))
        .collect();
    assert!(off.is_empty(), "{off:?} switch tests off");
}

#[test]
fn every_crate_has_the_lints_of_the_workspace() {
    let metadata = metadata();
    for package in of_the_workspace(&metadata) {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        let inherits = manifest
            .split("[lints]")
            .nth(1)
            .is_some_and(|rest| rest.trim_start().starts_with("workspace = true"));
        assert!(inherits, "{} does not say `[lints] workspace = true`", package.manifest_path);
    }
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap().display().to_string()
}

/// Every source file of the project, those of the fuzz targets included.
fn all_sources() -> Vec<PathBuf> {
    let places = ["src", "tests", "protocol", "server", "analyzer", "scenarios", "reports", "ci", "lab"];
    let files: Vec<PathBuf> = places.iter().flat_map(|place| sources(&root().join(place))).collect();
    assert!(files.len() > 20, "only {} source files were found", files.len());
    files
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}
