//! What stands in for hand-over in a warden that is built without it (`--no-default-features`), and without the crates that
//! appraise other wardens.

use blindsmith_protocol::{Blob, Evidence, Id, Outcome, ProjectSpec};

use crate::project::Project;
use crate::session::Identity;

const NONE: &str = "this warden was built without hand-over: it passes no project on and takes none";

#[derive(Default)]
pub(crate) struct Challenges(());

impl Project {
    pub(crate) fn challenge(&self, _: &Identity) -> Result<(Outcome, Vec<u8>), String> {
        Err(NONE.into())
    }

    pub(crate) fn hand_over(
        &self,
        _: &Identity,
        _: &Evidence,
        _: &[u8],
    ) -> Result<(Outcome, Vec<u8>), String> {
        Err(NONE.into())
    }

    pub(crate) fn taken_over(
        _: (ProjectSpec, &Id),
        _: &Identity,
        _: (&Id, &[u8]),
        _: &[u8],
    ) -> Result<(Self, Vec<(Id, Blob)>), String> {
        Err(NONE.into())
    }
}
