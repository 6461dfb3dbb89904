//! Admission: the warden reads every upload once, makes sure of it, and has its projections kept, sealed, by
//! the refinery.

use blindsmith_keys::{Admission, Key, Malformed, Reading, Scalars, UploadKey, random_bytes};
use blindsmith_protocol::{
    Blob, GroupRef, Id, ProjectSpec, Projection, Role, UploadHeader, block_digest, root_digest,
};
use blindsmith_ring::{Eval, LANES, PACKED_BYTES_PER_LANES, Poly, backend};
use rayon::prelude::*;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::cloud::{Cloud, CloudError};

/// Bytes of row blocks that are asked for at a time, at least; twice as many are on their way.
const CHUNK: usize = 1 << 18;
/// At most, unless a single group is larger.
const MOST: usize = 64 << 20;

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
}

fn malformed(blocks: &[u32]) -> String {
    let some: Vec<String> = blocks.iter().take(8).map(u32::to_string).collect();
    let more = if blocks.len() > some.len() { ", ..." } else { "" };
    format!(
        "row blocks {}{more} are not well formed: its contributor sent something else than rows",
        some.join(", ")
    )
}

/// The keys of one admission, under which an upload's scalars are drawn and its projections sealed.
pub struct AdmissionKeys {
    rows: Key,
    sealing: Key,
}

impl AdmissionKeys {
    /// Those of a reading of `upload`: a later one has others, and projections of the one do not open as the
    /// other's.
    pub fn new(project: &Key, upload: &Id, nonce: &[u8; 32]) -> Self {
        let key = project.derive("admission", &[&upload.0, nonce]);
        AdmissionKeys { rows: key.derive("rows", &[]), sealing: key.derive("projections", &[]) }
    }

    /// The scalars of row blocks.
    pub fn scalars(&self, blocks: impl IntoIterator<Item = usize>) -> Scalars {
        Scalars::derive(&self.rows, blocks)
    }

    fn key(&self, group: u32, which: Projection) -> Key {
        self.sealing
            .derive(if which == Projection::Group { "group" } else { "rows" }, &[&group.to_be_bytes()])
    }

    /// Seals projections of a group; written once under these keys.
    fn seal(&self, group: u32, which: Projection, polys: &[Poly<Eval>]) -> Vec<u8> {
        let size = polys.first().map_or(0, |p| p.points() / LANES * PACKED_BYTES_PER_LANES);
        let mut packed = Zeroizing::new(vec![0; polys.len() * size]);
        for (out, poly) in packed.chunks_exact_mut(size).zip(polys) {
            backend::active().pack(out, poly.as_slice());
        }
        self.key(group, which).encrypt_once(b"", &packed)
    }

    /// Opens sealed projections where they lie: of a group it adds them to `to`, of rows it puts them there, one
    /// after the other. None if they are not what was sealed.
    pub fn open(
        &self,
        group: u32,
        which: Projection,
        sealed: &mut [u8],
        to: &mut [Poly<Eval>],
    ) -> Option<()> {
        let packed = self.key(group, which).decrypt_once_in_place(b"", sealed).ok()?;
        let size = to.first()?.points() / LANES * PACKED_BYTES_PER_LANES;
        if packed.len() != to.len() * size {
            return None;
        }
        let mut part = Poly::<Eval>::zero(to.first()?.points());
        for (bytes, to) in packed.chunks_exact(size).zip(to) {
            match which {
                Projection::Rows => backend::active().unpack(to.as_mut_slice(), bytes).then_some(())?,
                Projection::Group => {
                    backend::active().unpack(part.as_mut_slice(), bytes).then_some(())?;
                    to.add_assign(&part);
                }
            }
        }
        Some(())
    }
}

/// The scalars of a project's input blocks: the same for all uploads, whose rows stand in one product.
pub fn input_scalars(project: &Key, spec: &ProjectSpec) -> Scalars {
    Scalars::derive(&project.derive("input scalars", &[]), 0..spec.input_blocks())
}

