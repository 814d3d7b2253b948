//! `streamgauge rules` and the globs that select rules.

use reports::text::{self, Entry};
pub use scenarios::glob::matches;

use crate::args::{Common, Rules};
use crate::exit::{Code, Ended, Failure};
use crate::output;

/// Lists the catalogue.
pub fn run(args: &Rules, common: &Common) -> Ended {
    let pattern = args.glob.as_deref().unwrap_or("*");
    let entries: Vec<Entry> = spec::ALL
        .iter()
        .filter(|requirement| matches(pattern, requirement.id))
        .map(|requirement| Entry {
            id: requirement.id.to_owned(),
            level: requirement.level.to_string(),
            title: requirement.title.to_owned(),
            judged: analyzer::rules::find(requirement.id).is_some(),
        })
        .collect();
    if entries.is_empty() {
        return Err(Failure {
            message: format!("no requirement matches {pattern}{}", did_you_mean(pattern)),
            code: Code::NothingSelected,
        });
    }
    output::print(&text::catalogue(&entries, &output::text_options(common)))?;
    Ok(Code::Expected)
}

/// Requirements near this one, as the end of a sentence; empty where there is none.
pub fn did_you_mean(name: &str) -> String {
    near(name, spec::ALL.iter().map(|requirement| requirement.id))
}

/// Names of these near this one, as the end of a sentence; empty where there is none.
pub fn near<'a>(name: &str, of: impl Iterator<Item = &'a str>) -> String {
    let mut near: Vec<(f64, &str)> =
        of.map(|known| (strsim::jaro_winkler(name, known), known)).filter(|(s, _)| *s > 0.8).collect();
    near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    near.dedup();
    let names: Vec<&str> = near.into_iter().take(3).map(|(_, id)| id).collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested() {
        assert!(did_you_mean("rtsp.cseq.eco").contains("rtsp.cseq.echo"));
        assert_eq!(did_you_mean("qqqq"), "");
    }
}
