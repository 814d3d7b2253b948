//! Why an interface cannot be listened to, and what helps.

use std::fmt;
use std::io;

use super::interfaces::interfaces;

/// Why sniffing failed.
#[derive(Debug)]
pub enum LiveError {
    /// This user may not sniff.
    NoRight {
        /// The interface.
        name: String,
        /// What the system says.
        why: String,
    },
    /// There is no such interface.
    NoInterface {
        /// What was asked for.
        name: String,
        /// Those that are there.
        there: Vec<String>,
    },
    /// The filter is none.
    Filter {
        /// The expression.
        filter: String,
        /// What libpcap says.
        why: String,
    },
    /// The interface went away, is down, or libpcap cannot take it.
    Broken {
        /// The interface.
        name: String,
        /// What the system says.
        why: String,
    },
    /// What was sniffed could not be written.
    Write(io::Error),
}

impl LiveError {
    pub(super) fn of(name: &str, error: pcap::Error) -> Self {
        let why = words(error);
        let says = |text: &str| why.to_lowercase().contains(text);
        let name = name.to_owned();
        if says("permission") || says("not permitted") {
            Self::NoRight { name, why }
        } else if says("no such device") || says("doesn't exist") {
            Self::NoInterface { name, there: interfaces().into_iter().map(|i| i.name).collect() }
        } else {
            Self::Broken { name, why }
        }
    }

    pub(super) fn filter(filter: &str, error: pcap::Error) -> Self {
        Self::Filter { filter: filter.to_owned(), why: words(error) }
    }
}

/// libpcap's own words, without the wrapper's.
fn words(error: pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(text) => text.trim().to_owned(),
        other => other.to_string(),
    }
}

impl fmt::Display for LiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRight { name, why } => write!(
                f,
                "this user may not sniff on {name}: {why}\n\
                 Any of these helps:\n  \
                 once, for this program:\n    \
                 sudo setcap cap_net_raw,cap_net_admin+eip $(command -v streamgauge)\n  \
                 as root:\n    \
                 sudo $(command -v streamgauge) ...\n  \
                 without any right, where the server is ours:\n    \
                 streamgauge serve --tap FILE"
            ),
            Self::NoInterface { name, there } => {
                write!(f, "there is no interface {name}; there are: {}", there.join(", "))
            }
            Self::Filter { filter, why } => write!(f, "the filter \"{filter}\" is none: {why}"),
            Self::Broken { name, why } => write!(f, "cannot sniff on {name}: {why}"),
            Self::Write(error) => write!(f, "what was sniffed cannot be written: {error}"),
        }
    }
}

impl std::error::Error for LiveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Write(error) => Some(error),
            _ => None,
        }
    }
}
