//! The refinery over a stream.

use std::io::{BufReader, Read, Write};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use blindsmith_protocol::{
    BlockRef, FrameError, FromWarden, Instruction, MAX_BODY, Progress, ToWarden, read_body, read_head,
    write_frame,
};
use blindsmith_ring::{LANES, Lanes, zeroed_lanes};

use crate::cloud::{Cloud, CloudError, Sink};

/// A refinery at the other end of a stream: frames out by any thread, answers in turn.
pub struct Remote<R: Read, W: Write> {
    reader: Mutex<BufReader<R>>,
    writer: Mutex<W>,
    buffers: Mutex<Vec<Vec<Lanes>>>,
    waited: Mutex<Duration>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere ends the session; nothing half-written is used after it.
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl<R: Read, W: Write> Remote<R, W> {
    /// A refinery behind these two halves.
    pub fn new(reader: R, writer: W) -> Self {
        Remote {
            reader: Mutex::new(BufReader::with_capacity(1 << 16, reader)),
            writer: Mutex::new(writer),
            buffers: Mutex::new(Vec::new()),
            waited: Mutex::new(Duration::ZERO),
        }
    }

    /// Sends a message.
    pub fn send(&self, message: &FromWarden, body: &[u8]) -> Result<(), FrameError> {
        write_frame(&mut *lock(&self.writer), message, &[body])
    }

    /// Waits for a command.
    pub fn receive(&self) -> Result<(ToWarden, Vec<u8>), FrameError> {
        let mut reader = lock(&self.reader);
        let (message, body) = read_head(&mut *reader)?;
        let body = read_body(&mut *reader, body, MAX_BODY)?;
        Ok((message, body))
    }

    /// Time spent waiting for answers so far.
    pub fn waited(&self) -> Duration {
        *lock(&self.waited)
    }

    fn answer(&self) -> Result<(ToWarden, usize), CloudError> {
        let start = Instant::now();
        let read = read_head(&mut *lock(&self.reader));
        *lock(&self.waited) += start.elapsed();
        match read? {
            (ToWarden::Failed { message }, 0) => Err(CloudError::Refused(message)),
            other => Ok(other),
        }
    }

    fn residues(&self, body: usize, buffer: &mut Vec<u64>) -> Result<(), CloudError> {
        if body > MAX_BODY || body % 8 != 0 {
            return Err(FrameError::Unexpected("a body that is not residues").into());
        }
        let start = Instant::now();
        buffer.resize(body / 8, 0);
        let read = lock(&self.reader).read_exact(bytemuck::cast_slice_mut(buffer));
        *lock(&self.waited) += start.elapsed();
        Ok(read.map_err(FrameError::from)?)
    }
}

impl<R: Read + Send, W: Write + Send> Cloud for Remote<R, W> {
    fn tell(&self, instruction: Instruction) -> Result<(), CloudError> {
        Ok(self.send(&FromWarden::Do(instruction), &[])?)
    }

    fn strip(
        &self,
        operand: u32,
        strip: u32,
        len: usize,
        fill: &mut dyn FnMut(&mut [Lanes]),
    ) -> Result<(), CloudError> {
        let mut buffer = lock(&self.buffers).pop().unwrap_or_default();
        if buffer.len() != len {
            buffer = zeroed_lanes(len);
        }
        fill(&mut buffer);
        let message = FromWarden::Do(Instruction::Strip { operand, strip });
        write_frame(&mut *lock(&self.writer), &message, &[bytemuck::cast_slice(&buffer)])?;
        lock(&self.buffers).push(buffer);
        Ok(())
    }

    fn multiply(&self, instruction: Instruction, to: &mut dyn Sink) -> Result<(), CloudError> {
        self.send(&FromWarden::Do(instruction), &[])?;
        let mut buffer = Vec::new();
        let (ToWarden::Extras { rows: mut left }, body) = self.answer()? else {
            return Err(FrameError::Unexpected("a product begins with its extra polynomials").into());
        };
        self.residues(body, &mut buffer)?;
        to.extras(&buffer)?;
        while left > 0 {
            let (ToWarden::Rows { first, count }, body) = self.answer()? else {
                return Err(FrameError::Unexpected("rows of a product are due").into());
            };
            self.residues(body, &mut buffer)?;
            left = left
                .checked_sub(count)
                .filter(|_| count > 0)
                .ok_or(FrameError::Unexpected("a product of too many rows"))?;
            to.rows(first as usize, &buffer)?;
        }
        Ok(())
    }

    fn labels(&self, blocks: &[BlockRef]) -> Result<Vec<u8>, CloudError> {
        self.send(&FromWarden::Do(Instruction::Labels { blocks: blocks.to_vec() }), &[])?;
        let (ToWarden::Labels, body) = self.answer()? else {
            return Err(FrameError::Unexpected("labels are due").into());
        };
        Ok(read_body(&mut *lock(&self.reader), body, MAX_BODY)?)
    }

    fn progress(&self, progress: Progress) -> Result<(), CloudError> {
        Ok(self.send(&FromWarden::Progress(progress), &[])?)
    }
}

const _: () = assert!(cfg!(target_endian = "little") && size_of::<Lanes>() == 8 * LANES);
