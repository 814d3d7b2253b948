//! A disk that is soon full.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::say;

/// A small file system of its own, as long as this lives.
pub struct SmallDisk(pub PathBuf);

impl SmallDisk {
    /// None, with the reason printed, where this user may not mount.
    pub fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let run = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(at)
            .output()
            .unwrap();
        if !run.status.success() {
            say(&format!("skipped: cannot mount here: {}", String::from_utf8_lossy(&run.stderr).trim()));
            return None;
        }
        Some(Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
