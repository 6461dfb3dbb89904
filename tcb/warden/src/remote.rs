//! The refinery over a stream: frames out by any thread, frames in by one reader, bulk data in shared memory
//! where the two sides share a machine.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::BufReader;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use blindsmith_matrix::{MaskSeed, OperandShape, Section};
use blindsmith_protocol::{
    BlockRef, FrameError, FromWarden, Id, Instruction, Lane, Left, MAX_BODY, Place, Progress, Projection,
    ToWarden, read_body, read_head, write_frame,
};
use blindsmith_ring::{LANES, Lanes};

use crate::cloud::{Bytes, Cloud, CloudError, Copier, Sink, Ticket};
use crate::lock::lock;
use crate::transport::Transport;

type Frame = (ToWarden, Vec<u8>);

/// Frames that wait to be looked at: a refinery that sends more waits.
const WAITING: usize = 64;
/// Bytes in them from which on no further one is read.
const WAITING_BYTES: usize = 512 << 20;
/// What an answer may have beyond twice what was asked for, in bytes: what is wrong with it is found and named later.
const SLACK: u64 = 64 << 10;
/// Words of bytes in shared memory, at most.
const MAX_WORDS: usize = MAX_BODY / 8;
/// What a frame takes beside its body, about.
const FRAME: u64 = 256;

/// What a warden says of itself first.
pub struct Greeting {
    /// The kind of its environment.
    pub tee: &'static str,
    /// Its key.
    pub holder: Id,
    /// What tells this start of it from others.
    pub start: Id,
    /// What the link is for.
    pub lane: Lane,
    /// Whether it asks for the projects of the warden that the refinery has.
    pub take_over: bool,
}

/// A refinery at the other end of a stream.
pub struct Remote {
    stream: UnixStream,
    writer: Mutex<UnixStream>,
    frames: Mutex<Receiver<Result<Frame, FrameError>>>,
    waiting: Arc<Waiting>,
    shared: Option<Transport>,
    state: Mutex<State>,
}

/// Bytes of frames that wait to be looked at.
#[derive(Default)]
struct Waiting {
    bytes: Mutex<usize>,
    less: Condvar,
}

impl Waiting {
    /// Waits for room, then takes it.
    fn take(&self, bytes: usize) {
        let mut waiting = lock(&self.bytes);
        while *waiting >= WAITING_BYTES {
            waiting = self.less.wait(waiting).unwrap_or_else(|e| e.into_inner());
        }
        *waiting += bytes;
    }

    fn give(&self, bytes: usize) {
        *lock(&self.bytes) -= bytes;
        self.less.notify_all();
    }
}

#[derive(Default)]
struct State {
    requested: u64,
    /// Most bytes of answers that are due, in the order of their tickets.
    limits: VecDeque<u64>,
    /// Whether something was accumulated after the last request: no answer tells when it is done.
    accumulating: bool,
    /// Answers whose frames have all arrived.
    arrived: u64,
    /// All answers before this one were collected.
    collected: u64,
    /// Answers collected after one that was not.
    ahead: BTreeSet<u64>,
    /// Frames of answers that arrived before they were collected.
    early: HashMap<u64, Vec<Frame>>,
    waited: Duration,
    /// Residues of a contraction row of each operand.
    strides: HashMap<u32, usize>,
}

impl Remote {
    /// Speaks first: says hello, with shared memory if wanted and to be had.
    pub fn connect(stream: UnixStream, greeting: Greeting, share: bool) -> Result<Self, FrameError> {
        let Greeting { tee, holder, start, lane, take_over } = greeting;
        let shared = if share { Transport::new().ok() } else { None };
        let (tee, version) = (tee.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        let hello =
            FromWarden::Hello { tee, version, holder, start, lane, take_over, shared: shared.is_some() };
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &hello, &[])?;
        let descriptors = shared.as_ref().map(Transport::descriptors);
        blindsmith_shared::send(&stream, &bytes, descriptors.as_ref().map_or(&[], |d| d))?;

        // Reading goes on whatever the others do: two sides that both write would wait for each other.
        let (to, frames) = sync_channel(WAITING);
        let mut reader = BufReader::with_capacity(1 << 16, stream.try_clone()?);
        let waiting = Arc::<Waiting>::default();
        let counted = waiting.clone();
        std::thread::spawn(move || {
            loop {
                let frame = read_head(&mut reader).and_then(|(message, body)| {
                    counted.take(body);
                    Ok((message, read_body(&mut reader, body, MAX_BODY)?))
                });
                let ended = frame.is_err();
                if to.send(frame).is_err() || ended {
                    return;
                }
            }
        });
        Ok(Remote {
            writer: Mutex::new(stream.try_clone()?),
            stream,
            frames: Mutex::new(frames),
            waiting,
            shared,
            state: Mutex::default(),
        })
    }

