//! Rows standardised, encrypted and sent.

use std::path::Path;

use blindsmith_keys::random_bytes;
use blindsmith_protocol::{ProjectSpec, Role};
use serde::Serialize;

use crate::failure::Failure;
use crate::keys::Keys;
use crate::rows::{Labelled, Misfits, Rows, standardise};
use crate::terms::is_enrolled;
use crate::upload::{Sender, send};
use crate::workspace::Workspace;
use crate::{era, pushed};

/// How rows are pushed.
#[derive(Debug, Clone, Copy, Default)]
pub struct PushOptions {
    /// The rows judge the model and are never trained on.
    pub validation: bool,
    /// Keep the order of the rows instead of shuffling them: for rows that are in random order already.
    pub keep_order: bool,
    /// Push rows again that were pushed from this directory before: they then count twice.
    pub again: bool,
    /// The era of the upload, at least.
    pub era: u32,
    /// Push also where the warden would refuse the rows because it does not hold the member's seed yet.
    pub early: bool,
}

/// An upload that is stored.
#[derive(Debug, Clone, Serialize)]
pub struct StoredRows {
    /// Its identifier.
    pub upload: String,
    /// Whether the refinery did not have it yet.
    pub new: bool,
    /// Its rows.
    pub rows: usize,
    /// Features that were clipped.
    pub clipped_values: u64,
    /// What did not fit the recorded standardisation.
    #[serde(flatten)]
    pub misfits: Misfits,
    /// Its bytes.
    pub bytes: u64,
    /// Its era.
    pub era: u32,
    /// Rows that share what a round does for each of these few, if the upload has fewer.
    pub strip: Option<usize>,
    /// The kind of the warden that holds the rows' keys; none if none does yet.
    pub warden: Option<&'static str>,
}

/// The rows of a strip or of a group, whichever has more, if the upload has fewer: the warden opens products strip by
/// strip, and the column form is filled up to whole groups.
fn few(spec: &ProjectSpec, rows: usize) -> Option<usize> {
    let strip = spec.row_form.strip().max(spec.column_form.roots());
    (rows < strip).then_some(strip)
}

fn not_enrolled(dir: &Path, keys: &Keys) -> Failure {
    Failure::Settings(format!(
        "the warden does not hold the seed of your rows under the terms in terms.toml, and would refuse the rows. Run \
         blindsmith join --project {}, then push again. The owner must have invited you before: blindsmith invite \
         --member {}. With --early the rows are stored now, and wait for that",
        dir.display(),
        keys.public()
    ))
}

impl Workspace {
    /// Standardises, encrypts and sends rows; `observe` is told how many are sent.
    ///
    /// # Errors
    /// If the rows do not fit the project, or the refinery refuses them.
    pub fn push(
        &mut self,
        labelled: Labelled,
        options: PushOptions,
        observe: &mut dyn FnMut(u64),
    ) -> Result<StoredRows, Failure> {
        let mut rows = standardise(&self.project, labelled.data)?;
        rows.misfits = rows.misfits.with_columns(labelled.misfits);
        self.push_rows(rows, options, observe)
    }

    /// Encrypts and sends rows that are standardised already; `observe` is told how many are sent.
    ///
    /// # Errors
    /// If the refinery refuses them.
    pub fn push_rows(
        &mut self,
        mut rows: Rows,
        options: PushOptions,
        observe: &mut dyn FnMut(u64),
    ) -> Result<StoredRows, Failure> {
        let Workspace { dir, project, connection } = self;
        let keys = Keys::load(dir)?;
        if let Some(terms) = keys.terms().filter(|_| !options.early)
            && !is_enrolled(dir, terms)?
        {
            return Err(not_enrolled(dir, &keys));
        }
        if !options.keep_order {
            rows.shuffle(&random_bytes());
        }
        let id = project.id();
        let role = if options.validation { Role::Validation } else { Role::Training };
        let count = rows.features.rows();
        let seed = keys.contributor(&id);
        let digest = pushed::digest(&seed, role, &rows.features, &rows.targets);
        if let Some(upload) = pushed::find(dir, &digest)?.filter(|_| !options.again) {
            return Err(Failure::Repeated { upload });
        }
        let stored = era::stored_rows(&connection.status(id)?);
        let era = era::next(dir, stored, options.era)?;
        let who = Sender { contributor: keys.public(), terms: keys.pinned(), seed: &seed, era };
        let sent = send(connection, &project.spec, who, role, (&rows.features, &rows.targets), observe)?;
        pushed::remember(dir, &digest, &sent.upload)?;
        Ok(StoredRows {
            upload: sent.upload.to_string(),
            new: sent.new,
            rows: count,
            clipped_values: rows.misfits.clipped_values(),
            misfits: rows.misfits,
            bytes: sent.bytes,
            era,
            strip: few(&self.project.spec, count),
            warden: self.warden(),
        })
    }
}
