//! An upload is read once, in blocks: the warden makes sure of it, and has its projections kept, sealed, by the refinery.

use std::sync::Arc;

use blindsmith_keys::{
    Admission, AdmittedBlock, Key, Malformed, Projection, RowTests, UploadKey, UploadScalars, column_secrets,
    expand, random_bytes,
};
use blindsmith_matrix::Masks;
use blindsmith_protocol::{
    BlockRef, Id, ProjectSpec, Projection as Kept, Role, UploadHeader, block_digest, root_digest,
};
use rayon::prelude::*;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::cloud::{Cloud, CloudError};
use crate::projections::{AdmissionKeys, column_scalars, input_scalars};

/// Bytes of blocks that are asked for at a time, at least; twice as many are on their way.
const CHUNK: usize = 1 << 18;
/// At most, unless a single block is larger.
const MOST: usize = 64 << 20;
/// Refused uploads of a contributor after which none is read any more: each is a try at the tests, which is passed with
/// probability 2^-63 at most.
pub(crate) const MOST_REFUSED: u32 = 1 << 10;

/// Why an upload is not admitted.
#[derive(Debug, Error)]
pub enum AdmissionError {
    /// The cloud.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// No contributor of the project made it, or not so: altered, truncated, reordered, of another project.
    #[error("it is not what a contributor of this project authenticated")]
    Forged,
    /// What the refinery read out is not what it was given.
    #[error("the refinery read out another upload than its contributor authenticated")]
    Altered,
    /// Its contributor sent something that its software does not make.
    #[error("{}", malformed(.0))]
    Malformed(Vec<u32>),
    /// Its contributor did so too often.
    #[error(
        "its contributor sent {MOST_REFUSED} uploads that were not well formed: no more of its uploads are read"
    )]
    Exhausted,
    /// Counters could not be read or written.
    #[error("the warden's counters: {0}")]
    Counters(#[from] std::io::Error),
}

fn malformed(blocks: &[u32]) -> String {
    let some: Vec<String> = blocks.iter().take(8).map(u32::to_string).collect();
    let more = if blocks.len() > some.len() { ", ..." } else { "" };
    format!(
        "blocks {}{more} are not well formed: its contributor sent something else than rows",
        some.join(", ")
    )
}

/// An upload that is read, of which project, and under which keys.
pub struct Reading<'a> {
    /// The project.
    pub spec: &'a ProjectSpec,
    /// The key from which everything follows that the warden draws for the project.
    pub project: &'a Key,
    /// Index into the command's list of uploads.
    pub index: u32,
    /// Its header.
    pub header: &'a UploadHeader,
    /// Its key.
    pub key: &'a UploadKey,
    /// Its contributor's seed.
    pub seed: &'a Key,
}

/// Reads an upload and has its projections kept; the nonce of this reading. `labels` says whether a block's opened labels
/// are labels.
///
/// # Errors
/// [`AdmissionError`]; nothing of what was found has left the warden before the upload's root is known to be right.
pub fn admit<C: Cloud>(
    cloud: &C,
    reading: &Reading<'_>,
    labels: impl Fn(u32, &[u8]) -> bool + Sync,
) -> Result<[u8; 32], AdmissionError> {
    let &Reading { spec, project, index, header, key, seed } = reading;
    let nonce = random_bytes();
    let keys = AdmissionKeys::new(project, &header.id(), &nonce);
    // The same for every reading of this upload: another try is none.
    let subsets = project.derive("subsets", &[&header.id().0]);
    let tests = row_tests(spec, header.era, &subsets);
    let is_query = header.role == Role::Query;
    let scalars = UploadScalars {
        rows: keys.rows.duplicate(),
        inputs: input_scalars(project, spec).into(),
        masks: column_scalars(project, spec, &(header.contributor, header.era)).into(),
    };
    let columns = (!is_query).then(|| Arc::new(column_secrets(seed, key.context())));
    let admission = Admission::new(key, &tests, scalars, subsets, columns);
    let block = |number: u32, bytes: &[u8]| -> Result<(Id, bool), AdmissionError> {
        let (read, labelled) = read_block(&admission, reading, number, bytes, &labels)
            .map_err(|_: Malformed| AdmissionError::Altered)?;
        // A query has no column form: zeros are kept in its place.
        let none = || Projection::zero(spec.column_shape(header.rows_of_block(spec, number)).padded());
        let mut sealed = keys.seal(number, Kept::Rows, &read.rows);
        sealed.extend(keys.seal(number, Kept::Columns, &read.columns.unwrap_or_else(none)));
        cloud.keep(BlockRef { upload: index, block: number }, &sealed)?;
        Ok((block_digest(number, bytes), read.good && labelled))
    };
    let (mut digests, mut bad) = (Vec::with_capacity(header.blocks(spec) as usize), Vec::new());
    each_chunk(cloud, reading, |first, blocks| {
        let found: Vec<(Id, bool)> = blocks
            .par_iter()
            .enumerate()
            .map(|(i, bytes)| block(first + i as u32, bytes))
            .collect::<Result<_, AdmissionError>>()?;
        for (digest, good) in found {
            if !good {
                bad.push(digests.len() as u32);
            }
            digests.push(digest);
        }
        Ok(())
    })?;
    // Until here nothing of what was found has left the warden.
    if root_digest(&digests) != header.root {
        return Err(AdmissionError::Altered);
    }
    if bad.is_empty() { Ok(nonce) } else { Err(AdmissionError::Malformed(bad)) }
}

