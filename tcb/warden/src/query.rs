//! Queries: rows that are predicted and forgotten.

use blindsmith_formats::{REFUSED, query_info};
use blindsmith_identity::{PublicKey, open_inquiry};
use blindsmith_keys::{Context, Freshness, Key, Suite};
use blindsmith_learn::{Batch, Block, predict};
use blindsmith_protocol::{Role, UploadHeader};
use zeroize::Zeroizing;

use crate::accelerator::{Encrypted, Round};
use crate::cloud::{Cloud, CloudError};
use crate::counters::{Counter, Query};
use crate::error::RoundError;
use crate::identity::Identity;
use crate::projections::AdmissionKeys;
use crate::reading::{AdmissionError, Reading, admit};
use crate::serving::{Audience, Serving};
use crate::uploads::{Upload, Uploads, upload_key};

/// What a querier asks.
pub(crate) struct Inquiry<'a> {
    pub header: UploadHeader,
    /// Signed; it holds the sealed seed.
    pub signed: &'a [u8],
}

/// Answers a query of the owner or of a querier.
///
/// # Errors
/// [`RoundError::Query`] for all that its querier is to blame for: what was wrong must not show.
pub(crate) fn answer<C: Cloud>(
    serving: &Serving,
    identity: &Identity,
    audience: &Audience,
    cloud: &C,
    inquiry: Inquiry<'_>,
) -> Result<Vec<u8>, RoundError> {
    let Inquiry { header, signed } = inquiry;
    let (query, querier) = (header.id(), PublicKey::from(header.contributor));
    if header.contributor != serving.spec.owner && !audience.queriers.contains(&querier) {
        return Err(RoundError::Query);
    }
    let inquiry = open_inquiry(signed, &querier).map_err(|_| RoundError::Query)?;
    let suite =
        Suite::numbered(inquiry.kem).filter(|_| (inquiry.project, inquiry.query) == (serving.id, query));
    let info = query_info(&serving.id, &query, &header.contributor);
    let opened = identity.key.open(suite.ok_or(RoundError::Query)?, &info, &inquiry.envelope.0);
    let (seed, _) = opened.map_err(|_| RoundError::Query)?;
    let seed: &[u8; 32] = seed.as_slice().try_into().map_err(|_| RoundError::Query)?;
    let rules = &serving.rules;
    identity.count(&serving.id, serving.place(), |mut counter| {
        let asked = counter.queriers.remove(&header.contributor).unwrap_or_default();
        let query = Query::new(query, serving.round);
        let allowed = counter.successor == [0; 32]
            && counter.orders <= audience.orders
            && counter.faults <= rules.faults;
        let asked = asked.count(inquiry.number, query, header.rows.into(), rules.queries);
        let asked = asked.filter(|_| allowed);
        counter.queriers.insert(header.contributor, asked.ok_or(RoundError::Query)?);
        Ok::<Counter, RoundError>(counter)
    })?;
    match header.role {
        Role::Query => predictions(serving, cloud, header, &Key::from_bytes(*seed)),
        _ => Err(RoundError::Query),
    }
}

/// Reads the rows of a query: they must be as well formed as those that are trained on.
fn read<C: Cloud>(
    serving: &Serving,
    cloud: &C,
    header: UploadHeader,
    seed: &Key,
) -> Result<Uploads, RoundError> {
    let Serving { spec, encryption: project, recipe, .. } = serving;
    let key = upload_key(spec, &header, seed).ok_or(RoundError::Query)?;
    let reading = Reading { spec, project, index: 0, header: &header, key: &key, seed };
    let nonce = admit(cloud, &reading, |_, _| true).map_err(|e| match e {
        AdmissionError::Cloud(CloudError::Frame(e)) => RoundError::Frame(e),
        AdmissionError::Altered => RoundError::Fault(e.to_string()),
        _ => RoundError::Query,
    })?;
    let admission = AdmissionKeys::new(project, &header.id(), &nonce);
    let mut uploads = Uploads::new(spec, project, recipe);
    uploads.push(Upload { header, terms: None, key, seed: seed.duplicate(), admission });
    Ok(uploads)
}

/// Predictions rounded to the precision of the rules, then each row's class, sealed to the querier at a size that
/// follows from the number of rows.
fn predictions<C: Cloud>(
    serving: &Serving,
    cloud: &C,
    header: UploadHeader,
    seed: &Key,
) -> Result<Vec<u8>, RoundError> {
    let query = header.id();
    let rows = header.rows as usize;
    let block_rows = serving.spec.block_rows;
    let uploads = read(serving, cloud, header, seed)?;
    let recipe = &serving.recipe;
    let fresh = Key::random();
    let accelerator = Encrypted::new(Round {
        cloud,
        spec: &serving.spec,
        key: &fresh,
        rows: &uploads,
        context: Context::of_round(serving.id.0, serving.round),
        input_rms: recipe.input_rms,
        freshness: Freshness::Fresh,
    });
    // Whether it fits is the querier's to know.
    let mut accelerator = accelerator.tolerant(true);
    let per_batch = (recipe.batch_rows.clamp(1, 1024) / block_rows as usize).max(1);
    let blocks: Vec<Block> = Block::of_upload(0, rows as u32, block_rows).collect();
    let units = (1u32 << serving.rules.precision) as f32;
    let mut out = Zeroizing::new(Vec::with_capacity(4 + 4 * rows * (recipe.outputs() + 1)));
    let mut classes = Zeroizing::new(Vec::with_capacity(4 * rows));
    out.extend([0; 4]);
    for blocks in blocks.chunks(per_batch) {
        let batch = Batch::unlabelled(blocks.to_vec());
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
