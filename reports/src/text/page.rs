//! A page of lines: headings, entries, details, and colour only where it is wanted.

use anstyle::{AnsiColor, Style};

use super::TextOptions;
use crate::words::{clean, columns, left, middle, wrap};

/// Emphasis.
#[derive(Clone, Copy)]
pub(super) enum Ink {
    /// Headings, names.
    Strong,
    /// Column titles, remarks in passing.
    Faint,
    /// Publishers.
    Source,
    /// Viewers.
    Sink,
    /// As wanted.
    Good,
    /// Questionable.
    Doubtful,
    /// Wrong.
    Bad,
}

impl Ink {
    fn style(self) -> Style {
        let color = |c: AnsiColor| Style::new().fg_color(Some(c.into()));
        match self {
            Self::Strong => Style::new().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Source => color(AnsiColor::Yellow).bold(),
            Self::Sink => color(AnsiColor::Cyan).bold(),
            Self::Good => color(AnsiColor::Green).bold(),
            Self::Doubtful => color(AnsiColor::Yellow).bold(),
            Self::Bad => color(AnsiColor::Red).bold(),
        }
    }
}

/// The report under construction.
pub(super) struct Page {
    text: String,
    color: bool,
    width: usize,
}

impl Page {
    pub(super) fn new(options: &TextOptions) -> Self {
        Self { text: String::new(), color: options.color, width: options.width.clamp(80, 132) }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The text in this ink, where colour is wanted.
    pub(super) fn ink(&self, ink: Ink, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let style = ink.style();
        format!("{style}{text}{style:#}")
    }

    /// A finished line; trailing blanks go.
    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    pub(super) fn blank(&mut self) {
        self.line("");
    }

    /// A line in bold.
    pub(super) fn strong(&mut self, line: &str) {
        let line = self.ink(Ink::Strong, line);
        self.line(&line);
    }

    /// A section's heading: title, then a rule, then what stands to the right.
    pub(super) fn heading(&mut self, title: &str, aside: &str) {
        if !self.text.is_empty() {
            self.blank();
        }
        let aside = middle(aside, self.width / 2);
        let aside = if aside.is_empty() { aside } else { format!(" {aside}") };
        let used = columns(title) + 1 + columns(&aside);
        let rule = "─".repeat(self.width.saturating_sub(used));
        let line = format!(
            "{} {}{}",
            self.ink(Ink::Strong, title),
            self.ink(Ink::Faint, &rule),
            self.ink(Ink::Faint, &aside)
        );
        self.line(&line);
    }

    /// A line at the first indentation, as a name that came from outside.
    pub(super) fn entry(&mut self, name: &str) {
        let name = middle(&clean(name), self.width - 2);
        let line = format!("  {}", self.ink(Ink::Strong, &name));
        self.line(&line);
    }

    /// Lines at the second indentation, wrapped.
    pub(super) fn detail(&mut self, text: &str) {
        for line in wrap(text, self.width - 4) {
            self.line(&format!("    {line}"));
        }
    }

    /// A label and what it says, wrapped with a hanging indentation behind the label.
    pub(super) fn labelled(&mut self, label: &str, text: &str) {
        let indent = 4 + columns(label) + 1;
        let mut label = self.ink(Ink::Faint, label);
        for line in wrap(text, self.width - indent) {
            let gap = if label.is_empty() { " ".repeat(indent) } else { format!("    {label} ") };
            self.line(&format!("{gap}{line}"));
            label.clear();
        }
    }

    /// Column titles.
    pub(super) fn titles(&mut self, titles: &str) {
        let line = self.ink(Ink::Faint, titles.trim_end());
        self.line(&line);
    }

    /// Says how many rows a cut list left out.
    pub(super) fn left_out(&mut self, rows: usize, shown: usize) {
        if rows > shown {
            let text = format!("  … and {} more, all of them in the JSON", rows - shown);
            let line = self.ink(Ink::Faint, &left(&text, self.width));
            self.line(line.trim_end());
        }
    }
}
