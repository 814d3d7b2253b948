//! Carries a replay out: what was captured goes out in its order, once the answers that it followed are here.

use std::io;
use std::time::Duration;

use analyzer::transcript::{Said, What};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::end::End;
use super::ledger::{Ledger, Weight};
use super::pace::Pace;
use super::tape::Tape;
use super::{Options, ReplayError};
use crate::client::{ClientError, Connection, Endpoint, Place, told};

/// Bytes that wait for a server that takes none but makes us answer.
const MAX_WAITING: usize = 32 << 20;
/// How long answers are waited for at the end that no session depends on.
const GRACE: Duration = Duration::from_secs(1);

/// What becomes of a message of the client.
pub(super) enum Adapted<A> {
    /// It is sent so.
    Say(A),
    /// It is not sent; why.
    LeftOut(&'static str),
    /// It is the protocol's own and made anew: nobody has to be told.
    Own,
    /// It cannot be sent, and nothing can go on without it.
    Impossible(String),
}

/// A protocol's knowledge of its messages.
pub(super) trait Part {
    /// Its endpoint.
    type Client: Endpoint;
    /// What media comes in.
    const UNIT: &str;
    /// The server said something in the capture.
    fn captured(&mut self, said: Said, ledger: &mut Ledger);
    /// The server says something now.
    fn heard(&mut self, event: <Self::Client as Endpoint>::Event, ledger: &mut Ledger);
    /// What a captured message of the client has to be now.
    fn adapt(&mut self, said: Said, ledger: &mut Ledger) -> Adapted<<Self::Client as Endpoint>::Action>;
    /// The request whose answer is needed before this can be adapted.
    fn lacks(&self, what: &What, ledger: &Ledger) -> Option<String>;
    /// The server said that it speaks this protocol.
    fn is_ready(&self) -> bool;
    /// The server said that no more media comes.
    fn is_over(&self) -> bool;
}

/// A replay under way.
pub(super) struct Drive<P: Part> {
    connection: Connection<P::Client>,
    part: P,
    tape: Tape,
    /// Taken off the tape and not sent yet.
    hand: Option<Said>,
    ledger: Ledger,
    pace: Pace,
    fast: bool,
    /// The client receives media.
    viewer: bool,
    timeout: Duration,
    fail_fast: bool,
    began: Instant,
}

impl<P: Part> Drive<P> {
    /// Connects, plays everything, leaves.
    pub(super) async fn play(
        place: &Place,
        client: P::Client,
        part: P,
        tape: Tape,
        options: &Options,
        viewer: bool,
        mut interrupted: watch::Receiver<bool>,
    ) -> Result<(End, Ledger), ReplayError> {
        let opened = tokio::select! {
            opened = timeout(options.timeout, Connection::open(place, client)) => opened,
            () = told(&mut interrupted) => return Ok((End::Interrupted, Ledger::default())),
        };
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        let connection = opened.map_err(late).and_then(|opened| opened).map_err(ReplayError::Unreachable)?;
        let Options { fast, timeout, fail_fast, .. } = *options;
        let (ledger, pace) = (Ledger::of(P::UNIT), Pace::default());
        let (hand, began) = (None, Instant::now());
        let mut drive =
            Self { connection, part, tape, hand, ledger, pace, fast, viewer, timeout, fail_fast, began };
        let mut end = tokio::select! {
            end = drive.run() => end.map_or_else(|end| end, |()| End::Whole),
            () = told(&mut interrupted) => End::Interrupted,
        };
        if end != End::Interrupted {
            drive.count_the_rest().await;
            if let End::Broken(why) = &end
                && !drive.ledger.heard()
            {
                end = End::Unusable(why.clone());
            }
            // A server may close where the client had nothing more to say.
            let said_all = drive.ledger.unsent == 0 && drive.ledger.open(Weight::Essential).is_none();
            if matches!(end, End::Closed(_)) && said_all {
                end = End::Whole;
            }
            let _ = tokio::time::timeout(GRACE, drive.connection.leave()).await;
        }
        Ok((end, drive.ledger))
    }

    async fn run(&mut self) -> Result<(), End> {
        let by = Instant::now() + self.timeout;
        while !self.part.is_ready() {
            self.turn(Some(by), || "the handshake is not answered".to_owned()).await?;
        }
        while let Some(said) = self.next().await? {
            match &said.what {
                What::Ended(_) => {
                    self.pace(said.at.time_ns).await?;
                    break;
                }
                What::Hole(bytes) if said.from_client => {
                    self.ledger.hole(*bytes);
                    continue;
                }
                _ if !said.from_client => {
                    self.part.captured(said, &mut self.ledger);
                    continue;
                }
                _ => {}
            }
            let time_ns = said.at.time_ns;
            self.hand = Some(said);
            self.answers(time_ns).await?;
            self.pace(time_ns).await?;
            if self.fail_fast && self.ledger.differs() {
                return Err(End::Differs);
            }
            let Some(said) = self.hand.take() else { continue };
            match self.part.adapt(said, &mut self.ledger) {
                Adapted::Say(action) => {
                    self.ledger.sent = self.ledger.sent.saturating_add(1);
                    self.connection.act(action);
                    self.flush().await?;
                    self.ledger.took = self.began.elapsed();
                }
                Adapted::LeftOut(why) => self.ledger.leave_out(why),
                Adapted::Own => {}
                Adapted::Impossible(why) => return Err(End::Unplayable(why)),
            }
        }
        self.last_answers().await
    }

