//! What a round works with: its uploads, verified, in blocks to train on and to judge with.

use std::collections::HashSet;

use blindsmith_learn::Block;
use blindsmith_protocol::{AdmittedUpload, Role, UploadHeader};

use crate::error::RoundError;
use crate::project::Project;
use crate::projections::{AdmissionKeys, read_token};
use crate::uploads::{Upload, Uploads, upload_key};

/// Share of the blocks that are held out of training where no validation rows were uploaded.
const HOLD_OUT: f64 = 0.1;

/// What a round is to do.
pub(crate) struct Task {
    pub round: u64,
    /// Attempts begun at it, this one included.
    pub attempt: u32,
    pub epochs: u32,
}

/// What a round works with.
pub(crate) struct Material {
    pub uploads: Uploads,
    pub blocks: Blocks,
}

impl Material {
    /// Verifies what a round is given; nothing is asked of the refinery.
    ///
    /// # Errors
    /// [`RoundError`]: an upload that this warden did not admit or that is no contributor's, one twice, nothing to train on.
    pub(crate) fn new(project: &Project, given: Vec<AdmittedUpload>) -> Result<Self, RoundError> {
        let uploads = verify(project, given)?;
        let blocks = Blocks::new(project, &uploads);
        // On a fixed schedule it must not show that everything was set aside.
        let fixed = project.fixed_schedule();
        let usable = |upload: &Upload| fixed || project.standing.quarantined(&upload.header.id()).is_none();
        let trains = |(upload, blocks): (&Upload, &Vec<Block>)| !blocks.is_empty() && usable(upload);
        match uploads.iter().zip(&blocks.training).any(trains) {
            true => Ok(Material { uploads, blocks }),
            false => Err(RoundError::Empty),
        }
    }
}

/// Checks that this warden admitted every upload, made by the owner or an enrolled member, and that it is there once.
fn verify(project: &Project, given: Vec<AdmittedUpload>) -> Result<Uploads, RoundError> {
    let Project { spec, encryption, release, members, .. } = project;
    let mut uploads = Uploads::new(spec, encryption, &release.recipe);
    let (mut seen, mut forged) = (HashSet::new(), Vec::new());
    for AdmittedUpload { header, admission } in given {
        let id = header.id();
        if !seen.insert(id) {
            return Err(RoundError::Twice(id));
        }
        let found = members.seed(spec, &release.rows, &header);
        let found = found.and_then(|(seed, terms)| Some((seed, terms, upload_key(spec, &header, seed)?)));
        match (found, read_token(encryption, &id, &admission)) {
            (Some((seed, terms, key)), Some(nonce)) => {
                let (terms, seed) = (terms.cloned(), seed.duplicate());
                let admission = AdmissionKeys::new(encryption, &id, &nonce);
                uploads.push(Upload { header, terms, key, seed, admission });
            }
            _ => forged.push(id),
        }
    }
    if forged.is_empty() { Ok(uploads) } else { Err(RoundError::Forged(forged)) }
}

/// The blocks of the uploads of a round.
#[derive(Default)]
pub(crate) struct Blocks {
    /// To train on, of each upload.
    pub training: Vec<Vec<Block>>,
    /// To judge with, of each upload: all of an upload for validation, and of others those chosen by a keyed hash.
    pub held_out: Vec<Vec<Block>>,
}

impl Blocks {
    /// Of every contributor's upload some blocks are held out; of the owner's only where it names no rows that judge.
    fn new(project: &Project, uploads: &Uploads) -> Self {
        let spec = &project.spec;
        let own = |h: &UploadHeader| h.contributor == spec.owner;
        let trusted = uploads.iter().any(|u| own(&u.header) && u.header.role == Role::Validation);
        let held_out = |b: &Block| {
            let upload = uploads.of(b.upload).header.id();
            let hash = project.encryption.derive("hold out", &[&upload.0, &b.index.to_be_bytes()]);
            let [a, b, c, d, ..] = *hash.expose();
            f64::from(u32::from_be_bytes([a, b, c, d])) < HOLD_OUT * f64::from(u32::MAX)
        };
        let mut blocks = Blocks::default();
        for (i, Upload { header, .. }) in (0..).zip(uploads.iter()) {
            let all = Block::of_upload(i, header.rows, spec.block_rows);
            let (held, mut rest): (Vec<Block>, Vec<Block>) = match header.role {
                Role::Validation => (all.collect(), vec![]),
                _ if trusted && own(header) => (vec![], all.collect()),
                _ => all.partition(held_out),
            };
            // Too few blocks to spare one: all of them are trained on.
            let held = if rest.is_empty() && header.role != Role::Validation {
                rest = held;
                vec![]
            } else {
                held
            };
            blocks.training.push(rest);
            blocks.held_out.push(held);
        }
        blocks
    }
}
