//! A project's status, which comes in parts.

use blindsmith_api::message::ProjectStatus;
use blindsmith_protocol::MAX_UPLOADS;

use crate::failure::{Failure, unexpected};

/// Most rounds that a client keeps: what a refinery sends without end must not fill its memory.
const MAX_ROUNDS: usize = 1 << 20;

/// Brings what is known up to date with a part that followed it; whether there is another part.
///
/// # Errors
/// If the part does not follow: the refinery is not what it says.
pub(crate) fn merge(known: &mut Option<ProjectStatus>, mut part: ProjectStatus) -> Result<bool, Failure> {
    let more = part.more;
    let before = known.take().filter(|before| before.seen.run == part.seen.run);
    if more && before.as_ref().is_some_and(|before| before.seen == part.seen) {
        return Err(unexpected());
    }
    let (mut uploads, mut rounds) = before.map(|b| (b.uploads, b.rounds)).unwrap_or_default();
    for upload in part.uploads {
        if upload.place as usize >= MAX_UPLOADS {
            return Err(unexpected());
        }
        match uploads.binary_search_by_key(&upload.place, |u| u.place) {
            Ok(at) => uploads[at] = upload,
            Err(at) => uploads.insert(at, upload),
        }
    }
    rounds.append(&mut part.rounds);
    let numbered = rounds.iter().zip(0..).all(|(round, number)| round.round == number);
    if !numbered || rounds.len() > MAX_ROUNDS || part.seen.rounds != rounds.len() as u64 {
        return Err(unexpected());
    }
    *known = Some(ProjectStatus { uploads, rounds, ..part });
    Ok(more)
}

#[cfg(test)]
mod tests {
    use blindsmith_api::message::{Seen, UploadState, UploadSummary};
    use blindsmith_protocol::{Id, Role, RoundSummary};

    use super::*;

    fn upload(place: u32, state: UploadState) -> UploadSummary {
        UploadSummary {
            upload: Id([place as u8; 32]),
            place,
            role: Role::Training,
            rows: 1,
            bytes: 1,
            contributor: Id([0; 32]),
            state,
            reason: None,
            used_in: vec![],
        }
    }

    fn part(seen: [u64; 3], uploads: &[(u32, UploadState)], rounds: &[u64]) -> ProjectStatus {
        let [run, change, number] = seen;
        ProjectStatus {
            project: Id([0; 32]),
            name: String::new(),
            ready: true,
            warden: None,
            busy: false,
            queued: 0,
            failure: None,
            uploads: uploads.iter().map(|(place, state)| upload(*place, *state)).collect(),
            rounds: rounds.iter().map(|round| RoundSummary { round: *round, ..Default::default() }).collect(),
            seen: Seen { run, change, rounds: number },
            more: true,
        }
    }

    fn places(status: &Option<ProjectStatus>) -> Vec<(u32, UploadState)> {
        status.as_ref().unwrap().uploads.iter().map(|u| (u.place, u.state)).collect()
    }

    #[test]
    fn parts_make_up_the_whole_and_changes_replace_what_was() {
        use UploadState::{Admitted, Stored, Used};
        let mut known = None;
        assert!(merge(&mut known, part([7, 5, 2], &[(3, Stored), (0, Used)], &[0, 1])).unwrap());
        assert!(merge(&mut known, part([7, 9, 3], &[(1, Stored), (3, Admitted)], &[2])).unwrap());
        assert_eq!(places(&known), [(0, Used), (1, Stored), (3, Admitted)]);
        assert_eq!(known.as_ref().unwrap().rounds.len(), 3);
        let last = ProjectStatus { more: false, busy: true, ..part([7, 9, 3], &[], &[]) };
        assert!(!merge(&mut known, last).unwrap());
        assert!(known.as_ref().unwrap().busy && places(&known).len() == 3);
    }

    #[test]
    fn another_run_of_the_refinery_begins_anew() {
        let mut known = None;
        merge(&mut known, part([7, 5, 2], &[(0, UploadState::Used)], &[0, 1])).unwrap();
        merge(&mut known, part([8, 1, 1], &[(4, UploadState::Stored)], &[0])).unwrap();
        assert_eq!(places(&known), [(4, UploadState::Stored)]);
        assert_eq!(known.unwrap().rounds.len(), 1);
    }

    #[test]
    fn parts_that_do_not_follow_are_refused() {
        let first = || Some(ProjectStatus { more: false, ..part([7, 5, 1], &[], &[0]) });
        for (defect, part) in [
            ("a round is missing", part([7, 5, 3], &[], &[2])),
            ("a round comes twice", part([7, 5, 2], &[], &[0])),
            ("it counts other rounds than it brings", part([7, 6, 3], &[], &[1])),
            ("nothing new, and more to come", part([7, 5, 1], &[], &[])),
            ("a place beyond the limit", part([7, 6, 1], &[(MAX_UPLOADS as u32, UploadState::Used)], &[])),
            ("another run that begins in the middle", part([8, 5, 2], &[], &[1])),
        ] {
            assert!(merge(&mut first(), part).is_err(), "{defect}");
        }
    }
}
