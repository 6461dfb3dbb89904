//! Encryption of rows and their way to the refinery: on all cores, in bounded memory.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use blindsmith_api::message::{Reply, Request};
use blindsmith_formats::{REFUSED, query_info, upload_context, write_labels};
use blindsmith_identity::{Inquiry, SigningKey, sign_inquiry};
use blindsmith_keys::{Encryption, Freshness, Key, Secrets, UploadKey, column_secrets, expand};
use blindsmith_learn::{Matrix, Targets};
use blindsmith_matrix::{MaskSeed, Masks, View};
use blindsmith_protocol::{
    Blob, BlockLayout, Id, MAX_BODY, MAX_ROWS, ProjectSpec, Role, UploadHeader, block_digest, root_digest,
};
use blindsmith_ring::backend;
use rayon::prelude::*;

use crate::connection::Connection;
use crate::failure::{Failure, unexpected};
use crate::files::{locked, write_file};

/// Bytes of blocks in one frame, about.
const FRAME: usize = 4 << 20;
/// At most, where it takes more to give each core a block.
const MOST: usize = MAX_BODY / 4;
/// Residues that one core encrypts at a time.
const PIECE: usize = 1 << 16;

/// What became of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Its identifier.
    pub upload: Id,
    /// False if the refinery had it already.
    pub new: bool,
    /// Bytes of its blocks.
    pub bytes: u64,
}

/// Who sends rows.
#[derive(Clone, Copy)]
pub struct Sender<'a> {
    /// Its public key.
    pub contributor: Id,
    /// The digest of the terms that it accepted; zero for the owner.
    pub terms: [u8; 32],
    /// What its uploads are keyed from.
    pub seed: &'a Key,
    /// The era of its row masks and column secrets; it never goes back.
    pub era: u32,
}

/// Rows to be encrypted.
struct Upload<'a> {
    spec: &'a ProjectSpec,
    key: UploadKey,
    role: Role,
    era: u32,
    rows: &'a Matrix,
    /// None of a query.
    targets: Option<&'a Targets>,
    row_masks: Arc<Masks>,
    /// None of a query.
    columns: Option<Columns>,
    /// Buffers that no worker uses.
    spare: Mutex<Vec<Scratch>>,
}

/// What the column form is encrypted under.
struct Columns {
    seed: MaskSeed,
    secrets: Arc<Secrets>,
}

/// The buffers of one worker: what is not written in them stays zero.
struct Scratch {
    /// A block in contraction rows.
    contraction: Vec<u64>,
    /// A block's rows, each filled up with zeros.
    rows: Vec<u64>,
    /// A block's rows in the column form, each filled up with zeros.
    columns: Vec<u64>,
    masks: Arc<Masks>,
}

impl<'a> Upload<'a> {
    fn new(
        spec: &'a ProjectSpec,
        (seed, era): (&Key, u32),
        (role, freshness): (Role, Freshness),
        rows: &'a Matrix,
        targets: Option<&'a Targets>,
    ) -> Result<Self, Failure> {
        if !(1..=MAX_ROWS as usize).contains(&rows.rows()) {
            let message =
                format!("{} rows, where 1 to {MAX_ROWS} can be sent at once: split the file", rows.rows());
            return Err(Failure::Settings(message));
        }
        let context = upload_context(spec, &spec.id(), era);
        let labels = targets.map(|t| write_labels(t, 0, rows.rows())).unwrap_or_default();
        // The rows that the nonce is of are the rows that are encrypted.
        let view = View::new(rows.as_slice(), rows.rows(), rows.cols());
        let key = UploadKey::of_rows(seed, context, &view, &labels, freshness);
        let mut row_masks = Masks::zero(spec.row_shape(1).places(), spec.row_form.dimension());
        expand(context.mask, 0, &mut row_masks);
        let columns = (role != Role::Query).then(|| Columns {
            seed: spec.column_mask(key.nonce(), era),
            secrets: column_secrets(seed, &context).into(),
        });
        Ok(Upload {
            spec,
            key,
            role,
            era,
            rows,
            targets,
            row_masks: row_masks.into(),
            columns,
            spare: Mutex::default(),
        })
    }

    fn row_count(&self) -> u32 {
        // At most `MAX_ROWS`.
        self.rows.rows() as u32
    }

    fn blocks(&self) -> u32 {
        self.spec.blocks(self.row_count())
    }

    /// The rows of a block.
    fn range(&self, block: u32) -> Range<usize> {
        let from = block as usize * self.spec.block_rows();
        from..from + self.spec.rows_of_block(self.row_count(), block) as usize
    }