    /// Sends a message.
    pub fn send(&self, message: &FromWarden, body: &[u8]) -> Result<(), FrameError> {
        write_frame(&mut *lock(&self.writer), message, &[body])
    }

    /// Waits for a frame.
    pub fn receive(&self) -> Result<Frame, FrameError> {
        let frame = lock(&self.frames).recv().unwrap_or(Err(FrameError::Closed))?;
        self.waiting.give(frame.1.len());
        Ok(frame)
    }

    /// Time spent waiting for answers so far.
    pub fn waited(&self) -> Duration {
        lock(&self.state).waited
    }

    /// Ends a command: waits for what was asked for and is no longer wanted, and forgets all operands.
    pub fn settle(&self) -> Result<(), FrameError> {
        loop {
            let outstanding = {
                let state = lock(&self.state);
                state.arrived < state.requested
            };
            if !outstanding {
                break;
            }
            match self.keep_next() {
                // A product that the refinery could not compute was answered, too.
                Ok(()) | Err(CloudError::Refused(_)) => {}
                Err(CloudError::Frame(e)) => return Err(e),
            }
        }
        let mut state = lock(&self.state);
        state.collected = state.requested;
        state.accumulating = false;
        state.ahead.clear();
        state.early.clear();
        state.strides.clear();
        if let Some(shared) = &self.shared {
            shared.clear();
        }
        Ok(())
    }

    fn answer(&self) -> Result<Frame, CloudError> {
        let start = Instant::now();
        let frame = self.receive();
        lock(&self.state).waited += start.elapsed();
        match frame? {
            (ToWarden::Failed { message }, _) => Err(CloudError::Refused(message)),
            other => Ok(other),
        }
    }

    /// All frames of the product, or of the bytes, that arrive next: at most about twice as much as was asked for, with
    /// what they have in shared memory.
    fn product(&self) -> Result<Vec<Frame>, CloudError> {
        let mut room = lock(&self.state).limits.pop_front().unwrap_or(0).saturating_mul(2) + SLACK;
        let mut taken = |frame: Frame| -> Result<Frame, CloudError> {
            let long = FrameError::Unexpected("an answer that is much longer than what was asked for");
            let elsewhere = match &frame.0 {
                ToWarden::Product { place: Some(place), .. } | ToWarden::Bytes { place: Some(place), .. } => {
                    place.len.saturating_mul(8)
                }
                _ => 0,
            };
            let bytes = elsewhere.saturating_add(frame.1.len() as u64 + FRAME);
            room = room.checked_sub(bytes).ok_or(long)?;
            Ok(frame)
        };
        let first = taken(self.answer()?)?;
        let mut left = match first.0 {
            ToWarden::Product { residues, place: None } => residues,
            ToWarden::Product { place: Some(_), .. } | ToWarden::Bytes { .. } => 0,
            _ => return Err(FrameError::Unexpected("a product is due").into()),
        };
        let mut frames = vec![first];
        while left > 0 {
            let frame = taken(self.answer()?)?;
            let ToWarden::Residues { count } = frame.0 else {
                return Err(FrameError::Unexpected("residues of a product are due").into());
            };
            let rest = left.checked_sub(count).filter(|_| count > 0);
            left = rest.ok_or(FrameError::Unexpected("a product of too many residues"))?;
            frames.push(frame);
        }
        Ok(frames)
    }

