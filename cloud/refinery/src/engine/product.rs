//! A product: whether its operands fit each other, which masks stand where, and its residues.

use std::collections::HashMap;
use std::hash::Hash;

use blindsmith_compute::{MaskSet, Names, Row};
use blindsmith_matrix::{Encoding, MaskSeed, Masks, ProductShape, Side};
use blindsmith_protocol::{BlockRef, Id, Left, MAX_CONTRACTION};
use rayon::prelude::*;

use super::buffer::{MOST_RESIDUES, resized};
use super::cache::{Form, Key};
use super::error::EngineError::{self, Unfit};
use super::operands::expand;
use super::session::{Engine, Factors};
use super::sum::SetName;

/// Eras whose row masks are kept, beside those of the product under way.
const KEPT_ERAS: usize = 16;

/// What a left operand brings to the shape of a product.
struct LeftShape {
    encoding: Encoding,
    /// Rows of the product.
    rows: usize,
    /// Contraction rows.
    padded: usize,
    mask_sets: usize,
}

/// Whose column form it is: its blocks have masks of one set.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Origin {
    contributor: Id,
    era: u32,
}

/// A set of masks of the left operand: where it stands.
pub(super) struct Standing {
    places: Vec<u32>,
    masks: Source,
}

/// Where masks are, each at the index of its place.
enum Source {
    Era(u32),
    Operand(u32),
    Columns,
}

/// The masks of a block in a product under way.
struct BlockMasks {
    seed: MaskSeed,
    /// Under that seed.
    first: usize,
    places: usize,
}