    fn scratch(&self) -> Scratch {
        let most = self.spec.block_rows.min(self.row_count());
        let (rows, columns) = (self.spec.row_shape(most), self.spec.column_shape(most));
        let (residues, places) = match self.columns {
            Some(_) => (columns.residues(), columns.places()),
            None => (0, 0),
        };
        Scratch {
            contraction: vec![0; rows.residues()],
            rows: vec![0; rows.stride() * rows.padded().next_multiple_of(8)],
            columns: vec![0; residues],
            masks: Masks::zero(places, columns.encoding.dimension()).into(),
        }
    }

    /// Encrypts a block into its bytes; its digest.
    fn block(&self, block: u32, scratch: &mut Scratch, out: &mut [u8]) -> Id {
        let range = self.range(block);
        let layout = self.spec.block_layout(self.role, range.len() as u32);
        let view = View::new(self.rows.values_of(range.clone()), range.len(), self.rows.cols());
        if let Some(targets) = self.targets {
            let labels = write_labels(targets, range.start, range.end);
            out[layout.labels.clone()].copy_from_slice(&self.key.seal_labels(u64::from(block), &labels));
        }
        self.row_form(block, view, scratch, &mut out[layout.row_form.clone()]);
        if let Some(columns) = &self.columns {
            self.column_form((block, view), columns, scratch, (&layout, &mut *out));
        }
        block_digest(block, out)
    }

    /// The row form, row by row.
    fn row_form(&self, block: u32, view: View<'_>, scratch: &mut Scratch, out: &mut [u8]) {
        let encryption = self.key.encrypt_rows(block as usize, view, self.row_masks.clone());
        let (shape, backend) = (*encryption.shape(), backend::active());
        let contraction = &mut scratch.contraction[..shape.residues()];
        fill(&encryption, contraction);
        let row = shape.padded().next_multiple_of(8);
        let rows = &mut scratch.rows[..shape.stride() * row];
        backend.transpose(rows, row, contraction, shape.padded(), shape.stride());
        backend.pack(out, &rows[..view.rows * row]);
    }

