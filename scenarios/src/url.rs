//! Where a client goes.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use percent_encoding::percent_decode_str;
use tokio::net::lookup_host;

/// What a URL speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `rtmp://`, port 1935.
    Rtmp,
    /// `rtsp://`, port 554.
    Rtsp,
    /// `http://`, port 80; nothing is published there.
    Http,
}

impl Scheme {
    /// Those that take publishers.
    const STREAMS: [Self; 2] = [Self::Rtmp, Self::Rtsp];
    const ALL: [Self; 3] = [Self::Rtmp, Self::Rtsp, Self::Http];

    /// Its name, as URLs have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rtmp => "rtmp",
            Self::Rtsp => "rtsp",
            Self::Http => "http",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Rtmp => 1935,
            Self::Rtsp => 554,
            Self::Http => 80,
        }
    }
}

/// `rtmp://HOST[:PORT]/PATH[?QUERY]` or the same with `rtsp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamUrl {
    /// What it speaks.
    pub scheme: Scheme,
    /// Name or address, without the brackets of an IPv6 address.
    pub host: String,
    /// The standard port where the URL names none.
    pub port: u16,
    /// Path and query string as they stand, without the leading slash.
    pub path: String,
}

/// Why a URL cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlError(String);

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UrlError {}

impl StreamUrl {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let wrong = |why: &str| UrlError(format!("{text:?} is no URL to publish to: {why}"));
        let want = "want rtmp://HOST[:PORT]/PATH or rtsp://HOST[:PORT]/PATH";
        let url = Self::of(text, &Scheme::STREAMS, want).map_err(wrong)?;
        if url.path.is_empty() {
            return Err(wrong("it names no stream"));
        }
        Ok(url)
    }

    /// The server's address, the first of those its name has.
    pub async fn resolve(&self) -> io::Result<SocketAddr> {
        let mut found = lookup_host((self.host.as_str(), self.port)).await?;
        found.next().ok_or_else(|| io::Error::other("the name has no address"))
    }

    /// Reads a URL of one of these schemes, whatever its path.
    fn of(text: &str, schemes: &[Scheme], want: &'static str) -> Result<Self, &'static str> {
        let split = schemes.iter().find_map(|scheme| {
            let (name, rest) = text.split_once("://")?;
            let rest = name.eq_ignore_ascii_case(scheme.name()).then_some(rest)?;
            Some((*scheme, rest))
        });
        let (scheme, rest) = split.ok_or(want)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (host, port) = match authority.strip_prefix('[').map(|address| address.split_once(']')) {
            Some(None) => return Err("its address has no closing bracket"),
            Some(Some((host, after))) => (host, after.strip_prefix(':')),
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() {
            return Err("it names no host");
        }
        let port = match port {
            None => scheme.port(),
            Some(port) => port.parse().map_err(|_| "its port is no number from 0 to 65535")?,
        };
        Ok(Self { scheme, host: host.to_owned(), port, path: path.to_owned() })
    }

    /// Host and port as a URL has them.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The whole, without a user's name and password.
    pub fn plain(&self) -> String {
        format!("{}://{}/{}", self.scheme.name(), self.authority(), self.path)
    }

    /// RTMP's application and stream name: the query string belongs to the name.
    pub fn app_and_name(&self) -> (String, String) {
        let (path, query) =
            self.path.split_once('?').map_or((self.path.as_str(), None), |(p, q)| (p, Some(q)));
        let (app, name) = path.rsplit_once('/').unwrap_or((path, ""));
        let plain = |s: &str| percent_decode_str(s).decode_utf8_lossy().into_owned();
        let name = match query {
            Some(query) => format!("{}?{query}", plain(name)),
            None => plain(name),
        };
        (plain(app), name)
    }
}

/// Where a server serves one protocol: a URL whose path, if it has one, stands before those of the streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUrl(StreamUrl);

impl TargetUrl {
    /// Reads a URL of a server.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let want = "want rtmp://HOST[:PORT], rtsp://HOST[:PORT] or http://HOST[:PORT]";
        let url = StreamUrl::of(text, &Scheme::ALL, want);
        url.map(Self).map_err(|why| UrlError(format!("{text:?} is no URL of a server: {why}")))
    }

    /// What it speaks.
    pub fn scheme(&self) -> Scheme {
        self.0.scheme
    }

    /// The server's address.
    pub async fn resolve(&self) -> io::Result<SocketAddr> {
        self.0.resolve().await
    }

    /// The URL of a stream. A path that begins with the server's own is not put behind it once more: at
    /// `rtmp://host/live` both `a` and `live/a` are `rtmp://host/live/a`.
    pub fn stream(&self, path: &str) -> StreamUrl {
        let own = self.0.path.trim_matches('/');
        let has_it = path.strip_prefix(own).is_some_and(|rest| own.is_empty() || rest.starts_with('/'));
        let path = if has_it { path.to_owned() } else { format!("{own}/{path}") };
        StreamUrl { path, ..self.0.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_ports_paths_and_queries() {
        let url = |text| StreamUrl::parse(text).unwrap();
        let plain = url("rtmp://example.org/live/cam");
        assert_eq!((plain.host.as_str(), plain.port), ("example.org", 1935));
        assert_eq!(plain.app_and_name(), ("live".into(), "cam".into()));
        let six = url("rtmp://[::1]:1936/a/b/caf%C3%A9?token=x/y");
        assert_eq!((six.host.as_str(), six.port, six.authority().as_str()), ("::1", 1936, "[::1]:1936"));
        assert_eq!(six.app_and_name(), ("a/b".into(), "café?token=x/y".into()));
        assert_eq!(url("RTMP://h/live/a").scheme, Scheme::Rtmp);
        let rtsp = url("rtsp://u:p@[::1]/live/cam?x=1");
        assert_eq!((rtsp.scheme, rtsp.plain().as_str()), (Scheme::Rtsp, "rtsp://[::1]:554/live/cam?x=1"));
        assert_eq!(url("rtmp://u:p@h:7/only").app_and_name(), ("only".into(), String::new()));
    }

    #[test]
    fn a_servers_path_stands_before_the_streams() {
        let stream = |server, path| TargetUrl::parse(server).unwrap().stream(path).plain();
        assert_eq!(stream("rtmp://host/live", "live/a"), "rtmp://host:1935/live/a");
        assert_eq!(stream("rtmp://host/live", "a"), "rtmp://host:1935/live/a");
        assert_eq!(stream("rtmp://host/live", "lively/a"), "rtmp://host:1935/live/lively/a");
        assert_eq!(stream("http://[::1]:8888/", "live/a"), "http://[::1]:8888/live/a");
        assert!(TargetUrl::parse("ftp://host").unwrap_err().to_string().contains("want rtmp://HOST"));
    }

    #[test]
    fn what_is_no_url_is_said_so() {
        for (text, why) in [
            ("http://h/x", "want rtmp://"),
            ("rtmp:///x", "names no host"),
            ("rtmp://[::1/live/x", "no closing bracket"),
            ("rtmp://h:99999/x", "no number from 0"),
            ("rtmp://h", "names no stream"),
        ] {
            assert!(StreamUrl::parse(text).unwrap_err().to_string().contains(why), "{text}");
        }
    }
}
