//! A filter's words.

use super::{FilterError, Operator};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Word(String),
    Quoted(String),
    Operator(Operator),
    And,
    Or,
    Not,
    Open,
    Close,
}

/// The words with the columns where they begin.
pub(super) fn lex(text: &str) -> Result<Vec<(usize, Token)>, FilterError> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0usize;
    while let Some(first) = chars.get(at).copied() {
        let start = at;
        let second = chars.get(at.saturating_add(1)).copied();
        let (token, length) = match (first, second) {
            (c, _) if c.is_whitespace() => {
                at = at.saturating_add(1);
                continue;
            }
            ('(', _) => (Token::Open, 1),
            (')', _) => (Token::Close, 1),
            ('=', Some('=')) => (Token::Operator(Operator::Equal), 2),
            ('=', _) => (Token::Operator(Operator::Equal), 1),
            ('!', Some('=')) => (Token::Operator(Operator::Unequal), 2),
            ('<', Some('=')) => (Token::Operator(Operator::LessOrEqual), 2),
            ('>', Some('=')) => (Token::Operator(Operator::GreaterOrEqual), 2),
            ('<', _) => (Token::Operator(Operator::Less), 1),
            ('>', _) => (Token::Operator(Operator::Greater), 1),
            ('&', Some('&')) => (Token::And, 2),
            ('|', Some('|')) => (Token::Or, 2),
            ('!', _) => (Token::Not, 1),
            ('"' | '\'', _) => quoted(text, &chars, at, first)?,
            (c, _) if is_word(c) => {
                let word: String =
                    chars.get(at..).unwrap_or_default().iter().take_while(|c| is_word(**c)).collect();
                let length = word.chars().count();
                let token = match word.as_str() {
                    "and" => Token::And,
                    "or" => Token::Or,
                    "not" => Token::Not,
                    "contains" => Token::Operator(Operator::Contains),
                    _ => Token::Word(word),
                };
                (token, length)
            }
            (c, _) => {
                let message = format!("`{c}` means nothing here");
                let suggestion = match c {
                    '&' => Some("&&".to_owned()),
                    '|' => Some("||".to_owned()),
                    _ => None,
                };
                return Err(FilterError { text: text.to_owned(), at, message, suggestion });
            }
        };
        tokens.push((start, token));
        at = at.saturating_add(length);
    }
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '/' | '+')
}

/// Text between quotes; a backslash takes the next character as it is.
fn quoted(text: &str, chars: &[char], at: usize, quote: char) -> Result<(Token, usize), FilterError> {
    let mut value = String::new();
    let mut escaped = false;
    let mut length = 1usize;
    for c in chars.get(at.saturating_add(1)..).unwrap_or_default() {
        length = length.saturating_add(1);
        match *c {
            '\\' if !escaped => escaped = true,
            c if c == quote && !escaped => return Ok((Token::Quoted(value), length)),
            c => {
                value.push(c);
                escaped = false;
            }
        }
    }
    let message = "the text has no closing quote".to_owned();
    Err(FilterError { text: text.to_owned(), at, message, suggestion: None })
}