fn row_tests(spec: &ProjectSpec, era: u32, subsets: &Key) -> RowTests {
    let mut masks = Masks::zero(spec.row_shape(1).places(), spec.row_form.dimension());
    expand(spec.row_mask(era), 0, &mut masks);
    RowTests::new(subsets, &masks)
}

/// Has all blocks read out, in order, a few at a time, and those that follow them while these are treated.
fn each_chunk<C: Cloud>(
    cloud: &C,
    &Reading { spec, index, header, .. }: &Reading<'_>,
    mut treat: impl FnMut(u32, &[&[u8]]) -> Result<(), AdmissionError>,
) -> Result<(), AdmissionError> {
    let blocks = header.blocks(spec);
    let size = spec.block_bytes(header.role, spec.block_rows);
    let threads = rayon::current_num_threads();
    let at_once = CHUNK.div_ceil(size).max(threads).min((MOST / size).max(1)) as u32;
    let offset = |block: u32| match block {
        end if end == blocks => header.body_bytes(spec),
        block => header.block_offset(spec, block),
    };
    let ask = |first: u32| -> Result<_, CloudError> {
        let last = (first + at_once).min(blocks);
        let bytes = (offset(last) - offset(first)) as usize;
        Ok((cloud.read(index, first, last - first, bytes)?, bytes))
    };
    let mut next = Some(ask(0)?);
    for first in (0..blocks).step_by(at_once as usize) {
        let due = next.take();
        if first + at_once < blocks {
            next = Some(ask(first + at_once)?);
        }
        // The loop asked for it in its last turn, or before it.
        let Some((due, expected)) = due else { return Err(AdmissionError::Altered) };
        let bytes = cloud.bytes(due)?;
        if bytes.as_slice().len() != expected {
            return Err(AdmissionError::Altered);
        }
        let chunks: Vec<&[u8]> = bytes.as_slice().chunks(size).collect();
        treat(first, &chunks)?;
    }
    Ok(())
}

/// What one block leaves, and whether its labels are labels.
fn read_block<L: Fn(u32, &[u8]) -> bool + Sync>(
    admission: &Admission<'_>,
    &Reading { spec, header, key, .. }: &Reading<'_>,
    number: u32,
    bytes: &[u8],
    labels: &L,
) -> Result<(AdmittedBlock, bool), Malformed> {
    let rows = header.rows_of_block(spec, number);
    let layout = spec.block_layout(header.role, rows);
    if bytes.len() != layout.bytes() {
        return Err(Malformed("a block of another size"));
    }
    let mut masks = Masks::default();
    let column_form = if header.role == Role::Query {
        None
    } else {
        let seed = spec.column_mask(&header.nonce, header.era);
        masks = Masks::zero(spec.column_shape(rows).places(), spec.column_form.dimension());
        expand(seed, spec.first_place(number), &mut masks);
        Some(&bytes[layout.column_form])
    };
    let columns = column_form.map(|packed| (packed, &masks));
    let read = admission.block(number as usize, rows as usize, &bytes[layout.row_form], columns)?;
    let sealed = &bytes[layout.labels];
    let labelled = header.role == Role::Query
        || key
            .open_labels(u64::from(number), sealed)
            .is_ok_and(|opened| labels(number, &Zeroizing::new(opened)));
    Ok((read, labelled))
}
