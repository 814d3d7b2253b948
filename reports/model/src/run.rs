//! `streamgauge.run/1`: one run of the program, with everything a report shows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::analysis::{Analysis, Endpoint, Protocol, Role};

/// Value of [`Run::schema`].
pub const RUN_SCHEMA: &str = "streamgauge.run/1";

/// One run: what was started, what the server says, what the packets say, what was checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Always [`RUN_SCHEMA`].
    #[schemars(extend("const" = RUN_SCHEMA))]
    pub schema: String,
    /// What kind of run: `demo`, `analyze`, `check`, `run`.
    pub kind: String,
    /// Headline of the report.
    pub title: String,
    /// The program and its version.
    pub generator: String,
    /// When the run began, RFC 3339 in UTC.
    pub started: String,
    /// Wall time of the run in seconds.
    pub duration_s: f64,
    /// What the packets tell.
    pub analysis: Analysis,
    /// What the server counted, one entry a client; empty where no server was ours.
    #[serde(default)]
    pub server_clients: Vec<ServerClient>,
    /// What the server recorded.
    #[serde(default)]
    pub recordings: Vec<Recording>,
    /// What was checked, and how it came out.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// Files in the run directory, with what they hold.
    #[serde(default)]
    pub artifacts: Vec<Artifact>,
    /// What a reader of the figures has to know, one sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A client as the server's own metrics have it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerClient {
    /// The server's id for it.
    pub id: String,
    /// Name the run gave to it (`late viewer`), if any.
    pub name: Option<String>,
    /// Protocol.
    pub protocol: Protocol,
    /// Publisher or viewer.
    pub role: Role,
    /// The client's address and port.
    pub address: Endpoint,
    /// Stream path.
    pub path: Option<String>,
    /// Payload bytes the server received.
    pub bytes_in: u64,
    /// Payload bytes the server sent.
    pub bytes_out: u64,
    /// Frames the server left out because the client was slow.
    pub frames_dropped: u64,
    /// Seconds it was connected.
    pub connected_s: f64,
    /// Id of the session in the analysis that this client is, where one was found.
    pub session: Option<String>,
}

/// A recording, as it was read from its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recording {
    /// Stream path.
    pub path: String,
    /// File, relative to the run directory.
    pub file: String,
    /// Seconds from the first frame to the end of the last.
    pub duration_s: f64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Pictures in it.
    pub pictures: u64,
    /// Audio frames in it.
    pub audio_frames: u64,
    /// One line for each track: `H.264 High 3.1 640x360`.
    pub tracks: Vec<String>,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As wanted.
    Pass,
    /// Not as wanted.
    Fail,
    /// Questionable.
    Warn,
    /// Not done.
    Skip,
    /// Could not be decided.
    Inconclusive,
    /// We failed, not the target.
    Error,
}

/// One thing a run checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Short stable name, `demo.frames.viewer-2`.
    pub id: String,
    /// What is checked, one line.
    pub title: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What was wanted.
    pub want: String,
    /// What was found.
    pub got: String,
    /// Where the numbers come from.
    pub reason: Option<String>,
    /// Session it is about.
    pub session: Option<String>,
}

/// A file of the run directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    /// Name relative to the run directory.
    pub file: String,
    /// What it is.
    pub title: String,
}