    /// The column form, one contraction row after the other.
    fn column_form(
        &self,
        (block, view): (u32, View<'_>),
        columns: &Columns,
        scratch: &mut Scratch,
        (layout, out): (&BlockLayout, &mut [u8]),
    ) {
        // Unwrap safety: no other block's encryption outlives it.
        let masks = Arc::get_mut(&mut scratch.masks).expect("masks of one block at a time");
        expand(columns.seed, self.spec.first_place(block), masks);
        let masks = (columns.seed, scratch.masks.clone());
        let encryption = self.key.encrypt_columns(block as usize, view, masks, columns.secrets.clone());
        let residues = &mut scratch.columns[..encryption.shape().residues()];
        fill(&encryption, residues);
        backend::active().pack(&mut out[layout.column_form.clone()], residues);
    }

    /// Encrypts blocks into `bytes`, on all cores; their digests.
    fn encrypt(&self, blocks: Range<u32>, bytes: &mut Vec<u8>) -> Vec<Id> {
        let size = self.spec.block_bytes(self.role, self.spec.block_rows);
        let last = self.spec.block_bytes(self.role, self.range(blocks.end - 1).len() as u32);
        bytes.resize((blocks.len() - 1) * size + last, 0);
        let each = bytes.par_chunks_mut(size).zip(blocks.into_par_iter());
        let encrypt = |(out, block): (&mut [u8], u32)| {
            // Fresh memory of these sizes would cost more than packing does.
            let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
            let held = spare().pop();
            let mut scratch = held.unwrap_or_else(|| self.scratch());
            let digest = self.block(block, &mut scratch, out);
            spare().push(scratch);
            digest
        };
        each.map(encrypt).collect()
    }

    /// Blocks of a frame: as many as cores, if they are not large.
    fn per_frame(&self) -> u32 {
        let size = self.spec.block_bytes(self.role, self.spec.block_rows);
        (FRAME / size).max(rayon::current_num_threads()).min(MOST / size).max(1) as u32
    }

    /// Sends all blocks; encryption runs ahead by one frame. Returns the header that ends the upload.
    fn stream(
        &self,
        connection: &mut Connection,
        (contributor, terms): (Id, [u8; 32]),
        observe: &mut dyn FnMut(u64),
    ) -> Result<UploadHeader, Failure> {
        let project = self.spec.id();
        connection.begin(project, self.role, self.row_count())?;
        let mut digests = Vec::with_capacity(self.blocks() as usize);
        std::thread::scope(|scope| -> Result<(), Failure> {
            let (full, frames) = sync_channel(1);
            // Sent frames come back: their memory is used again.
            let (empty, spare) = sync_channel(2);
            scope.spawn(move || {
                let (blocks, per_frame) = (self.blocks(), self.per_frame());
                for first in (0..blocks).step_by(per_frame as usize) {
                    let range = first..blocks.min(first + per_frame);
                    let mut bytes = spare.try_recv().unwrap_or_default();
                    let digests = self.encrypt(range.clone(), &mut bytes);
                    // The receiver hangs up when sending fails: nothing more is needed then.
                    if full.send((range, bytes, digests)).is_err() {
                        return;
                    }
                }
            });
            for (range, bytes, block_digests) in frames {
                connection.send(&Request::Blocks { first: range.start }, &[&bytes])?;
                digests.extend(block_digests);
                observe(self.range(range.end - 1).end as u64);
                _ = empty.try_send(bytes);
            }
            Ok(())
        })?;
        let mut header = UploadHeader {
            project,
            contributor,
            terms,
            role: self.role,
            nonce: *self.key.nonce(),
            era: self.era,
            rows: self.row_count(),
            root: root_digest(&digests),
            tag: [0; 32],
        };
        header.tag = self.key.tag(&header.authenticated());
        Ok(header)
    }
}

/// Encrypts all of an operand: a large one on all cores.
fn fill(encryption: &Encryption<'_>, residues: &mut [u64]) {
    let shape = encryption.shape();
    let place = shape.encoding.roots() * shape.stride();
    let together = (PIECE / place).max(1);
    let pieces = residues.par_chunks_mut(together * place).enumerate();
    pieces.for_each(|(i, piece)| encryption.places(i * together, piece));
}

/// Encrypts and sends an upload; returns when the refinery has it for good.
pub fn send(
    connection: &mut Connection,
    spec: &ProjectSpec,
    sender: Sender<'_>,
    role: Role,
    (rows, targets): (&Matrix, &Targets),
    observe: &mut dyn FnMut(u64),
) -> Result<Sent, Failure> {
    let (keys, how) = ((sender.seed, sender.era), (role, Freshness::Fresh));
    let upload = Upload::new(spec, keys, how, rows, Some(targets))?;
    let header = upload.stream(connection, (sender.contributor, sender.terms), observe)?;
    let bytes = header.body_bytes(spec);
    match connection.request(&Request::Commit { header }, &[])? {
        (Reply::Accepted { upload, new }, _) => Ok(Sent { upload, new, bytes }),
        _ => Err(unexpected()),
    }
}

/// What a query is answered.
pub struct Answer {
    /// The predictions, rows x outputs, rounded as the rules say.
    pub outputs: Vec<f32>,
    /// Of each row the class, picked before rounding; 0 where labels are no classes.
    pub classes: Vec<u32>,
}

/// The number of a query that is asked now, in microseconds since 1970; more than `last`, the one before, if the clock went back.
pub fn number_after(last: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    now.max(last.saturating_add(1))
}

/// The number of the next query that is asked from a directory: greater than those before, whatever the clock says.
pub fn query_number(dir: &Path) -> Result<u64, Failure> {
    let (path, lock) = (dir.join("query.number"), dir.join("query.lock"));
    let _alone = locked(&lock)?;
    let last = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| Failure::project(&path, "it is no number"))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
        Err(e) => return Err(Failure::project(&path, e)),
    };
    let number = number_after(last);
    write_file(&path, number.to_string().as_bytes())?;
    Ok(number)
}

/// Encrypts and asks a query under a number that is greater than those before.
pub fn ask(
    connection: &mut Connection,
    spec: &ProjectSpec,
    (querier, number): (&SigningKey, u64),
    warden: &blindsmith_attest::Appraised,
    rows: &Matrix,
    observe: &mut dyn FnMut(u64),
) -> Result<Answer, Failure> {
    let seed = Key::random();
    // Each query has a seed of its own, and with it secrets of its own: no era is needed.
    let upload = Upload::new(spec, (&seed, 0), (Role::Query, Freshness::Fresh), rows, None)?;
    let who = Id::from(querier.verifying());
    let header = upload.stream(connection, (who, [0; 32]), observe)?;
    let (project, query) = (spec.id(), header.id());
    let info = query_info(&project, &query, &who);
    let recipient = warden.recipient();
    let sealed = recipient.seal(&info, seed.expose());
    let envelope = Blob(sealed.map_err(|e| Failure::Other(e.to_string()))?.0);
    // The suite is in it: nothing is remembered of sessions of queries.
    let inquiry = Inquiry { project, query, number, kem: recipient.suite().number(), envelope };
    let inquiry = sign_inquiry(&inquiry, querier);
    let (Reply::Answer, sealed) = connection.request(&Request::Ask { header }, &inquiry)? else {
        return Err(unexpected());
    };
    let answer = seed
        .derive("answer", &[&query.0])
        .unseal("answer", &sealed)
        .map_err(|_| Failure::Keys { what: "the answer" })?;
    let outputs = spec.layers.last().map_or(0, |l| l.outputs as usize);
    let (status, answer) = answer.split_first_chunk::<4>().ok_or_else(unexpected)?;
    if answer.len() != 4 * rows.rows() * (outputs + 1) {
        return Err(unexpected());
    }
    match u32::from_le_bytes(*status) {
        0 => {}
        REFUSED => return Err(Failure::Refused("the model gives no predictions for these rows".into())),
        _ => return Err(unexpected()),
    }
    let (outputs, classes) = answer.split_at(4 * rows.rows() * outputs);
    let outputs = outputs.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let classes = classes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    Ok(Answer { outputs, classes })
}

