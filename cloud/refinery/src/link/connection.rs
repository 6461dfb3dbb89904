//! A connection to a warden: frames, and the memory that it shares. It knows nothing of projects.

use std::io::{BufReader, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use blindsmith_protocol::{
    FrameError, FromWarden, HEADER_BYTES, Id, Lane, MAX_BODY, MAX_NAME, Outcome, ToWarden, read_body,
    read_head, write_frame,
};
use blindsmith_shared::Region;

use super::memory::Memory;

/// What tells a warden, and its start, from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The warden.
    pub holder: Id,
    /// Its start.
    pub start: Id,
}

/// How a warden introduces itself.
pub(super) struct Greeting {
    /// Its kind.
    pub tee: String,
    /// What the connection is for.
    pub lane: Lane,
    /// Whether it wants to take projects over.
    pub take_over: bool,
}

/// A connection.
pub(crate) struct Connection {
    pub(super) reader: BufReader<UnixStream>,
    pub(super) writer: UnixStream,
    pub(super) memory: Option<Memory>,
    pub(super) origin: Origin,
    /// Products asked for so far.
    pub(super) products: u64,
    /// Bytes that went in both directions.
    pub(super) traffic: u64,
}

impl Connection {
    /// Reads the hello, and the shared memory that may come along with its first bytes.
    pub(super) fn accept(stream: &UnixStream) -> Result<(Greeting, Self), FrameError> {
        let mut first = [0; HEADER_BYTES];
        let (count, descriptors) = blindsmith_shared::receive(stream, &mut first)?;
        let mut hello = first[..count].chain(stream);
        let (message, body) = read_head(&mut hello)?;
        let FromWarden::Hello { tee, shared, lane, holder, start, take_over, .. } = message else {
            return Err(FrameError::Unexpected("a warden begins with hello"));
        };
        if body != 0 || tee.len() > MAX_NAME {
            return Err(FrameError::Unexpected("a hello that is none"));
        }
        let memory = if shared { Some(Memory::map(descriptors)?) } else { None };
        let reader = BufReader::with_capacity(1 << 16, stream.try_clone()?);
        let writer = stream.try_clone()?;
        let origin = Origin { holder, start };
        let connection = Connection { reader, writer, memory, origin, products: 0, traffic: 0 };
        Ok((Greeting { tee, lane, take_over }, connection))
    }

    pub(super) fn send(&mut self, message: &ToWarden, body: &[&[u8]]) -> Result<(), FrameError> {
        self.traffic += body.iter().map(|b| b.len() as u64).sum::<u64>();
        write_frame(&mut self.writer, message, body)
    }

    /// A message, and the length of the body that follows it.
    pub(super) fn receive(&mut self) -> Result<(FromWarden, usize), FrameError> {
        let (message, body) = read_head(&mut self.reader)?;
        self.traffic += body as u64;
        Ok((message, body))
    }

    /// The body that follows a message.
    pub(super) fn body(&mut self, len: usize) -> Result<Vec<u8>, FrameError> {
        read_body(&mut self.reader, len, MAX_BODY)
    }

    /// The end of a command, in which the warden does not instruct.
    pub(super) fn finish(&mut self) -> Result<(Outcome, Vec<u8>), FrameError> {
        match self.receive()? {
            (FromWarden::Finished(outcome), body) => Ok((outcome, self.body(body)?)),
            _ => Err(FrameError::Unexpected("the warden should have finished")),
        }
    }

    /// The memory in which operands come.
    pub(super) fn operands(&self) -> Option<Arc<Region>> {
        self.memory.as_ref().map(|memory| memory.operands.clone())
    }
}
