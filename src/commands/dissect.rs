//! `streamgauge dissect`.

use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use analyzer::capture::Merged;
use analyzer::dissect::filter::{Filter, fields};
use analyzer::dissect::render::{self, Style};
use analyzer::dissect::{Dissector, Flow, Place, Row, Trees, Wants, forms};

use crate::args::{Common, Dissect, Format};
use crate::exit::{Code, Ended, Failure};
use crate::output;

/// Takes a capture, or bytes, apart.
pub fn run(args: &Dissect, common: &Common) -> Ended {
    let style = Style { width: width(), color: output::text_options(common).color };
    if let Some(form) = &args.form {
        return bytes(args, form, style);
    }
    let (files, filter) = split(args)?;
    if filter == Some("help") {
        return list_fields();
    }
    if files.is_empty() {
        return Err(Failure::usage("a capture file is missing"));
    }
    let filter = filter.map(Filter::parse).transpose().map_err(Failure::usage)?;
    let flow = args.flow.as_deref().map(parse_flow).transpose()?;
    let trees = match (args.frame, args.fields) {
        (Some(n), _) => Trees::Frame(n),
        (None, true) => Trees::All,
        (None, false) => Trees::None,
    };
    let facts = filter.is_some() || args.format == Format::Json;
    let select = Select { filter, flow, frame: args.frame };
    capture(files, &select, Wants { trees, facts }, args.format, style)
}

/// The files, and the filter behind them: a last word that names no file.
fn split(args: &Dissect) -> Result<(&[PathBuf], Option<&str>), Failure> {
    let is_file = |word: &PathBuf| word == Path::new("-") || word.exists();
    let (files, word) = match args.words.split_last() {
        Some((last, before)) if !before.is_empty() && !is_file(last) => (before, last.to_str()),
        _ => (args.words.as_slice(), None),
    };
    match (word, args.filter.as_deref()) {
        (Some(word), Some(_)) => {
            Err(Failure::usage(format!("`{word}` is no file, and --filter is there already")))
        }
        (word, filter) => Ok((files, word.or(filter))),
    }
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

fn capture(files: &[PathBuf], select: &Select, wants: Wants, format: Format, style: Style) -> Ended {
    let mut merged = Merged::open(files);
    let several = files.len() > 1;
    let mut dissector = Dissector::new(wants);
    let mut printer = Printer::new(select, format, style, several.then_some(files));
    let (mut packets, mut untold) = (0u64, Vec::new());
    while let Some((file, interfaces, next)) = merged.next() {
        match next {
            Ok(packet) => {
                packets = if several { packets + 1 } else { packet.number };
                dissector.packet(Place { file, several, interfaces }, &packet, &mut |row| printer.row(row));
            }
            // What ends the reading before a first packet is told once, at the end.
            Err(error) => untold.push(error.to_string()),
        }
        if packets > 0 {
            untold.drain(..).for_each(|error| output::complain(&error));
        }
        if printer.is_over() {
            break;
        }
    }
    if !printer.is_over() {
        dissector.finish(&mut |row| printer.row(row));
    }
    let found = printer.finish()?;
    match (untold.into_iter().next(), select.frame) {
        (Some(error), _) => Err(Failure::usage(error)),
        (None, Some(n)) if !found && packets < n => {
            Err(Failure::usage(format!("there is no frame {n}: the capture has {packets}")))
        }
        _ => Ok(Code::Expected),
    }
}

/// Prints rows.
struct Printer<'a> {
    select: &'a Select,
    format: Format,
    style: Style,
    /// Where there are several.
    files: Option<&'a [PathBuf]>,
    out: BufWriter<io::StdoutLock<'static>>,
    text: String,
    found: bool,
    /// The row that was asked for has passed.
    over: bool,
    error: Option<io::Error>,
}

impl<'a> Printer<'a> {
    fn new(select: &'a Select, format: Format, style: Style, files: Option<&'a [PathBuf]>) -> Self {
        let out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        Self {
            select,
            format,
            style,
            files,
            out,
            text: String::new(),
            found: false,
            over: false,
            error: None,
        }
    }

    fn row(&mut self, row: &Row<'_>) {
        self.over |= self.select.frame.is_some_and(|n| row.number >= n);
        if self.error.is_some() || !self.select.means(row) {
            return;
        }
        self.found = true;
        self.text.clear();
        match self.format {
            Format::Json => {
                let file = self.files.and_then(|files| files.get(row.file));
                let file = file.map(|file| file.display().to_string());
                render::json(row, file.as_deref(), &mut self.text);
            }
            Format::Text => {
                render::line(row, self.style, &mut self.text);
                render::parts(row.parts, self.style, &mut self.text);
            }
        }
        self.error = self.out.write_all(self.text.as_bytes()).err();
    }

    /// True where nothing more can come.
    fn is_over(&self) -> bool {
        self.over || self.error.is_some()
    }

    /// True where a row was shown.
    fn finish(mut self) -> Result<bool, Failure> {
        match self.error.take().or_else(|| self.out.flush().err()) {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::environment(format!("cannot write to stdout: {error}")))
            }
            _ => Ok(self.found),
        }
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
