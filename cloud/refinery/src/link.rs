//! The link to the warden: one connection, one command at a time; during a command the warden instructs.

use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use blindsmith_protocol::{
    Blob, FrameError, FromWarden, Id, Instruction, MAX_BODY, MAX_NAME, Outcome, ProjectSpec, RoundRecord,
    ToWarden, from_cbor, read_body, read_head, write_frame,
};
use rustix::time::{ClockId, clock_gettime};
use tracing::{info, warn};

use crate::engine::{Blocks, Engine, EngineError, Multiplied};
use crate::shared::{Job, Shared};

/// Bytes of a product's rows in one frame, about.
const ROWS_FRAME: usize = 8 << 20;

struct Link<R: Read, W: Write> {
    reader: R,
    writer: W,
    traffic: u64,
}

/// Serves one warden until it leaves or the refinery stops.
pub fn serve_warden(shared: &Shared, stream: UnixStream) -> Result<(), FrameError> {
    let reader = BufReader::with_capacity(1 << 16, stream.try_clone()?);
    let mut link = Link { reader, writer: stream, traffic: 0 };
    let tee = link.hello()?;
    info!(%tee, "a warden connected");
    shared.lock().warden = Some(tee);
    let ended = link.run(shared);
    let mut state = shared.lock();
    state.warden = None;
    state.projects.values_mut().for_each(|p| {
        p.ready = false;
        p.progress = None;
    });
    // Whoever waits for an answer learns that none will come; rounds stay queued.
    state.jobs.retain(|job| matches!(job, Job::Round { .. }));
    drop(state);
    shared.changed.notify_all();
    ended
}