/// Reads upload `index` of a command and has its projections kept; the nonce of this reading. `labels` says whether
/// a block's opened labels are labels.
pub fn admit<C: Cloud>(
    cloud: &C,
    (spec, project): (&ProjectSpec, &Key),
    (index, header, key): (u32, &UploadHeader, &UploadKey),
    labels: impl Fn(u32, &[u8]) -> bool + Sync,
) -> Result<[u8; 32], AdmissionError> {
    let nonce = random_bytes();
    let keys = AdmissionKeys::new(project, &header.id(), &nonce);
    let inputs = input_scalars(project, spec);
    let masks = spec.mask.expand(spec.input_blocks(), spec.security.degree());
    let rows_key = keys.rows.duplicate();
    // The same for every reading of this upload: another try is none.
    let subsets = project.derive("subsets", &[&header.id().0]);
    let admission = Admission::new(key, header.rows as usize, &masks, &inputs, (rows_key, subsets));

    let (blocks, groups) = (header.blocks(spec), header.groups(spec));
    let threads = rayon::current_num_threads();
    let group_bytes = spec.block_bytes() * spec.group_blocks as usize;
    let at_once = CHUNK.div_ceil(group_bytes).max(threads).min((MOST / group_bytes).max(1)) as u32;
    let ask = |first: u32| -> Result<_, CloudError> {
        let (from, to) = (first * spec.group_blocks, (first + at_once).min(groups) * spec.group_blocks);
        let count = to.min(blocks) - from;
        cloud.read(index, from, count, count as usize * spec.block_bytes())
    };
    let mut next = Some(ask(0)?);
    let (mut digests, mut bad) = (Vec::with_capacity(blocks as usize), Vec::new());
    for first in (0..groups).step_by(at_once as usize) {
        let due = next.take();
        if first + at_once < groups {
            next = Some(ask(first + at_once)?);
        }
        // The loop asked for it in its last turn, or before it.
        let Some(due) = due else { return Err(AdmissionError::Altered) };
        let bytes = cloud.bytes(due)?;
        let bytes = bytes.as_slice();
        let last = (first + at_once).min(groups);
        let count = (last * spec.group_blocks).min(blocks) - first * spec.group_blocks;
        if bytes.len() != count as usize * spec.block_bytes() {
            return Err(AdmissionError::Altered);
        }
        let read = |reading: &mut Reading, (g, bytes): (usize, &[u8])| {
            let group = first + g as u32;
            let read = group_of(&admission, (spec, key, header), group, bytes, reading, &labels);
            let (done, rows) = read.map_err(|_: Malformed| AdmissionError::Altered)?;
            let whole = admission.group(reading);
            let mut sealed = keys.seal(group, Projection::Group, &whole);
            sealed.extend(keys.seal(group, Projection::Rows, &rows));
            cloud.keep(GroupRef { upload: index, group }, &sealed)?;
            Ok(done)
        };
        let size = spec.block_bytes() * spec.group_blocks as usize;
        let done: Vec<Vec<(Id, bool)>> = bytes
            .par_chunks(size)
            .enumerate()
            // One worker's buffers for each thread.
            .with_min_len((at_once as usize).div_ceil(threads))
            .map_init(|| admission.reading(), read)
            .collect::<Result<_, AdmissionError>>()?;
        for (digest, good) in done.into_iter().flatten() {
            if !good {
                bad.push(digests.len() as u32);
            }
            digests.push(digest);
        }
    }
    // Until here nothing of what was found has left the warden.
    if root_digest(&digests) != header.root {
        return Err(AdmissionError::Altered);
    }
    if bad.is_empty() { Ok(nonce) } else { Err(AdmissionError::Malformed(bad)) }
}

/// Digest and verdict of each row block of a group, and their projections.
#[allow(clippy::type_complexity)]
fn group_of(
    admission: &Admission<'_>,
    (spec, key, header): (&ProjectSpec, &UploadKey, &UploadHeader),
    group: u32,
    bytes: &[u8],
    reading: &mut Reading,
    labels: &(impl Fn(u32, &[u8]) -> bool + Sync),
) -> Result<(Vec<(Id, bool)>, Vec<Poly<Eval>>), Malformed> {
    let (mut done, mut rows) = (Vec::new(), Vec::new());
    for (i, bytes) in bytes.chunks_exact(spec.block_bytes()).enumerate() {
        let block = group * spec.group_blocks + i as u32;
        let (sealed, packed) = bytes.split_at(spec.sealed_label_bytes());
        let read = admission.block(block as usize, packed, reading)?;
        let labelled = header.role == Role::Query
            || key
                .open_labels(u64::from(block), sealed)
                .is_ok_and(|opened| labels(block, &Zeroizing::new(opened)));
        done.push((block_digest(block, bytes), read.good && labelled));
        rows.push(read.along);
    }
    Ok((done, rows))
}

/// What tells the warden that it admitted an upload, sealed for itself.
pub(crate) fn token(project: &Key, upload: &Id, nonce: &[u8; 32]) -> Blob {
    Blob(project.derive("admission token", &[&upload.0]).seal("admission", nonce).0)
}

/// The nonce in a token; None if the warden did not make it for this upload.
pub(crate) fn read_token(project: &Key, upload: &Id, token: &Blob) -> Option<[u8; 32]> {
    let opened = project.derive("admission token", &[&upload.0]).unseal("admission", &token.0).ok()?;
    opened.try_into().ok()
}
