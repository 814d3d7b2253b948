//! A filter over the facts of packets.
//!
//! ```text
//! or   = and { ("||" | "or") and }
//! and  = not { ("&&" | "and") not }
//! not  = ("!" | "not") not | "(" or ")" | test
//! test = field [ ("==" | "!=" | "<" | "<=" | ">" | ">=" | "contains") value ]
//! ```
//!
//! A field alone asks whether the packet has it; so does a first part, as `rtmp`. A field may have several values in
//! a packet: a comparison holds where it holds for one of them, `!=` where it holds for all.

pub mod fields;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

use super::facts::{Facts, Value};

/// A filter that can be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(Node);

/// Why a filter cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// The filter.
    pub text: String,
    /// Where, in characters from 0.
    pub at: usize,
    /// What is wrong.
    pub message: String,
    /// What may have been meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "filter, column {}: {}", self.at.saturating_add(1), self.message)?;
        writeln!(f, "  {}", self.text)?;
        write!(f, "  {:at$}^", "", at = self.at)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, " did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FilterError {}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Or(Box<Node>, Box<Node>),
    And(Box<Node>, Box<Node>),
    Not(Box<Node>),
    /// A field, or every field that begins with this and a dot.
    Has(String),
    Test(&'static str, Operator, Want),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
}

/// What a value is compared with.
#[derive(Clone, Debug, PartialEq)]
enum Want {
    Number(f64),
    Text(String),
    Flag(bool),
    /// An address and how many of its bits count.
    Network(IpAddr, u32),
}

impl Filter {
    /// Reads a filter.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parser::parse(text).map(Self)
    }

    /// True where the packet with these facts is meant.
    pub fn matches(&self, facts: &Facts) -> bool {
        self.0.holds(facts)
    }
}

impl Node {
    fn holds(&self, facts: &Facts) -> bool {
        match self {
            Self::Or(a, b) => a.holds(facts) || b.holds(facts),
            Self::And(a, b) => a.holds(facts) && b.holds(facts),
            Self::Not(a) => !a.holds(facts),
            Self::Has(name) => facts.list().iter().any(|(n, _)| {
                *n == name.as_str() || n.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.'))
            }),
            Self::Test(name, operator, want) => {
                let mut values =
                    facts.list().iter().filter(|(n, _)| n == name).map(|(_, value)| value).peekable();
                match operator {
                    Operator::Unequal => {
                        values.peek().is_some() && values.all(|v| !compare(v, Operator::Equal, want))
                    }
                    _ => values.any(|v| compare(v, *operator, want)),
                }
            }
        }
    }
}

fn compare(value: &Value, operator: Operator, want: &Want) -> bool {
    match (value, want) {
        (Value::Text(text), Want::Text(want)) => match operator {
            Operator::Contains => text.contains(want.as_str()),
            _ => ordered(text.as_str().partial_cmp(want.as_str()), operator),
        },
        (Value::Flag(flag), Want::Flag(want)) => ordered(flag.partial_cmp(want), operator),
        (Value::Address(address), Want::Network(network, bits)) => {
            within(*address, *network, *bits) == (operator == Operator::Equal)
        }
        (value, Want::Number(want)) => {
            #[expect(clippy::cast_precision_loss, reason = "numbers typed by people are below 2^53")]
            let number = match value {
                Value::Number(n) => *n as f64,
                Value::Signed(n) => *n as f64,
                Value::Real(x) => *x,
                _ => return false,
            };
            ordered(number.partial_cmp(want), operator)
        }
        _ => false,
    }
}

fn ordered(ordering: Option<std::cmp::Ordering>, operator: Operator) -> bool {
    ordering.is_some_and(|o| match operator {
        Operator::Equal => o.is_eq(),
        Operator::Unequal => o.is_ne(),
        Operator::Less => o.is_lt(),
        Operator::LessOrEqual => o.is_le(),
        Operator::Greater => o.is_gt(),
        Operator::GreaterOrEqual => o.is_ge(),
        Operator::Contains => false,
    })
}

fn within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(bits)).unwrap_or(0);
            a.to_bits() & mask == n.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(bits)).unwrap_or(0);
            a.to_bits() & mask == n.to_bits() & mask
        }
        _ => false,
    }
}
