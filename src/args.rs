//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// A reference server and packet analyzer for live streams: who streams what, with which codecs, at which
/// bandwidth, and what is wrong.
#[derive(Debug, Parser)]
#[command(name = "streamgauge", version, max_term_width = 80, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 as expected, 1 something unexpected, 2 wrong usage or unreadable input,\n\
3 the environment was in the way, 4 nothing selected, 130 interrupted."
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// For every command.
    #[command(flatten)]
    pub common: Common,
}

/// For every command.
#[derive(Debug, ClapArgs)]
pub struct Common {
    /// Colour: auto, always or never; NO_COLOR is heeded.
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true, value_name = "WHEN")]
    #[arg(hide_possible_values = true, help_heading = "Output")]
    pub color: Color,
    /// Say more on stderr; twice for every detail.
    #[arg(short, long, action = clap::ArgAction::Count, global = true, help_heading = "Output")]
    pub verbose: u8,
    /// Say only what went wrong.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Output")]
    pub quiet: bool,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The main job in one go: serve, publish, watch, capture, analyze, report.
    Demo(Demo),
    /// Run the reference server.
    Serve(Serve),
    /// Publish a media file in real time.
    Publish(Publish),
    /// Tell from captures who spoke, with which codecs, at which bandwidth, and what went wrong.
    Analyze(Analyze),
    /// Take a capture apart: one line a packet, or the field tree down to the bit.
    Dissect(Dissect),
    /// Sniff an interface into a pcapng file.
    #[cfg(feature = "live")]
    Capture(Capture),
    /// Run the conformance rules over captures.
    Check(Check),
    /// Carry out scenarios: scripted clients, a timeline, a bad network, expectations, verdicts.
    Run(Run),
    /// Play the client's side of a captured session again, and compare the answers.
    Replay(Replay),
    /// List the requirements, and which of them `check` judges.
    Rules(Rules),
    /// Tell all about a requirement: what, where, why, how it shows.
    Explain(Explain),
    /// Render the report of a run directory again.
    Report(Report),
}

/// Arguments of `demo`.
#[derive(Debug, ClapArgs)]
pub struct Demo {
    /// The run directory; files in it are overwritten.
    #[arg(long, value_name = "DIR", default_value = "streamgauge-demo")]
    pub out: PathBuf,
    /// How long the publisher is on air.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(3..=3600))]
    pub seconds: u64,
    /// Grows everything that is random.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Arguments of `serve`.
#[derive(Debug, ClapArgs)]
#[command(after_help = crate::faults::list())]
pub struct Serve {
    /// A configuration file; flags override it. With one, RTMP and the API are
    /// served and what else it names; without one, everything.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to listen for RTMP: IP:PORT, :PORT or off [default: :1935].
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    pub rtmp: Option<Listen>,
    /// Where to listen for RTSP: IP:PORT, :PORT or off [default: :8554].
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    pub rtsp: Option<Listen>,
    /// UDP port for RTP, an even one; RTCP has the next; 0 takes any pair [default: 8000].
    #[arg(long, value_name = "PORT", value_parser = rtp_port)]
    pub rtp: Option<u16>,
    /// Where to serve HLS over HTTP: IP:PORT, :PORT or off [default: :8888].
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    pub hls: Option<Listen>,
    /// Record every stream as DIR/PATH/TIME.mp4.
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// Where to serve the API and metrics: IP:PORT, :PORT or off [default: :9997].
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    pub api: Option<Listen>,
    /// Write every byte of every client into this pcapng file; needs no privileges.
    #[arg(long, value_name = "FILE")]
    pub tap: Option<PathBuf>,
    /// Bytes kept of each packet in the tap, such as 256 [default: all].
    #[arg(long, value_name = "N", value_parser = bytes, requires = "tap")]
    pub tap_snap: Option<u64>,
    /// Bytes after which the tap grows no further, such as 500MiB [default: no bound].
    #[arg(long, value_name = "N", value_parser = bytes, requires = "tap")]
    pub tap_size: Option<u64>,
    /// Break a protocol on purpose, as listed below; may be given again. `list`
    /// tells all about each.
    #[arg(long, value_name = "ID")]
    pub fault: Vec<String>,
}

/// An address to listen on, or off.
#[derive(Clone, Copy, Debug)]
pub struct Listen(pub Option<SocketAddr>);

fn listen(text: &str) -> Result<Listen, String> {
    server::config::listen(text).map(Listen)
}

fn rtp_port(text: &str) -> Result<u16, String> {
    let port = text.parse().map_err(|_| format!("{text:?} is no port from 0 to 65534"))?;
    server::config::rtp_port(port)
}

fn bytes(text: &str) -> Result<u64, String> {
    server::parse_bytes(text)
}

/// Arguments of `publish`.
#[derive(Debug, ClapArgs)]
pub struct Publish {
    /// An FLV, MP4, MPEG-TS or ADTS file; what it holds is sent as it is.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where to: `rtmp://HOST[:PORT]/PATH` or `rtsp://HOST[:PORT]/PATH`.
    #[arg(value_name = "URL")]
    pub url: String,
    /// How packets travel to an rtsp:// URL [default: tcp].
    #[arg(long, value_enum, value_name = "TRANSPORT")]
    pub over: Option<Over>,
    /// Begin again at the end of the file, when its longest track is over: tracks stay in step.
    #[arg(long)]
    pub r#loop: bool,
}

/// How RTP travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Over {
    /// In the RTSP connection.
    Tcp,
    /// In datagrams.
    Udp,
}

