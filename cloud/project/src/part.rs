//! A project's uploads, told to clients in parts: each client asks for what changed since the part before.

use blindsmith_api::message::UploadSummary;
use blindsmith_protocol::Id;

use crate::project::Project;
use crate::upload::Upload;

/// Most uploads in a part, those with many ranges of rounds counted for more.
const MOST_UPLOADS: usize = 1000;

/// Uploads that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadsPart {
    /// In the order in which they changed last.
    pub uploads: Vec<UploadSummary>,
    /// The number of the last change that the part has.
    pub change: u64,
    /// Whether there is another part.
    pub more: bool,
}

impl Project {
    /// What changed after a change, of the uploads of one contributor if it is named.
    pub fn uploads_after(&self, change: u64, only: Option<&Id>) -> UploadsPart {
        let listed = self.uploads.iter().zip(0..).filter(|(u, _)| {
            u.changed() > change && only.is_none_or(|contributor| u.header().contributor == *contributor)
        });
        let mut changed: Vec<(&Upload, u32)> = listed.collect();
        changed.sort_unstable_by_key(|(u, _)| u.changed());
        // One that was withdrawn may name many rounds.
        let mut size = 0;
        let fits = changed.iter().take_while(|(u, _)| {
            size += 1 + u.ranges();
            size <= MOST_UPLOADS
        });
        let fits = fits.count().max(1);
        let more = changed.len() > fits;
        changed.truncate(fits);
        let last = changed.last().filter(|_| more).map_or(self.changes, |(u, _)| u.changed());
        let uploads = changed.iter().map(|(u, place)| u.summary(*place, &self.spec)).collect();
        UploadsPart { uploads, change: last, more }
    }
}
