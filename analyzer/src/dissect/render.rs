//! Lines and trees as text for people, and as JSON.

use std::fmt::{self, Write};

use wire::trace::{Node, Value as Leaf};

use super::facts::Value;
use super::filter::fields;
use super::rtmp::Clean;
use super::tree::Part;
use super::{Flow, Row, names};

/// A time in seconds with all digits that count.
pub struct Seconds(pub i64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let ns = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
    }
}

/// How to write.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Columns of the terminal.
    pub width: usize,
    /// With colour.
    pub color: bool,
}

impl Style {
    fn dim(self, text: &str, out: &mut String) {
        let _ = if self.color { write!(out, "\x1b[2m{text}\x1b[0m") } else { write!(out, "{text}") };
    }

    fn red(self, text: &str, out: &mut String) {
        let _ = if self.color { write!(out, "\x1b[31m{text}\x1b[0m") } else { write!(out, "{text}") };
    }

    fn bold(self, text: &str, out: &mut String) {
        let _ = if self.color { write!(out, "\x1b[1m{text}\x1b[0m") } else { write!(out, "{text}") };
    }
}

/// Appends a packet's line. Nothing of the Info is cut: a terminal wraps it.
pub fn line(row: &Row<'_>, style: Style, out: &mut String) {
    let micro = row.since_first_ns.unsigned_abs() / 1000;
    let sign = if row.since_first_ns < 0 { "-" } else { "" };
    let time = format!("{sign}{}.{:06}", micro / 1_000_000, micro % 1_000_000);
    let (src, dst) =
        row.addresses.map_or((String::new(), String::new()), |(s, d)| (s.to_string(), d.to_string()));
    let (number, address) = if style.width >= 100 { (6, 15) } else { (5, 9) };
    let _ = write!(out, "{:>number$} {time:>10} {src:<address$} → {dst:<address$} ", row.number);
    let start = out.len();
    let _ = write!(out, "{:<4} {:>5} ", row.protocol, row.length);
    if style.color && !matches!(row.protocol, "TCP" | "UDP") {
        let plain = out.split_off(start);
        style.bold(&plain, out);
    }
    let _ = writeln!(out, "{}", Clean(row.info));
}

/// Appends the trees of a packet.
pub fn parts(parts: &[Part], style: Style, out: &mut String) {
    for part in parts {
        self::part(part, style, out);
    }
}

fn part(part: &Part, style: Style, out: &mut String) {
    let indent = "  ".repeat(usize::from(part.level));
    let _ = write!(out, "{indent}");
    style.bold(&part.title, out);
    out.push('\n');
    if !part.origin.is_empty() {
        let _ = write!(out, "{indent}  ");
        style.dim(&format!("from {}", part.origin), out);
        out.push('\n');
    }
    for node in &part.tree.nodes {
        self::node(part, node, &indent, style, out);
    }
    if let Some(error) = &part.error {
        let text = format!("! {error}");
        wrapped(&text, indent.len().saturating_add(2), 2, style, Style::red, out);
    }
    for note in &part.notes {
        let text = format!("= {}: {}", note.label, Clean(&note.text));
        let plain = |_, text: &str, out: &mut String| out.push_str(text);
        wrapped(&text, indent.len().saturating_add(2), 2, style, plain, out);
    }
}