    /// Hands over the residues of a frame.
    fn residues(&self, place: Option<Place>, body: Vec<u8>, to: &mut dyn Sink) -> Result<(), CloudError> {
        match (place, &self.shared) {
            (Some(place), Some(shared)) if body.is_empty() => {
                let wrong = || FrameError::Unexpected("residues outside the shared memory");
                let start = usize::try_from(place.start).map_err(|_| wrong())?;
                let count = usize::try_from(place.len).map_err(|_| wrong())?;
                let copy = |at: usize, out: &mut [u64]| {
                    let start = start.checked_add(at).ok_or_else(wrong)?;
                    Ok(shared.copy(start, out).map_err(|_| wrong())?)
                };
                let done = to.copied(count, &copy);
                shared.release(start, count);
                done
            }
            (None, _) if body.len().is_multiple_of(8) => {
                let words = body.as_chunks::<8>().0;
                let copy = |at: usize, out: &mut [u64]| {
                    out.iter_mut().zip(&words[at..]).for_each(|(out, w)| *out = u64::from_le_bytes(*w));
                    Ok(())
                };
                to.copied(words.len(), &copy)
            }
            _ => Err(not_residues().into()),
        }
    }

    fn hand_over(&self, frames: Vec<Frame>, to: &mut dyn Sink) -> Result<(), CloudError> {
        for (message, body) in frames {
            match message {
                ToWarden::Product { place: None, .. } if body.is_empty() => {}
                ToWarden::Product { place: None, .. } => return Err(not_residues().into()),
                ToWarden::Product { place: Some(place), .. } => self.residues(Some(place), body, to)?,
                ToWarden::Residues { .. } => self.residues(None, body, to)?,
                _ => return Err(FrameError::Unexpected("not a product").into()),
            }
        }
        Ok(())
    }

    /// Waits for an answer and gives its frames.
    fn frames(&self, ticket: Ticket) -> Result<Vec<Frame>, CloudError> {
        loop {
            let (early, arrived) = {
                let mut state = lock(&self.state);
                (state.early.remove(&ticket.0), state.arrived)
            };
            match early {
                Some(frames) => return Ok(frames),
                None if arrived > ticket.0 => {
                    return Err(FrameError::Unexpected("an answer was collected twice").into());
                }
                None => self.keep_next()?,
            }
        }
    }

    /// Numbers what is asked for next; and how many answers were collected.
    fn ticket(&self, bytes: usize) -> (Ticket, u64) {
        let mut state = lock(&self.state);
        state.requested += 1;
        state.limits.push_back(bytes as u64);
        state.accumulating = false;
        (Ticket(state.requested - 1), state.collected)
    }

    fn was_collected(&self, ticket: Ticket) {
        let collected = {
            let mut state = lock(&self.state);
            state.ahead.insert(ticket.0);
            while state.ahead.contains(&state.collected) {
                let next = state.collected;
                state.ahead.remove(&next);
                state.collected += 1;
            }
            state.collected
        };
        if let Some(shared) = &self.shared {
            shared.received(collected);
        }
    }

    /// Waits for the product that arrives next and keeps it.
    fn keep_next(&self) -> Result<(), CloudError> {
        let frames = self.product();
        let mut state = lock(&self.state);
        let ticket = state.arrived;
        // A product that could not be computed has arrived as well.
        state.arrived += 1;
        state.early.insert(ticket, frames?);
        Ok(())
    }
}

fn not_residues() -> FrameError {
    FrameError::Unexpected("a body that is not residues")
}

/// What comes as bytes, eight to a word.
#[derive(Default)]
struct Words(Vec<u64>);

impl Sink for Words {
    fn copied(&mut self, count: usize, copy: Copier<'_>) -> Result<(), CloudError> {
        if count > MAX_WORDS {
            return Err(FrameError::Unexpected("too many bytes").into());
        }
        self.0.resize(count, 0);
        copy(0, &mut self.0)
    }
}

