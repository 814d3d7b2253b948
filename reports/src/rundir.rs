//! The run directory: the artifact that a run leaves.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use model::{RUN_SCHEMA, Run};
use serde_json::Value;

use crate::plot::Theme;
use crate::{html, json, junit, plot};

/// Writes `run.json run.jsonl junit.xml index.html bandwidth.svg bandwidth.png` into `dir`, which is made where
/// it is missing. A file appears whole or not at all.
pub fn write(dir: &Path, run: &Run, events: &[Value]) -> io::Result<()> {
    fs::create_dir_all(dir).map_err(|e| about(dir, "make the directory", e))?;
    save(dir, "run.jsonl", json::jsonl(events).as_bytes())?;
    render(dir, run)
}

/// Writes everything but `run.jsonl`: what can be made again from `run.json` alone.
pub fn render(dir: &Path, run: &Run) -> io::Result<()> {
    save(dir, "junit.xml", junit::render(run).map_err(io::Error::other)?.as_bytes())?;
    save(dir, "index.html", html::render(run).map_err(io::Error::other)?.as_bytes())?;
    save(dir, "bandwidth.svg", plot::bandwidth_svg(run, Theme::Auto).map_err(io::Error::other)?.as_bytes())?;
    save(dir, "bandwidth.png", &plot::bandwidth_png(run, Theme::Light).map_err(io::Error::other)?)?;
    // Last, so that a directory with a run.json is a complete one.
    save(dir, "run.json", json::run(run).map_err(io::Error::other)?.as_bytes())
}

/// Reads the `run.json` of a run directory.
pub fn load(dir: &Path) -> io::Result<Run> {
    let path = dir.join("run.json");
    let text = fs::read(&path).map_err(|e| about(&path, "read", e))?;
    let damaged =
        |e: serde_json::Error| about(&path, "understand", io::Error::new(io::ErrorKind::InvalidData, e));
    let document: Value = serde_json::from_slice(&text).map_err(damaged)?;
    let schema = document.get("schema").and_then(Value::as_str).unwrap_or("none");
    if schema != RUN_SCHEMA {
        let why = format!("its schema is {schema:?}, this program reads {RUN_SCHEMA:?}");
        return Err(about(&path, "understand", io::Error::new(io::ErrorKind::InvalidData, why)));
    }
    // From the text, not from the value: its errors have a line and a column.
    serde_json::from_slice(&text).map_err(damaged)
}

fn save(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let path = dir.join(name);
    let temporary = dir.join(format!(".{name}.part"));
    let result = fill(&temporary, bytes).and_then(|()| fs::rename(&temporary, &path));
    result.map_err(|e| {
        // The part may never have come to be; the reason told is the first one.
        let _ = fs::remove_file(&temporary);
        about(&path, "write", e)
    })
}

fn fill(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    // A full disk may only show here.
    file.sync_all()
}

fn about(path: &Path, verb: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {verb} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_reported_as_such() {
        let full = Path::new("/dev/full");
        if !full.exists() {
            println!("skipped: this system has no /dev/full");
            return;
        }
        let error = about(full, "write", fill(full, &[0; 4096]).unwrap_err());
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().starts_with("cannot write /dev/full: No space left"), "{error}");
    }
}
