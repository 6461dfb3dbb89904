//! Admission: an upload of a contributor is read once, before any round uses it, and tries are counted.

use blindsmith_formats::{Label, read_labels};
use blindsmith_protocol::{Blob, Id, Role, UploadHeader};

use crate::cloud::Cloud;
use crate::counters::Counter;
use crate::identity::Identity;
use crate::project::Project;
use crate::projections::token;
use crate::reading::{AdmissionError, MOST_REFUSED, Reading, admit};
use crate::uploads::upload_key;

impl Project {
    /// Reads an upload; what tells the warden that it did.
    pub(crate) fn admit<C: Cloud>(
        &self,
        identity: &Identity,
        cloud: &C,
        header: &UploadHeader,
    ) -> Result<Blob, AdmissionError> {
        let seed = self.members.seed(&self.spec, &self.release.rows, header);
        let key = seed.and_then(|(seed, _)| Some((upload_key(&self.spec, header, seed)?, seed)));
        let (key, seed) = key.filter(|_| header.role != Role::Query).ok_or(AdmissionError::Forged)?;
        let recipe = &self.release.recipe;
        let objective = self.trainer.objective();
        let labels = |block: u32, opened: &[u8]| {
            let rows = header.rows_of_block(&self.spec, block) as usize;
            let labels = read_labels(Label::of(recipe), opened, rows);
            labels.is_some_and(|labels| objective.check(&labels).is_ok())
        };
        let (spec, project) = (&self.spec, &self.encryption);
        let reading = Reading { spec, project, index: 0, header, key: &key, seed };
        // Counted before it is known to fail, so that nobody who stops the warden gets another try.
        let failures = self.encryption.derive("refused uploads", &[&header.contributor.0]);
        let count = |change: fn(u32) -> Option<u32>| {
            identity.count(&Id(*failures.expose()), Counter::default(), |counter| {
                let attempts = change(counter.attempts).ok_or(AdmissionError::Exhausted)?;
                Ok::<_, AdmissionError>(Counter { attempts, ..counter })
            })
        };
        count(|refused| (refused < MOST_REFUSED).then_some(refused + 1))?;
        let read = admit(cloud, &reading, labels);
        if !matches!(read, Err(AdmissionError::Malformed(_))) {
            count(|refused| Some(refused.saturating_sub(1)))?;
        }
        let nonce = read?;
        Ok(token(&self.encryption, &header.id(), &nonce))
    }
}
