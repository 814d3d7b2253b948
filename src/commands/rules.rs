//! `streamgauge rules` and the globs that select rules.

use reports::text::{self, Entry};

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

/// True where the name matches: `*` stands for any text, `?` for one character, the rest for itself.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // Where the latest star stands and how much of the name it has taken.
    let mut star: Option<(usize, usize)> = None;
    let (mut p, mut n) = (0, 0);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || name.get(n) == Some(c) => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

/// Names near this one, as the end of a sentence; empty where there is none.
pub fn did_you_mean(name: &str) -> String {
    let mut near: Vec<(f64, &str)> = spec::ALL
        .iter()
        .map(|r| (strsim::jaro_winkler(name, r.id), r.id))
        .filter(|(s, _)| *s > 0.8)
        .collect();
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
    fn globs() {
        for (pattern, name, matched) in [
            ("*", "rtmp.a", true),
            ("rtmp.*", "rtmp.a.b", true),
            ("rtmp.*", "rtsp.a", false),
            ("*.a?", "x.ab", true),
            ("*.a?", "x.a", false),
            ("r*p.*.z", "rtmp.x.y.z", true),
            ("rtmp.a", "rtmp.a", true),
            ("rtmp.a", "rtmp.ab", false),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), matched, "{pattern} {name}");
        }
    }

    #[test]
    fn near_names_are_suggested() {
        assert!(did_you_mean("rtsp.cseq.eco").contains("rtsp.cseq.echo"));
        assert_eq!(did_you_mean("qqqq"), "");
    }
}