/// Words behind a margin, in as many lines as it takes; the later ones `hang` columns further in.
fn wrapped(
    text: &str,
    margin: usize,
    hang: usize,
    style: Style,
    paint: fn(Style, &str, &mut String),
    out: &mut String,
) {
    let mut inside = margin;
    let mut line = String::new();
    let mut flush = |line: &mut String, margin: usize| {
        let _ = write!(out, "{:margin$}", "");
        paint(style, line, out);
        out.push('\n');
        line.clear();
    };
    for word in text.split(' ') {
        let room = style.width.saturating_sub(inside).max(24);
        let with = line.chars().count().saturating_add(word.chars().count()).saturating_add(1);
        if !line.is_empty() && with > room {
            flush(&mut line, inside);
            inside = margin.saturating_add(hang);
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    flush(&mut line, inside);
}

fn node(part: &Part, node: &Node, indent: &str, style: Style, out: &mut String) {
    let inner = "  ".repeat(usize::from(node.depth));
    let place = place(node);
    let mut text = format!("{indent}  {place:<11} {inner}{}", node.field.name);
    if node.value != Leaf::Group {
        let _ = write!(text, ": {}", Clean(&value_text(part, node, 48)));
    }
    out.push_str(&text);
    let about = match node.field.spec {
        "" => node.field.doc.to_owned(),
        spec => format!("{} [{spec}]", node.field.doc.trim_end_matches('.')),
    };
    let columns = text.chars().count();
    if columns.saturating_add(about.chars().count()).saturating_add(3) <= style.width {
        out.push_str("   ");
        style.dim(&about, out);
        out.push('\n');
        return;
    }
    // Below, in as many lines as it takes.
    let margin = indent.len().saturating_add(14).saturating_add(inner.len()).saturating_add(2);
    out.push('\n');
    wrapped(&about, margin, 0, style, Style::dim, out);
}

/// `66-69`, `66`, or to the bit `66.0-66.1`.
fn place(node: &Node) -> String {
    let (from, to) = (node.bits.start, node.bits.end);
    if from >= to {
        return format!("{}", from >> 3);
    }
    let last = to.saturating_sub(1);
    if from & 7 == 0 && to & 7 == 0 {
        let (a, b) = (from >> 3, last >> 3);
        return if a == b { format!("{a}") } else { format!("{a}-{b}") };
    }
    if from == last {
        return format!("{}.{}", from >> 3, from & 7);
    }
    format!("{}.{}-{}.{}", from >> 3, from & 7, last >> 3, last & 7)
}

/// The value of a node in words; bytes and text are cut behind `limit` characters.
pub fn value_text(part: &Part, node: &Node, limit: usize) -> String {
    let bytes = part.slice(node);
    match node.value {
        Leaf::U64(n) => {
            let mut text = n.to_string();
            if n > 255 {
                let _ = write!(text, " (0x{n:x})");
            }
            if let Some(meaning) = names::meaning(node.field, n) {
                let _ = write!(text, " ({meaning})");
            }
            text
        }
        Leaf::I64(n) | Leaf::Pieces(n) => n.to_string(),
        Leaf::F64(x) => x.to_string(),
        Leaf::Group => String::new(),
        Leaf::Text => {
            let text = String::from_utf8_lossy(bytes);
            let cut: String = text.chars().take(limit).collect();
            let more = if cut.len() < text.len() { "…" } else { "" };
            format!("\"{cut}{more}\"")
        }
        Leaf::Bytes => bytes_text(node, bytes, limit),
    }
}

fn bytes_text(node: &Node, bytes: &[u8], limit: usize) -> String {
    let is_address = node.field.name.ends_with("address");
    if let (true, Ok(four)) = (is_address, <[u8; 4]>::try_from(bytes)) {
        return std::net::Ipv4Addr::from(four).to_string();
    }
    if let (true, Ok(sixteen)) = (is_address, <[u8; 16]>::try_from(bytes)) {
        return std::net::Ipv6Addr::from(sixteen).to_string();
    }
    let printable = |b: &u8| b.is_ascii_graphic() || *b == b' ';
    if bytes.len() > 1 && bytes.iter().all(printable) {
        let text: String = bytes.iter().take(limit).map(|b| char::from(*b)).collect();
        let more = if bytes.len() > limit { "…" } else { "" };
        return format!("\"{text}{more}\"");
    }
    let shown = limit / 3;
    let hex: Vec<String> = bytes.iter().take(shown).map(|b| format!("{b:02x}")).collect();
    match bytes.len().checked_sub(shown) {
        Some(more) if more > 0 => format!("{} … ({} bytes)", hex.join(" "), bytes.len()),
        _ => hex.join(" "),
    }
}

/// Appends a packet as one JSON object and a line end; `file` where there are several.
pub fn json(row: &Row<'_>, file: Option<&str>, out: &mut String) {
    let _ = write!(out, "{{\"frame\":{},\"time_s\":{}", row.number, Seconds(row.since_first_ns));
    if let Some(file) = file {
        let _ = write!(out, ",\"file\":{},\"frame_in_file\":{}", Quoted(file), row.in_file);
    }
    if let Some((src, dst)) = row.addresses {
        let _ = write!(out, ",\"source\":\"{src}\",\"destination\":\"{dst}\"");
    }
    match row.flow {
        Some(Flow::Tcp(n)) => drop(write!(out, ",\"flow\":{{\"transport\":\"tcp\",\"number\":{n}}}")),
        Some(Flow::Udp(n)) => drop(write!(out, ",\"flow\":{{\"transport\":\"udp\",\"number\":{n}}}")),
        None => {}
    }
    let _ = write!(
        out,
        ",\"protocol\":{},\"length\":{},\"info\":{}",
        Quoted(row.protocol),
        row.length,
        Quoted(row.info)
    );
    out.push_str(",\"facts\":{");
    let facts = row.facts.list();
    let own = |name: &str| {
        !matches!(name, "info" | "protocol" | "flow")
            && !name.starts_with("frame.")
            && !name.starts_with("ip.")
    };
    let mut first = true;
    for (at, (name, _)) in facts.iter().enumerate() {
        if !own(name) || facts.iter().take(at).any(|(n, _)| n == name) {
            continue;
        }
        let comma = if first { "" } else { "," };
        first = false;
        let _ = write!(out, "{comma}{}:[", Quoted(name));
        for (n, (_, value)) in facts.iter().filter(|(n, _)| n == name).enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let _ = write!(out, "{comma}{}", json_value(name, value));
        }
        out.push(']');
    }
    out.push('}');
    if !row.parts.is_empty() {
        out.push_str(",\"parts\":");
        parts_json(row.parts, out);
    }
    out.push_str("}\n");
}

fn json_value(name: &str, value: &Value) -> String {
    match value {
        Value::Number(n) => {
            let named = fields::find(name).and_then(|def| fields::value_name(def, *n));
            named.map_or_else(|| n.to_string(), |name| Quoted(name).to_string())
        }
        Value::Signed(n) => n.to_string(),
        Value::Real(x) if x.is_finite() => x.to_string(),
        Value::Real(_) => "null".to_owned(),
        Value::Text(text) => Quoted(text).to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Address(address) => Quoted(&address.to_string()).to_string(),
    }
}

/// Appends trees as a JSON array.
pub fn parts_json(parts: &[Part], out: &mut String) {
    out.push('[');
    for (n, part) in parts.iter().enumerate() {
        let comma = if n > 0 { "," } else { "" };
        let _ =
            write!(out, "{comma}{{\"title\":{},\"level\":{},\"origin\":[", Quoted(&part.title), part.level);
        for (n, piece) in part.origin.pieces().iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let _ = write!(out, "{comma}{{\"frame\":{},\"bytes\":{}", piece.frame, piece.len);
            if let Some(offset) = piece.offset {
                let _ = write!(out, ",\"offset\":{offset}");
            }
            out.push('}');
        }
        out.push_str("],\"fields\":[");
        for (n, node) in part.tree.nodes.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let _ = write!(
                out,
                "{comma}{{\"name\":{},\"depth\":{},\"bits\":[{},{}]",
                Quoted(node.field.name),
                node.depth,
                node.bits.start,
                node.bits.end
            );
            if node.value != Leaf::Group {
                let _ = write!(out, ",\"value\":{}", Quoted(&value_text(part, node, 4096)));
            }
            let _ = write!(out, ",\"spec\":{},\"doc\":{}}}", Quoted(node.field.spec), Quoted(node.field.doc));
        }
        out.push_str("],\"notes\":[");
        for (n, note) in part.notes.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let _ =
                write!(out, "{comma}{{\"label\":{},\"text\":{}}}", Quoted(note.label), Quoted(&note.text));
        }
        out.push(']');
        if let Some(error) = &part.error {
            let _ = write!(out, ",\"error\":{}", Quoted(&error.to_string()));
        }
        out.push('}');
    }
    out.push(']');
}