impl<R: Read, W: Write> Link<R, W> {
    fn hello(&mut self) -> Result<String, FrameError> {
        match self.receive()? {
            (FromWarden::Hello { tee, .. }, 0) if tee.len() <= MAX_NAME => Ok(tee),
            _ => Err(FrameError::Unexpected("a warden begins with hello")),
        }
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

    fn run(&mut self, shared: &Shared) -> Result<(), FrameError> {
        self.restore(shared)?;
        while let Some(job) = shared.next() {
            self.perform(shared, job)?;
        }
        Ok(())
    }

    /// Gives a warden that starts the states that it or an earlier one sealed.
    fn restore(&mut self, shared: &Shared) -> Result<(), FrameError> {
        let known: Vec<(Id, Arc<ProjectSpec>, u64)> = shared
            .lock()
            .projects
            .iter()
            .filter_map(|(id, p)| Some((*id, p.spec.clone(), p.rounds.last()?.round)))
            .collect();
        for (id, spec, round) in known {
            let state = match shared.store.round(&id, round) {
                Ok(record) => record.state,
                Err(e) => {
                    warn!(project = %id, "{e}");
                    continue;
                }
            };
            self.send(&ToWarden::Restore { spec: (*spec).clone() }, &[&state.0])?;
            let ready = match self.finish()? {
                (Outcome::Ready, _) => Ok(()),
                (Outcome::Refused { message }, _) => Err(message),
                _ => return Err(FrameError::Unexpected("not an answer to restore")),
            };
            shared.update(&id, |p| {
                p.ready = ready.is_ok();
                p.failure = ready.err();
            });
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
            Job::Attest { nonce, reply } => {
                self.send(&ToWarden::Attest { nonce: Blob(nonce) }, &[])?;
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
                let project = header.project;
                let command =
                    ToWarden::Query { project, header: (*header).clone(), envelope: Blob(envelope) };
                let blocks = Blocks::new(vec![(*header, rows)]);
                self.send(&command, &[])?;
                let outcome = self.follow(shared, &project, &mut Engine::new(&spec, &blocks))?;
                _ = reply.send(match outcome {
                    (Outcome::Answer, answer) => Ok(answer),
                    (Outcome::Refused { message }, _) => Err(message),
                    _ => return Err(FrameError::Unexpected("not an answer to a query")),
                });
            }
            Job::Round { project, epochs, attempt } => {
                let done = self.round(shared, &project, epochs, attempt);
                if done.is_err() {
                    // The link failed, not the round: another warden takes it up.
                    shared.lock().jobs.push_back(Job::Round { project, epochs, attempt: attempt + 1 });
                }
                let done = done?;
                shared.update(&project, |p| {
                    p.pending = p.pending.saturating_sub(1);
                    p.progress = None;
                    p.failed_at = done.is_err().then_some(p.uploads.len());
                    p.failure = done.err();
                });
            }
        }
        Ok(())
    }

    fn release(
        &mut self,
        shared: &Shared,
        project: &Id,
        release: Vec<u8>,
    ) -> Result<Result<(), String>, FrameError> {
        let found = shared.lock().projects.get(project).map(|p| (p.spec.clone(), p.rounds.is_empty()));
        let Some((spec, first)) = found else { return Ok(Err("no such project".into())) };
        let model = match shared.store.initial_model(project) {
            Ok(model) => model,
            Err(e) => return Ok(Err(e.to_string())),
        };
        self.send(&ToWarden::Release { spec: (*spec).clone(), release: Blob(release) }, &[&model])?;
        match self.finish()? {
            (Outcome::Ready, body) => {
                let record: RoundRecord = from_cbor(&body)?;
                if first {
                    if let Err(e) = shared.store.save_round(project, &record) {
                        return Ok(Err(e.to_string()));
                    }
                    shared.update(project, |p| p.rounds.push(record.summary.clone()));
                }
                shared.update(project, |p| {
                    p.ready = true;
                    p.failure = None;
                });
                Ok(Ok(()))
            }
            (Outcome::Refused { message }, _) => Ok(Err(message)),
            _ => Err(FrameError::Unexpected("not an answer to a release")),
        }
    }

    fn round(
        &mut self,
        shared: &Shared,
        project: &Id,
        epochs: Option<u32>,
        attempt: u32,
    ) -> Result<Result<(), String>, FrameError> {
        let found = {
            let state = shared.lock();
            state
                .projects
                .get(project)
                .map(|p| (p.spec.clone(), p.uploads.clone(), p.rounds.last().map_or(0, |r| r.round) + 1))
        };
        let Some((spec, uploads, round)) = found else { return Ok(Err("no such project".into())) };
        let mut files = Vec::with_capacity(uploads.len());
        for header in &uploads {
            match shared.store.rows(project, &header.id()) {
                Ok(file) => files.push((header.clone(), file)),
                Err(e) => return Ok(Err(e.to_string())),
            }
        }
        let blocks = Blocks::new(files);
        let mut engine = Engine::new(&spec, &blocks);
        let (traffic, cpu) = (self.traffic, clock_gettime(ClockId::ProcessCPUTime));
        let start = Instant::now();
        self.send(&ToWarden::Round { project: *project, round, attempt, epochs, uploads }, &[])?;
        let mut record: RoundRecord = match self.follow(shared, project, &mut engine)? {
            (Outcome::Round, body) => from_cbor(&body)?,
            (Outcome::Refused { message }, _) => return Ok(Err(message)),
            _ => return Err(FrameError::Unexpected("not the end of a round")),
        };
        if record.summary.round != round {
            return Ok(Err("the warden ended another round than the one it was given".into()));
        }
        let spent = clock_gettime(ClockId::ProcessCPUTime) - cpu;
        record.summary.seconds = start.elapsed().as_secs_f64();
        record.summary.cloud_seconds = engine.busy.as_secs_f64();
        record.summary.cloud_cpu_seconds = spent.tv_sec as f64 + spent.tv_nsec as f64 * 1e-9;
        record.summary.traffic_bytes = self.traffic - traffic;
        if let Err(e) = shared.store.save_round(project, &record) {
            return Ok(Err(e.to_string()));
        }
        info!(project = %project, round, seconds = record.summary.seconds, "a round is complete");
        shared.update(project, |p| {
            p.rounds.push(record.summary.clone());
            p.used = record.used.clone();
        });
        Ok(Ok(()))
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
        if body != 0 && !matches!(instruction, Instruction::Strip { .. }) {
            return Err(FrameError::Unexpected("a body where none belongs"));
        }
        let unfit = |e: EngineError| FrameError::Malformed(e.to_string());
        match instruction {
            Instruction::Begin { .. } => engine.begin(instruction).map_err(unfit),
            Instruction::Strip { operand, strip } => {
                let buffer: &mut [u8] =
                    bytemuck::cast_slice_mut(engine.strip(*operand, *strip).map_err(unfit)?);
                if buffer.len() != body {
                    return Err(FrameError::Unexpected("a strip of another length"));
                }
                Ok(self.reader.read_exact(buffer)?)
            }
            Instruction::Free { operands } => {
                engine.free(operands);
                Ok(())
            }
            Instruction::Labels { blocks } => match engine.labels(blocks) {
                Ok(labels) => self.send(&ToWarden::Labels, &[&labels]),
                Err(e) => self.fail(&e),
            },
            Instruction::Multiply { kind, layer, left, right } => {
                match engine.multiply(*kind, *layer, left, *right) {
                    Ok(product) => self.send_product(&product),
                    Err(e) => self.fail(&e),
                }
            }
        }
    }

    fn fail(&mut self, error: &EngineError) -> Result<(), FrameError> {
        warn!("{error}");
        self.send(&ToWarden::Failed { message: error.to_string() }, &[])
    }

    fn send_product(&mut self, product: &Multiplied) -> Result<(), FrameError> {
        let (rows, cols) = product.shape.grid();
        let extras = bytemuck::cast_slice(product.extras());
        self.send(&ToWarden::Extras { rows: rows as u32 }, &[extras])?;
        let row = cols * product.shape.tile_residues();
        let rows = (ROWS_FRAME / 8 / row).max(1);
        for (i, part) in product.body().chunks(rows * row).enumerate() {
            let (first, count) = ((i * rows) as u32, (part.len() / row) as u32);
            self.send(&ToWarden::Rows { first, count }, &[bytemuck::cast_slice(part)])?;
        }
        Ok(())
    }
}