/// Arguments of `analyze`.
#[derive(Debug, ClapArgs)]
pub struct Analyze {
    /// pcap or pcapng files, also packed with gzip or zstd; several are one timeline, - is the standard input.
    #[cfg_attr(feature = "live", arg(value_name = "FILE", required_unless_present = "live"))]
    #[cfg_attr(not(feature = "live"), arg(value_name = "FILE", required = true))]
    pub files: Vec<PathBuf>,
    /// Sniff this interface instead, until Ctrl-C; `any` is all of them.
    #[cfg(feature = "live")]
    #[arg(long, value_name = "IFACE", conflicts_with = "files")]
    pub live: Option<String>,
    /// Only packets that this expression of libpcap means, such as "tcp port 1935".
    #[cfg(feature = "live")]
    #[arg(short = 'f', long = "filter", value_name = "BPF", requires = "live")]
    pub filter: Option<String>,
    /// How long to sniff, such as 30s [default: until Ctrl-C].
    #[cfg(feature = "live")]
    #[arg(long = "for", value_name = "TIME", value_parser = span, requires = "live")]
    pub length: Option<Duration>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Write a run directory with a report, too.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Exit with 1 where there is a finding this bad.
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub fail_on: Option<FailOn>,
}

fn span(text: &str) -> Result<Duration, String> {
    server::parse_span(text)
}

/// Arguments of `capture`.
#[cfg(feature = "live")]
#[derive(Debug, ClapArgs)]
pub struct Capture {
    /// The interface; `any` is all of them.
    #[arg(short, long, value_name = "IFACE", required_unless_present = "list")]
    pub interface: Option<String>,
    /// The pcapng file; `-` is the standard output.
    #[arg(short, long, value_name = "FILE", required_unless_present = "list")]
    pub write: Option<PathBuf>,
    /// Only packets that this expression of libpcap means, such as "tcp port 1935".
    #[arg(short, long, value_name = "BPF")]
    pub filter: Option<String>,
    /// How long, such as 30s [default: until Ctrl-C].
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub length: Option<Duration>,
    /// Bytes kept of each packet [default: all].
    #[arg(long, value_name = "N", default_value_t = analyzer::live::WHOLE, hide_default_value = true)]
    pub snap: u32,
    /// The interfaces of this machine.
    #[arg(long)]
    pub list: bool,
}