/// A JSON string.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                c if u32::from(c) < 0x20 || c == '\u{7f}' => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::forms::read;

    /// A packet that its length cuts short, with a note of two lines.
    fn shown(color: bool) -> String {
        let mut shown = read("ts", &[0x47, 0x40, 0]).unwrap();
        shown[0].note("clock", "one word after another ".repeat(8).trim_end());
        let mut text = String::new();
        parts(&shown, Style { width: 80, color }, &mut text);
        text
    }

    #[test]
    fn errors_are_red_and_nothing_is_wider_than_the_terminal() {
        let plain = shown(false);
        assert!(plain.lines().all(|line| line.chars().count() <= 80), "{plain}");
        let note: Vec<&str> = plain.lines().skip_while(|line| !line.starts_with("  = clock: one")).collect();
        assert!(note.len() == 3 && note[1..].iter().all(|line| line.starts_with("    ")), "{plain}");
        assert_eq!(note.join(" ").split_whitespace().filter(|word| *word == "another").count(), 8);
        assert!(!plain.contains('\x1b') && plain.contains("  ! byte 0: "), "{plain}");
        let colored = shown(true);
        assert!(colored.contains("  \x1b[31m! byte 0: "), "{colored}");
        let mut bare = String::new();
        for piece in colored.split('\x1b') {
            bare.push_str(
                piece.strip_prefix('[').and_then(|p| p.split_once('m')).map_or(piece, |(_, text)| text),
            );
        }
        assert_eq!(bare, plain);
    }
}
