//! The link to the warden: one connection, one command at a time; during a command the warden instructs.

mod hand_over;
mod rounds;
mod secrets;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::io::{BufReader, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use blindsmith_protocol::{
    AdmittedUpload, Blob, Decision, FrameError, FromWarden, HEADER_BYTES, Id, Instruction, Lane, MAX_BODY,
    MAX_NAME, MAX_PIECE, Outcome, Place, ProjectSpec, RoundRecord, ToWarden, from_cbor, operand_residues,
    read_body, read_head, write_frame,
};
use blindsmith_ring::LANES;
use blindsmith_shared::{Arena, Range, Region};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{ClockId, clock_gettime};
use tracing::{info, warn};

use crate::engine::{Blocks, Engine, EngineError, Factors, StoredRows, UploadFiles};
use crate::shared::{Failure, Job, Round, Shared, Stored, now};
use crate::store::{Lease, StoreError, Verdict};
use rounds::fault;

pub struct Link {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    shared: Option<Memory>,
    /// What tells this warden from others.
    holder: Id,
    /// What tells this start of it from others.
    start: Id,
    /// Whether it wants to take projects over.
    take_over: bool,
    /// One to which nothing could be handed over so far, and where it waits.
    successor: Option<(Box<Link>, Sender<Box<Link>>)>,
    /// Projects that it handed over to another one, and works no more for.
    retired: BTreeSet<Id>,
    /// The round's job in the store's queue, and when it was taken or extended.
    job: Option<(Lease, Instant)>,
    /// Products asked for so far.
    products: u64,
    traffic: u64,
}

/// The memory that a warden shares: operands come in one region, products go in the other.
struct Memory {
    operands: Arc<Region>,
    products: Region,
    arena: Arena,
    /// Products that the warden has not said it received, and where they are.
    sent: VecDeque<(u64, Range)>,
}

/// Times that a round is given to a warden that is lost in it.
const MAX_ATTEMPTS: u32 = 5;
/// The time for which a round's job is taken; it is extended as the round goes on.
const LEASE: Duration = Duration::from_secs(3600);
/// Time in which whoever connects must say hello.
const HELLO: Duration = Duration::from_secs(10);

/// Serves one warden until it leaves or the refinery stops. Another one waits for its turn.
pub fn serve_warden(shared: &Shared, stream: &UnixStream) -> Result<(), FrameError> {
    stream.set_read_timeout(Some(HELLO))?;
    let (tee, lane, mut link) = Link::accept(stream)?;
    stream.set_read_timeout(None)?;
    if lane == Lane::Rounds && link.take_over {
        info!(warden = %link.holder, "a warden waits to take projects over");
        link = link.taking_over(shared)?;
    }
    let turns = if lane == Lane::Rounds { &shared.link } else { &shared.query_link };
    let _turn = turns.lock().unwrap_or_else(|e| e.into_inner());
    let mut state = shared.lock();
    match lane {
        Lane::Rounds => {
            info!(%tee, "a warden connected");
            state.warden = Some(tee);
            (state.holder, state.start) = (Some(link.holder), Some(link.start));
        }
        Lane::Queries => state.queries = true,
    }
    drop(state);
    let gone = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _leaving = Leaving(shared, stream, lane);
        scope.spawn(|| {
            hang_up(stream);
            // Under the lock, or the link could miss it on its way to wait.
            let state = shared.lock();
            gone.store(true, Ordering::Relaxed);
            drop(state);
            shared.changed.notify_all();
        });
        link.run(shared, lane, &gone)
    })
}

/// Waits until the other side is gone: a link that has nothing to do does not read.
fn hang_up(stream: &UnixStream) {
    let mut watched = [PollFd::new(stream, PollFlags::RDHUP)];
    while poll(&mut watched, None).is_err_and(|e| e == rustix::io::Errno::INTR) {}
}

