//! Looking for damage, and removing what nothing refers to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use blindsmith_protocol::Id;
use serde::Serialize;

use super::columns::{digest, number, some_digest, text};
use super::directory::ALTERED;
use super::error::StoreError;
use super::handle::Store;

/// What was found in a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Blobs and records that are not what was written, and what is wrong.
    pub damaged: Vec<String>,
    /// Blobs that a record refers to and that are not there, and which record.
    pub missing: Vec<String>,
    /// Blobs that nothing refers to: what crashes leave. [`Store::gc`] removes them.
    pub orphaned: Vec<String>,
    /// What lies among blobs and is none.
    pub foreign: Vec<String>,
    /// Blobs that were read.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Findings {
    /// Whether everything is there, as it was written. Orphans are no damage.
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.missing.is_empty()
    }
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Collection {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that nothing refers to either, but which are too new.
    pub kept: u64,
}

impl Store {
    /// All blobs that records refer to, and one of the records each.
    pub(super) fn references(&self) -> Result<HashMap<Id, String>, StoreError> {
        let query = sqlx::query(
            "SELECT initial_blob, 'initial model', id, -1 FROM projects \
             UNION ALL SELECT rows_blob, 'rows', id, -1 FROM uploads \
             WHERE rows_blob IS NOT NULL AND state <> 'withdrawn' \
             UNION ALL SELECT projections_blob, 'projections', id, -1 FROM uploads \
             WHERE projections_blob IS NOT NULL AND state <> 'withdrawn' \
             UNION ALL SELECT state_blob, 'state', project, round FROM rounds WHERE state_blob IS NOT NULL \
             UNION ALL SELECT model_blob, 'model', project, round FROM rounds",
        );
        let mut found = HashMap::new();
        for row in self.metadata.rows(query)? {
            let name = Id(self.decoded(digest(&row, 0))?);
            let what = self.decoded(text(&row, 1))?;
            let whose = self.decoded(some_digest(&row, 2))?.map_or(String::new(), |id| Id(id).to_string());
            let what = match what.as_str() {
                "initial model" => format!("initial model of project {whose}"),
                "rows" | "projections" => format!("{what} of upload {whose}"),
                _ => format!("{what} of round {}, project {whose}", self.decoded(number(&row, 3))?),
            };
            found.insert(name, what);
        }
        Ok(found)
    }

    /// Reads everything and compares it with its name; nothing is changed. May run beside a refinery.
    pub fn fsck(&self) -> Result<Findings, StoreError> {
        let mut findings = Findings::default();
        if let Err(e) = self.check_metadata() {
            findings.damaged.push(e.to_string());
        }
        // Listed first: what is added after that is no orphan.
        let (listed, foreign) = self.blobs.list()?;
        findings.foreign = foreign;
        let referred: BTreeMap<Id, String> = self.references()?.into_iter().collect();
        let there: HashSet<Id> = listed.iter().map(|f| f.name).collect();
        let mut gone = Vec::new();
        let not_listed = referred.keys().filter(|name| !there.contains(*name));
        for name in there.iter().chain(not_listed) {
            let place = self.blobs.place(name).display().to_string();
            match (self.blobs.intact(name)?, referred.get(name)) {
                (None, Some(_)) => gone.push(*name),
                (None, None) => {}
                (Some(false), Some(what)) => findings.damaged.push(format!("{place} ({what}): {ALTERED}")),
                // An orphan is removed, whatever is in it.
                (Some(_), None) => findings.orphaned.push(place),
                (Some(true), Some(_)) => {
                    findings.blobs += 1;
                    findings.bytes += self.blobs.bytes(name)?.unwrap_or(0);
                }
            }
        }
        if !gone.is_empty() {
            // Withdrawn in the meantime, it is not missing.
            let referred = self.references()?;
            for name in gone {
                if let Some(what) = referred.get(&name) {
                    findings.missing.push(format!("{} ({what})", self.blobs.place(&name).display()));
                }
            }
        }
        for list in [&mut findings.damaged, &mut findings.missing, &mut findings.orphaned] {
            list.sort();
        }
        Ok(findings)
    }

    /// Whether every record can be read and is the one that its key names.
    fn check_metadata(&self) -> Result<(), StoreError> {
        if self.places.metadata.is_none() {
            self.metadata.check_file()?;
        }
        for spec in self.specs()? {
            let id = spec.id();
            self.uploads(&id)?;
            self.each_round(&id, drop)?;
            self.faults(&id)?;
            self.orders(&id)?;
            self.all_enrolments(&id)?;
        }
        self.jobs()?;
        self.partials()?.iter().try_for_each(|partial| self.check_partial(partial))
    }

    /// Removes blobs that no record refers to and that are older than `grace`. May run beside a refinery: blobs
    /// that are being added are waited for.
    pub fn gc(&self, grace: Duration) -> Result<Collection, StoreError> {
        let mut collected = Collection::default();
        let removing = self.blobs.removing()?;
        let (listed, _) = self.blobs.list()?;
        let referred = self.references()?;
        let now = SystemTime::now();
        for found in listed.into_iter().filter(|f| !referred.contains_key(&f.name)) {
            // What was written in the future was written just now, by another clock.
            if now.duration_since(found.written).unwrap_or_default() < grace {
                collected.kept += 1;
                continue;
            }
            self.blobs.remove(&removing, &found.name)?;
            collected.blobs += 1;
            collected.bytes += found.bytes;
        }
        Ok(collected)
    }
}