impl Engine<'_> {
    /// The shape of a product whose operands must be there.
    ///
    /// # Errors
    /// [`EngineError::Unfit`] if they are not, or do not fit each other, or the product is too large.
    pub fn product_shape(&self, factors: Factors<'_>) -> Result<ProductShape, EngineError> {
        let right = &self.operands.find(factors.right)?.shape;
        let LeftShape { encoding, rows, padded, mask_sets } = self.left_shape(factors.left)?;
        if right.side != Side::Right {
            return Err(Unfit("the right operand is a left one"));
        }
        if right.encoding.roots() != encoding.roots() || right.padded() != padded {
            return Err(Unfit("the operands have another contraction"));
        }
        let (first, end) = factors.section.columns;
        if first >= end || end as usize > right.width {
            return Err(Unfit("no such columns"));
        }
        let shape = ProductShape {
            left: encoding,
            right: right.encoding,
            rows,
            columns: (end - first) as usize,
            mask_sets: if factors.section.left_masks { mask_sets } else { 0 },
            right_masks: factors.section.right_masks,
        };
        // No factor of a part is above 2^20, and there are three of them: nothing overflows.
        if shape.residues() > MOST_RESIDUES { Err(Unfit("too large a product")) } else { Ok(shape) }
    }

    fn left_shape(&self, left: &Left) -> Result<LeftShape, EngineError> {
        let spec = self.stored.spec();
        match left {
            Left::Rows(blocks) => {
                let rows = self.stored.count_rows(blocks)?;
                let shape = spec.row_shape(1);
                let mask_sets = self.eras(blocks)?.len();
                Ok(LeftShape { encoding: shape.encoding, rows, padded: shape.padded(), mask_sets })
            }
            Left::Columns(blocks) => {
                self.stored.count_rows(blocks)?;
                let padded = |block| Ok(spec.column_shape(self.stored.find(block)?.1).padded());
                let padded = blocks.iter().map(padded).sum::<Result<usize, EngineError>>()?;
                if padded > MAX_CONTRACTION {
                    return Err(Unfit("too many rows"));
                }
                let mask_sets = self.origins(blocks)?.len();
                let (encoding, rows) = (spec.column_form, spec.inputs());
                Ok(LeftShape { encoding, rows, padded, mask_sets })
            }
            Left::Operand(name) => {
                let shape = &self.operands.find(*name)?.shape;
                if shape.side != Side::Left {
                    return Err(Unfit("the left operand is a right one"));
                }
                let (encoding, rows, padded) = (shape.encoding, shape.width, shape.padded());
                Ok(LeftShape { encoding, rows, padded, mask_sets: 1 })
            }
        }
    }

    /// The eras of blocks, in order of first appearance.
    fn eras(&self, blocks: &[BlockRef]) -> Result<Vec<u32>, EngineError> {
        let eras = blocks.iter().map(|block| Ok(self.stored.find(block)?.0.era));
        Ok(distinct(eras)?.into_iter().map(|(era, _)| era).collect())
    }

    /// The origins of blocks, in order of first appearance, each with the indices of its blocks.
    fn origins(&self, blocks: &[BlockRef]) -> Result<Vec<(Origin, Vec<usize>)>, EngineError> {
        distinct(blocks.iter().map(|block| {
            let (header, _) = self.stored.find(block)?;
            Ok(Origin { contributor: header.contributor, era: header.era })
        }))
    }

    /// What tells the mask sets of a left operand apart, in their order.
    pub(super) fn set_names(&self, left: &Left) -> Result<Vec<SetName>, EngineError> {
        Ok(match left {
            Left::Rows(blocks) => self.eras(blocks)?.into_iter().map(|era| (Id::default(), era)).collect(),
            Left::Columns(blocks) => {
                self.origins(blocks)?.into_iter().map(|(o, _)| (o.contributor, o.era)).collect()
            }
            Left::Operand(_) => vec![(Id::default(), 0)],
        })
    }

    /// Brings the stored rows and the masks of a product into memory; where the masks of the left operand stand.
    pub(super) fn prepare(&mut self, factors: Factors<'_>) -> Result<Vec<Standing>, EngineError> {
        let masked = factors.section.left_masks;
        match factors.left {
            Left::Rows(blocks) => {
                self.read(blocks, Form::Rows)?;
                if masked { self.prepare_eras(blocks) } else { Ok(Vec::new()) }
            }
            Left::Columns(blocks) => {
                self.read(blocks, Form::Columns)?;
                if masked { self.prepare_columns(blocks) } else { Ok(Vec::new()) }
            }
            Left::Operand(name) => {
                let places = places(self.operands.find(*name)?.masks.count());
                let masks = Source::Operand(*name);
                Ok(if masked { vec![Standing { places, masks }] } else { Vec::new() })
            }
        }
    }

    /// Reads a form of blocks, unless it is there.
    fn read(&mut self, blocks: &[BlockRef], form: Form) -> Result<(), EngineError> {
        let stored = self.stored;
        let key = |block: &BlockRef| Ok((Key { block: *block, form }, stored.form(block, form)?.len));
        let wanted = blocks.iter().map(key).collect::<Result<Vec<_>, EngineError>>()?;
        self.rows.hold(self.row_bytes, &wanted, |key, out| stored.form(&key.block, key.form)?.read(out))
    }

    fn prepare_eras(&mut self, blocks: &[BlockRef]) -> Result<Vec<Standing>, EngineError> {
        let (spec, eras) = (self.stored.spec(), self.eras(blocks)?);
        let (count, dimension) = (spec.row_shape(1).places(), spec.row_form.dimension());
        if eras.len() * count * dimension > MOST_RESIDUES {
            return Err(Unfit("rows of too many eras"));
        }
        if self.row_masks.len() + eras.len() > KEPT_ERAS {
            self.row_masks.retain(|era, _| eras.contains(era));
        }
        for era in &eras {
            self.row_masks.entry(*era).or_insert_with(|| {
                let mut masks = Masks::zero(count, dimension);
                expand(&spec.row_mask(*era), 0, dimension, masks.as_mut_slice());
                masks
            });
        }
        Ok(eras.into_iter().map(|era| Standing { places: places(count), masks: Source::Era(era) }).collect())
    }

    fn prepare_columns(&mut self, blocks: &[BlockRef]) -> Result<Vec<Standing>, EngineError> {
        let (spec, stored) = (self.stored.spec(), self.stored);
        let masks = |block: &BlockRef| {
            let (header, rows) = stored.find(block)?;
            let seed = spec.column_mask(&header.nonce, header.era);
            let (first, places) = (spec.first_place(block.block), spec.column_shape(rows).places());
            Ok(BlockMasks { seed, first, places })
        };
        let masks = blocks.iter().map(masks).collect::<Result<Vec<_>, EngineError>>()?;
        let starts: Vec<u32> = masks
            .iter()
            .scan(0, |end, block| Some(std::mem::replace(end, *end + block.places as u32)))
            .collect();
        let origins = self.origins(blocks)?.into_iter().map(|(_, own)| {
            let places = own.iter().flat_map(|&i| starts[i]..starts[i] + masks[i].places as u32).collect();
            Standing { places, masks: Source::Columns }
        });
        let origins = origins.collect();
        let dimension = spec.column_form.dimension();
        let len = masks.iter().map(|block| block.places).sum::<usize>() * dimension;
        self.column_masks = resized(std::mem::take(&mut self.column_masks), len)?;
        let mut rest = self.column_masks.as_mut_slice();
        let mut parts = Vec::with_capacity(masks.len());
        for block in &masks {
            let (part, behind) = rest.split_at_mut(block.places * dimension);
            parts.push((block, part));
            rest = behind;
        }
        parts.into_par_iter().for_each(|(block, part)| expand(&block.seed, block.first, dimension, part));
        Ok(origins)
    }

    /// Multiplies what [`Engine::prepare`] brought into memory. With `add`, adds to what is in `out`.
    pub(super) fn compute(
        &self,
        factors: Factors<'_>,
        sets: &[Standing],
        add: bool,
        out: &mut [u64],
    ) -> Result<(), EngineError> {
        let shape = self.product_shape(factors)?;
        let right = self.operands.find(factors.right)?;
        let right_rows = self.operands.rows_of(right)?;
        let left_rows = self.left_rows(factors.left)?;
        let left = match factors.left {
            Left::Rows(_) => blindsmith_compute::Left::Rows(&left_rows),
            Left::Columns(_) | Left::Operand(_) => blindsmith_compute::Left::Transposed(&left_rows),
        };
        let masks = sets.iter().map(|set| self.masks_of(set)).collect::<Result<Vec<_>, _>>()?;
        let left_masks: Vec<MaskSet<'_>> =
            sets.iter().zip(&masks).map(|(set, rows)| MaskSet { places: &set.places, rows }).collect();
        let right_masks: Vec<&[u64]> = (0..right.masks.count()).map(|k| right.masks.place(k)).collect();
        let (first, end) = factors.section.columns;
        let product = blindsmith_compute::Product {
            roots: shape.left.roots(),
            rows: shape.rows,
            left,
            left_masks: &left_masks,
            right: &right_rows,
            columns: first as usize..end as usize,
            right_masks: factors.section.right_masks.then_some(&right_masks),
            names: Names::default(),
        };
        Ok(product.multiply(add, out)?)
    }

    fn left_rows(&self, left: &Left) -> Result<Vec<Row<'_>>, EngineError> {
        let spec = self.stored.spec();
        let (blocks, form, row) = match left {
            Left::Rows(blocks) => (blocks, Form::Rows, spec.row_bytes()),
            Left::Columns(blocks) => (blocks, Form::Columns, spec.contraction_row_bytes()),
            Left::Operand(name) => return self.operands.rows_of(self.operands.find(*name)?),
        };
        let mut rows = Vec::new();
        for block in blocks {
            let bytes = self.rows.get(&Key { block: *block, form });
            let bytes = bytes.ok_or(Unfit("a block that was not read"))?;
            rows.extend(bytes.chunks_exact(row).map(Row::Packed));
        }
        Ok(rows)
    }

    /// The masks of a set, one for each of its places.
    fn masks_of(&self, set: &Standing) -> Result<Vec<&[u64]>, EngineError> {
        let (masks, dimension) = match set.masks {
            Source::Era(era) => {
                let masks = self.row_masks.get(&era).ok_or(Unfit("an era without masks"))?;
                (masks.as_slice(), masks.dimension())
            }
            Source::Operand(name) => {
                let masks = &self.operands.find(name)?.masks;
                (masks.as_slice(), masks.dimension())
            }
            Source::Columns => (self.column_masks.as_slice(), self.stored.spec().column_form.dimension()),
        };
        Ok(set.places.iter().map(|&k| &masks[k as usize * dimension..][..dimension]).collect())
    }
}

fn places(count: usize) -> Vec<u32> {
    (0..count as u32).collect()
}

/// Distinct values in order of first appearance, each with the indices at which it stands.
fn distinct<T: Copy + Eq + Hash>(
    values: impl Iterator<Item = Result<T, EngineError>>,
) -> Result<Vec<(T, Vec<usize>)>, EngineError> {
    let (mut found, mut known) = (Vec::<(T, Vec<usize>)>::new(), HashMap::new());
    for (i, value) in values.enumerate() {
        let value = value?;
        let at = *known.entry(value).or_insert_with(|| {
            found.push((value, Vec::new()));
            found.len() - 1
        });
        found[at].1.push(i);
    }
    Ok(found)
}