    /// The next thing of the capture; what the server says meanwhile is heard.
    async fn next(&mut self) -> Result<Option<Said>, End> {
        loop {
            self.hear()?;
            tokio::select! {
                biased;
                said = self.tape.next() => return Ok(said),
                turned = self.connection.turn() => turned.map_err(closed)?,
            }
        }
    }

    /// Waits for the answers that had come before what is in hand was said.
    async fn answers(&mut self, time_ns: i64) -> Result<(), End> {
        let by = Instant::now() + self.timeout;
        let mut waited = false;
        loop {
            if let Some(why) = self.ledger.refusal() {
                return Err(End::Refused(why));
            }
            let open = self.ledger.open(Weight::Essential).map(str::to_owned);
            let lacks = || self.part.lacks(&self.hand.as_ref()?.what, &self.ledger);
            let Some(open) = open.or_else(lacks) else { break };
            waited = true;
            self.turn(Some(by), || format!("{open} is not answered")).await?;
        }
        if waited {
            self.pace.waited(Instant::now(), time_ns);
        }
        Ok(())
    }

    /// Waits until something captured at this time is due.
    async fn pace(&mut self, time_ns: i64) -> Result<(), End> {
        let due = self.pace.due(Instant::now(), time_ns);
        loop {
            let [then, now] = self.ledger.tracks.total();
            // A viewer goes on where it has got as much as then.
            let early = self.fast && (!self.viewer || now >= then || self.part.is_over());
            if early || Instant::now() >= due {
                return Ok(());
            }
            self.hear()?;
            tokio::select! {
                biased;
                () = sleep_until(due) => {}
                turned = self.connection.turn() => turned.map_err(closed)?,
            }
        }
    }

    /// Waits until the kernel has every byte.
    async fn flush(&mut self) -> Result<(), End> {
        let mut least = self.connection.waiting();
        let mut by = Instant::now() + self.timeout;
        while self.connection.waiting() > 0 {
            self.turn(Some(by), || "the server takes nothing".to_owned()).await?;
            if self.connection.waiting() < least {
                least = self.connection.waiting();
                by = Instant::now() + self.timeout;
            }
        }
        self.hear()
    }

    /// Waits for what had been answered when the capture ended, and a moment for what had not: it may be refused.
    async fn last_answers(&mut self) -> Result<(), End> {
        let began = Instant::now();
        loop {
            if let Some(why) = self.ledger.refusal() {
                return Err(End::Refused(why));
            }
            let essential = self.ledger.open(Weight::Essential).map(str::to_owned);
            let turned = match essential {
                Some(open) => {
                    self.turn(Some(began + self.timeout), || format!("{open} is not answered")).await
                }
                None if !self.ledger.waits() || began.elapsed() >= GRACE => return Ok(()),
                None => match self.turn(Some(began + GRACE), String::new).await {
                    Err(End::Unusable(_)) => return Ok(()),
                    turned => turned,
                },
            };
            turned?;
        }
    }

    /// One step of the connection, by a deadline whose passing means `what`.
    async fn turn(&mut self, by: Option<Instant>, what: impl FnOnce() -> String) -> Result<(), End> {
        self.hear()?;
        tokio::select! {
            turned = self.connection.turn() => turned.map_err(closed)?,
            () = crate::client::until(by) => {
                let text = format!("{} within {:.1} s", what(), self.timeout.as_secs_f64());
                return Err(End::Unusable(text));
            }
        }
        self.hear()
    }

    /// Takes in what has come.
    fn hear(&mut self) -> Result<(), End> {
        while let Some(event) = self.connection.heard() {
            self.part.heard(event, &mut self.ledger);
        }
        if self.connection.waiting() > MAX_WAITING {
            return Err(End::Unusable("the server takes nothing and wants ever more answers".to_owned()));
        }
        match self.connection.closed() {
            None => Ok(()),
            Some(session::rtmp::Reason::Protocol(error)) => {
                Err(End::Broken(format!("the server breaks the protocol at {error}")))
            }
            Some(reason) => Err(End::Closed(reason.to_string())),
        }
    }

    /// Counts what the client had said and was not sent, and what the server had said.
    async fn count_the_rest(&mut self) {
        self.ledger.shut();
        loop {
            let next = match self.hand.take() {
                Some(said) => Some(said),
                None => self.tape.next().await,
            };
            let Some(said) = next else { return };
            match (&said.what, said.from_client) {
                (What::Ended(_), _) => break,
                (What::Hole(_), _) => {}
                (_, false) => self.part.captured(said, &mut self.ledger),
                (_, true) => {
                    if matches!(self.part.adapt(said, &mut self.ledger), Adapted::Say(_)) {
                        self.ledger.unsent = self.ledger.unsent.saturating_add(1);
                    }
                }
            }
        }
    }
}

fn closed(error: ClientError) -> End {
    End::Closed(error.to_string())
}
