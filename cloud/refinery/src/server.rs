//! Clients: one thread a connection, requests in turn.

use std::io::{BufReader, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use blindsmith_identity::{open_enrolment, open_withdrawal};
use blindsmith_protocol::{
    Blob, FrameError, Id, Ledger, MAX_BODY, MAX_EPOCHS, MAX_SEALED, MAX_UPLOADS, ProjectSpec, Reply, Request,
    Role, UploadHeader, read_body, read_head, to_cbor, write_frame,
};
use tracing::{info, warn};

use crate::link::serve_warden;
use crate::shared::{Job, Project, Round, Shared, Stored};
use crate::store::Incoming;

/// Where a refinery listens.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Socket for clients.
    pub clients: PathBuf,
    /// Socket for the warden.
    pub warden: PathBuf,
}

/// Listens until the process ends.
pub fn serve(shared: Arc<Shared>, addresses: &Addresses) -> std::io::Result<()> {
    let wardens = listen(&addresses.warden)?;
    let clients = listen(&addresses.clients)?;
    let for_wardens = shared.clone();
    std::thread::spawn(move || {
        for stream in wardens.incoming() {
            let shared = for_wardens.clone();
            // The stream is closed after what became of it was said.
            let serve = move |stream: UnixStream| match serve_warden(&shared, &stream) {
                Ok(()) | Err(FrameError::Closed) => info!("the warden left"),
                Err(e) => warn!("the link to the warden ended: {e}"),
            };
            match stream {
                Ok(stream) => _ = std::thread::spawn(move || serve(stream)),
                Err(e) => warn!("a warden could not be accepted: {e}"),
            }
        }
    });
    info!(clients = %addresses.clients.display(), warden = %addresses.warden.display(), "listening");
    for stream in clients.incoming() {
        let shared = shared.clone();
        match stream {
            Ok(stream) => _ = std::thread::spawn(move || serve_client(&shared, stream)),
            Err(e) => warn!("a client could not be accepted: {e}"),
        }
    }
    Ok(())
}

/// Binds a socket, replacing one that nobody serves any more.
fn listen(path: &Path) -> std::io::Result<UnixListener> {
    if path.exists() {
        if UnixStream::connect(path).is_ok() {
            let message = format!("{} is served by another process", path.display());
            return Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, message));
        }
        if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
            let message = format!("{} is not a socket: choose another path", path.display());
            return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, message));
        }
        std::fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}

