//! A client's connection to a refinery: its socket on this machine, or HTTP.

use blindsmith_attest::open_receipt;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use blindsmith_api::message::{Ledger, ProjectStatus, Reply, Request};
use blindsmith_identity::{PublicKey, SigningKey};
use blindsmith_protocol::{
    FrameError, Id, MAX_BODY, Progress, Role, from_cbor, read_body, read_head, write_frame,
};
use blindsmith_receipts::Receipt;

use crate::failure::{Failure, Stopped, unexpected};
use crate::http::HttpClient;
use crate::interrupter::{Interrupter, PERIOD};
use crate::standing::merge;

/// Requests go out and replies come back in turn.
pub struct Connection(Transport);

enum Transport {
    Socket { reader: BufReader<Patient>, writer: Patient },
    Http(Box<HttpClient>),
}

/// A stream whose user may lose patience.
struct Patient {
    stream: UnixStream,
    interrupter: Interrupter,
    /// When the user was asked.
    asked: Instant,
}

impl Patient {
    fn new(stream: UnixStream) -> Self {
        Patient { stream, interrupter: Interrupter::default(), asked: Instant::now() }
    }

    /// Transfers; while nothing comes, and while much does, the user is asked now and then.
    fn wait<T>(&mut self, mut transfer: impl FnMut(&UnixStream) -> std::io::Result<T>) -> std::io::Result<T> {
        loop {
            if self.interrupter.is_set() && self.asked.elapsed() >= PERIOD {
                self.asked = Instant::now();
                if self.interrupter.is_interrupted() {
                    return Err(std::io::Error::other(Stopped));
                }
            }
            match transfer(&self.stream) {
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                done => return done,
            }
        }
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.wait(|mut stream| stream.read(buffer))
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.wait(|mut stream| stream.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        (&self.stream).flush()
    }
}

impl Connection {
    /// Connects to the refinery's socket.
    pub fn open(socket: &Path) -> Result<Self, Failure> {
        let unreachable = |source| Failure::Unreachable { socket: socket.display().to_string(), source };
        let writer = UnixStream::connect(socket).map_err(unreachable)?;
        let reader = writer.try_clone().map_err(unreachable)?;
        let reader = BufReader::with_capacity(1 << 16, Patient::new(reader));
        Ok(Connection(Transport::Socket { reader, writer: Patient::new(writer) }))
    }

    /// From now on operations end with [`Failure::Interrupted`] once this says so. The connection is of no use after that.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn interrupt_with(&mut self, interrupter: &Interrupter) -> Result<(), Failure> {
        let (reader, writer) = match &mut self.0 {
            Transport::Socket { reader, writer } => (reader.get_mut(), writer),
            Transport::Http(client) => {
                client.interrupter = interrupter.clone();
                return Ok(());
            }
        };
        let period = interrupter.is_set().then_some(PERIOD);
        let set = |stream: &UnixStream| {
            stream.set_read_timeout(period).and_then(|()| stream.set_write_timeout(period))
        };
        for patient in [reader, writer] {
            set(&patient.stream).map_err(blindsmith_protocol::FrameError::Io)?;
            patient.interrupter = interrupter.clone();
        }
        Ok(())
    }

    /// Connects to a refinery by its address, `http://` or `https://`, whose requests this key signs, or by its socket's
    /// path. `ca` has the certificates that lead to the refinery's, if not the system's do.
    pub fn reach(refinery: &str, key: Option<SigningKey>, ca: Option<&Path>) -> Result<Self, Failure> {
        if !refinery.contains("://") {
            return Connection::open(Path::new(refinery));
        }
        let key = key.ok_or_else(|| {
            Failure::Settings(
                "requests over HTTP are signed: this directory has no owner.key, nor the key of a member, to sign them with".into(),
            )
        })?;
        let client = HttpClient::new(refinery, key, ca)?;
        Ok(Connection(Transport::Http(Box::new(client))))
    }

    /// Sends without waiting for a reply.
    pub fn send(&mut self, request: &Request, body: &[&[u8]]) -> Result<(), Failure> {
        let writer = match &mut self.0 {
            Transport::Socket { writer, .. } => writer,
            Transport::Http(client) => {
                return body.iter().try_for_each(|part| client.request(request, part).map(drop));
            }
        };
        writer.interrupter.check()?;
        match write_frame(writer, request, body) {
            // A refinery that refuses an upload says why and closes: its words are waiting.
            Err(FrameError::Io(e)) => match self.receive() {
                Err(refused @ Failure::Refused(_)) => Err(refused),
                _ => Err(FrameError::Io(e).into()),
            },
            done => Ok(done?),
        }
    }

