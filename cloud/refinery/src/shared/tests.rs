//! The queue of work for the warden.

use blindsmith_api::message::UploadSummary;
use blindsmith_protocol::Reason;
pub use project::spec;
use project::{header, record};

use super::*;

/// What the tests of the service have a project of.
#[allow(dead_code)]
#[path = "../../tests/service/project.rs"]
pub mod project;

pub fn state(warden: Option<&str>) -> State {
    State { warden: warden.map(str::to_owned), ..State::default() }
}

/// A round that was given these uploads and used them.
pub fn round(number: u64, given: &[Id]) -> RoundRecord {
    RoundRecord { given: given.to_vec(), used: given.to_vec(), ..record(number) }
}

fn order(project: Id) -> Order {
    Roster::default().next(project, Action::Forgive)
}

#[test]
fn orders_reach_the_warden_in_their_order_and_before_rounds() {
    let (project, mut state) = (Id([1; 32]), state(Some("simulated")));
    let round = |key| Job::Round(Round { project, epochs: None, attempt: 0, key: vec![key], asked: true });
    state.jobs.push_back(round(0));
    state.queue_order(&order(project), vec![1]);
    // A round that lost its warden comes first again.
    state.jobs.push_front(round(1));
    state.queue_order(&order(project), vec![2]);
    state.queue_order(&order(project), vec![3]);
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
    state.queue_order(&order(Id([1; 32])), vec![1]);
    assert!(state.jobs.is_empty());
}

/// The header of an upload of eight rows.
pub fn header_of(number: u32) -> UploadHeader {
    let mut nonce = [0; 32];
    nonce[..4].copy_from_slice(&number.to_le_bytes());
    let contributor = Id([(number % 3) as u8; 32]);
    UploadHeader { nonce, contributor, rows: 8, ..header(&spec(), &[]) }
}

pub fn upload(number: u32) -> Stored {
    Stored::new(header_of(number), None, 0)
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
            let part = state.status(project, self.seen, only, 0);
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
    let changes: [(usize, Change); 12] = [
        (0, |_| {}),
        (1, |p| _ = p.uploads[10].judge(Verdict::Admitted(Blob(vec![1])))),
        (1, |p| p.uploads[2200].try_again("no room".into())),
        (1, |p| _ = p.uploads[2200].judge(Verdict::Refused("no".into()))),
        // Given and not used, it is as it was; used it is not.
        (0, |p| p.uploads[10].round(Some(true), None, None)),
        (1500, |p| p.uploads[300..1800].iter_mut().for_each(|u| u.round(None, Some(4), None))),
        (1, |p| p.uploads[10].round(None, Some(4), Some(Reason::Worse))),
        (2, |p| {
            p.uploads[10].readmit(0);
            p.uploads[11].withdraw();
        }),
        // Versions that used what was withdrawn are marked, whenever that is known.
        (1, |p| p.uploads[11].used_before(vec![(1, 2), (4, 4)])),
        (1, |p| p.uploads[11].round(None, Some(5), None)),
        (0, |p| p.uploads[11].round(None, Some(5), None)),
        (1, |p| p.uploads.push(upload(5000))),
    ];
    for (told, change) in changes {
        change(&mut project);
        assert_eq!(owner.ask(&state, &project, None), told);
        member.ask(&state, &project, Some(&own));
        check(&project, &owner, &member);
    }
}

#[test]
fn rounds_that_used_what_was_withdrawn_are_known_in_any_order_of_events() {
    let used_in = |u: &Stored| u.summary(0, &spec()).used_in;
    let mut used = upload(1);
    used.round(None, Some(3), None);
    assert_eq!(used_in(&used), [], "it is nobody's business before");
    used.withdraw();
    // A round that ran meanwhile is stored before the store is asked, or after.
    used.round(None, Some(5), None);
    used.used_before(vec![(1, 3), (5, 5)]);
    assert_eq!(used_in(&used), [(1, 3), (5, 5)]);
    used.withdraw();
    used.round(None, Some(6), None);
    assert_eq!(used_in(&used), [(1, 3), (5, 6)]);
    let mut late = upload(2);
    late.withdraw();
    late.round(None, Some(5), None);
    late.used_before(vec![(1, 4)]);
    assert_eq!(used_in(&late), [(1, 5)]);
}
