//! What a packet says, by field name: the filter compares these, and JSON lines list them.

use std::net::IpAddr;

use super::filter::fields;

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(u64),
    /// A number with a sign.
    Signed(i64),
    /// A number with a fraction.
    Real(f64),
    /// Text.
    Text(String),
    /// True or false.
    Flag(bool),
    /// An address.
    Address(IpAddr),
}

/// The facts of one packet, in the order they were met. A field may have several values.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    wanted: bool,
    list: Vec<(&'static str, Value)>,
}

impl Facts {
    /// Keeps facts.
    pub fn on() -> Self {
        Self { wanted: true, list: Vec::new() }
    }

    /// Keeps none.
    pub fn off() -> Self {
        Self::default()
    }

    /// None yet, kept or not as these are.
    pub fn same(&self) -> Self {
        Self { wanted: self.wanted, list: Vec::new() }
    }

    /// The facts.
    pub fn list(&self) -> &[(&'static str, Value)] {
        &self.list
    }

    /// Forgets the last packet.
    pub fn clear(&mut self) {
        self.list.clear();
    }

    /// Adds a fact. `name` is one of [`fields::FIELDS`].
    pub fn push(&mut self, name: &'static str, value: Value) {
        debug_assert!(fields::find(name).is_some(), "{name} is no field");
        if self.wanted {
            self.list.push((name, value));
        }
    }

    /// Adds a number.
    pub fn number(&mut self, name: &'static str, value: u64) {
        self.push(name, Value::Number(value));
    }

    /// Adds text.
    pub fn text(&mut self, name: &'static str, value: &str) {
        if self.wanted {
            self.push(name, Value::Text(value.to_owned()));
        }
    }
}
