//! A TOML document whose every value knows its place, read by hand so that each mistake can be shown.

use std::cell::RefCell;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Mistake, suggest};
use super::quantity::{Bound, Unit, duration};

/// A value with its place.
pub(super) type Node<'a> = Spanned<DeValue<'a>>;

/// Where mistakes are gathered.
#[derive(Debug)]
pub(super) struct Reader<'t> {
    file: &'t str,
    text: &'t str,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'t> Reader<'t> {
    pub fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text, mistakes: RefCell::default() }
    }

    /// The whole document as fields.
    pub fn document<'a>(
        &'a self,
        parsed: &'a Result<Spanned<DeTable<'t>>, toml::de::Error>,
        known: &'static [&'static str],
    ) -> Option<Fields<'a, 't>> {
        match parsed {
            Ok(table) => {
                Some(Fields::of(self, table.get_ref(), 0..self.text.len().min(1), "a scenario", known))
            }
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                self.wrong(span, error.message().trim_end().to_owned());
                None
            }
        }
    }

    /// The line of a byte, from 1.
    pub fn line(&self, at: usize) -> usize {
        self.text.get(..at).unwrap_or(self.text).matches('\n').count() + 1
    }

    /// Notes a mistake.
    pub fn wrong(&self, span: Range<usize>, what: impl Into<String>) {
        self.note(span, what.into(), None);
    }

    /// Notes a mistake, with what was probably meant.
    pub fn note(&self, span: Range<usize>, what: String, help: Option<String>) {
        self.mistakes.borrow_mut().push(Mistake::new(self.file, self.text, span, what, help));
    }

    /// The mistakes in the order of the file.
    pub fn into_mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|m| (m.line, m.column));
        mistakes
    }

    pub fn text(&self, node: &Node<'_>) -> Option<String> {
        match node.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            other => self.unlike(node, "a text in quotes", other),
        }
    }

    pub fn boolean(&self, node: &Node<'_>) -> Option<bool> {
        match node.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            other => self.unlike(node, "true or false", other),
        }
    }

    /// A whole number in a range.
    pub fn integer(&self, node: &Node<'_>, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let DeValue::Integer(number) = node.get_ref() else {
            return self.unlike(node, "a whole number", node.get_ref());
        };
        match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(value) if range.contains(&value) => Some(value),
            _ => {
                self.wrong(node.span(), format!("want a number from {} to {}", range.start(), range.end()));
                None
            }
        }
    }

    pub fn duration(&self, node: &Node<'_>) -> Option<Duration> {
        self.parsed(node, Unit::Time.example(), duration)
    }

    pub fn quantity(&self, node: &Node<'_>, unit: Unit) -> Option<f64> {
        self.parsed(node, unit.example(), |text| unit.read(text))
    }

    /// A bound as text, or a bare number where things are counted.
    pub fn bound(&self, node: &Node<'_>, unit: Unit) -> Option<Bound> {
        match node.get_ref() {
            DeValue::Integer(number) if unit == Unit::Count => match number.as_str().parse::<u32>() {
                Ok(value) if number.radix() == 10 => Some(Bound::exactly(unit, f64::from(value))),
                _ => {
                    self.wrong(node.span(), format!("want {} or a bound such as \">= 20\"", unit.example()));
                    None
                }
            },
            _ => self.parsed(node, "a bound such as \"< 2s\", \">= 20\" or \"18s ± 0.5s\"", |text| {
                Bound::read(unit, text)
            }),
        }
    }

    /// A text that something else understands.
    pub fn parsed<T>(
        &self,
        node: &Node<'_>,
        want: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let DeValue::String(text) = node.get_ref() else {
            return self.unlike(node, want, node.get_ref());
        };
        match parse(text) {
            Ok(value) => Some(value),
            Err(what) => {
                self.wrong(node.span(), what);
                None
            }
        }
    }

    /// One word of several.
    pub fn choice<T: Copy>(&self, node: &Node<'_>, what: &str, choices: &[(&str, T)]) -> Option<T> {
        let word = self.text(node)?;
        let chosen = choices.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        if chosen.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
            let help = suggest(&word, choices.iter().map(|(name, _)| *name));
            self.note(
                node.span(),
                format!("there is no {what} {word:?}"),
                Some(help.unwrap_or_else(|| format!("want {}", one_of(&names)))),
            );
        }
        chosen
    }

    /// The entries of an array.
    pub fn list<'a, 'i>(&self, node: &'a Node<'i>) -> Option<Vec<&'a Node<'i>>> {
        match node.get_ref() {
            DeValue::Array(array) => Some(array.iter().collect()),
            other => self.unlike(node, "a list in [ ]", other),
        }
    }

    /// One text, or a list of them; each with its place.
    pub fn texts(&self, node: &Node<'_>) -> Option<Vec<(String, Range<usize>)>> {
        match node.get_ref() {
            DeValue::String(text) => Some(vec![(text.clone().into_owned(), node.span())]),
            DeValue::Array(array) => array.iter().map(|item| Some((self.text(item)?, item.span()))).collect(),
            other => self.unlike(node, "a text or a list of texts", other),
        }
    }

    fn unlike<T>(&self, node: &Node<'_>, want: &str, got: &DeValue<'_>) -> Option<T> {
        self.wrong(node.span(), format!("want {want}, got {}", kind(got)));
        None
    }
}

/// `a, b or c`.
fn one_of(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A table of which every key is known.
#[derive(Debug)]
pub(super) struct Fields<'a, 't> {
    pub reader: &'a Reader<'t>,
    table: &'a DeTable<'a>,
    span: Range<usize>,
    what: &'static str,
}

impl<'a, 't> Fields<'a, 't> {
    /// The fields of a value that has to be a table; keys that mean nothing are mistakes.
    pub fn new(
        reader: &'a Reader<'t>,
        node: &'a Node<'a>,
        what: &'static str,
        known: &'static [&'static str],
    ) -> Option<Self> {
        match node.get_ref() {
            DeValue::Table(table) => Some(Self::of(reader, table, node.span(), what, known)),
            other => reader.unlike(node, "a table in { }", other),
        }
    }

    fn of(
        reader: &'a Reader<'t>,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        what: &'static str,
        known: &'static [&'static str],
    ) -> Self {
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let help = suggest(name, known.iter().copied()).or_else(|| {
                let known: Vec<_> = known.iter().map(|k| (*k).to_owned()).collect();
                Some(format!("it has {}", one_of(&known)))
            });
            reader.note(key.span(), format!("{what} has no {name:?}"), help);
        }
        Self { reader, table, span, what }
    }

    /// The value of a key, if it is there.
    pub fn get(&self, key: &str) -> Option<&'a Node<'a>> {
        self.table.get(key)
    }

    /// The value of a key that has to be there.
    pub fn need(&self, key: &str) -> Option<&'a Node<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.reader.wrong(self.span.clone(), format!("{} needs {key:?}", self.what));
        }
        value
    }

    /// Where the table stands.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}
