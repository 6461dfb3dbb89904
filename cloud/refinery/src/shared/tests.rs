//! The queue of work for the warden.

use blindsmith_api::message::UploadSummary;
use blindsmith_protocol::Reason;
use project::{header, spec};

use super::*;

/// What the tests of the service have a project of.
#[allow(dead_code)]
#[path = "../../tests/service/project.rs"]
mod project;

fn state(warden: Option<&str>) -> State {
    State {
        counts: Default::default(),
        projects: BTreeMap::new(),
        jobs: VecDeque::new(),
        warden: warden.map(str::to_owned),
        holder: None,
        queries: false,
    }
}

#[test]
fn orders_reach_the_warden_in_their_order_and_before_rounds() {
    let (project, mut state) = (Id([1; 32]), state(Some("simulated")));
    let round = |key| Job::Round(Round { project, epochs: None, attempt: 0, key: vec![key], asked: true });
    state.jobs.push_back(round(0));
    state.queue_order(project, vec![1]);
    // A round that lost its warden comes first again.
    state.jobs.push_front(round(1));
    state.queue_order(project, vec![2]);
    state.queue_order(project, vec![3]);
    let orders: Vec<u8> = state
        .jobs
        .iter()
        .filter_map(|job| if let Job::Order { order, .. } = job { order.first().copied() } else { None })
        .collect();
    assert_eq!(orders, [1, 2, 3]);
    assert!(matches!(state.jobs.back(), Some(Job::Round(Round { key, .. })) if *key == [0]));
}

#[test]
fn without_a_warden_orders_do_not_wait_in_memory() {
    let mut state = state(None);
    state.queue_order(Id([1; 32]), vec![1]);
    assert!(state.jobs.is_empty());
}

fn upload(number: u32) -> Stored {
    let mut nonce = [0; 32];
    nonce[..4].copy_from_slice(&number.to_le_bytes());
    let contributor = Id([(number % 3) as u8; 32]);
    Stored::new(UploadHeader { nonce, contributor, ..header(&spec(), &[]) }, None)
}

/// What a client has of the uploads, which asks for what is new until there is no more.
#[derive(Default)]
struct Follower {
    seen: Seen,
    uploads: BTreeMap<u32, UploadSummary>,
}

impl Follower {
    fn ask(&mut self, state: &State, project: &Project, only: Option<&Id>) -> usize {
        let mut told = 0;
        loop {
            let part = state.status(project, self.seen, only);
            assert!(part.uploads.len() <= PART_UPLOADS);
            told += part.uploads.len();
            self.seen = part.seen;
            self.uploads.extend(part.uploads.into_iter().map(|u| (u.place, u)));
            if !part.more {
                return told;
            }
        }
    }
}

#[test]
fn who_follows_a_project_knows_all_uploads_as_they_are_and_is_told_each_change_once() {
    let state = state(None);
    let mut project = Project::new(spec(), Vec::new());
    let (mut owner, mut member) = (Follower::default(), Follower::default());
    let own = Id([1; 32]);
    let check = |project: &Project, owner: &Follower, member: &Follower| {
        let all: BTreeMap<u32, UploadSummary> = project
            .uploads
            .iter()
            .zip(0..)
            .map(|(u, place)| (place, u.summary(place, &project.spec)))
            .collect();
        assert_eq!(owner.uploads, all);
        let own = all.into_iter().filter(|(_, u)| u.contributor == own).collect();
        assert_eq!(member.uploads, own);
    };
    project.uploads.extend((0..2300).map(upload));
    assert_eq!(owner.ask(&state, &project, None), 2300);
    assert_eq!(member.ask(&state, &project, Some(&own)), 2300 / 3 + 1);
    check(&project, &owner, &member);
    // Each change of what is told, and how many it tells of.
    type Change = fn(&mut Project);
    let changes: [(usize, Change); 9] = [
        (0, |_| {}),
        (1, |p| _ = p.uploads[10].judge(Verdict::Admitted(Blob(vec![1])))),
        (1, |p| p.uploads[2200].try_again("no room".into())),
        (1, |p| _ = p.uploads[2200].judge(Verdict::Refused("no".into()))),
        // Given and not used, it is as it was; used it is not.
        (0, |p| p.uploads[10].round(Some(true), false, None)),
        (1500, |p| p.uploads[300..1800].iter_mut().for_each(|u| u.round(None, true, None))),
        (1, |p| p.uploads[10].round(None, true, Some(Reason::Worse))),
        (2, |p| {
            p.uploads[10].readmit();
            p.uploads[11].withdraw();
        }),
        (1, |p| p.uploads.push(upload(5000))),
    ];
    for (told, change) in changes {
        change(&mut project);
        assert_eq!(owner.ask(&state, &project, None), told);
        member.ask(&state, &project, Some(&own));
        check(&project, &owner, &member);
    }
}
