//! Text in fixed columns: hostile names made harmless, display widths, truncation, wrapping.

pub use crate::clients::{protocol, role};

/// The text with everything taken out that could steer a terminal, reorder a line or hide: control
/// characters become their pictures (`␛`), invisible and bidirectional marks the replacement character.
pub fn clean(text: &str) -> String {
    text.chars().map(harmless).collect()
}

fn harmless(c: char) -> char {
    match c {
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' => '\u{fffd}',
        '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => {
            '\u{fffd}'
        }
        '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e0fff}' => '\u{fffd}',
        c => c,
    }
}

/// Ranges whose characters take no column of their own: combining marks and variation selectors.
const ZERO: [(u32, u32); 14] = [
    (0x300, 0x36f),
    (0x483, 0x489),
    (0x591, 0x5bd),
    (0x610, 0x61a),
    (0x64b, 0x65f),
    (0x93c, 0x93c),
    (0x941, 0x948),
    (0xe31, 0xe31),
    (0xe34, 0xe3a),
    (0x1ab0, 0x1aff),
    (0x1dc0, 0x1dff),
    (0x20d0, 0x20ff),
    (0xfe00, 0xfe0f),
    (0xfe20, 0xfe2f),
];

/// Ranges of Unicode's East Asian Wide and Fullwidth classes, and of emoji: two columns a character.
const WIDE: [(u32, u32); 16] = [
    (0x1100, 0x115f),
    (0x231a, 0x231b),
    (0x23e9, 0x23ec),
    (0x2614, 0x2615),
    (0x26a1, 0x26a1),
    (0x2705, 0x2705),
    (0x274c, 0x274c),
    (0x2e80, 0x303e),
    (0x3041, 0xa4cf),
    (0xa960, 0xa97c),
    (0xac00, 0xd7a3),
    (0xf900, 0xfaff),
    (0xfe30, 0xfe6f),
    (0xff01, 0xff60),
    (0xffe0, 0xffe6),
    (0x1f000, 0x3fffd),
];

fn columns_of(c: char) -> usize {
    let code = u32::from(c);
    let within = |ranges: &[(u32, u32)]| ranges.iter().any(|(from, to)| (*from..=*to).contains(&code));
    match code {
        ..0x300 => 1,
        _ if within(&ZERO) => 0,
        _ if within(&WIDE) => 2,
        _ => 1,
    }
}

/// Columns the text takes in a terminal.
pub fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// The text in at most `limit` columns; a longer one keeps its two ends around `…`.
pub fn middle(text: &str, limit: usize) -> String {
    if columns(text) <= limit {
        return text.to_owned();
    }
    let room = limit.saturating_sub(1);
    let tail_room = room / 2;
    let head = within(text.chars(), room - tail_room);
    let tail: Vec<char> = within(text.chars().rev(), tail_room).chars().rev().collect();
    let ellipsis = if limit == 0 { "" } else { "…" };
    format!("{head}{ellipsis}{}", String::from_iter(tail))
}

/// The characters that fit into `limit` columns.
fn within(chars: impl Iterator<Item = char>, limit: usize) -> String {
    let mut used = 0;
    chars
        .take_while(|c| {
            used += columns_of(*c);
            used <= limit
        })
        .collect()
}

/// The text cleaned, truncated and padded on the right to exactly `width` columns.
pub fn left(text: &str, width: usize) -> String {
    let text = middle(&clean(text), width);
    let pad = width.saturating_sub(columns(&text));
    format!("{text}{}", " ".repeat(pad))
}

/// The text cleaned, truncated and padded on the left to exactly `width` columns.
pub fn right(text: &str, width: usize) -> String {
    let text = middle(&clean(text), width);
    let pad = width.saturating_sub(columns(&text));
    format!("{}{text}", " ".repeat(pad))
}

/// The text cleaned and broken into lines of at most `width` columns, at spaces where there are any.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(2);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut word = clean(word);
        let gap = usize::from(!line.is_empty());
        if columns(&line) + gap + columns(&word) > width && !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        while columns(&word) > width {
            let head = within(word.chars(), width);
            word = word.chars().skip(head.chars().count()).collect();
            lines.push(head);
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_bidirectional_marks_become_visible() {
        assert_eq!(clean("a\u{1b}[31mb\u{202e}c\u{7f}\n"), "a␛[31mb\u{fffd}c␡␊");
    }

    #[test]
    fn truncation_keeps_both_ends_within_the_columns() {
        assert_eq!(middle("live/very-long-name", 11), "live/…-name");
        assert_eq!(middle("live", 4), "live");
        assert_eq!(middle("live", 0), "");
        for limit in 0..12 {
            assert!(columns(&middle("日本語のストリーム名", limit)) <= limit, "{limit}");
        }
    }

    #[test]
    fn padding_counts_columns_not_characters() {
        assert_eq!(left("日本", 6), "日本  ");
        assert_eq!(right("é", 3), "  é");
        assert_eq!(columns("e\u{301}"), 1);
    }

    #[test]
    fn wrapping_breaks_even_a_word_without_spaces() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        let lines = wrap(&"x".repeat(25), 10);
        assert_eq!(lines.iter().map(|l| columns(l)).collect::<Vec<_>>(), [10, 10, 5]);
        assert_eq!(wrap("日日日 a", 4), ["日日", "日 a"]);
    }
}
