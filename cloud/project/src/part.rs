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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use blindsmith_protocol::{Blob, Reason, Trigger};

    use super::*;
    use crate::event::Event;
    use crate::fixtures::{at, header, spec};
    use crate::retry::Now;
    use crate::upload::{Use, Verdict};

    const NOW: Now = Now { unix: 0, steady: std::time::Duration::ZERO };

    /// What a client has of the uploads, which asks for what is new until there is no more.
    #[derive(Default)]
    struct Follower {
        change: u64,
        uploads: BTreeMap<u32, UploadSummary>,
    }

    impl Follower {
        fn ask(&mut self, project: &Project, only: Option<&Id>) -> usize {
            let mut told = 0;
            loop {
                let part = project.uploads_after(self.change, only);
                assert!(part.uploads.len() <= MOST_UPLOADS);
                told += part.uploads.len();
                self.change = part.change;
                self.uploads.extend(part.uploads.into_iter().map(|u| (u.place, u)));
                if !part.more {
                    return told;
                }
            }
        }
    }

    fn push(project: &mut Project, number: u32) {
        project.apply(Event::UploadStored { header: header(number), verdict: None }, NOW);
    }

    /// Changes the upload at this place.
    fn change(project: &mut Project, place: usize, change: impl FnOnce(&mut Upload)) {
        let upload = project.uploads()[place].id();
        project.change(&upload, change);
    }

    fn used(round: u64) -> Use {
        Use { given: None, used: Some(round), quarantined: None }
    }

    #[test]
    fn who_follows_a_project_knows_all_uploads_as_they_are_and_is_told_each_change_once() {
        let mut project = Project::new(spec(Trigger::MANUAL));
        let (mut owner, mut member) = (Follower::default(), Follower::default());
        let own = Id([1; 32]);
        let check = |project: &Project, owner: &Follower, member: &Follower| {
            let all: BTreeMap<u32, UploadSummary> = project
                .uploads()
                .iter()
                .zip(0..)
                .map(|(u, place)| (place, u.summary(place, project.spec())))
                .collect();
            assert_eq!(owner.uploads, all);
            let own = all.into_iter().filter(|(_, u)| u.contributor == own).collect();
            assert_eq!(member.uploads, own);
        };
        (0..2300).for_each(|number| push(&mut project, number));
        assert_eq!(owner.ask(&project, None), 2300);
        assert_eq!(member.ask(&project, Some(&own)), 2300 / 3 + 1);
        check(&project, &owner, &member);
        // Each change of what is told, and how many it tells of.
        type Change = fn(&mut Project);
        let changes: [(usize, Change); 12] = [
            (0, |_| {}),
            (1, |p| change(p, 10, |u| _ = u.judge(Verdict::Admitted(Blob(vec![1]))))),
            (1, |p| change(p, 2200, |u| u.try_again("no room".into(), NOW))),
            (1, |p| change(p, 2200, |u| _ = u.judge(Verdict::Refused("no".into())))),
            // Given and not used, it is as it was; used it is not.
            (0, |p| change(p, 10, |u| u.round(Use { given: Some(true), used: None, quarantined: None }))),
            (1500, |p| (300..1800).for_each(|place| change(p, place, |u| u.round(used(4))))),
            (1, |p| change(p, 10, |u| u.round(Use { quarantined: Some(Reason::Worse), ..used(4) }))),
            (2, |p| {
                change(p, 10, |u| u.readmit(NOW));
                change(p, 11, Upload::withdraw);
            }),
            // Versions that used what was withdrawn are marked, whenever that is known.
            (1, |p| change(p, 11, |u| u.used_before(vec![(1, 2), (4, 4)]))),
            (1, |p| change(p, 11, |u| u.round(used(5)))),
            (0, |p| change(p, 11, |u| u.round(used(5)))),
            (1, |p| push(p, 5000)),
        ];
        for (told, change) in changes {
            change(&mut project);
            assert_eq!(owner.ask(&project, None), told);
            member.ask(&project, Some(&own));
            check(&project, &owner, &member);
        }
    }

    #[test]
    fn rounds_that_used_what_was_withdrawn_are_known_in_any_order_of_events() {
        let upload = |number| Upload::new(header(number), None, at(0));
        let used_in = |u: &Upload| u.summary(0, &spec(Trigger::MANUAL)).used_in;
        let mut first = upload(1);
        first.round(used(3));
        assert_eq!(used_in(&first), [], "it is nobody's business before");
        first.withdraw();
        // A round that ran meanwhile is stored before the store is asked, or after.
        first.round(used(5));
        first.used_before(vec![(1, 3), (5, 5)]);
        assert_eq!(used_in(&first), [(1, 3), (5, 5)]);
        first.withdraw();
        first.round(used(6));
        assert_eq!(used_in(&first), [(1, 3), (5, 6)]);
        let mut late = upload(2);
        late.withdraw();
        late.round(used(5));
        late.used_before(vec![(1, 4)]);
        assert_eq!(used_in(&late), [(1, 5)]);
    }
}
