//! Clients on the refinery's own machine, over a Unix socket: one thread a connection, requests in turn.

use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;

use blindsmith_api::message::{Reply, Request};
use blindsmith_identity::PublicKey;
use blindsmith_protocol::{FrameError, Id, MAX_BODY, MAX_SEALED, read_body, read_head, to_cbor, write_frame};
use tracing::warn;

use crate::clock;
use crate::refusal::{Refusal, RefusalKind};
use crate::state::Shared;
use crate::store::Extent;

/// Serves a client until it leaves.
pub(crate) fn serve_client(shared: &Shared, stream: UnixStream) {
    let mut client = match stream.try_clone() {
        Ok(reading) => Client { reader: BufReader::with_capacity(1 << 16, reading), writer: stream, shared },
        Err(e) => return warn!("a client could not be served: {e}"),
    };
    loop {
        match client.request() {
            Ok(()) => {}
            Err(FrameError::Closed) => return,
            Err(e) => {
                // The stream may be out of step: say why, then close.
                warn!("a client was refused: {e}");
                _ = client.reply(&Reply::Failed { message: e.to_string() });
                return;
            }
        }
    }
}

struct Client<'a> {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    shared: &'a Shared,
}

type Answer = Result<(Reply, Vec<u8>), Refusal>;

impl Client<'_> {
    fn reply(&mut self, reply: &Reply) -> Result<(), FrameError> {
        write_frame(&mut self.writer, reply, &[])
    }

    fn request(&mut self) -> Result<(), FrameError> {
        let (request, body) = read_head::<Request>(&mut self.reader)?;
        let limit = match request {
            Request::Create { .. } => MAX_BODY.min(MAX_SEALED),
            Request::Release { .. } => 1 << 20,
            Request::Push { project, role, rows } if body == 0 => {
                return self.push(&project, Extent { role, rows });
            }
            _ => 0,
        };
        let body = read_body(&mut self.reader, body, limit)?;
        match request {
            Request::Watch { project } => self.watch(&project),
            other => {
                let answer = self.answer(other, body);
                self.send(answer)
            }
        }
    }

    fn send(&mut self, answer: Answer) -> Result<(), FrameError> {
        match answer {
            Ok((reply, body)) => write_frame(&mut self.writer, &reply, &[&body]),
            Err(refusal) => self.reply(&Reply::Failed { message: refusal.message }),
        }
    }

    fn answer(&self, request: Request, body: Vec<u8>) -> Answer {
        let done = |()| (Reply::Done, Vec::new());
        let confirmed = |confirmation| (Reply::Confirmed { confirmation }, Vec::new());
        let shared = self.shared;
        match request {
            Request::Ping => Ok(done(())),
            Request::Create { spec } => shared.create(spec, &body).map(done),
            Request::Attest { asker, request } => {
                Ok((Reply::Evidence(shared.attest(asker, request.0)?), Vec::new()))
            }
            Request::Release { project } => shared.release(project, body).map(confirmed),
            Request::Spec { project } => Ok((Reply::Spec((*shared.spec(&project)?).clone()), Vec::new())),
            Request::Refine { project, epochs } => shared.refine(project, epochs).map(done),
            Request::Status { project, seen } => {
                Ok((Reply::StatusFollows, to_cbor(&shared.status(&project, seen, None)?)))
            }
            Request::Pull { project, version } => {
                let (version, model) = shared.pull(&project, version)?;
                Ok((Reply::Model { version }, model))
            }
            Request::Projects { key } => {
                let key = key.map(PublicKey::from);
                Ok((Reply::Projects(shared.projects(key.as_ref())), Vec::new()))
            }
            Request::Orders { project } => Ok((Reply::Orders(shared.orders(&project)?), Vec::new())),
            Request::Order { project, order } => shared.order(project, order.0).map(done),
            Request::Enrol { project, contributor, enrolment } => {
                shared.enrol(project, contributor, enrolment.0).map(confirmed)
            }
            Request::Withdraw { project, contributor, withdrawal } => {
                shared.withdraw(&project, &contributor, &withdrawal.0).map(done)
            }
            Request::Receipts { project, from, faults } => {
                Ok((Reply::Receipts, to_cbor(&shared.receipts(&project, from, faults)?)))
            }
            Request::Watch { .. } | Request::Push { .. } => {
                Err(Refusal::new(RefusalKind::Invalid, "this request takes no body"))
            }
            Request::Blocks { .. } | Request::Commit { .. } | Request::Ask { .. } => {
                Err(Refusal::new(RefusalKind::Invalid, "an upload begins with push"))
            }
        }
    }

    /// Follows a project until there is nothing to wait for.
    fn watch(&mut self, project: &Id) -> Result<(), FrameError> {
        let mut sent = None;
        loop {
            let progress = {
                let mut state = self.shared.lock();
                loop {
                    let Some(found) = state.projects.get(project) else {
                        drop(state);
                        return self.send(Err(Refusal::no_project(project)));
                    };
                    if found.idle(state.warden.is_some(), clock::now()) {
                        drop(state);
                        return self.reply(&Reply::Done);
                    }
                    let progress = found.progress().cloned();
                    if progress.is_some() && progress != sent {
                        break progress;
                    }
                    state = self.shared.changed.wait(state).unwrap_or_else(|e| e.into_inner());
                }
            };
            if let Some(progress) = &progress {
                self.reply(&Reply::Progress(progress.clone()))?;
            }
            sent = progress;
        }
    }

    /// Receives an upload or a query: blocks, then what they are.
    fn push(&mut self, project: &Id, extent: Extent) -> Result<(), FrameError> {
        let spec = match self.shared.spec(project) {
            Ok(spec) => spec,
            Err(refusal) => return self.reply(&Reply::Failed { message: refusal.message }),
        };
        let shared = self.shared;
        let mut incoming = match shared.store.receive(&spec, extent) {
            Ok(incoming) => incoming,
            Err(e) => return self.reply(&Reply::Failed { message: e.to_string() }),
        };
        self.reply(&Reply::Done)?;
        loop {
            let (request, len) = read_head::<Request>(&mut self.reader)?;
            match request {
                Request::Blocks { first } => {
                    let bytes = read_body(&mut self.reader, len, MAX_BODY)?;
                    if first != incoming.blocks() {
                        return Err(FrameError::Unexpected("blocks out of order"));
                    }
                    incoming.blocks_arrived(&bytes).map_err(|e| FrameError::Malformed(e.to_string()))?;
                }
                Request::Commit { header } if len == 0 => {
                    let accepted = shared.commit(incoming, header);
                    let reply = |(upload, new)| (Reply::Accepted { upload, new }, Vec::new());
                    return self.send(accepted.map(reply));
                }
                Request::Ask { header } => {
                    let envelope = read_body(&mut self.reader, len, 1 << 16)?;
                    let query = shared.query(incoming, &header);
                    let answer = query.and_then(|rows| shared.ask(rows, header, envelope));
                    return self.send(answer.map(|answer| (Reply::Answer, answer)));
                }
                _ => return Err(FrameError::Unexpected("an upload has blocks, then a header")),
            }
        }
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        _ = self.writer.flush();
    }
}