/// Arguments of `dissect`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "A filter compares fields: rtmp.type == audio && stream == \"live/a\"\n\
`--filter help` lists the fields, `--as help` the forms of bytes.")]
pub struct Dissect {
    /// pcap or pcapng files, several as one timeline; `-` is stdin. Behind them, a filter may say which packets to show.
    #[arg(value_name = "FILE", required_unless_present_any = ["form", "filter"])]
    pub words: Vec<PathBuf>,
    /// Only packets that this filter means, such as `rtp.seq > 100`; the same as one behind the files.
    #[arg(long = "filter", value_name = "FILTER")]
    pub filter: Option<String>,
    /// The field tree of this packet; of several files, of this one of their common timeline.
    #[arg(long, value_name = "N")]
    pub frame: Option<u64>,
    /// Only packets of this conversation: N as tcp.stream, udp:N as udp.stream.
    #[arg(long, value_name = "N")]
    pub flow: Option<String>,
    /// The field tree of every packet shown.
    #[arg(long)]
    pub fields: bool,
    /// Read bytes in this form instead of a capture.
    #[arg(long = "as", value_name = "TYPE", conflicts_with_all = ["words", "frame", "flow"])]
    pub form: Option<String>,
    /// The bytes, in hexadecimal; without it they come from stdin as they are.
    #[arg(long, value_name = "BYTES", requires = "form")]
    pub hex: Option<String>,
    /// How to print the result; json gives one object a line.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// How to print a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people, on 80 columns.
    #[value(alias = "human")]
    Text,
    /// One JSON document.
    Json,
}

/// The severity that makes `analyze` fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Errors.
    Error,
    /// Errors and warnings.
    Warning,
}

/// Arguments of `check`.
#[derive(Debug, ClapArgs)]
pub struct Check {
    /// pcap or pcapng files, also packed with gzip or zstd; several are one timeline, - is the standard input.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Only rules whose id matches, such as `rtmp.*`; may be given again.
    #[arg(long, value_name = "GLOB", help_heading = "Selection")]
    pub only: Vec<String>,
    /// No rules whose id matches; may be given again.
    #[arg(long, value_name = "GLOB", help_heading = "Selection")]
    pub skip: Vec<String>,
    /// Rules this binding and more: must, should, convention or may [default: should, or as the profile says].
    #[arg(long, value_enum, hide_possible_values = true, help_heading = "Selection")]
    pub level: Option<Level>,
    /// A named selection; --only, --skip and --level narrow or widen it.
    #[arg(long, value_enum, value_name = "NAME", help_heading = "Selection")]
    pub profile: Option<Profile>,
    /// List the selected rules and check nothing.
    #[arg(long, help_heading = "Selection")]
    pub list: bool,
    /// What becomes of the verdicts.
    #[command(flatten)]
    pub verdicts: Verdicts,
    /// What live targets need and captures do not.
    #[command(flatten)]
    pub live_only: LiveOnly,
}

/// What becomes of verdicts, in everything that gives some.
#[derive(Debug, ClapArgs)]
pub struct Verdicts {
    /// A TOML file of known failures: they are expected, and their going away is not.
    #[arg(long, value_name = "FILE", help_heading = "Verdict")]
    pub expect: Option<PathBuf>,
    /// Write what fails now into the file of known failures; reasons in it stay.
    #[arg(long, requires = "expect", help_heading = "Verdict")]
    pub bless: bool,
    /// A warning is unexpected, too.
    #[arg(long, help_heading = "Verdict")]
    pub strict: bool,
    /// Nothing more behind the first unexpected verdict.
    #[arg(long, help_heading = "Verdict")]
    pub fail_fast: bool,
    /// How to print the result: human, json or github.
    #[arg(long, value_enum, default_value_t = CheckFormat::Human, hide_possible_values = true)]
    #[arg(help_heading = "Output")]
    pub format: CheckFormat,
    /// Write a run directory with a report.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,
    /// Write JUnit XML; `-` is stdout, for this and the next two.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub junit: Option<PathBuf>,
    /// Write the verdicts as JSON.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Write the report as HTML.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub html: Option<PathBuf>,
}

/// Options of everything that gives verdicts, which change nothing about captures: nothing in them is random, waited for, tried
/// again or done at the same time, for the files are one timeline.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Without effect on captures")]
pub struct LiveOnly {
    /// Nothing here is random.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Nothing here is waited for.
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub timeout: Option<Duration>,
    /// The same packets give the same verdicts.
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,
    /// The files are one timeline, read once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
}

