//! Failures that are known: `--expect` and `--bless`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use model::{Case, Verdict};
use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// Known failures, as a TOML file lists them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectations {
    #[serde(default)]
    expect: Vec<Expectation>,
}

/// One known failure.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    /// Id of the rule.
    rule: String,
    /// What it comes to.
    verdict: Verdict,
    /// Why that is so.
    #[serde(default)]
    reason: String,
}

impl Expectations {
    /// Reads the file, whose rules have to be in the catalogue; one that is about to be written may be missing.
    pub fn of_rules(path: &Path, bless: bool) -> Result<Self, Failure> {
        let read = Self::read(path, bless)?;
        if let Some(unknown) = read.expect.iter().find(|one| spec::find(&one.rule).is_none()) {
            let hint = super::rules::did_you_mean(&unknown.rule);
            return Err(Failure::usage(format!(
                "{}: there is no rule {}{hint}",
                path.display(),
                unknown.rule
            )));
        }
        Ok(read)
    }

    /// Reads the file; one that is about to be written may be missing.
    pub fn read(path: &Path, bless: bool) -> Result<Self, Failure> {
        let text = match fs::read_to_string(path) {
            Err(error) if bless && error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?,
        };
        toml::from_str(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
    }

    /// Rules it names that none of these cases is about.
    pub fn unheard<'a>(&'a self, cases: &'a [Case]) -> impl Iterator<Item = &'a str> {
        let heard = |one: &&Expectation| !cases.iter().any(|case| case.rule == one.rule);
        self.expect.iter().filter(heard).map(|one| one.rule.as_str())
    }

    /// What these cases come to, with the reasons given before; what was not looked at this time stays.
    pub fn bless(self, cases: &[Case]) -> Self {
        let looked_at = |one: &Expectation| cases.iter().any(|case| case.rule == one.rule);
        let mut expect: Vec<Expectation> =
            self.expect.iter().filter(|one| !looked_at(one)).cloned().collect();
        for case in cases.iter().filter(|case| matches!(case.verdict, Verdict::Fail | Verdict::Warn)) {
            let before = self.expect.iter().find(|one| one.rule == case.rule);
            expect.push(Expectation {
                rule: case.rule.clone(),
                verdict: case.verdict,
                reason: before.map(|one| one.reason.clone()).unwrap_or_default(),
            });
        }
        expect.sort_by(|a, b| a.rule.cmp(&b.rule));
        Self { expect }
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::environment(format!("cannot write {}: {error}", path.display()))
        };
        let text = toml::to_string_pretty(self).map_err(|error| failed(&error))?;
        fs::write(path, text).map_err(|error| failed(&error))
    }

    /// Marks what was announced; a failure that was announced and went away is a surprise, too.
    pub fn apply(&self, cases: &mut [Case], strict: bool) {
        for case in cases {
            let Some(known) = self.expect.iter().find(|one| one.rule == case.rule) else { continue };
            let bad = case.verdict == Verdict::Fail || strict && case.verdict == Verdict::Warn;
            let announced_bad = matches!(known.verdict, Verdict::Fail | Verdict::Warn | Verdict::Error);
            case.expected = match case.verdict {
                Verdict::Pass => !announced_bad,
                verdict if bad => verdict == known.verdict,
                _ => true,
            };
            if case.expected && case.reason.is_none() && !known.reason.is_empty() {
                case.reason = Some(format!("expected: {}", known.reason));
            }
        }
    }
}
