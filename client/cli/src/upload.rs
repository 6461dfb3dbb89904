//! Encryption of rows and their way to the refinery: on all cores, in bounded memory.

use std::sync::mpsc::sync_channel;

use blindsmith_api::message::{Reply, Request};
use blindsmith_identity::{Inquiry, SigningKey, sign_inquiry};
use blindsmith_keys::{Encryption, Freshness, Key, Scratch, UploadContext, UploadKey};
use blindsmith_learn::{Matrix, Targets};
use blindsmith_matrix::View;
use blindsmith_protocol::{Blob, Id, MAX_ROWS, ProjectSpec, Role, UploadHeader, block_digest, root_digest};
use blindsmith_warden::{REFUSED, query_info, write_labels};
use rayon::prelude::*;

use crate::connection::unexpected;
use crate::{Connection, Failure};

/// Bytes of row blocks in one frame, about.
const FRAME: usize = 4 << 20;

/// What became of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Its identifier.
    pub upload: Id,
    /// False if the refinery had it already.
    pub new: bool,
    /// Bytes of row blocks.
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
}

struct Upload<'a> {
    spec: &'a ProjectSpec,
    key: UploadKey,
    encryption: Encryption<'a>,
    targets: Option<&'a Targets>,
    rows: usize,
}

impl<'a> Upload<'a> {
    fn new(
        spec: &'a ProjectSpec,
        seed: &Key,
        rows: &'a Matrix,
        targets: Option<&'a Targets>,
        freshness: Freshness,
    ) -> Result<Self, Failure> {
        if !(1..=MAX_ROWS as usize).contains(&rows.rows()) {
            let message =
                format!("{} rows, where 1 to {MAX_ROWS} can be sent at once: split the file", rows.rows());
            return Err(Failure::Settings(message));
        }
        let context = UploadContext {
            project: spec.id().0,
            mask: spec.mask,
            tile: spec.tile(),
            inputs: spec.inputs(),
            scale: spec.feature_scale,
        };
        let labels = targets.map(|t| write_labels(t, 0, rows.rows())).unwrap_or_default();
        let masks = spec.mask.expand(spec.input_blocks(), spec.security.degree());
        let view = View::new(rows.as_slice(), rows.rows(), rows.cols());
        let (key, encryption) = UploadKey::encrypt(seed, context, view, &labels, masks, freshness);
        Ok(Upload { spec, key, encryption, targets, rows: rows.rows() })
    }

    fn blocks(&self) -> usize {
        self.encryption.shape().strips()
    }

    fn labels(&self, block: usize) -> Vec<u8> {
        let rows = self.spec.block_rows();
        let from = block * rows;
        let mut labels = match self.targets {
            Some(targets) => write_labels(targets, from, self.rows.min(from + rows)),
            None => Vec::new(),
        };
        labels.resize(rows * self.spec.label_bytes as usize, 0);
        self.key.seal_labels(block as u64, &labels)
    }

    /// Encrypts row blocks into `bytes`, on all cores; their digests.
    fn encrypt(&self, first: usize, last: usize, bytes: &mut Vec<u8>) -> Vec<Id> {
        let size = self.spec.block_bytes();
        bytes.resize((last - first) * size, 0);
        let blocks = bytes.par_chunks_exact_mut(size).enumerate();
        let digest = |scratch: &mut Scratch, (i, out): (usize, &mut [u8])| {
            let block = first + i;
            let (labels, packed) = out.split_at_mut(self.spec.sealed_label_bytes());
            labels.copy_from_slice(&self.labels(block));
            self.encryption.packed_strip(block, scratch, packed);
            block_digest(block as u32, out)
        };
        blocks.map_init(|| self.encryption.scratch(), digest).collect()
    }

