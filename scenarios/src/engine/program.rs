//! A program that is no part of this one: started in a group of its own, heard, and surely ended.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a program may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);
/// How long its last words may take after its end: what it left behind may hold its output open.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Lines kept to say what a program said last.
const WORDS: usize = 3;
/// Bytes of one line that are kept.
const LONGEST: usize = 400;
/// Bytes of a log after which a program is no longer written down.
const LOG: u64 = 16 << 20;

/// What stands for each `{name}`.
pub type Names<'a> = BTreeMap<&'a str, String>;

/// Text with each `{name}` replaced that is known; other braces stay.
pub fn fill(text: &str, names: &Names<'_>) -> String {
    names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

/// A running program. Dropping it kills it and what it started.
#[derive(Debug)]
pub struct Program {
    child: Child,
    group: Option<Pid>,
    heard: Arc<Mutex<Heard>>,
    lines: watch::Receiver<u64>,
    status: Option<ExitStatus>,
    /// Everything it said has been heard.
    heard_out: bool,
}

#[derive(Debug)]
struct Heard {
    log: File,
    written: u64,
    last: VecDeque<String>,
    /// Every line that somebody waits for is looked for here.
    new: Vec<String>,
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Program {
    /// Starts a command line in a directory, its words split as a shell does before each `{name}` in them is replaced;
    /// what it prints goes into `log`.
    pub fn start(line: &str, names: &Names<'_>, directory: &Path, log: &Path) -> io::Result<Self> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "the command line is empty");
        let words = shlex::split(line).ok_or_else(wrong)?;
        let words: Vec<String> = words.iter().map(|word| fill(word, names)).collect();
        let (name, arguments) = words.split_first().ok_or_else(wrong)?;
        let mut child = Command::new(name)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let heard = Heard { log: File::create(log)?, written: 0, last: VecDeque::new(), new: Vec::new() };
        let heard = Arc::new(Mutex::new(heard));
        let (count, lines) = watch::channel(0);
        if let Some(out) = child.stdout.take() {
            tokio::spawn(hear(out, Arc::clone(&heard), count.clone()));
        }
        if let Some(err) = child.stderr.take() {
            tokio::spawn(hear(err, Arc::clone(&heard), count));
        }
        Ok(Self { child, group, heard, lines, status: None, heard_out: false })
    }

    /// Waits until a line has these words; an error says how the program ended instead.
    pub async fn says(&mut self, words: &str) -> Result<(), String> {
        loop {
            let new = std::mem::take(&mut lock(&self.heard).new);
            if new.iter().any(|line| line.contains(words)) {
                return Ok(());
            }
            let mut lines = self.lines.clone();
            tokio::select! {
                changed = lines.changed() => {
                    self.lines = lines;
                    if changed.is_err() {
                        return Err(self.ended().await);
                    }
                }
                how = self.ended() => return Err(how),
            }
        }
    }

    /// Waits for its end; says how it ended. Cancelling it loses nothing.
    pub async fn ended(&mut self) -> String {
        match self.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Waits for its end, and until what it said is heard.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = match self.status {
            Some(status) => status,
            None => *self.status.insert(self.child.wait().await?),
        };
        if !self.heard_out {
            // Nobody counts lines any more when the last pipe has ended.
            let mut lines = self.lines.clone();
            let _ = timeout(LAST_WORDS, async { while lines.changed().await.is_ok() {} }).await;
            self.heard_out = true;
        }
        Ok(status)
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.status.is_some() || self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Sends a signal to it and to what it started.
    pub fn signal(&self, signal: Signal) {
        if let (Some(group), None) = (self.group, self.status) {
            // It may be gone already.
            let _ = killpg(group, signal);
        }
    }

    /// Asks it to end, and makes it where it does not.
    pub async fn end(&mut self) -> Option<ExitStatus> {
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
            self.signal(signal);
            if let Ok(Ok(status)) = timeout(GRACE, self.wait()).await {
                self.sweep();
                return Some(status);
            }
        }
        None
    }

    /// The last lines it printed, for a message.
    pub fn last_words(&self) -> String {
        let heard = lock(&self.heard);
        heard.last.iter().map(String::as_str).collect::<Vec<_>>().join(" / ")
    }

    /// Kills what the program may have left in its group.
    fn sweep(&self) {
        if let Some(group) = self.group {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.sweep();
    }
}

async fn hear(pipe: impl AsyncRead + Unpin, heard: Arc<Mutex<Heard>>, count: watch::Sender<u64>) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line without an end is taken in pieces.
        let mut limited = tokio::io::AsyncReadExt::take(&mut reader, 64 << 10);
        match limited.read_until(b'\n', &mut line).await {
            Ok(n) if n > 0 => {}
            _ => return,
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        {
            let mut heard = lock(&heard);
            if heard.written < LOG {
                // A full disk must not stop the program.
                let _ = heard.log.write_all(&line);
                heard.written += line.len() as u64;
            }
            let short: String = text.chars().take(LONGEST).collect();
            if !short.trim().is_empty() {
                heard.last.push_back(short.clone());
            }
            if heard.last.len() > WORDS {
                heard.last.pop_front();
            }
            heard.new.push(short);
            if heard.new.len() > 1000 {
                heard.new.remove(0);
            }
        }
        count.send_modify(|n| *n += 1);
    }
}
