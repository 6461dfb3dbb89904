//! Queries: rows that are predicted and forgotten.

use blindsmith_formats::{Label, REFUSED};
use blindsmith_keys::{Context, Freshness, Key, ProductKind};
use blindsmith_learn::{Batch, Block, Labels, Matrix, Targets, predict};
use blindsmith_protocol::{Role, UploadHeader};
use zeroize::Zeroizing;

use crate::accelerator::Encrypted;
use crate::cloud::Cloud;
use crate::round::{RoundError, Uploads};
use crate::serving::Serving;

/// Answers a query: predictions rounded to the precision of the rules, then each row's class, sealed to the querier at a size that
/// follows from the number of rows.
pub(crate) fn answer<C: Cloud>(
    serving: &Serving,
    cloud: &C,
    header: UploadHeader,
    seed: &Key,
) -> Result<Vec<u8>, RoundError> {
    if header.role != Role::Query {
        return Err(RoundError::Query);
    }
    let query = header.id();
    let rows = header.rows as usize;
    let block_rows = serving.spec.block_rows;
    let uploads = Uploads::query(serving, cloud, header, seed)?;
    let recipe = &serving.recipe;
    let fresh = Key::random();
    let context = Context {
        project: serving.id.0,
        round: serving.round,
        attempt: 0,
        step: 0,
        layer: 0,
        part: 0,
        product: ProductKind::Forward,
    };
    let mut accelerator =
        Encrypted::new(cloud, &serving.spec, &fresh, &uploads, context, recipe.input_rms, Freshness::Fresh)
            // Whether it fits is the querier's to know.
            .tolerant(true);
    let per_batch = (recipe.batch_rows.clamp(1, 1024) / block_rows as usize).max(1);
    let blocks: Vec<Block> = Block::of_upload(0, rows as u32, block_rows).collect();
    let units = (1u32 << serving.rules.precision) as f32;
    let mut out = Zeroizing::new(Vec::with_capacity(4 + 4 * rows * (recipe.outputs() + 1)));
    let mut classes = Zeroizing::new(Vec::with_capacity(4 * rows));
    out.extend([0; 4]);
    for blocks in blocks.chunks(per_batch) {
        let batch_rows = blocks.iter().map(|b| b.rows as usize).sum::<usize>();
        let targets = match Label::of(recipe) {
            Label::Class => Targets::Classes(vec![0; batch_rows]),
            Label::Values(count) => Targets::Values(Matrix::zeros(batch_rows, count)),
        };
        let batch = Batch::new(blocks.to_vec(), Labels::new(targets))
            .map_err(|e| RoundError::Training(e.to_string()))?;
        let outputs = predict(&serving.network, &serving.objective, &mut accelerator, &batch)?;
        // Rounded, several may be the most probable ones.
        let class = |row: &[f32]| serving.objective.class(row);
        classes.extend(outputs.iter_rows().map(class).flat_map(u32::to_le_bytes));
        let rounded = outputs.iter_rows().flatten().map(|v| (v * units).round_ties_even() / units);
        out.extend(rounded.flat_map(f32::to_le_bytes));
    }
    out.extend_from_slice(&classes);
    if accelerator.spoiled().is_some() {
        out.fill(0);
        out[..4].copy_from_slice(&REFUSED.to_le_bytes());
    }
    Ok(seed.derive("answer", &[&query.0]).seal("answer", &out).0)
}