    /// Waits for a reply; a refusal is an error. Over HTTP replies come with [`Connection::request`] alone.
    pub fn receive(&mut self) -> Result<(Reply, Vec<u8>), Failure> {
        let Transport::Socket { reader, .. } = &mut self.0 else { return Err(unexpected()) };
        let (reply, body) = read_head(reader)?;
        let body = read_body(reader, body, MAX_BODY)?;
        match reply {
            Reply::Failed { message } => Err(Failure::Refused(message)),
            reply => Ok((reply, body)),
        }
    }

    /// Sends and waits.
    pub fn request(&mut self, request: &Request, body: &[u8]) -> Result<(Reply, Vec<u8>), Failure> {
        if let Transport::Http(client) = &mut self.0 {
            return client.request(request, body);
        }
        self.send(request, &[body])?;
        self.receive()
    }

    /// The receipt of a round, whose signature is verified.
    pub fn receipt(&mut self, project: Id, round: u64, key: &PublicKey) -> Result<Receipt, Failure> {
        // No reports of wrong answers beside it.
        let request = Request::Receipts { project, from: round, faults: i64::MAX as u64 };
        let (Reply::Receipts, body) = self.request(&request, &[])? else { return Err(unexpected()) };
        let page: Ledger = from_cbor(&body)?;
        let signed = page.receipts.first().ok_or_else(unexpected)?;
        let receipt = open_receipt(&signed.0, key).map_err(|e| Failure::NotProven(e.to_string()))?;
        match (receipt.project, receipt.round) == (project, round) {
            true => Ok(receipt),
            false => Err(Failure::NotProven(format!("the receipt of round {round} is of something else"))),
        }
    }

    /// Sends and expects `Done`.
    pub fn command(&mut self, request: &Request, body: &[u8]) -> Result<(), Failure> {
        match self.request(request, body)? {
            (Reply::Done, _) => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// What the refinery knows of a project.
    pub fn status(&mut self, project: Id) -> Result<ProjectStatus, Failure> {
        let mut known = None;
        self.refresh(project, &mut known)?;
        known.ok_or_else(unexpected)
    }

    /// Brings a status, or none, up to date; what has not changed is not sent again.
    pub fn refresh(&mut self, project: Id, known: &mut Option<ProjectStatus>) -> Result<(), Failure> {
        loop {
            let seen = known.as_ref().map(|status| status.seen).unwrap_or_default();
            let part = match &self.0 {
                Transport::Http(client) => client.status(&project, seen)?,
                Transport::Socket { .. } => match self.request(&Request::Status { project, seen }, &[])? {
                    (Reply::StatusFollows, part) => from_cbor(&part)?,
                    _ => return Err(unexpected()),
                },
            };
            if !merge(known, part)? {
                return Ok(());
            }
        }
    }

    /// Begins an upload or a query of so many rows: blocks follow, then what they are.
    pub fn begin(&mut self, project: Id, role: Role, rows: u32) -> Result<(), Failure> {
        match &mut self.0 {
            Transport::Http(client) => client.begin(&project, role),
            Transport::Socket { .. } => self.command(&Request::Push { project, role, rows }, &[]),
        }
    }

    /// Waits until no round is running or due, or none can be because no warden is there, telling of progress.
    pub fn watch(
        &mut self,
        project: Id,
        mut observe: impl FnMut(&Progress),
    ) -> Result<ProjectStatus, Failure> {
        loop {
            self.follow(project, &mut observe)?;
            let status = self.status(project)?;
            // A warden that was away may be back.
            if !(status.busy && status.ready && status.warden.is_some()) {
                return Ok(status);
            }
        }
    }

    /// The same for who asks for the status itself: it is not fetched.
    pub fn follow(&mut self, project: Id, observe: &mut dyn FnMut(&Progress)) -> Result<(), Failure> {
        if let Transport::Http(client) = &self.0 {
            return client.watch(&project, observe);
        }
        self.send(&Request::Watch { project }, &[])?;
        loop {
            match self.receive()?.0 {
                Reply::Progress(progress) => observe(&progress),
                Reply::Done => return Ok(()),
                _ => return Err(unexpected()),
            }
        }
    }
}
