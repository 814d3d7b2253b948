//! The faults there are, as `--help` and mistakes tell of them.

use server::fault;

/// The faults there are, a line each.
pub fn list() -> String {
    let lines = fault::all().map(|fault| format!("  {:<28} {}", fault.id, fault.title));
    format!("Faults:\n{}", lines.collect::<Vec<_>>().join("\n"))
}