impl Cloud for Remote {
    fn begin(&self, operand: u32, shape: &OperandShape, masks: MaskSeed) -> Result<(), CloudError> {
        let groups = shape.residues() / LANES;
        let at = self.shared.as_ref().and_then(|shared| shared.begin(operand, groups));
        let at = at.map(|group| group * LANES as u64);
        let begin = Instruction::Begin { operand, shape: *shape, masks, at };
        lock(&self.state).strides.insert(operand, shape.stride());
        Ok(self.send(&FromWarden::Do(begin), &[])?)
    }

    fn rows(&self, operand: u32, first: usize, residues: &[u64]) -> Result<(), CloudError> {
        let stride = lock(&self.state).strides.get(&operand).copied().unwrap_or(0);
        let at = first * stride / LANES;
        let shared = self.shared.as_ref().map_or(Ok(false), |shared| shared.write(operand, at, residues));
        if shared.map_err(|e| FrameError::Io(std::io::Error::other(e)))? {
            return Ok(());
        }
        let message = FromWarden::Do(Instruction::Rows { operand, first: first as u32 });
        Ok(self.send(&message, bytemuck::cast_slice(residues))?)
    }

    fn free(&self, operands: &[u32]) -> Result<(), CloudError> {
        self.send(&FromWarden::Do(Instruction::Free { operands: operands.to_vec() }), &[])?;
        if let Some(shared) = &self.shared {
            // The refinery carries out one instruction after the other: what it does without an answer is done
            // when the next product arrives.
            let until = {
                let state = lock(&self.state);
                state.requested + u64::from(state.accumulating)
            };
            operands.iter().for_each(|operand| shared.free(*operand, until));
        }
        let mut state = lock(&self.state);
        operands.iter().for_each(|operand| _ = state.strides.remove(operand));
        Ok(())
    }

    fn request(&self, product: crate::cloud::ProductRequest) -> Result<Ticket, CloudError> {
        let crate::cloud::ProductRequest { left, right, section, sum, residues } = product;
        let (ticket, received) = self.ticket(8 * residues);
        let multiply = Instruction::Multiply { left, right, section, sum, received };
        self.send(&FromWarden::Do(multiply), &[])?;
        Ok(ticket)
    }

    fn accumulate(&self, slot: u32, left: Left, right: u32, section: Section) -> Result<(), CloudError> {
        lock(&self.state).accumulating = true;
        Ok(self.send(&FromWarden::Do(Instruction::Accumulate { slot, left, right, section }), &[])?)
    }

    fn collect(&self, ticket: Ticket, to: &mut dyn Sink) -> Result<(), CloudError> {
        let done = self.hand_over(self.frames(ticket)?, to);
        self.was_collected(ticket);
        done
    }

    fn read(&self, upload: u32, first: u32, count: u32, bytes: usize) -> Result<Ticket, CloudError> {
        let (ticket, received) = self.ticket(bytes);
        self.send(&FromWarden::Do(Instruction::Read { upload, first, count, received }), &[])?;
        Ok(ticket)
    }

    fn keep(&self, block: BlockRef, sealed: &[u8]) -> Result<(), CloudError> {
        Ok(self.send(&FromWarden::Do(Instruction::Keep { block }), sealed)?)
    }

    fn projections(
        &self,
        blocks: &[BlockRef],
        which: Projection,
        bytes: usize,
    ) -> Result<Ticket, CloudError> {
        let (ticket, received) = self.ticket(bytes);
        let instruction = Instruction::Projections { blocks: blocks.to_vec(), which, received };
        self.send(&FromWarden::Do(instruction), &[])?;
        Ok(ticket)
    }

    fn bytes(&self, ticket: Ticket) -> Result<Bytes, CloudError> {
        let mut frames = self.frames(ticket)?;
        let (Some((ToWarden::Bytes { place, len }, body)), true) = (frames.pop(), frames.is_empty()) else {
            return Err(FrameError::Unexpected("bytes are due").into());
        };
        let wrong = || FrameError::Unexpected("bytes of another length than announced");
        let len = usize::try_from(len).map_err(|_| wrong())?;
        let bytes = match place {
            None if body.len() == len => Bytes::Body(body),
            Some(place) if place.len == len.div_ceil(8) as u64 => {
                let mut words = Words::default();
                self.residues(Some(place), body, &mut words)?;
                Bytes::Words(words.0, len)
            }
            _ => return Err(wrong().into()),
        };
        self.was_collected(ticket);
        Ok(bytes)
    }

