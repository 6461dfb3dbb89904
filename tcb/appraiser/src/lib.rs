//! Appraises other wardens' evidence for a warden, in a process of its own that holds no keys. The formats of vendors,
//! their certificates and the crates that read them are here, and not where secrets are.
//!
//! [`serve`] answers a warden's questions (`blindsmith_evidence::Question`) over a socket, one after the other, until the
//! warden closes it. An answer is a function of its question alone: nothing is remembered, no clock is read.

#![forbid(unsafe_code)]

use std::os::unix::net::UnixStream;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use blindsmith_appraisal::{Collateral, Evidence, Policy, Unusable, appraise};
use blindsmith_evidence::{Finding, Given, Question, hear, tell};
use blindsmith_protocol::{Blob, FrameError};
use thiserror::Error;

/// How long one question may take. An appraisal takes milliseconds.
const LONGEST: Duration = Duration::from_secs(20);

/// Why an appraiser ends before its warden does.
#[derive(Debug, Error)]
pub enum AppraiserError {
    /// The connection failed, or what came over it was no question.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// An appraisal took too long.
    #[error("an appraisal took more than {} seconds", LONGEST.as_secs())]
    Slow,
    /// An appraisal panicked.
    #[error("an appraisal panicked")]
    Panicked,
    /// The operating system gave no thread.
    #[error("no thread can be started: {0}")]
    Thread(std::io::Error),
}

/// Says that it is ready, then answers until the warden closes the connection.
///
/// # Errors
/// [`AppraiserError`]: no question can be answered any more, and the process has to end.
pub fn serve(mut stream: UnixStream) -> Result<(), AppraiserError> {
    tell(&mut stream, &Finding::Ready)?;
    loop {
        match hear(&mut stream) {
            Ok(question) => tell(&mut stream, &in_time(question)?)?,
            Err(FrameError::Closed) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
}

/// What is found within the time that there is.
fn in_time(question: Question) -> Result<Finding, AppraiserError> {
    let (found, waiting) = sync_channel(1);
    let appraisal = thread::Builder::new().spawn(move || found.send(answer(question)));
    appraisal.map_err(AppraiserError::Thread)?;
    waiting.recv_timeout(LONGEST).map_err(|e| match e {
        RecvTimeoutError::Timeout => AppraiserError::Slow,
        RecvTimeoutError::Disconnected => AppraiserError::Panicked,
    })
}

/// Answers one question.
pub fn answer(question: Question) -> Finding {
    let found = match question {
        Question::Policy(text) => usable(Given::Policy, Policy::parse(&text)).map(|_| Finding::Ready),
        Question::Report { policy, report, collateral, at } => judge(&policy, &report, &collateral, at),
    };
    found.unwrap_or_else(|unusable| unusable)
}

fn judge(policy: &str, report: &Blob, parts: &[Blob], at: u64) -> Result<Finding, Finding> {
    let policy = usable(Given::Policy, Policy::parse(policy))?;
    let mut collateral = Collateral::default();
    parts.iter().try_for_each(|part| usable(Given::Collateral, collateral.add(&part.0)))?;
    let report = usable(Given::Report, Evidence::parse(&report.0))?;
    Ok(Finding::Appraisal(appraise(&report, &collateral, &policy, at)))
}

fn usable<T>(what: Given, read: Result<T, Unusable>) -> Result<T, Finding> {
    read.map_err(|e| Finding::Unusable { what, why: e.to_string() })
}
