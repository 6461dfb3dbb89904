//! The warden's instructions during a command, carried out by the engine.

use std::io::Read;

use blindsmith_protocol::{FrameError, Instruction, MAX_PIECE, Place, ToWarden, operand_residues};
use blindsmith_ring::LANES;
use tracing::warn;

use super::connection::Connection;
use super::memory::Memory;
use crate::engine::{Engine, EngineError, Factors, StoredRows};

/// Why an instruction was not carried out.
enum InstructionError {
    /// The warden is told, and goes on.
    Engine(EngineError),
    /// The link ends.
    Link(FrameError),
}

impl From<EngineError> for InstructionError {
    fn from(e: EngineError) -> Self {
        InstructionError::Engine(e)
    }
}

impl From<FrameError> for InstructionError {
    fn from(e: FrameError) -> Self {
        InstructionError::Link(e)
    }
}

/// Where the answer to an instruction may go: all products before this one were received.
#[derive(Clone, Copy)]
struct Answer {
    received: u64,
    sum: Option<u32>,
}

impl Connection {
    /// Carries out an instruction; `body` is the length of what follows it.
    pub(super) fn instruct(
        &mut self,
        engine: &mut Engine<'_>,
        instruction: &Instruction,
        body: usize,
    ) -> Result<(), FrameError> {
        if body != 0 && !matches!(instruction, Instruction::Rows { .. } | Instruction::Keep { .. }) {
            return Err(FrameError::Unexpected("a body where none belongs"));
        }
        match self.carry_out(engine, instruction, body) {
            Ok(()) => Ok(()),
            Err(InstructionError::Engine(e)) => {
                warn!("{e}");
                self.send(&ToWarden::Failed { message: e.to_string() }, &[])
            }
            Err(InstructionError::Link(e)) => Err(e),
        }
    }

    fn carry_out(
        &mut self,
        engine: &mut Engine<'_>,
        instruction: &Instruction,
        body: usize,
    ) -> Result<(), InstructionError> {
        let unfit = |e: EngineError| FrameError::Malformed(e.to_string());
        match instruction {
            Instruction::Begin { shape, at, .. } => {
                engine.operands().begin(instruction).map_err(unfit)?;
                if at.is_some() {
                    self.traffic += 8 * operand_residues(shape).unwrap_or(0) as u64;
                }
            }
            Instruction::Rows { operand, first } => {
                let rows = engine.operands().rows(*operand, *first, body).map_err(unfit)?;
                self.reader.read_exact(rows).map_err(FrameError::from)?;
            }
            Instruction::Free { operands } => engine.operands().free(operands),
            Instruction::Labels { blocks } => {
                let labels = engine.stored().labels(blocks)?;
                self.send(&ToWarden::Labels, &[&labels])?;
            }
            Instruction::Keep { block } => {
                let sealed = self.body(body)?;
                engine.stored().keep(block, &sealed).map_err(unfit)?;
            }
            Instruction::Read { received, .. } | Instruction::Projections { received, .. } => {
                self.bytes(engine.stored(), instruction, *received)?;
            }
            Instruction::Accumulate { slot, left, right, section } => {
                engine.accumulate(*slot, Factors { left, right: *right, section });
            }
            Instruction::Multiply { left, right, section, sum, received } => {
                let answer = Answer { received: *received, sum: *sum };
                self.multiply(engine, Factors { left, right: *right, section }, answer)?;
            }
        }
        Ok(())
    }

    /// Answers with a product, in shared memory where there is room.
    fn multiply(
        &mut self,
        engine: &mut Engine<'_>,
        factors: Factors<'_>,
        Answer { received, sum }: Answer,
    ) -> Result<(), InstructionError> {
        let ticket = self.products;
        self.products += 1;
        let len = engine.answer_shape(factors, sum)?.residues();
        let room = |m: &mut Memory| m.room(received, len.div_ceil(LANES));
        let Some((memory, mut range)) = self.memory.as_mut().and_then(|m| room(m).map(|range| (m, range)))
        else {
            let product = engine.multiply(factors, sum)?;
            return Ok(self.send_residues(&product.residues)?);
        };
        let out: &mut [u64] = bytemuck::cast_slice_mut(memory.products.slice_mut(&mut range));
        let result = engine.multiply_into(factors, sum, &mut out[..len]);
        let place = Place { start: (range.start() * LANES) as u64, len: len as u64 };
        memory.keep(ticket, range);
        result?;
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
    ) -> Result<(), InstructionError> {
        let ticket = self.products;
        self.products += 1;
        let len = stored.bytes_len(instruction)?;
        let words = len.div_ceil(8);
        let room = |m: &mut Memory| m.room(received, words.div_ceil(LANES));
        let Some((memory, mut range)) = self.memory.as_mut().and_then(|m| room(m).map(|range| (m, range)))
        else {
            let mut out = vec![0; len];
            stored.bytes_into(instruction, &mut out)?;
            return Ok(self.send(&ToWarden::Bytes { place: None, len: len as u64 }, &[&out])?);
        };
        let out: &mut [u8] = bytemuck::cast_slice_mut(memory.products.slice_mut(&mut range));
        let result = stored.bytes_into(instruction, &mut out[..len]);
        let place = Place { start: (range.start() * LANES) as u64, len: words as u64 };
        memory.keep(ticket, range);
        result?;
        self.traffic += len as u64;
        Ok(self.send(&ToWarden::Bytes { place: Some(place), len: len as u64 }, &[])?)
    }
}
