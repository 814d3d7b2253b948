//! What the server is told: a TOML file whose keys mirror the flags, and the flags over it.
//!
//! ```toml
//! rtmp = ":1935"                 # or a table [rtmp] with listen = ":1935" and the keys below
//! api  = "127.0.0.1:9997"        # "off" opens no socket
//!
//! [rtsp]                         # or rtsp = ":8554" alone, as for rtmp and hls
//! listen = ":8554"
//! rtp    = 8000                  # UDP port for RTP; RTCP has the next; 0 takes any pair
//!
//! [hls]
//! listen  = ":8888"
//! segment = "2s"                 # segments are cut at the first key frame after this time
//! window  = 6                    # segments in a list
//! target  = "2s"                 # target duration at least, up to 12s: an encoder's longest group of pictures, where its
//!                                # key frames come irregularly
//! session = "uri"                # what tells viewers apart: "uri", "cookie" or "off" (address and agent)
//!
//! [record]
//! dir  = "recordings"            # DIR/PATH/2026-11-22T20-59-53.000Z.mp4
//! auto = true                    # false: only what the API starts
//!
//! [tap]
//! file = "capture.pcapng"
//! snap = 262144                  # bytes kept of a packet
//! size = "1GiB"                  # the file grows no further
//!
//! [limits]
//! connections = 10000
//! ```
//!
//! `faults = ["rtp.marker-missing"]` at the top has the server break the protocols on purpose: see [`fault`].

use std::fmt;
use std::marker::PhantomData;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use crate::fault::{self, Fault};
use crate::units::{Amount, Span};

/// Everything the server can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The RTMP listener.
    pub rtmp: Rtmp,
    /// The RTSP listener.
    pub rtsp: Rtsp,
    /// The HLS listener.
    pub hls: Hls,
    /// Address of the API and the metrics; `None` opens no socket.
    pub api: Option<SocketAddr>,
    /// Recording.
    pub record: Record,
    /// The server's own packet capture.
    pub tap: Option<TapConfig>,
    /// Bounds on what clients may use.
    pub limits: Limits,
    /// How the protocols are broken on purpose.
    pub faults: Vec<&'static Fault>,
}

/// The RTMP listener and its tuning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtmp {
    /// Where to listen; `None` opens no socket.
    pub listen: Option<SocketAddr>,
    /// Chunk size the server announces and uses, in bytes, 128 to 65536 (RTMP 1.0 §5.4.1). Wireshark before 4.4
    /// loses a stream whose chunks are 32768 bytes or more.
    pub chunk_size: u32,
    /// Window acknowledgement size the server announces, in bytes (RTMP 1.0 §5.4.4).
    pub window_ack_size: u32,
    /// Largest message taken from a publisher, in bytes.
    pub max_message: u32,
    /// Largest message taken from a client that does not publish, in bytes.
    pub max_message_before_publish: u32,
    /// How long the handshake may take.
    pub handshake_timeout: Duration,
    /// How long a client may take from the handshake to publish or play.
    pub request_timeout: Duration,
    /// How long a publisher may send nothing.
    pub publisher_timeout: Duration,
    /// Bytes the kernel may hold for one viewer (`SO_SNDBUF`, which Linux doubles for its own bookkeeping).
    pub send_buffer: usize,
    /// Unsent bytes above which a viewer's socket counts as full (`TCP_NOTSENT_LOWAT`).
    pub unsent_low_water: u32,
}

/// The RTSP listener and its pair of UDP ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtsp {
    /// Where to listen; `None` opens no socket.
    pub listen: Option<SocketAddr>,
    /// UDP port for RTP, an even one; RTCP has the next. 0 takes any such pair.
    pub rtp: u16,
    /// Silence after which a session ends.
    pub session_timeout: Duration,
}

/// The HLS listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hls {
    /// Where to listen for HTTP; `None` opens no socket and makes no segments.
    pub listen: Option<SocketAddr>,
    /// A segment is cut at the first key frame after this time; a second at least.
    pub segment: Duration,
    /// Segments in a list.
    pub window: usize,
    /// The target duration is this at least. It is fixed with the first segment, and where key frames are further apart later on
    /// segments have to begin between them. 12 s at most, after which the first segment ends in any case.
    pub target: Duration,
    /// What tells viewers apart.
    pub session: HlsSession,
}

