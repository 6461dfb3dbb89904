//! The warden's side of its appraiser: a process without keys that judges the evidence of other wardens, because reading
//! vendors' formats and certificates is more code than all that holds secrets. What it says is parsed with limits and
//! within a time. It vouches for one thing: that a report, with its report data, is genuine and allowed by a policy.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use blindsmith_evidence::{Finding, Question, hear, tell};
use blindsmith_protocol::FrameError;
use thiserror::Error;

use crate::lock::lock;

/// How long an answer may take; an appraiser gives up on a question before.
const LONGEST: Duration = Duration::from_secs(30);
/// How long its start may take.
const START: Duration = Duration::from_secs(10);

/// An appraiser, or why there is none.
pub struct Appraiser {
    link: Mutex<Result<UnixStream, String>>,
    longest: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum AppraiserError {
    /// There is no appraiser, or none any more.
    #[error("hand-over is refused until this warden is started again: {0}")]
    Gone(String),
    /// Nothing was sent: who shows too much does not end the appraiser for others.
    #[error("the evidence and what it is verified with: {0}")]
    TooLarge(String),
    /// It answered something else than it was asked.
    #[error("this warden's appraiser answers something else than it was asked")]
    Unasked,
}

impl Appraiser {
    /// None, for this reason.
    pub fn none(why: impl Into<String>) -> Self {
        Appraiser { link: Mutex::new(Err(why.into())), longest: LONGEST }
    }

    /// The one at the other end of this connection, once it says that it is ready.
    ///
    /// # Errors
    /// If it does not say so, in time.
    pub fn ready(stream: UnixStream) -> Result<Self, FrameError> {
        Self::within(stream, START, LONGEST)
    }

    fn within(mut stream: UnixStream, start: Duration, longest: Duration) -> Result<Self, FrameError> {
        match hear(&mut Until::now(&mut stream, start))? {
            Finding::Ready => Ok(Appraiser { link: Mutex::new(Ok(stream)), longest }),
            _ => Err(FrameError::Unexpected("an answer before any question")),
        }
    }

    /// What it answers. One that does not is given up: the connection may hold half an answer, and a process that
    /// misbehaved once is not to be believed.
    ///
    /// # Errors
    /// [`AppraiserError`]: there is no answer now, or none any more.
    pub(crate) fn ask(&self, question: &Question) -> Result<Finding, AppraiserError> {
        let mut link = lock(&self.link);
        let stream = link.as_mut().map_err(|why| AppraiserError::Gone(why.clone()))?;
        let mut until = Until::now(stream, self.longest);
        let told = tell(&mut until, question);
        if let Err(e @ FrameError::TooLarge { .. }) = told {
            return Err(AppraiserError::TooLarge(e.to_string()));
        }
        match told.and_then(|()| hear(&mut until)) {
            Ok(finding) => Ok(finding),
            Err(e) => {
                let why = match e {
                    FrameError::Closed => "this warden's appraiser has ended".to_owned(),
                    FrameError::Io(e) if e.kind() == io::ErrorKind::TimedOut => {
                        "this warden's appraiser did not answer in time".to_owned()
                    }
                    e => format!("this warden's appraiser: {e}"),
                };
                *link = Err(why.clone());
                Err(AppraiserError::Gone(why))
            }
        }
    }
}

/// A connection that fails once it is too late: a peer that says a byte now and then does not hold a warden up.
struct Until<'a> {
    stream: &'a mut UnixStream,
    deadline: Instant,
}

