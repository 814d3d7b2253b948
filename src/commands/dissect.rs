//! `streamgauge dissect`.

use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::Path;

use analyzer::capture::Reader;
use analyzer::dissect::filter::{Filter, fields};
use analyzer::dissect::render::{self, Style};
use analyzer::dissect::{Dissector, Flow, Row, Trees, Wants, forms};

use crate::args::{Common, Dissect, Format};
use crate::exit::{Code, Ended, Failure};
use crate::output;

/// Takes a capture, or bytes, apart.
pub fn run(args: &Dissect, common: &Common) -> Ended {
    let style = Style { width: width(), color: output::text_options(common).color };
    if let Some(form) = &args.form {
        return bytes(args, form, style);
    }
    let filter = args.expression.as_deref().or(args.filter.as_deref());
    if filter == Some("help") {
        return list_fields();
    }
    let Some(file) = &args.file else {
        return Err(Failure::usage("a capture file is missing"));
    };
    let filter = filter.map(Filter::parse).transpose().map_err(Failure::usage)?;
    let flow = args.flow.as_deref().map(parse_flow).transpose()?;
    let trees = match (args.frame, args.fields) {
        (Some(n), _) => Trees::Frame(n),
        (None, true) => Trees::All,
        (None, false) => Trees::None,
    };
    let facts = filter.is_some() || args.format == Format::Json;
    let select = Select { filter, flow, frame: args.frame };
    capture(file, &select, Wants { trees, facts }, args.format, style)
}

/// Which packets are shown.
struct Select {
    filter: Option<Filter>,
    flow: Option<Flow>,
    frame: Option<u64>,
}

impl Select {
    fn means(&self, row: &Row<'_>) -> bool {
        self.frame.is_none_or(|n| n == row.number)
            && self.flow.is_none_or(|flow| row.flow == Some(flow))
            && self.filter.as_ref().is_none_or(|filter| filter.matches(row.facts))
    }
}

fn capture(file: &Path, select: &Select, wants: Wants, format: Format, style: Style) -> Ended {
    let mut reader = if file == Path::new("-") { Reader::new("-", io::stdin()) } else { Reader::open(file) }
        .map_err(Failure::usage)?;
    let mut dissector = Dissector::new(wants);
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let (mut text, mut packets, mut found) = (String::new(), 0u64, false);
    let mut first_error = None;
    while let Some(next) = reader.next() {
        let packet = match next {
            Ok(packet) => packet,
            Err(error) => {
                output::complain(&error.to_string());
                first_error.get_or_insert(error.to_string());
                continue;
            }
        };
        packets += 1;
        let number = packet.number;
        let row = dissector.packet(&packet);
        if select.means(&row) {
            found = true;
            text.clear();
            match format {
                Format::Json => render::json(&row, &mut text),
                Format::Text => {
                    render::line(&row, style, &mut text);
                    render::parts(row.parts, style, &mut text);
                }
            }
            match out.write_all(text.as_bytes()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Code::Expected),
                Err(error) => return Err(Failure::environment(format!("cannot write to stdout: {error}"))),
            }
        }
        if select.frame.is_some_and(|n| number >= n) {
            break;
        }
    }
    if select.frame.is_none()
        && select.filter.is_none()
        && select.flow.is_none()
        && let Some(rest) = dissector.finish()
    {
        output::say(&format!("whole only because the capture ends: {rest}"));
    }
    match out.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Failure::environment(format!("cannot write to stdout: {error}")));
        }
        _ => {}
    }
    match (first_error, select.frame) {
        (Some(error), _) if packets == 0 => Err(Failure::usage(error)),
        (_, Some(n)) if !found && packets < n => {
            Err(Failure::usage(format!("there is no frame {n}: the capture has {packets}")))
        }
        _ => Ok(Code::Expected),
    }
}

/// Bytes without a capture.
fn bytes(args: &Dissect, form: &str, style: Style) -> Ended {
    if form == "help" {
        let mut text = String::new();
        for form in forms::FORMS {
            let _ = writeln!(text, "{:<16} {}", form.name, form.doc);
        }
        output::print(&text)?;
        return Ok(Code::Expected);
    }
    let bytes = match &args.hex {
        Some(hex) => forms::hex(hex).map_err(|error| Failure::usage(format!("--hex: {error}")))?,
        None => {
            let mut bytes = Vec::new();
            let read = io::stdin().lock().take(64 << 20).read_to_end(&mut bytes);
            read.map_err(|error| Failure::usage(format!("stdin: {error}")))?;
            bytes
        }
    };
    let parts = forms::read(form, &bytes).map_err(|error| Failure::usage(format!("--as: {error}")))?;
    let mut text = String::new();
    match args.format {
        Format::Json => {
            render::parts_json(&parts, &mut text);
            text.push('\n');
        }
        Format::Text => render::parts(&parts, style, &mut text),
    }
    output::print(&text)?;
    Ok(Code::Expected)
}

fn list_fields() -> Ended {
    let mut text = String::new();
    for def in fields::FIELDS {
        let _ = writeln!(text, "{:<18} {}", def.name, def.doc);
        if let fields::Kind::Enum(names) = def.kind {
            let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            let _ = writeln!(text, "{:<18} one of {}", "", names.join(", "));
        }
    }
    output::print(&text)?;
    Ok(Code::Expected)
}

fn parse_flow(text: &str) -> Result<Flow, Failure> {
    let (kind, number) = text.split_once(':').unwrap_or(("tcp", text));
    match (kind, number.parse()) {
        ("tcp", Ok(n)) => Ok(Flow::Tcp(n)),
        ("udp", Ok(n)) => Ok(Flow::Udp(n)),
        _ => Err(Failure::usage(format!("--flow: `{text}` is neither N, tcp:N nor udp:N"))),
    }
}

/// Columns of the terminal, as the shell says; 80 where it does not and 160 into files.
fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).filter(|c| *c >= 40);
    columns.unwrap_or(if io::stdout().is_terminal() { 80 } else { 160 })
}