/// What tells HLS viewers apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HlsSession {
    /// A parameter in every URI of the playlists.
    #[default]
    Uri,
    /// A cookie.
    Cookie,
    /// Address, `User-Agent` and path.
    Off,
}

/// Recording of what is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where files go, each in a directory of its stream's path; `None` records nothing.
    pub dir: Option<PathBuf>,
    /// Whether every stream is recorded, or only what the API starts.
    pub auto: bool,
}

/// The tap: a pcapng of what the sockets really carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapConfig {
    /// File to write; it is overwritten.
    pub file: PathBuf,
    /// Bytes kept of each packet, headers included; 0 keeps all.
    pub snap: u32,
    /// Bytes after which the file grows no further; 0 sets no bound.
    pub size: u64,
}

/// Bounds on what clients may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, over all protocols.
    pub connections: usize,
    /// Bytes of incomplete incoming messages, over all connections. When they are used up, the connection
    /// whose message has been open the longest is closed.
    pub open_messages: usize,
    /// Bytes of frames kept of one stream, their written form included.
    pub ring_bytes: usize,
    /// Bytes of frames kept of all streams together; each gets an equal part where that is less.
    pub ring_total: usize,
    /// Media time kept of one stream: a key frame older than this is let go of.
    pub ring_time: Duration,
    /// Media time a viewer may lie behind before it is moved to the newest key frame.
    pub viewer_lag: Duration,
    /// How long a viewer's socket may take nothing before the viewer is dropped.
    pub viewer_stall: Duration,
}

/// The standard port of RTMP.
pub const RTMP_PORT: u16 = 1935;
/// The standard port of RTSP for servers without privileges.
pub const RTSP_PORT: u16 = 8554;
/// The UDP port of RTP; RTCP has the next.
pub const RTP_PORT: u16 = 8000;
/// The port of HLS.
pub const HLS_PORT: u16 = 8888;
/// The port of the API and the metrics.
pub const API_PORT: u16 = 9997;

impl Default for Config {
    fn default() -> Self {
        Self {
            rtmp: Rtmp::default(),
            rtsp: Rtsp::default(),
            hls: Hls::default(),
            api: Some(any(API_PORT)),
            record: Record { dir: None, auto: true },
            tap: None,
            limits: Limits::default(),
            faults: Vec::new(),
        }
    }
}

impl Default for Rtmp {
    fn default() -> Self {
        Self {
            listen: Some(any(RTMP_PORT)),
            chunk_size: 16_384,
            window_ack_size: 2_500_000,
            max_message: 0xff_ffff,
            max_message_before_publish: 65_536,
            handshake_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            publisher_timeout: Duration::from_secs(30),
            send_buffer: 512 << 10,
            unsent_low_water: 256 << 10,
        }
    }
}

impl Default for Rtsp {
    fn default() -> Self {
        Self { listen: None, rtp: RTP_PORT, session_timeout: Duration::from_secs(60) }
    }
}

impl Default for Hls {
    fn default() -> Self {
        let segment = Duration::from_secs(2);
        Self { listen: None, segment, window: 6, target: Duration::ZERO, session: HlsSession::Uri }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            open_messages: 18 << 20,
            ring_bytes: 64 << 20,
            ring_total: 1 << 30,
            ring_time: Duration::from_secs(30),
            viewer_lag: Duration::from_secs(5),
            viewer_stall: Duration::from_secs(10),
        }
    }
}

impl Rtmp {
    /// What sessions are told of it.
    pub fn session(&self) -> session::rtmp::ServerConfig {
        session::rtmp::ServerConfig {
            chunk_size: self.chunk_size,
            window_ack_size: self.window_ack_size,
            max_message: self.max_message,
            max_message_before_publish: self.max_message_before_publish,
            handshake_timeout: self.handshake_timeout,
            request_timeout: self.request_timeout,
            publisher_timeout: self.publisher_timeout,
            ..session::rtmp::ServerConfig::default()
        }
    }
}

/// All addresses of the machine, IPv4 included where the system maps it.
fn any(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
}

/// Reads `HOST:PORT` with an address as HOST, or `:PORT` for all addresses of the machine.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let wrong = || format!("{text:?} is no address: want IP:PORT, [IPv6]:PORT or :PORT");
    match text.strip_prefix(':') {
        Some(port) => port.parse().map(any).map_err(|_| wrong()),
        None => text.parse().map_err(|_| wrong()),
    }
}