impl<'a> Until<'a> {
    fn now(stream: &'a mut UnixStream, longest: Duration) -> Self {
        Until { stream, deadline: Instant::now() + longest }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

fn late(e: io::Error) -> io::Error {
    // What a socket says of it.
    if e.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { e }
}

impl Read for Until<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(bytes).map_err(late)
    }
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes).map_err(late)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use blindsmith_evidence::{Appraisal, Refusal};
    use blindsmith_protocol::to_cbor;

    use super::*;

    fn question() -> Question {
        Question::Policy(String::new())
    }

    /// An appraiser that says it is ready and answers the first question by these bytes, then hangs up.
    fn answering(bytes: Vec<u8>) -> Appraiser {
        let (own, mut other) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            tell(&mut other, &Finding::Ready).unwrap();
            hear::<Question>(&mut other).unwrap();
            _ = other.write_all(&bytes);
        });
        Appraiser::ready(own).unwrap()
    }

    fn message(finding: &impl serde::Serialize) -> Vec<u8> {
        let mut bytes = Vec::new();
        tell(&mut bytes, finding).unwrap();
        bytes
    }

    #[test]
    fn what_is_no_answer_ends_it_for_good() {
        let appraisal = |tee: &str| (true, tee.to_owned(), Vec::<Refusal>::new());
        let mut body = message(&Finding::Ready);
        body[12] = 1;
        let mut long = message(&Finding::Ready);
        long[8..12].fill(0xff);
        for (bytes, words) in [
            (vec![], "has ended"),
            (b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), "does not speak this protocol"),
            (message(&Finding::Ready)[..20].to_vec(), "the connection failed"),
            (message(&7), "a malformed message"),
            (message(&appraisal("sgx")), "a malformed message"),
            (body, "an unexpected message"),
            (long, "above the limit"),
        ] {
            let appraiser = answering(bytes);
            let ask = || appraiser.ask(&question()).unwrap_err().to_string();
            let first = ask();
            assert!(first.contains(words) && first.contains("hand-over is refused"), "{words}: {first}");
            // It is not asked again.
            assert_eq!(ask(), first);
        }
    }

    #[test]
    fn an_appraisal_of_an_unknown_kind_is_no_answer() {
        let known = Appraisal {
            accepted: true,
            tee: "snp",
            tcb_status: None,
            measurement: None,
            report_data: None,
            refusals: vec![],
        };
        let bytes = message(&Finding::Appraisal(known.clone()));
        let found = answering(bytes.clone()).ask(&question()).unwrap();
        assert!(matches!(found, Finding::Appraisal(found) if found == known));
        let at = bytes.windows(3).position(|name| name == b"snp").unwrap();
        let other = [&bytes[..at], b"abc", &bytes[at + 3..]].concat();
        let refused = answering(other).ask(&question()).unwrap_err().to_string();
        assert!(refused.contains("a malformed message"));
        assert!(to_cbor(&known).len() < bytes.len());
    }

    #[test]
    fn a_question_that_is_too_large_is_refused_and_ends_nothing() {
        let appraiser = answering(message(&Finding::Ready));
        let large = Question::Policy("x".repeat(blindsmith_protocol::MAX_HEAD));
        assert!(appraiser.ask(&large).unwrap_err().to_string().contains("above the limit"));
        assert!(matches!(appraiser.ask(&question()), Ok(Finding::Ready)));
    }

    #[test]
    fn one_that_hangs_is_given_up() {
        let (own, mut other) = UnixStream::pair().unwrap();
        tell(&mut other, &Finding::Ready).unwrap();
        let appraiser = Appraiser::within(own, START, Duration::from_millis(20)).unwrap();
        let first = appraiser.ask(&question()).unwrap_err();
        assert!(first.to_string().contains("did not answer in time"), "{first}");
        // An answer that comes afterwards is to nothing.
        _ = tell(&mut other, &Finding::Ready);
        assert_eq!(appraiser.ask(&question()).unwrap_err(), first);
    }

    #[test]
    fn one_that_is_not_ready_is_none() {
        let (own, mut other) = UnixStream::pair().unwrap();
        let unready = Finding::Unusable { what: blindsmith_evidence::Given::Policy, why: String::new() };
        tell(&mut other, &unready).unwrap();
        assert!(matches!(Appraiser::ready(own), Err(FrameError::Unexpected(_))));
        let (own, other) = UnixStream::pair().unwrap();
        drop(other);
        assert!(matches!(Appraiser::ready(own), Err(FrameError::Closed)));
        let none = Appraiser::none("there is no appraiser");
        assert!(none.ask(&question()).unwrap_err().to_string().ends_with(": there is no appraiser"));
    }
}