    /// Sends all row blocks; encryption runs ahead by one frame. Returns the header that ends the upload.
    fn stream(
        &self,
        connection: &mut Connection,
        (contributor, terms): (Id, [u8; 32]),
        role: Role,
        observe: &mut dyn FnMut(u64),
    ) -> Result<UploadHeader, Failure> {
        let project = self.spec.id();
        connection.begin(project, role)?;
        let per_frame = (FRAME / self.spec.block_bytes()).max(1);
        let mut digests = Vec::with_capacity(self.blocks());
        std::thread::scope(|scope| -> Result<(), Failure> {
            let (full, frames) = sync_channel(1);
            // Sent frames come back: their memory is used again.
            let (empty, spare) = sync_channel(2);
            scope.spawn(move || {
                for first in (0..self.blocks()).step_by(per_frame) {
                    let last = self.blocks().min(first + per_frame);
                    let mut bytes = spare.try_recv().unwrap_or_default();
                    let digests = self.encrypt(first, last, &mut bytes);
                    // The receiver hangs up when sending fails: nothing more is needed then.
                    if full.send((first, last, bytes, digests)).is_err() {
                        return;
                    }
                }
            });
            for (first, last, bytes, block_digests) in frames {
                connection.send(&Request::Blocks { first: first as u32 }, &[&bytes])?;
                digests.extend(block_digests);
                observe(self.rows.min(last * self.spec.block_rows()) as u64);
                _ = empty.try_send(bytes);
            }
            Ok(())
        })?;
        let mut header = UploadHeader {
            project,
            contributor,
            terms,
            role,
            nonce: *self.key.nonce(),
            rows: self.rows as u32,
            root: root_digest(&digests),
            tag: [0; 32],
        };
        header.tag = self.key.tag(&header.authenticated());
        Ok(header)
    }
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
    send_with(connection, spec, sender, (role, Freshness::Fresh), (rows, targets), observe)
}

/// The same, fresh or the same upload for the same rows.
pub(crate) fn send_with(
    connection: &mut Connection,
    spec: &ProjectSpec,
    sender: Sender<'_>,
    (role, freshness): (Role, Freshness),
    (rows, targets): (&Matrix, &Targets),
    observe: &mut dyn FnMut(u64),
) -> Result<Sent, Failure> {
    let upload = Upload::new(spec, sender.seed, rows, Some(targets), freshness)?;
    let header = upload.stream(connection, (sender.contributor, sender.terms), role, observe)?;
    let bytes = header.body_bytes(spec);
    match connection.request(&Request::Commit { header }, &[])? {
        (Reply::Accepted { upload, new }, _) => Ok(Sent { upload, new, bytes }),
        _ => Err(unexpected()),
    }
}

/// Encrypts and asks a query: the predictions, rows x outputs.
pub fn ask(
    connection: &mut Connection,
    spec: &ProjectSpec,
    querier: &SigningKey,
    warden: &blindsmith_attest::Appraised,
    rows: &Matrix,
    observe: &mut dyn FnMut(u64),
) -> Result<Vec<f32>, Failure> {
    let seed = Key::random();
    let upload = Upload::new(spec, &seed, rows, None, Freshness::Fresh)?;
    let who = Id::from(querier.verifying());
    let header = upload.stream(connection, (who, [0; 32]), Role::Query, observe)?;
    let (project, query) = (spec.id(), header.id());
    let info = query_info(&project, &query, &who);
    let recipient = warden.recipient();
    let sealed = recipient.seal(&info, seed.expose());
    let envelope = Blob(sealed.map_err(|e| Failure::Other(e.to_string()))?.0);
    // The suite is in it: nothing is remembered of sessions of queries.
    let inquiry = Inquiry { project, query, kem: recipient.suite().number(), envelope };
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
    if answer.len() != 4 * rows.rows() * outputs {
        return Err(unexpected());
    }
    match u32::from_le_bytes(*status) {
        0 => {}
        REFUSED => return Err(Failure::Refused("the model gives no predictions for these rows".into())),
        _ => return Err(unexpected()),
    }
    Ok(answer.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}