/// An address as in [`address`], or `off`.
pub fn listen(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" { Ok(None) } else { address(text).map(Some) }
}

/// A configuration file that cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// It could not be read.
    Read(PathBuf, std::io::Error),
    /// It says something that is not understood: `file:line:column: what`.
    Invalid(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(file, error) => write!(f, "{}: {error}", file.display()),
            Self::Invalid(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads a configuration file; what it does not mention keeps its default.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|e| ConfigError::Read(file.to_owned(), e))?;
        Self::parse(&text, &file.display().to_string())
    }

    /// Reads a configuration from `text`; `name` stands in messages for the file.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map(from_file).map_err(|error| {
            let at = error.span().map_or(0, |s| s.start);
            let before = text.get(..at).unwrap_or(text);
            let line = before.matches('\n').count().saturating_add(1);
            let column = before.rsplit('\n').next().unwrap_or("").chars().count().saturating_add(1);
            ConfigError::Invalid(format!("{name}:{line}:{column}: {}", error.message().trim_end()))
        })
    }
}

fn from_file(file: FileConfig) -> Config {
    let mut config = Config::default();
    if let Some(rtmp) = file.rtmp {
        rtmp.0.over(&mut config.rtmp);
    }
    if let Some(rtsp) = file.rtsp {
        rtsp.0.over(&mut config.rtsp);
    }
    if let Some(hls) = file.hls {
        hls.0.over(&mut config.hls);
    }
    if let Some(api) = file.api {
        config.api = api.0;
    }
    if let Some(record) = file.record {
        set(&mut config.record.auto, record.auto);
        config.record.dir = Some(record.dir);
    }
    config.tap = file.tap.map(|t| TapConfig {
        file: t.file,
        snap: t.snap.map_or(0, |a| a.u32()),
        size: t.size.map_or(0, |a| a.u64()),
    });
    if let Some(limits) = file.limits {
        limits.over(&mut config.limits);
    }
    config.faults = file.faults.into_iter().map(|named| named.0).collect();
    config
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FileConfig {
    rtmp: Option<Entry<FileRtmp>>,
    rtsp: Option<Entry<FileRtsp>>,
    hls: Option<Entry<FileHls>>,
    api: Option<Listen>,
    record: Option<FileRecord>,
    tap: Option<FileTap>,
    limits: Option<FileLimits>,
    #[serde(default)]
    faults: Vec<Named>,
}

/// A fault by its id.
struct Named(&'static Fault);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let id = String::deserialize(d)?;
        let known = || fault::all().map(|fault| fault.id).collect::<Vec<_>>().join(", ");
        let unknown = || D::Error::custom(format!("there is no fault {id:?}; there are {}", known()));
        fault::find(&id).map(Self).ok_or_else(unknown)
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRecord {
    dir: PathBuf,
    auto: Option<bool>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTap {
    file: PathBuf,
    snap: Option<Amount>,
    size: Option<Amount>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRtmp {
    listen: Option<Listen>,
    chunk_size: Option<ChunkSize>,
    window_ack_size: Option<Amount>,
    max_message: Option<Amount>,
    max_message_before_publish: Option<Amount>,
    handshake_timeout: Option<Span>,
    request_timeout: Option<Span>,
    publisher_timeout: Option<Span>,
    send_buffer: Option<Amount>,
    unsent_low_water: Option<Amount>,
}

impl FileRtmp {
    fn over(self, to: &mut Rtmp) {
        set(&mut to.listen, self.listen.map(|l| l.0));
        set(&mut to.chunk_size, self.chunk_size.map(|c| c.0));
        set(&mut to.window_ack_size, self.window_ack_size.map(|a| a.u32()));
        set(&mut to.max_message, self.max_message.map(|a| a.u32()));
        set(&mut to.max_message_before_publish, self.max_message_before_publish.map(|a| a.u32()));
        set(&mut to.handshake_timeout, self.handshake_timeout.map(|s| s.0));
        set(&mut to.request_timeout, self.request_timeout.map(|s| s.0));
        set(&mut to.publisher_timeout, self.publisher_timeout.map(|s| s.0));
        set(&mut to.send_buffer, self.send_buffer.map(|a| a.usize()));
        set(&mut to.unsent_low_water, self.unsent_low_water.map(|a| a.u32()));
    }
}

/// A port for RTP is even, and the next one is RTCP's (RFC 3550 §11).
pub fn rtp_port(port: u16) -> Result<u16, String> {
    let even = port.is_multiple_of(2);
    even.then_some(port).ok_or_else(|| format!("{port} is odd: RTP takes an even port, and RTCP the next"))
}

fn even_port<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
    let port = u16::deserialize(from)?;
    rtp_port(port).map(Some).map_err(serde::de::Error::custom)
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRtsp {
    listen: Option<Listen>,
    #[serde(default, deserialize_with = "even_port")]
    rtp: Option<u16>,
    session_timeout: Option<Span>,
}

impl FileRtsp {
    fn over(self, to: &mut Rtsp) {
        set(&mut to.listen, self.listen.map(|l| l.0));
        set(&mut to.rtp, self.rtp);
        set(&mut to.session_timeout, self.session_timeout.map(|s| s.0.max(Duration::from_secs(1))));
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FileHls {
    listen: Option<Listen>,
    segment: Option<Span>,
    window: Option<usize>,
    target: Option<Span>,
    session: Option<HlsSession>,
}

impl FileHls {
    fn over(self, to: &mut Hls) {
        set(&mut to.listen, self.listen.map(|l| l.0));
        set(&mut to.segment, self.segment.map(|s| s.0.max(Duration::from_secs(1))));
        set(&mut to.window, self.window.map(|n| n.clamp(3, 1000)));
        set(&mut to.target, self.target.map(|s| s.0.min(Duration::from_secs(12))));
        set(&mut to.session, self.session);
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLimits {
    connections: Option<usize>,
    open_messages: Option<Amount>,
    ring_bytes: Option<Amount>,
    ring_total: Option<Amount>,
    ring_time: Option<Span>,
    viewer_lag: Option<Span>,
    viewer_stall: Option<Span>,
}

impl FileLimits {
    fn over(self, to: &mut Limits) {
        set(&mut to.connections, self.connections);
        set(&mut to.open_messages, self.open_messages.map(|a| a.usize()));
        set(&mut to.ring_bytes, self.ring_bytes.map(|a| a.usize()));
        set(&mut to.ring_total, self.ring_total.map(|a| a.usize()));
        set(&mut to.ring_time, self.ring_time.map(|s| s.0));
        set(&mut to.viewer_lag, self.viewer_lag.map(|s| s.0));
        set(&mut to.viewer_stall, self.viewer_stall.map(|s| s.0));
    }
}

fn set<T>(to: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *to = value;
    }
}

/// An address, or `off`.
struct Listen(Option<SocketAddr>);

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        listen(&String::deserialize(d)?).map(Self).map_err(D::Error::custom)
    }
}

/// A chunk size of RTMP 1.0 §5.4.1.
struct ChunkSize(u32);

impl<'de> Deserialize<'de> for ChunkSize {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match u32::deserialize(d)? {
            size @ 128..=65_536 => Ok(Self(size)),
            size => Err(D::Error::custom(format!("chunk_size {size}: want 128 to 65536"))),
        }
    }
}

/// A protocol's table, which may be given as its address alone.
trait Table: Default {
    fn at(listen: Listen) -> Self;
}

impl Table for FileRtmp {
    fn at(listen: Listen) -> Self {
        Self { listen: Some(listen), ..Self::default() }
    }
}

impl Table for FileRtsp {
    fn at(listen: Listen) -> Self {
        Self { listen: Some(listen), ..Self::default() }
    }
}

impl Table for FileHls {
    fn at(listen: Listen) -> Self {
        Self { listen: Some(listen), ..Self::default() }
    }
}

/// `rtmp = "ADDR"`, or the table `[rtmp]`; the other protocols' likewise.
struct Entry<T>(T);

impl<'de, T: Table + Deserialize<'de>> Deserialize<'de> for Entry<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Table + Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Entry<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address or a table")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Entry<T>, E> {
                listen(text).map(|at| Entry(T::at(Listen(at)))).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Entry)
            }
        }

        d.deserialize_any(Either(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_overrides_the_defaults_it_mentions() {
        let text = "rtmp = \"127.0.0.1:0\"\napi = \"off\"\n[tap]\nfile = \"x.pcapng\"\nsize = \"2MiB\"\n\
                    [limits]\nviewer_lag = \"1500ms\"\nopen_messages = 1000\n";
        let config = Config::parse(text, "t.toml").unwrap();
        assert_eq!(config.rtmp.listen, Some("127.0.0.1:0".parse().unwrap()));
        assert_eq!(config.rtmp.chunk_size, Rtmp::default().chunk_size);
        assert_eq!(config.api, None);
        assert_eq!(config.tap, Some(TapConfig { file: "x.pcapng".into(), snap: 0, size: 2 << 20 }));
        assert_eq!(config.limits.viewer_lag, Duration::from_millis(1500));
        assert_eq!(config.limits.open_messages, 1000);
        assert_eq!(Config::parse("", "empty").unwrap(), Config::default());
    }

    #[test]
    fn hls_and_recording_have_tables() {
        let text = "[hls]\nlisten = \":8888\"\nsegment = \"500ms\"\nwindow = 1\ntarget = \"8s\"\nsession = \"cookie\"\n\
                    [record]\ndir = \"r\"\nauto = false\n";
        let config = Config::parse(text, "t").unwrap();
        assert_eq!(config.hls.listen, Some(any(HLS_PORT)));
        assert_eq!((config.hls.segment, config.hls.window), (Duration::from_secs(1), 3));
        assert_eq!((config.hls.target, config.hls.session), (Duration::from_secs(8), HlsSession::Cookie));
        assert_eq!(config.record, Record { dir: Some("r".into()), auto: false });
        let error = Config::parse("[hls]\nsession = \"url\"\n", "t").unwrap_err().to_string();
        assert!(error.starts_with("t:2:11: unknown variant"), "{error}");
    }

    #[test]
    fn rtsp_has_a_table() {
        let config = Config::parse("[rtsp]\nlisten = \":8554\"\nrtp = 0\n", "t").unwrap();
        assert_eq!((config.rtsp.listen, config.rtsp.rtp), (Some(any(RTSP_PORT)), 0));
        assert_eq!(config.rtsp.session_timeout, Rtsp::default().session_timeout);
    }

    #[test]
    fn rtsp_and_hls_are_addresses_too() {
        let config = Config::parse("rtsp = \":8554\"\nhls = \"off\"\n", "t").unwrap();
        assert_eq!((config.rtsp.listen, config.rtsp.rtp), (Some(any(RTSP_PORT)), RTP_PORT));
        assert_eq!(config.hls, Hls { listen: None, ..Hls::default() });
        let error = Config::parse("rtsp = \"localhost\"\n", "t").unwrap_err().to_string();
        assert!(error.starts_with("t:1:8: \"localhost\" is no address"), "{error}");
    }

    #[test]
    fn faults_are_named_by_their_ids() {
        let config = Config::parse("faults = [\"rtp.marker-missing\", \"hls.map-missing\"]\n", "t").unwrap();
        let ids: Vec<_> = config.faults.iter().map(|fault| fault.id).collect();
        assert_eq!(ids, ["rtp.marker-missing", "hls.map-missing"]);
        let error = Config::parse("faults = [\"rtp.marker\"]\n", "t").unwrap_err().to_string();
        assert!(error.starts_with("t:1:10: there is no fault \"rtp.marker\"; there are rtmp."), "{error}");
    }

    #[test]
    fn rtmp_is_an_address_or_a_table() {
        let config = Config::parse("[rtmp]\nlisten = \":1936\"\nchunk_size = 4096\n", "t").unwrap();
        assert_eq!(config.rtmp.listen, Some("[::]:1936".parse().unwrap()));
        assert_eq!(config.rtmp.chunk_size, 4096);
    }

    #[test]
    fn errors_name_file_line_and_column() {
        let error = |text| Config::parse(text, "s.toml").unwrap_err().to_string();
        assert!(error("api = \"off\"\nrtpm = \":1\"\n").starts_with("s.toml:2:1: unknown field `rtpm`"));
        assert!(error("[rtmp]\nchunk_size = 5\n").starts_with("s.toml:2:14: chunk_size 5: want 128"));
        assert!(error("[rtsp]\nrtp = 8001\n").starts_with("s.toml:2:7: 8001 is odd: RTP takes an even port"));
        assert!(error("[rtmp]\nchunks = 5\n").starts_with("s.toml:2:1: unknown field `chunks`"));
        assert!(error("rtmp = \"localhost\"\n").starts_with("s.toml:1:8: \"localhost\" is no address"));
        assert!(error("[limits]\nring_time = 5\n").starts_with("s.toml:2:13: "));
        assert!(error("api = [\n").starts_with("s.toml:"));
    }
}