    fn labels(&self, blocks: &[BlockRef]) -> Result<Vec<u8>, CloudError> {
        // Answers come in turn: products that are still due come first.
        loop {
            let (arrived, requested) = {
                let state = lock(&self.state);
                (state.arrived, state.requested)
            };
            if arrived == requested {
                break;
            }
            self.keep_next()?;
        }
        self.send(&FromWarden::Do(Instruction::Labels { blocks: blocks.to_vec() }), &[])?;
        match self.answer()? {
            (ToWarden::Labels, labels) => Ok(labels),
            _ => Err(FrameError::Unexpected("labels are due").into()),
        }
    }

    fn progress(&self, progress: Progress) -> Result<(), CloudError> {
        Ok(self.send(&FromWarden::Progress(progress), &[])?)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // Wakes the reader, which ends with the stream.
        _ = self.stream.shutdown(Shutdown::Both);
        // Or with its wait for room.
        *lock(&self.waiting.bytes) = 0;
        self.waiting.less.notify_all();
    }
}

const _: () = assert!(cfg!(target_endian = "little") && size_of::<Lanes>() == 8 * LANES);

#[cfg(test)]
mod tests {
    use super::*;
    use blindsmith_matrix::{Encoding, Side};

    const WHOLE: Section = Section { columns: (0, 8), left_masks: true, right_masks: true };

    struct Nothing;

    impl Sink for Nothing {
        fn copied(&mut self, _: usize, _: Copier<'_>) -> Result<(), CloudError> {
            Ok(())
        }
    }

    /// Where the next operand begins; the refinery's end of the stream.
    fn begin(remote: &Remote, refinery: &mut BufReader<UnixStream>, operand: u32) -> u64 {
        let encoding = Encoding::new(16, 128, 1).unwrap();
        let shape = OperandShape { side: Side::Right, encoding, contraction: 16, width: 8 };
        remote.begin(operand, &shape, MaskSeed([0; 32])).unwrap();
        loop {
            if let (FromWarden::Do(Instruction::Begin { operand: name, at, .. }), 0) =
                read_head(&mut *refinery).unwrap()
            {
                assert_eq!(name, operand);
                return at.unwrap();
            }
        }
    }

    #[test]
    fn memory_of_an_operand_is_used_again_only_once_nobody_can_be_reading_it() {
        let (warden, refinery) = UnixStream::pair().unwrap();
        let mut answers = refinery.try_clone().unwrap();
        let (holder, start, lane) = (Id([1; 32]), Id([2; 32]), Lane::Rounds);
        let greeting = Greeting { tee: "simulated", holder, start, lane, take_over: false };
        let remote = Remote::connect(warden, greeting, true).unwrap();
        let mut refinery = BufReader::new(refinery);
        let multiply = |right| {
            let left = Left::Operand(9);
            remote
                .request(crate::cloud::ProductRequest { left, right, section: WHOLE, sum: None, residues: 0 })
                .unwrap()
        };
        let mut answer = |ticket| {
            write_frame(&mut answers, &ToWarden::Product { residues: 0, place: None }, &[]).unwrap();
            remote.collect(ticket, &mut Nothing).unwrap();
        };

        let first = begin(&remote, &mut refinery, 1);
        let ticket = multiply(1);
        remote.free(&[1]).unwrap();
        let second = begin(&remote, &mut refinery, 2);
        assert_ne!(first, second, "the product of the first is not there yet");
        answer(ticket);
        assert_eq!(begin(&remote, &mut refinery, 3), first);

        // No answer tells when an accumulated product is done; that of the next one does.
        remote.accumulate(0, Left::Operand(9), 3, WHOLE).unwrap();
        remote.free(&[3]).unwrap();
        let third = begin(&remote, &mut refinery, 4);
        assert!(third != first && third != second);
        let ticket = multiply(4);
        assert_ne!(begin(&remote, &mut refinery, 5), first);
        answer(ticket);
        assert_eq!(begin(&remote, &mut refinery, 6), first);
    }
}
