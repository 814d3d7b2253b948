//! Which session of a capture is played.

use analyzer::transcript::Choice;
use analyzer::{Analyzer, Options as Reading};
use model::{Analysis, Role, Session, Transport};

use super::{Options, ReplayError, scheme};

/// As many sessions are listed.
const MAX_LISTED: usize = 20;

/// Finds the session that was asked for, or the first publisher.
pub(super) fn choose(options: &Options) -> Result<(Session, Choice), ReplayError> {
    let mut analyzer = Analyzer::new(Reading::default());
    analyzer.file(&options.file).map_err(ReplayError::Capture)?;
    let analysis = analyzer.finish();
    let session = pick(&analysis, options.session.as_deref())
        .map_err(|why| ReplayError::Unplayable(format!("{why}{}", listing(&analysis))))?;
    playable(&analysis, session, options).map_err(ReplayError::Unplayable)?;
    let choice = Choice::of(session).ok_or_else(|| {
        ReplayError::Unplayable(format!("{}: the capture does not tell its connection", session.id))
    })?;
    Ok((session.clone(), choice))
}

fn pick<'a>(analysis: &'a Analysis, wanted: Option<&str>) -> Result<&'a Session, String> {
    let sessions = &analysis.sessions;
    match wanted {
        Some(id) => {
            let found = sessions.iter().find(|session| session.id == id);
            found.ok_or_else(|| format!("the capture has no session {id:?}"))
        }
        None => {
            // One that cannot be played again comes last: its refusal says why.
            let publishers = || sessions.iter().filter(|session| session.role == Role::Publisher);
            let mut can =
                publishers().filter(|s| scheme(s.protocol).is_some() && s.transport != Transport::Udp);
            let found = can.next().or_else(|| publishers().next());
            found.ok_or_else(|| "the capture has no publisher: name a session with --session".to_owned())
        }
    }
}

fn playable(analysis: &Analysis, session: &Session, options: &Options) -> Result<(), String> {
    let Session { id, protocol, transport, role, .. } = session;
    let name = format!("{protocol:?}").to_lowercase();
    let Some(scheme) = scheme(*protocol) else {
        return Err(format!("{id} is {name}: only RTMP sessions and RTSP over TCP are played again"));
    };
    let encrypted = [spec::capture::RTMP_ENCRYPTED.id, spec::capture::RTMP_TUNNELLED.id];
    let of = |f: &&model::Finding| f.session.as_deref() == Some(id) && encrypted.contains(&f.rule.as_str());
    if let Some(finding) = analysis.findings.iter().find(of) {
        return Err(format!("{id} cannot be played again: {}", finding.message));
    }
    match transport {
        Transport::Udp => {
            return Err(format!(
                "{id} carries its media in UDP: of RTSP, only sessions over TCP (interleaved) are played again"
            ));
        }
        Transport::Http | Transport::Tls => {
            return Err(format!("{id} is inside HTTP or TLS: it cannot be played again"));
        }
        Transport::Tcp | Transport::Interleaved => {}
    }
    if *role == Role::Control {
        return Err(format!("{id} neither publishes nor plays: there is nothing to play again"));
    }
    if options.url.scheme != scheme {
        let (want, url) = (scheme.name(), options.url.plain());
        return Err(format!("{id} is {name}: want {want}://HOST[:PORT]/PATH, not {url}"));
    }
    Ok(())
}

/// The sessions of a capture, and where there is none what may be in their place.
fn listing(analysis: &Analysis) -> String {
    let mut text = String::new();
    for session in analysis.sessions.iter().take(MAX_LISTED) {
        let Session { id, protocol, transport, role, path, client, .. } = session;
        let words = |text: String| text.to_lowercase();
        let (protocol, transport) = (words(format!("{protocol:?}")), words(format!("{transport:?}")));
        let role = words(format!("{role:?}"));
        let port = client.port.map(|port| format!(":{port}")).unwrap_or_default();
        let path = path.as_deref().unwrap_or("-");
        text += &format!(
            "\n  {id:<9} {role:<9} {protocol} over {transport}, {path}, from {}{port}",
            client.address
        );
    }
    let more = analysis.sessions.len().saturating_sub(MAX_LISTED);
    if more > 0 {
        text += &format!("\n  … and {more} more, which `streamgauge analyze` lists");
    }
    if analysis.sessions.is_empty() {
        text += "; no session was found in it";
        let guises = [spec::capture::RTMP_ENCRYPTED.id, spec::capture::RTMP_TUNNELLED.id];
        for finding in analysis.findings.iter().filter(|f| guises.contains(&f.rule.as_str())).take(3) {
            text += &format!("\n  {}", finding.message);
        }
    }
    text
}
