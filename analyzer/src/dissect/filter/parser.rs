//! From words to a tree of tests.

use std::net::IpAddr;

use super::fields::{FIELDS, FieldDef, Kind, closest, find};
use super::lexer::{Token, lex};
use super::{FilterError, Node, Operator, Want};

/// Deepest nesting of a filter.
const MAX_DEPTH: usize = 64;

pub(super) fn parse(text: &str) -> Result<Node, FilterError> {
    let mut parser = Parser { text, tokens: lex(text)?, next: 0 };
    let node = parser.or(0)?;
    match parser.peek() {
        None => Ok(node),
        Some(_) => Err(parser.error("an operator such as && or || is missing here", None)),
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token)>,
    next: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.next = self.next.saturating_add(1);
        token
    }

    fn column(&self, index: usize) -> usize {
        self.tokens.get(index).map_or_else(|| self.text.chars().count(), |(at, _)| *at)
    }

    fn error(&self, message: impl Into<String>, suggestion: Option<String>) -> FilterError {
        self.error_at(self.next, message, suggestion)
    }

    fn error_at(&self, index: usize, message: impl Into<String>, suggestion: Option<String>) -> FilterError {
        FilterError {
            text: self.text.to_owned(),
            at: self.column(index),
            message: message.into(),
            suggestion,
        }
    }

    fn or(&mut self, depth: usize) -> Result<Node, FilterError> {
        let mut node = self.and(depth)?;
        while self.peek() == Some(&Token::Or) {
            self.take();
            node = Node::Or(Box::new(node), Box::new(self.and(depth)?));
        }
        Ok(node)
    }

    fn and(&mut self, depth: usize) -> Result<Node, FilterError> {
        let mut node = self.not(depth)?;
        while self.peek() == Some(&Token::And) {
            self.take();
            node = Node::And(Box::new(node), Box::new(self.not(depth)?));
        }
        Ok(node)
    }

    fn not(&mut self, depth: usize) -> Result<Node, FilterError> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deep", None));
        }
        let deeper = depth.saturating_add(1);
        let start = self.next;
        match self.take() {
            Some(Token::Not) => Ok(Node::Not(Box::new(self.not(deeper)?))),
            Some(Token::Open) => {
                let node = self.or(deeper)?;
                match self.take() {
                    Some(Token::Close) => Ok(node),
                    _ => Err(self.error_at(start, "this parenthesis is never closed", None)),
                }
            }
            Some(Token::Word(word)) => self.test(start, &word),
            Some(_) => Err(self.error_at(start, "a field is wanted here, such as rtmp.type", None)),
            None => Err(self.error_at(start, "the filter ends where a field is wanted", None)),
        }
    }

    fn test(&mut self, start: usize, word: &str) -> Result<Node, FilterError> {
        let is_prefix = FIELDS.iter().any(|def| def.name.split('.').next() == Some(word));
        let def = find(word);
        let Some(Token::Operator(operator)) = self.peek().cloned() else {
            if def.is_some() || is_prefix {
                return Ok(Node::Has(word.to_owned()));
            }
            return Err(self.unknown(start, word));
        };
        let Some(def) = def else { return Err(self.unknown(start, word)) };
        let operator_at = self.next;
        self.take();
        let at = self.next;
        let (value, is_quoted) = match self.take() {
            Some(Token::Word(word)) => (word, false),
            Some(Token::Quoted(text)) => (text, true),
            _ => {
                return Err(self.error_at(
                    at,
                    format!("a value to compare {} with is missing", def.name),
                    None,
                ));
            }
        };
        let ordering = !matches!(operator, Operator::Equal | Operator::Unequal | Operator::Contains);
        let fits = match def.kind {
            Kind::Text => true,
            Kind::Number | Kind::Enum(_) => operator != Operator::Contains,
            Kind::Flag | Kind::Address => operator != Operator::Contains && !ordering,
        };
        if !fits {
            let message = format!("{} cannot be compared like that", def.name);
            return Err(self.error_at(operator_at, message, Some("==".to_owned())));
        }
        Ok(Node::Test(def.name, operator, self.want(def, at, &value, is_quoted)?))
    }

    fn unknown(&self, at: usize, word: &str) -> FilterError {
        let names = FIELDS.iter().map(|def| def.name);
        // The right group with a wrong field in it is a better guess than a wrong group.
        let group = word.split_once('.').map(|(group, _)| group);
        let in_group = names.clone().filter(|name| group.is_some() && name.split('.').next() == group);
        let guess = closest(word, in_group).or_else(|| closest(word, names));
        self.error_at(at, format!("there is no field `{word}`"), guess.map(str::to_owned))
    }

    fn want(&self, def: &FieldDef, at: usize, value: &str, is_quoted: bool) -> Result<Want, FilterError> {
        let number = || number(value);
        match def.kind {
            Kind::Text => Ok(Want::Text(value.to_owned())),
            Kind::Number => number().map(Want::Number).ok_or_else(|| {
                self.error_at(at, format!("{} is a number; `{value}` is none", def.name), None)
            }),
            Kind::Flag => match value {
                "true" | "1" => Ok(Want::Flag(true)),
                "false" | "0" => Ok(Want::Flag(false)),
                _ => Err(self.error_at(at, format!("{} is true or false", def.name), None)),
            },
            Kind::Enum(names) => {
                let named = names.iter().find(|(name, _)| *name == value);
                #[expect(clippy::cast_precision_loss, reason = "values of the tables are small")]
                let named = named.map(|(_, n)| *n as f64);
                named.or_else(|| number().filter(|_| !is_quoted)).map(Want::Number).ok_or_else(|| {
                    let all: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
                    let guess = closest(value, all.iter().copied()).map(str::to_owned);
                    let message = format!("{} is never `{value}`; it is one of {}", def.name, all.join(", "));
                    self.error_at(at, message, guess)
                })
            }
            Kind::Address => {
                network(value).map(|(address, bits)| Want::Network(address, bits)).ok_or_else(|| {
                    self.error_at(
                        at,
                        format!("`{value}` is no address, nor a network such as 10.0.0.0/8"),
                        None,
                    )
                })
            }
        }
    }
}

/// Decimal with fraction and sign, or hexadecimal behind 0x.
fn number(text: &str) -> Option<f64> {
    if let Some(digits) = text.strip_prefix("0x") {
        let n = u64::from_str_radix(digits, 16).ok()?;
        #[expect(clippy::cast_precision_loss, reason = "numbers typed by people are below 2^53")]
        return Some(n as f64);
    }
    let plain = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    text.parse().ok().filter(|_| plain)
}

fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(whole);
    (bits <= whole).then_some((address, bits))
}