#[cfg(test)]
mod tests {
    use blindsmith_learn::{Loss, Recipe};
    use blindsmith_matrix::Security;
    use blindsmith_plan::Cloud;
    use blindsmith_protocol::Trigger;

    use super::*;
    use crate::spec::{new_spec, planned};

    fn spec() -> ProjectSpec {
        let mut recipe = Recipe::new(&[13, 4, 3], Loss::SoftmaxCrossEntropy);
        recipe.batch_rows = 64;
        let plan = planned(&recipe, Security::Bits128, (Cloud::Cpu, false)).unwrap();
        new_spec("test", Id([1; 32]), (plan, Security::Bits128), &recipe, Trigger::MANUAL).unwrap()
    }

    fn rows(count: usize) -> (Matrix, Targets) {
        let values = (0..13 * count).map(|i| (i % 17) as f32 / 17.0 - 0.5).collect();
        (Matrix::from_rows(count, 13, values).unwrap(), Targets::Classes(vec![1; count]))
    }

    /// The blocks of an upload, so many in a frame.
    fn encrypted(upload: &Upload<'_>, per_frame: u32) -> (Vec<u8>, Vec<Id>) {
        let (mut all, mut digests, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        for first in (0..upload.blocks()).step_by(per_frame as usize) {
            digests.extend(upload.encrypt(first..upload.blocks().min(first + per_frame), &mut bytes));
            all.extend(&bytes);
        }
        (all, digests)
    }

    #[test]
    fn an_upload_that_is_made_again_is_the_same_however_it_is_cut_into_frames() {
        let (spec, seed) = (spec(), Key::from_bytes([2; 32]));
        let (rows, targets) = rows(3 * spec.block_rows() + 5);
        let make = |freshness, era, rows| {
            Upload::new(&spec, (&seed, era), (Role::Training, freshness), rows, Some(&targets)).unwrap()
        };
        let (bytes, digests) = encrypted(&make(Freshness::Reproducible, 0, &rows), 100);
        assert_eq!(bytes.len() as u64, spec.body_bytes(Role::Training, rows.rows() as u32));
        for per_frame in [1, 2, 3] {
            let again = make(Freshness::Reproducible, 0, &rows);
            assert_eq!(encrypted(&again, per_frame), (bytes.clone(), digests.clone()));
        }
        let mut edited = rows.clone();
        edited.as_mut_slice()[0] += 0.25;
        for other in [
            make(Freshness::Fresh, 0, &rows),
            make(Freshness::Reproducible, 1, &rows),
            make(Freshness::Reproducible, 0, &edited),
        ] {
            let (_, others) = encrypted(&other, 2);
            assert!(others.iter().zip(&digests).all(|(a, b)| a != b));
        }
    }

    #[test]
    fn a_query_has_the_row_form_alone_and_padding_is_zero() {
        let (spec, seed) = (spec(), Key::from_bytes([2; 32]));
        let (rows, _) = rows(spec.block_rows() + 3);
        let upload = Upload::new(&spec, (&seed, 0), (Role::Query, Freshness::Fresh), &rows, None).unwrap();
        let (bytes, _) = encrypted(&upload, 100);
        assert_eq!(bytes.len(), rows.rows() * spec.row_bytes());
        let padded = spec.row_shape(1).padded();
        for row in bytes.chunks_exact(spec.row_bytes()) {
            let mut residues = vec![0; padded.next_multiple_of(8)];
            assert!(backend::active().unpack(&mut residues, row));
            assert!(residues[padded..].iter().all(|r| *r == 0) && residues[..padded].iter().any(|r| *r != 0));
        }
    }
}