/// Forgets the warden, however its link ends.
struct Leaving<'a>(&'a Shared, &'a UnixStream, Lane);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        _ = self.1.shutdown(Shutdown::Both);
        let mut state = self.0.lock();
        if self.2 == Lane::Queries {
            // The link for rounds answers those that wait, if it is there.
            state.queries = false;
            drop(state);
            self.0.changed.notify_all();
            return;
        }
        (state.warden, state.holder, state.start, state.restored) = (None, None, None, false);
        state.projects.values_mut().for_each(|p| {
            p.ready = false;
            p.progress = None;
            if !p.failed() {
                // It was this warden's.
                p.failure = None;
            }
        });
        // Whoever waits for an answer learns that none will come; rounds stay queued.
        state.jobs.retain(|job| matches!(job, Job::Round(_)));
        drop(state);
        self.0.changed.notify_all();
    }
}

/// How often is looked whether a warden came from which another one takes over.
const LOOK: Duration = Duration::from_millis(200);

impl Link {
    /// Waits for a warden from which it takes projects over, unless it has all of them, and for the end of that. One that
    /// does not come in time is not waited for: its projects may be lost, and others are to be served.
    fn taking_over(self, shared: &Shared) -> Result<Self, FrameError> {
        let begun = Instant::now();
        let mut state = shared.lock();
        loop {
            if state.warden.is_some() {
                let (back, returned) = channel();
                state.jobs.push_front(Job::HandOver { to: Box::new(self), back });
                drop(state);
                shared.changed.notify_all();
                // If the other is lost first, this warden comes again.
                return returned.recv().map(|link| *link).map_err(|_| FrameError::Closed);
            }
            let released = state.released();
            drop(state);
            if self.holds_all(shared, &released) {
                return Ok(self);
            }
            if begun.elapsed() >= shared.take_over_wait {
                warn!("no warden came that has the other projects: this one serves without them");
                return Ok(self);
            }
            let mut watched = [PollFd::new(&self.writer, PollFlags::RDHUP)];
            let none = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
            if poll(&mut watched, Some(&none)).is_ok_and(|ready| ready > 0) {
                return Err(FrameError::Closed);
            }
            let woken = shared.changed.wait_timeout(shared.lock(), LOOK);
            state = woken.unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    /// Reads the hello, and the shared memory that may come along with its first bytes.
    fn accept(stream: &UnixStream) -> Result<(String, Lane, Self), FrameError> {
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
        let shared = if shared { Some(Memory::map(descriptors)?) } else { None };
        let reader = BufReader::with_capacity(1 << 16, stream.try_clone()?);
        Ok((
            tee,
            lane,
            Link {
                reader,
                writer: stream.try_clone()?,
                shared,
                holder,
                start,
                take_over,
                successor: None,
                retired: BTreeSet::new(),
                job: None,
                products: 0,
                traffic: 0,
            },
        ))
    }

    fn send(&mut self, message: &ToWarden, body: &[&[u8]]) -> Result<(), FrameError> {
        self.traffic += body.iter().map(|b| b.len() as u64).sum::<u64>();
        write_frame(&mut self.writer, message, body)
    }

    fn receive(&mut self) -> Result<(FromWarden, usize), FrameError> {
        let (message, body) = read_head(&mut self.reader)?;
        self.traffic += body as u64;
        Ok((message, body))
    }

    fn run(&mut self, shared: &Shared, lane: Lane, gone: &AtomicBool) -> Result<(), FrameError> {
        if lane == Lane::Rounds {
            self.restore(shared)?;
            // Who is told that a warden answers may use what it was given.
            shared.lock().restored = true;
            shared.changed.notify_all();
        }
        while let Some(job) = shared.next(lane, (&self.holder, &self.start), gone) {
            let (project, start) = (job.works_for(), Instant::now());
            let done = self.perform(shared, job);
            if let Some(project) = project {
                shared.update(&project, |p| p.share.add(start.elapsed()));
            }
            done?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(Outcome, Vec<u8>), FrameError> {
        match self.receive()? {
            (FromWarden::Finished(outcome), body) => {
                Ok((outcome, read_body(&mut self.reader, body, MAX_BODY)?))
            }
            _ => Err(FrameError::Unexpected("the warden should have finished")),
        }
    }

    fn perform(&mut self, shared: &Shared, job: Job) -> Result<(), FrameError> {
        match job {
            Job::Attest { asker, request, reply } => {
                self.send(&ToWarden::Attest { asker, request: Blob(request) }, &[])?;
                match self.receive()? {
                    (FromWarden::Evidence(evidence), 0) => _ = reply.send(Ok(evidence)),
                    (FromWarden::Finished(Outcome::Refused { message }), 0) => _ = reply.send(Err(message)),
                    _ => return Err(FrameError::Unexpected("not evidence")),
                }
            }
            Job::Release { project, release, reply } => {
                let done = self.release(shared, &project, release)?;
                _ = reply.send(done);
            }
            Job::Query { header, rows, envelope, reply } => {
                let Some(spec) = shared.lock().projects.get(&header.project).map(|p| p.spec.clone()) else {
                    _ = reply.send(Err("no such project".into()));
                    return Ok(());
                };
                let projections = match shared.store.projections() {
                    Ok(file) => file.into_file(),
                    Err(e) => {
                        _ = reply.send(Err(e.to_string()));
                        return Ok(());
                    }
                };
                let project = header.project;
                let command =
                    ToWarden::Query { project, header: (*header).clone(), envelope: Blob(envelope) };
                let blocks = Blocks::new(vec![UploadFiles { header: *header, rows, projections }]);
                self.send(&command, &[])?;
                let memory = self.operands();
                let mut engine = Engine::new(&spec, &blocks)
                    .with_row_bytes(shared.row_bytes)
                    .with_shared(memory.as_deref());
                let outcome = self.follow(shared, &project, &mut engine)?;
                _ = reply.send(match outcome {
                    (Outcome::Answer, answer) => Ok(answer),
                    (Outcome::Refused { message }, _) => Err(message),
                    (Outcome::Fault { instruction, report }, _) => {
                        fault(shared, &project, &instruction, &report);
                        Err("the query was refused".into())
                    }
                    _ => return Err(FrameError::Unexpected("not an answer to a query")),
                });
            }
            Job::HandOver { mut to, back } => {
                if !self.hand_over(shared, &mut to)? && !Link::superseded(shared, &to) {
                    // An order of an owner may change that.
                    self.successor = Some((to, back));
                } else if back.send(to).is_ok() {
                    info!("another warden goes on");
                    return Err(FrameError::Closed);
                }
            }
            Job::Order { project, order, .. } => {
                let told = self.ordered(shared, project, order);
                shared.lock().told = None;
                shared.changed.notify_all();
                told?;
            }
            Job::Enrol { project, contributor, enrolment, reply } => {
                self.send(&ToWarden::Enrol { project, contributor, enrolment: Blob(enrolment) }, &[])?;
                let done = match self.finish()? {
                    (Outcome::Enrolled { token, confirmation }, _) => {
                        let stored = shared.store.enrol(&project, &contributor, (&self.holder, &token.0));
                        stored.map(|()| confirmation).map_err(|e| e.to_string())
                    }
                    (Outcome::Refused { message }, _) => Err(message),
                    _ => return Err(FrameError::Unexpected("not an answer to an enrolment")),
                };
                if done.is_ok() {
                    shared.update(&project, |p| p.enrolled(&contributor, now()));
                }
                _ = reply.send(done);
            }
            Job::Rollback { project, version } => {
                let done = self.roll_back(shared, project, version)?;
                shared.update(&project, |p| p.rolled_back(done));
            }
            Job::Admit { project, upload } => {
                let verdict = match self.admit(shared, &project, &upload)? {
                    Ok(verdict) => verdict,
                    Err(Failure::Here(why)) => {
                        let why = format!("it could not be read, and is tried again: {why}");
                        warn!(%project, %upload, why, "an upload waits");
                        shared.update(&project, |p| {
                            p.uploads
                                .iter_mut()
                                .filter(|u| u.id == upload)
                                .for_each(|u| u.try_again(why.clone()));
                            p.failure = Some(format!("an upload waits: {why}"));
                        });
                        return Ok(());
                    }
                    // It is tried again by the next refinery.
                    Err(Failure::There(why)) => Verdict::Refused(format!("it could not be read: {why}")),
                };
                if let Verdict::Refused(reason) = &verdict {
                    warn!(%project, %upload, reason, "an upload is left out");
                }
                shared.update(&project, |p| p.judge(&upload, verdict));
            }
            Job::Round(round) => {
                let attempt = round.attempt + 1;
                let (done, broken) = match self.leased(shared, &round) {
                    Ok(done) => (done, None),
                    Err(e) if attempt < MAX_ATTEMPTS => {
                        self.give_back(shared, &e.to_string());
                        // The link failed, not the round: the next warden takes it up.
                        shared.lock().jobs.push_front(Job::Round(Round { attempt, ..round }));
                        return Err(e);
                    }
                    Err(e) => {
                        self.end_job(shared);
                        let why = format!("the warden was lost {attempt} times in this round: {e}");
                        (Err(Failure::There(why)), Some(e))
                    }
                };
                shared.update(&round.project, |p| p.ended(done, now()));
                if let Some(e) = broken {
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// Carries out the warden's instructions until it finishes.
    fn follow(
        &mut self,
        shared: &Shared,
        project: &Id,
        engine: &mut Engine<'_>,
    ) -> Result<(Outcome, Vec<u8>), FrameError> {
        loop {
            match self.receive()? {
                (FromWarden::Finished(outcome), body) => {
                    return Ok((outcome, read_body(&mut self.reader, body, MAX_BODY)?));
                }
                (FromWarden::Progress(progress), 0) => {
                    self.extend_job(shared);
                    shared.update(project, |p| p.progress = Some(progress));
                }
                (FromWarden::Do(instruction), body) => self.instruct(engine, &instruction, body)?,
                _ => return Err(FrameError::Unexpected("not an instruction")),
            }
        }
    }

    fn instruct(
        &mut self,
        engine: &mut Engine<'_>,
        instruction: &Instruction,
        body: usize,
    ) -> Result<(), FrameError> {
        if body != 0 && !matches!(instruction, Instruction::Rows { .. } | Instruction::Keep { .. }) {
            return Err(FrameError::Unexpected("a body where none belongs"));
        }
        let unfit = |e: EngineError| FrameError::Malformed(e.to_string());
        let done = match instruction {
            Instruction::Begin { shape, at, .. } => {
                engine.operands().begin(instruction).map_err(unfit)?;
                if at.is_some() {
                    self.traffic += 8 * operand_residues(shape).unwrap_or(0) as u64;
                }
                Ok(())
            }
            Instruction::Rows { operand, first } => {
                let rows = engine.operands().rows(*operand, *first, body).map_err(unfit)?;
                self.reader.read_exact(rows).map_err(|e| Failed::Link(e.into()))
            }
            Instruction::Free { operands } => {
                engine.operands().free(operands);
                Ok(())
            }
            Instruction::Labels { blocks } => match engine.stored().labels(blocks) {
                Ok(labels) => self.send(&ToWarden::Labels, &[&labels]).map_err(Failed::Link),
                Err(e) => Err(Failed::Engine(e)),
            },
            Instruction::Keep { block } => {
                let sealed = read_body(&mut self.reader, body, MAX_BODY)?;
                engine.stored().keep(block, &sealed).map_err(unfit)?;
                Ok(())
            }
            Instruction::Read { received, .. } | Instruction::Projections { received, .. } => {
                self.bytes(engine.stored(), instruction, *received)
            }
            Instruction::Accumulate { slot, left, right, section } => {
                engine.accumulate(*slot, Factors { left, right: *right, section });
                Ok(())
            }
            Instruction::Multiply { left, right, section, sum, received } => {
                self.multiply(engine, Factors { left, right: *right, section }, *sum, *received)
            }
        };
        match done {
            Ok(()) => Ok(()),
            Err(Failed::Engine(e)) => self.fail(&e),
            Err(Failed::Link(e)) => Err(e),
        }
    }

    fn operands(&self) -> Option<Arc<Region>> {
        self.shared.as_ref().map(|memory| memory.operands.clone())
    }

    /// Answers with a product, in shared memory where there is room.
    fn multiply(
        &mut self,
        engine: &mut Engine<'_>,
        factors: Factors<'_>,
        sum: Option<u32>,
        received: u64,
    ) -> Result<(), Failed> {
        let ticket = self.products;
        self.products += 1;
        let len = engine.answer_shape(factors, sum)?.residues();
        let room = |m: &mut Memory| m.room(received, len.div_ceil(LANES));
        let Some((memory, mut range)) = self.shared.as_mut().and_then(|m| room(m).map(|range| (m, range)))
        else {
            let product = engine.multiply(factors, sum)?;
            return Ok(self.send_residues(&product.residues)?);
        };
        let out: &mut [u64] = bytemuck::cast_slice_mut(memory.products.slice_mut(&mut range));
        let done = engine.multiply_into(factors, sum, &mut out[..len]);
        let place = Place { start: (range.start() * LANES) as u64, len: len as u64 };
        memory.sent.push_back((ticket, range));
        done?;
        self.traffic += 8 * len as u64;
        Ok(self.send(&ToWarden::Product { residues: len as u64, place: Some(place) }, &[])?)
    }

    /// Sends a product, in pieces.
    fn send_residues(&mut self, residues: &[u64]) -> Result<(), FrameError> {
        self.send(&ToWarden::Product { residues: residues.len() as u64, place: None }, &[])?;
        for piece in residues.chunks(MAX_PIECE / 8) {
            let count = piece.len() as u64;
            self.send(&ToWarden::Residues { count }, &[bytemuck::cast_slice(piece)])?;
        }
        Ok(())
    }

    /// Answers with bytes, in shared memory where there is room.
    fn bytes(
        &mut self,
        stored: StoredRows<'_>,
        instruction: &Instruction,
        received: u64,
    ) -> Result<(), Failed> {
        let ticket = self.products;
        self.products += 1;
        let len = stored.bytes_len(instruction)?;
        let words = len.div_ceil(8);
        let room = |m: &mut Memory| m.room(received, words.div_ceil(LANES));
        let Some((memory, mut range)) = self.shared.as_mut().and_then(|m| room(m).map(|range| (m, range)))
        else {
            let mut out = vec![0; len];
            stored.bytes_into(instruction, &mut out)?;
            return Ok(self.send(&ToWarden::Bytes { place: None, len: len as u64 }, &[&out])?);
        };
        let out: &mut [u8] = bytemuck::cast_slice_mut(memory.products.slice_mut(&mut range));
        let done = stored.bytes_into(instruction, &mut out[..len]);
        let place = Place { start: (range.start() * LANES) as u64, len: words as u64 };
        memory.sent.push_back((ticket, range));
        done?;
        self.traffic += len as u64;
        Ok(self.send(&ToWarden::Bytes { place: Some(place), len: len as u64 }, &[])?)
    }

    fn fail(&mut self, error: &EngineError) -> Result<(), FrameError> {
        warn!("{error}");
        self.send(&ToWarden::Failed { message: error.to_string() }, &[])
    }
}

enum Failed {
    Engine(EngineError),
    Link(FrameError),
}

impl From<EngineError> for Failed {
    fn from(e: EngineError) -> Self {
        Failed::Engine(e)
    }
}

impl From<FrameError> for Failed {
    fn from(e: FrameError) -> Self {
        Failed::Link(e)
    }
}

impl Memory {
    fn map(descriptors: Vec<OwnedFd>) -> Result<Self, FrameError> {
        let refused = |_| FrameError::Unexpected("shared memory that cannot be used");
        let [operands, products] = <[OwnedFd; 2]>::try_from(descriptors)
            .map_err(|_| FrameError::Unexpected("two regions are due"))?;
        let operands = Arc::new(Region::map(operands).map_err(refused)?);
        let products = Region::map(products).map_err(refused)?;
        let arena = Arena::new(products.len());
        Ok(Memory { operands, products, arena, sent: VecDeque::new() })
    }

    /// Room for a product, after what the warden received is free again.
    fn room(&mut self, received: u64, len: usize) -> Option<Range> {
        while let Some((_, range)) = self.sent.pop_front_if(|(ticket, _)| *ticket < received) {
            self.arena.give(range);
        }
        self.arena.take(len)
    }
}
