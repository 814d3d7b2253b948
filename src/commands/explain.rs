//! `streamgauge explain`.

use reports::text;

use super::rules::did_you_mean;
use crate::args::{Common, Explain};
use crate::exit::{Code, Ended, Failure};
use crate::output;

/// Tells all about a requirement.
pub fn run(args: &Explain, common: &Common) -> Ended {
    let id = args.id.as_str();
    let requirement = spec::find(id)
        .ok_or_else(|| Failure::usage(format!("there is no requirement {id}{}", did_you_mean(id))))?;
    let rule = analyzer::rules::find(id);
    let doc = |part: fn(&analyzer::rules::Doc) -> &'static str| rule.map_or("", |rule| part(rule.doc));
    let known = match requirement.confidence {
        spec::Confidence::Spec => "Read in the cited text.",
        spec::Confidence::Implementations => "Seen in several implementations.",
        spec::Confidence::Memory => "Our own judgement.",
    };
    let binding = format!(
        "{}, for {}; a breach is {}.",
        match requirement.level {
            spec::Level::Must => "The specification demands it",
            spec::Level::Should => "The specification recommends it",
            spec::Level::Convention => "Peers rely on it though no specification says so",
            spec::Level::May => "The specification allows it",
        },
        match requirement.actor {
            spec::Actor::Client => "the client",
            spec::Actor::Server => "the server",
            spec::Actor::Both => "both sides",
            spec::Actor::Capture => "whoever captures",
        },
        match requirement.severity {
            spec::Severity::Info => "worth knowing",
            spec::Severity::Warning => "a warning",
            spec::Severity::Error => "an error",
        }
    );
    let status = match rule {
        Some(_) => "check judges it over captures.",
        None => "No rule judges it over captures yet.",
    };
    let parts = [
        ("WHERE IT IS WRITTEN", requirement.spec),
        ("HOW BINDING IT IS", binding.as_str()),
        ("WHY IT MATTERS", requirement.teach),
        ("HOW IT SHOWS IN A CAPTURE", requirement.passive),
        ("HOW A LIVE PEER IS TESTED FOR IT", requirement.active),
        ("THE RULE", status),
        ("WHAT THE RULE LOOKS AT", doc(|doc| doc.looks_at)),
        ("HOW THE RULE JUDGES", doc(|doc| doc.judges)),
        ("PEERS", doc(|doc| doc.peers)),
        ("HOW WE KNOW", known),
    ];
    let level = requirement.level.as_str();
    output::print(&text::explanation(id, level, requirement.title, &parts, &output::text_options(common)))?;
    Ok(Code::Expected)
}