fn serve_client(shared: &Shared, stream: UnixStream) {
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

type Answer = Result<(Reply, Vec<u8>), String>;

impl Client<'_> {
    fn reply(&mut self, reply: &Reply) -> Result<(), FrameError> {
        write_frame(&mut self.writer, reply, &[])
    }

    fn request(&mut self) -> Result<(), FrameError> {
        let (request, body) = read_head::<Request>(&mut self.reader)?;
        let limit = match request {
            Request::Create { .. } => MAX_BODY.min(MAX_SEALED),
            Request::Release { .. } => 1 << 20,
            Request::Push { project } if body == 0 => return self.push(&project),
            _ => 0,
        };
        let body = read_body(&mut self.reader, body, limit)?;
        let answer = match request {
            Request::Watch { project } => self.watch(&project)?,
            other => self.answer(other, body),
        };
        self.send(answer)
    }

    fn send(&mut self, answer: Answer) -> Result<(), FrameError> {
        match answer {
            Ok((reply, body)) => write_frame(&mut self.writer, &reply, &[&body]),
            Err(message) => self.reply(&Reply::Failed { message }),
        }
    }

    fn answer(&self, request: Request, body: Vec<u8>) -> Answer {
        let done = |()| (Reply::Done, Vec::new());
        match request {
            Request::Ping => Ok(done(())),
            Request::Create { spec } => self.create(spec, &body).map(done),
            Request::Attest { nonce } => {
                let evidence = self.ask_warden(|reply| Job::Attest { nonce: nonce.0, reply })?;
                Ok((Reply::Evidence(evidence), Vec::new()))
            }
            Request::Release { project } => {
                self.spec(&project)?;
                self.ask_warden(|reply| Job::Release { project, release: body, reply }).map(done)
            }
            Request::Spec { project } => Ok((Reply::Spec((*self.spec(&project)?).clone()), Vec::new())),
            Request::Refine { project, epochs } => self.refine(project, epochs).map(done),
            Request::Status { project } => {
                let status = self.shared.lock().status(&project).ok_or_else(|| unknown(&project))?;
                Ok((Reply::Status(status), Vec::new()))
            }
            Request::Pull { project, version } => self.pull(&project, version),
            Request::Receipts { project } => self.receipts(&project),
            Request::Orders { project } => {
                let state = self.shared.lock();
                let found = state.projects.get(&project).ok_or_else(|| unknown(&project))?;
                let orders = found.orders.iter().map(|order| Blob(order.clone())).collect();
                Ok((Reply::Orders(orders), Vec::new()))
            }
            Request::Order { project, order } => self.order(project, order.0).map(done),
            Request::Enrol { project, contributor, enrolment } => {
                self.enrol(project, contributor, enrolment.0).map(done)
            }
            Request::Withdraw { project, contributor, withdrawal } => {
                self.withdraw(&project, &contributor, &withdrawal.0).map(done)
            }
            Request::Watch { .. } | Request::Push { .. } => Err("this request takes no body".into()),
            Request::Blocks { .. } | Request::Commit { .. } | Request::Ask { .. } => {
                Err("an upload begins with push".into())
            }
        }
    }

    fn spec(&self, project: &Id) -> Result<Arc<ProjectSpec>, String> {
        self.shared.lock().projects.get(project).map(|p| p.spec.clone()).ok_or_else(|| unknown(project))
    }

    fn ask_warden<T>(
        &self,
        job: impl FnOnce(std::sync::mpsc::Sender<Result<T, String>>) -> Job,
    ) -> Result<T, String> {
        let (reply, answer): (_, Receiver<Result<T, String>>) = channel();
        self.shared.submit(job(reply))?;
        answer.recv().unwrap_or_else(|_| Err("the warden left before it answered: try again".into()))
    }

    fn create(&self, spec: ProjectSpec, model: &[u8]) -> Result<(), String> {
        spec.validate().map_err(|e| e.to_string())?;
        self.shared.store.create(&spec, model).map_err(|e| e.to_string())?;
        let id = spec.id();
        let mut state = self.shared.lock();
        state.projects.entry(id).or_insert_with(|| Project::new(spec, vec![]));
        Ok(())
    }

    /// Stores an order of the owner; the warden is told of it.
    fn order(&self, project: Id, signed: Vec<u8>) -> Result<(), String> {
        let _one_by_one = self.shared.commits.lock().unwrap_or_else(|e| e.into_inner());
        let order = {
            let state = self.shared.lock();
            let found = state.projects.get(&project).ok_or_else(|| unknown(&project))?;
            if found.orders.contains(&signed) {
                return Ok(());
            }
            found.check_order(&signed)?
        };
        self.shared.store.save_order(&project, order.sequence, &signed).map_err(|e| e.to_string())?;
        info!(%project, sequence = order.sequence, "an order of the owner is stored");
        let mut state = self.shared.lock();
        if let Some(found) = state.projects.get_mut(&project) {
            found.ordered(signed.clone(), &order);
        }
        // Before what the order is about.
        state.jobs.push_front(Job::Order { project, order: signed });
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Has the warden enrol a contributor that the owner invited.
    fn enrol(&self, project: Id, contributor: Id, enrolment: Vec<u8>) -> Result<(), String> {
        {
            let state = self.shared.lock();
            let found = state.projects.get(&project).ok_or_else(|| unknown(&project))?;
            if found.roster.contributor(&contributor.into()).is_none() {
                return Err(format!(
                    "{contributor} is not invited: its owner does that with blindsmith invite"
                ));
            }
        }
        open_enrolment(&enrolment, &contributor.into()).map_err(|e| format!("the enrolment: {e}"))?;
        self.ask_warden(|reply| Job::Enrol { project, contributor, enrolment, reply })
    }

    /// Deletes an upload's rows at its contributor's word.
    fn withdraw(&self, project: &Id, contributor: &Id, signed: &[u8]) -> Result<(), String> {
        let withdrawal =
            open_withdrawal(signed, &(*contributor).into()).map_err(|e| format!("the withdrawal: {e}"))?;
        if withdrawal.project != *project {
            return Err("the withdrawal is for another project".into());
        }
        let upload = withdrawal.upload;
        let found = {
            let state = self.shared.lock();
            let found = state.projects.get(project).ok_or_else(|| unknown(project))?;
            found.uploads.iter().any(|u| u.id == upload && u.header.contributor == *contributor)
        };
        if !found {
            return Err(format!("{contributor} has no upload {upload} in this project"));
        }
        self.shared.store.withdraw(project, &upload).map_err(|e| e.to_string())?;
        info!(%project, %upload, "an upload was withdrawn");
        self.shared.update(project, |p| {
            p.uploads.iter_mut().filter(|u| u.id == upload).for_each(|u| u.withdrawn = true);
        });
        Ok(())
    }

    fn refine(&self, project: Id, epochs: Option<u32>) -> Result<(), String> {
        if epochs.is_some_and(|e| !(1..=MAX_EPOCHS).contains(&e)) {
            return Err(format!("a round has 1 to {MAX_EPOCHS} epochs"));
        }
        let mut state = self.shared.lock();
        let warden = state.warden.is_some();
        let found = state.projects.get_mut(&project).ok_or_else(|| unknown(&project))?;
        if found.rounds.is_empty() {
            return Err("no warden holds this project's secrets: run init again".into());
        }
        if let (true, false, Some(failure)) = (warden, found.ready, &found.failure) {
            return Err(failure.clone());
        }
        if !found.uploads.iter().any(Stored::trains) {
            return Err(match found.uploads.iter().any(Stored::refused) {
                true => "nothing to train on: the rows were refused, see blindsmith status",
                false => "nothing to train on: push rows first",
            }
            .into());
        }
        found.pending += 1;
        found.failure = None;
        state.jobs.push_back(Job::Round(Round { project, epochs, attempt: 0, asked: true }));
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    fn pull(&self, project: &Id, version: Option<u64>) -> Answer {
        let newest = {
            let state = self.shared.lock();
            let found = state.projects.get(project).ok_or_else(|| unknown(project))?;
            found.rounds.last().map(|r| r.round)
        };
        let newest = newest.ok_or("the project has no model yet: no warden holds its secrets")?;
        let version = version.unwrap_or(newest);
        if version > newest {
            return Err(format!("there is no version {version}: the newest is {newest}"));
        }
        let record = self.shared.store.round(project, version).map_err(|e| e.to_string())?;
        Ok((Reply::Model { version }, record.model.0))
    }

    fn receipts(&self, project: &Id) -> Answer {
        let rounds: Vec<u64> = {
            let state = self.shared.lock();
            let found = state.projects.get(project).ok_or_else(|| unknown(project))?;
            found.rounds.iter().map(|r| r.round).collect()
        };
        let store = &self.shared.store;
        let receipt = |round| store.round(project, round).map(|record| record.receipt);
        let receipts =
            rounds.into_iter().map(receipt).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        let faults = store.faults(project).map_err(|e| e.to_string())?;
        Ok((Reply::Receipts, to_cbor(&Ledger { receipts, faults })))
    }

    fn watch(&mut self, project: &Id) -> Result<Answer, FrameError> {
        let mut sent = None;
        loop {
            let progress = {
                let mut state = self.shared.lock();
                loop {
                    let Some(found) = state.projects.get(project) else { return Ok(Err(unknown(project))) };
                    if found.idle(state.warden.is_some()) {
                        // The project is there, as was just seen.
                        let status = state.status(project).ok_or(FrameError::Closed)?;
                        return Ok(Ok((Reply::Status(status), Vec::new())));
                    }
                    let progress = found.progress.clone();
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
    fn push(&mut self, project: &Id) -> Result<(), FrameError> {
        let spec = match self.spec(project) {
            Ok(spec) => spec,
            Err(message) => return self.reply(&Reply::Failed { message }),
        };
        let shared = self.shared;
        let mut incoming = match shared.store.receive(&spec) {
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
                        return Err(FrameError::Unexpected("row blocks out of order"));
                    }
                    incoming.blocks_arrived(&bytes).map_err(|e| FrameError::Malformed(e.to_string()))?;
                }
                Request::Commit { header } if len == 0 => {
                    let answer = self.commit(incoming, header);
                    return self.send(answer);
                }
                Request::Ask { header } => {
                    let envelope = read_body(&mut self.reader, len, 1 << 16)?;
                    let answer = self.ask(incoming, header, envelope);
                    return self.send(answer);
                }
                _ => return Err(FrameError::Unexpected("an upload has blocks, then a header")),
            }
        }
    }

    fn commit(&self, incoming: Incoming<'_>, header: UploadHeader) -> Answer {
        if header.role == Role::Query {
            return Err("a query is asked, not stored".into());
        }
        let (project, upload) = (header.project, header.id());
        let _one_by_one = self.shared.commits.lock().unwrap_or_else(|e| e.into_inner());
        let sequence = {
            let state = self.shared.lock();
            let found = state.projects.get(&project).ok_or_else(|| unknown(&project))?;
            if found.uploads.iter().any(|u| u.id == upload) {
                return Ok((Reply::Accepted { upload, new: false }, Vec::new()));
            }
            if found.uploads.len() >= MAX_UPLOADS {
                return Err(format!(
                    "a project has at most {MAX_UPLOADS} uploads: gather rows into larger ones"
                ));
            }
            found.uploads.len() as u64
        };
        incoming.commit(&header, sequence).map_err(|e| e.to_string())?;
        info!(%project, %upload, rows = header.rows, "an upload is stored");
        self.shared.update(&project, |p| p.uploads.push(Stored::new(header, None)));
        Ok((Reply::Accepted { upload, new: true }, Vec::new()))
    }

    fn ask(&self, incoming: Incoming<'_>, header: UploadHeader, envelope: Vec<u8>) -> Answer {
        if header.role != Role::Query {
            return Err("only a query can be asked".into());
        }
        let rows = incoming.into_file(&header).map_err(|e| e.to_string())?;
        let header = Box::new(header);
        let answer = self.ask_warden(|reply| Job::Query { header, rows, envelope, reply })?;
        Ok((Reply::Answer, answer))
    }
}

fn unknown(project: &Id) -> String {
    format!("there is no project {project} here: was it created at another refinery?")
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        _ = self.writer.flush();
    }
}
