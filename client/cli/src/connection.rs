//! A client's connection to a refinery.

use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::Path;

use blindsmith_protocol::{
    FrameError, MAX_BODY, Progress, ProjectStatus, Reply, Request, read_body, read_head, write_frame,
};

use crate::Failure;

/// Requests go out and replies come back in turn.
pub struct Connection {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Connection {
    /// Connects to the refinery's socket.
    pub fn open(socket: &Path) -> Result<Self, Failure> {
        let unreachable = |source| Failure::Unreachable { socket: socket.display().to_string(), source };
        let writer = UnixStream::connect(socket).map_err(unreachable)?;
        let reader = writer.try_clone().map_err(unreachable)?;
        Ok(Connection { reader: BufReader::with_capacity(1 << 16, reader), writer })
    }

    /// Sends without waiting for a reply.
    pub fn send(&mut self, request: &Request, body: &[&[u8]]) -> Result<(), Failure> {
        match write_frame(&mut self.writer, request, body) {
            // A refinery that refuses an upload says why and closes: its words are waiting.
            Err(FrameError::Io(e)) => match self.receive() {
                Err(refused @ Failure::Refused(_)) => Err(refused),
                _ => Err(FrameError::Io(e).into()),
            },
            done => Ok(done?),
        }
    }

    /// Waits for a reply; a refusal is an error.
    pub fn receive(&mut self) -> Result<(Reply, Vec<u8>), Failure> {
        let (reply, body) = read_head(&mut self.reader)?;
        let body = read_body(&mut self.reader, body, MAX_BODY)?;
        match reply {
            Reply::Failed { message } => Err(Failure::Refused(message)),
            reply => Ok((reply, body)),
        }
    }

    /// Sends and waits.
    pub fn request(&mut self, request: &Request, body: &[u8]) -> Result<(Reply, Vec<u8>), Failure> {
        self.send(request, &[body])?;
        self.receive()
    }

    /// Sends and expects `Done`.
    pub fn command(&mut self, request: &Request, body: &[u8]) -> Result<(), Failure> {
        match self.request(request, body)? {
            (Reply::Done, _) => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Waits until no round is running or due, telling of progress.
    pub fn watch(
        &mut self,
        project: blindsmith_protocol::Id,
        mut observe: impl FnMut(&Progress),
    ) -> Result<ProjectStatus, Failure> {
        self.send(&Request::Watch { project }, &[])?;
        loop {
            match self.receive()?.0 {
                Reply::Progress(progress) => observe(&progress),
                Reply::Status(status) => return Ok(status),
                _ => return Err(unexpected()),
            }
        }
    }
}

pub(crate) fn unexpected() -> Failure {
    FrameError::Unexpected("the refinery answered something else").into()
}
