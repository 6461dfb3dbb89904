//! The state of one session, and what the link asks of it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use blindsmith_matrix::{Masks, ProductShape, Section};
use blindsmith_protocol::{Left, MAX_SUMS, ProjectSpec};
use blindsmith_shared::Region;

use super::buffer::{resized, zeroed};
use super::cache::Cache;
use super::error::EngineError::{self, Unfit};
use super::operands::Operands;
use super::stored::{Blocks, StoredRows};
use super::sum::{Sum, united};

/// Bytes of stored rows that are kept, unless it is said otherwise.
pub const ROW_BYTES: usize = 256 << 20;

/// What is multiplied, and which part of the product is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Factors<'f> {
    /// The left operand.
    pub left: &'f Left,
    /// The right operand, by the warden's name.
    pub right: u32,
    /// The part.
    pub section: &'f Section,
}

/// The state of one session: operands by the warden's names, masks, rows read last, sums.
pub struct Engine<'a> {
    pub(super) stored: StoredRows<'a>,
    pub(super) operands: Operands<'a>,
    /// Masks of the row form by era.
    pub(super) row_masks: HashMap<u32, Masks>,
    /// Masks of the column form, of the product under way: place after place.
    pub(super) column_masks: Vec<u64>,
    pub(super) rows: Cache,
    pub(super) row_bytes: usize,
    /// By slot; or why there is none.
    pub(super) sums: HashMap<u32, Result<Sum, EngineError>>,
    /// The buffer of a sum that ended.
    pub(super) spare_sum: Vec<u64>,
    /// Wall-clock time spent multiplying.
    pub busy: Duration,
}

/// A product, ready to be sent.
#[derive(Debug)]
pub struct Multiplied {
    /// Its shape.
    pub shape: ProductShape,
    /// Its parts, one after the other: see [`ProductShape::ranges`].
    pub residues: Vec<u64>,
}

impl<'a> Engine<'a> {
    /// A session over the given rows.
    pub fn new(spec: &'a ProjectSpec, blocks: &'a Blocks) -> Self {
        Engine {
            stored: StoredRows::new(spec, blocks),
            operands: Operands::new(spec, None),
            row_masks: HashMap::new(),
            column_masks: Vec::new(),
            rows: Cache::default(),
            row_bytes: ROW_BYTES,
            sums: HashMap::new(),
            spare_sum: Vec::new(),
            busy: Duration::ZERO,
        }
    }

    /// The same with as many bytes of stored rows kept, if one product has not more of them.
    pub fn with_row_bytes(self, row_bytes: usize) -> Self {
        Engine { row_bytes, ..self }
    }

    /// The same with operands in shared memory.
    pub fn with_shared(self, shared: Option<&'a Region>) -> Self {
        Engine { operands: Operands::new(self.stored.spec(), shared), ..self }
    }

    /// The operands that the warden sent.
    pub fn operands(&mut self) -> &mut Operands<'a> {
        &mut self.operands
    }

    /// The stored rows, for what is read of them and kept with them.
    pub fn stored(&self) -> StoredRows<'a> {
        self.stored
    }

    /// The shape of a product, or of its sum with what was accumulated in a slot.
    ///
    /// # Errors
    /// As [`Engine::multiply_into`].
    pub fn answer_shape(&self, factors: Factors<'_>, sum: Option<u32>) -> Result<ProductShape, EngineError> {
        let shape = self.product_shape(factors)?;
        match sum.and_then(|slot| self.sums.get(&slot)) {
            Some(Ok(sum)) => {
                let own = self.set_names(factors.left)?;
                Ok(united(sum, &shape, &own)?.0)
            }
            // What went wrong is told when it is asked for.
            _ => Ok(shape),
        }
    }

    /// Multiplies into `out`, which has the residues of [`Engine::answer_shape`]. What was accumulated in the slot `sum` is
    /// added, and ends.
    ///
    /// # Errors
    /// [`EngineError`] if the operands do not fit, stored rows cannot be read, or the sum went wrong.
    pub fn multiply_into(
        &mut self,
        factors: Factors<'_>,
        sum: Option<u32>,
        out: &mut [u64],
    ) -> Result<(), EngineError> {
        let Some(slot) = sum else { return self.product(factors, false, out) };
        let sum = self.sums.remove(&slot).ok_or(Unfit("nothing was accumulated"))??;
        let sum = self.added(Some(sum), factors)?;
        if out.len() != sum.residues.len() {
            return Err(Unfit("a sum of another shape"));
        }
        out.copy_from_slice(&sum.residues);
        self.spare_sum = sum.residues;
        Ok(())
    }

    /// Multiplies.
    ///
    /// # Errors
    /// As [`Engine::multiply_into`].
    pub fn multiply(&mut self, factors: Factors<'_>, sum: Option<u32>) -> Result<Multiplied, EngineError> {
        let shape = self.answer_shape(factors, sum)?;
        let mut residues = zeroed(shape.residues())?;
        self.multiply_into(factors, sum, &mut residues)?;
        Ok(Multiplied { shape, residues })
    }

    /// Adds a product to the sum in a slot, or begins it. Errors are told with the sum.
    pub fn accumulate(&mut self, slot: u32, factors: Factors<'_>) {
        if (slot as usize) < MAX_SUMS {
            let sum = self.sums.remove(&slot).transpose();
            let sum = sum.and_then(|sum| self.added(sum, factors));
            self.sums.insert(slot, sum);
        }
    }

    fn added(&mut self, sum: Option<Sum>, factors: Factors<'_>) -> Result<Sum, EngineError> {
        let (shape, sets) = (self.product_shape(factors)?, self.set_names(factors.left)?);
        match sum {
            Some(mut sum) if sum.sets == sets && sum.shape == shape => {
                self.product(factors, true, &mut sum.residues)?;
                Ok(sum)
            }
            sum => {
                // Memory of these sizes is not asked for anew each time.
                let mut residues = resized(std::mem::take(&mut self.spare_sum), shape.residues())?;
                self.product(factors, false, &mut residues)?;
                let product = Sum { shape, sets, residues };
                match sum {
                    Some(sum) => sum.add(&product),
                    None => Ok(product),
                }
            }
        }
    }

    fn product(&mut self, factors: Factors<'_>, add: bool, out: &mut [u64]) -> Result<(), EngineError> {
        let start = Instant::now();
        let sets = self.prepare(factors)?;
        self.compute(factors, &sets, add, out)?;
        self.busy += start.elapsed();
        Ok(())
    }
}