/// A named selection of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Every rule of every level, and a warning is unexpected.
    Strict,
    /// Whose breach breaks playback: severity error.
    Broken,
    /// RTMP with its FLV: what OBS and other encoders meet.
    Encoder,
    /// RTSP, SDP, RTP and RTCP: what cameras and their players meet.
    Camera,
    /// HLS, its segments and HTTP, and a warning is unexpected: what Apple's validator looks at.
    Apple,
}

/// How binding a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Demanded by a specification.
    Must,
    /// Recommended by one.
    Should,
    /// Relied on without one.
    Convention,
    /// Allowed.
    May,
}

/// How to print verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// For people, on 80 columns.
    #[value(alias = "text")]
    Human,
    /// One JSON document.
    Json,
    /// Annotations of a GitHub workflow.
    Github,
}

/// Arguments of `run`.
#[derive(Debug, ClapArgs)]
pub struct Run {
    /// Scenarios, or directories of them.
    #[arg(value_name = "SCENARIO|DIR", required = true)]
    pub scenarios: Vec<PathBuf>,
    /// Test the server at this URL instead of the scenario's own; once for each protocol.
    #[arg(long, value_name = "URL")]
    pub target: Vec<String>,
    /// Only scenarios whose name matches, such as `*/late*`; may be given again.
    #[arg(long, value_name = "GLOB", help_heading = "Selection")]
    pub only: Vec<String>,
    /// No scenarios whose name matches; may be given again.
    #[arg(long, value_name = "GLOB", help_heading = "Selection")]
    pub skip: Vec<String>,
    /// List the selected scenarios and run nothing.
    #[arg(long, help_heading = "Selection")]
    pub list: bool,
    /// Grows everything random, instead of each scenario's own seed.
    #[arg(long, value_name = "N", help_heading = "Running")]
    pub seed: Option<u64>,
    /// The longest a scenario may take, such as 2m [default: its steps and a minute].
    #[arg(long, value_name = "TIME", value_parser = span, help_heading = "Running")]
    pub timeout: Option<Duration>,
    /// Run a scenario with an unexpected verdict again, so often; the last time counts.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Running")]
    pub retries: u32,
    /// Scenarios at the same time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    #[arg(help_heading = "Running")]
    pub jobs: u16,
    /// What becomes of the verdicts.
    #[command(flatten)]
    pub verdicts: Verdicts,
}

/// Arguments of `replay`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Played again are RTMP publishers and viewers, and RTSP sessions over TCP. The\n\
URL's names take the place of the captured ones; rtmp://HOST/APP keeps the\n\
stream name. A message waits for the answers that it had waited for in the\n\
capture, and media for its time. Exit code 1: an answer differs in outcome, or\n\
the server ends it early; 3: it cannot be reached, is silent, or speaks\n\
something else.")]
pub struct Replay {
    /// A pcap or pcapng file, also packed with gzip or zstd.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where to: `rtmp://HOST[:PORT]/PATH` or `rtsp://HOST[:PORT]/PATH`.
    #[arg(value_name = "URL")]
    pub url: String,
    /// The session, as `analyze` calls it, such as rtmp-2 [default: the first publisher].
    #[arg(long, value_name = "ID", help_heading = "Replay")]
    pub session: Option<String>,
    /// As quickly as answers and socket allow; a viewer leaves when it has got as much as in the capture.
    #[arg(long, help_heading = "Replay")]
    pub fast: bool,
    /// How long an answer may take, and how long the server may take nothing.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "10s", help_heading = "Replay")]
    pub timeout: Duration,
    /// What becomes of the verdicts.
    #[command(flatten)]
    pub verdicts: Verdicts,
}

/// Arguments of `rules`.
#[derive(Debug, ClapArgs)]
pub struct Rules {
    /// Only ids that match, such as `hls.live.*`.
    #[arg(value_name = "GLOB")]
    pub glob: Option<String>,
}

/// Arguments of `explain`.
#[derive(Debug, ClapArgs)]
pub struct Explain {
    /// Id of the requirement, such as `rtsp.cseq.echo`.
    #[arg(value_name = "ID")]
    pub id: String,
}

/// Arguments of `report`.
#[derive(Debug, ClapArgs)]
pub struct Report {
    /// A directory with a run.json.
    #[arg(value_name = "RUN-DIR")]
    pub dir: PathBuf,
}
