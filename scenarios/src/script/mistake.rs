//! What is wrong with a scenario file, and where.

use std::fmt;
use std::ops::Range;

/// One mistake, with the place it was made at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file's name as it was given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line as it stands in the file.
    source: String,
    /// Characters it is about.
    width: usize,
    /// What is wrong.
    pub what: String,
    /// What was probably meant, or what is possible.
    pub help: Option<String>,
}

impl Mistake {
    /// A mistake about the bytes `span` of `text`.
    pub fn new(file: &str, text: &str, span: Range<usize>, what: String, help: Option<String>) -> Self {
        let start = floor(text, span.start);
        let end = floor(text, span.end).max(start);
        let before = text.get(..start).unwrap_or_default();
        let begins = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = text.get(begins..).unwrap_or_default();
        let source = rest.lines().next().unwrap_or_default();
        let column = text.get(begins..start).unwrap_or_default().chars().count();
        let about = text.get(start..end).unwrap_or_default();
        let width = about.lines().next().unwrap_or_default().trim_end().chars().count();
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: column + 1,
            source: source.replace('\t', " "),
            width: width.max(1),
            what,
            help,
        }
    }
}

/// The nearest boundary of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.what)?;
        let margin = self.line.to_string();
        writeln!(f, "  {margin} | {}", self.source)?;
        let (blank, indent) = (" ".repeat(margin.len()), " ".repeat(self.column - 1));
        write!(f, "  {blank} | {indent}{}", "^".repeat(self.width))?;
        match &self.help {
            Some(help) => write!(f, " {help}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a file, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// The best match for a word among those possible, as help.
pub fn suggest<'a>(word: &str, possible: impl Iterator<Item = &'a str>) -> Option<String> {
    /// Below this similarity a suggestion would be a riddle.
    const ALIKE: f64 = 0.75;
    possible
        .map(|known| (strsim::jaro_winkler(word, known), known))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| format!("did you mean {known:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_word() {
        let text = "title = \"x\"\nwho  = \"ä\", do = \"plai\"\n";
        let at = text.find("\"plai\"").unwrap();
        let mistake = Mistake::new(
            "a.toml",
            text,
            at..at + 6,
            "no such action".to_owned(),
            Some("try play".to_owned()),
        );
        let want = "a.toml:2:18: no such action\n  2 | who  = \"ä\", do = \"plai\"\n    |                  ^^^^^^ try play";
        assert_eq!(mistake.to_string(), want);
    }

    #[test]
    fn places_outside_the_text_are_its_end() {
        let mistake = Mistake::new("a.toml", "é", 1..90, "cut".to_owned(), None);
        assert_eq!((mistake.line, mistake.column), (1, 1));
        assert_eq!(Mistake::new("a.toml", "", 5..9, "empty".to_owned(), None).column, 1);
    }

    #[test]
    fn far_words_are_not_suggested() {
        let words = ["publish", "play", "stop"];
        assert_eq!(suggest("plya", words.into_iter()).as_deref(), Some("did you mean \"play\"?"));
        assert_eq!(suggest("zzz", words.into_iter()), None);
    }
}
