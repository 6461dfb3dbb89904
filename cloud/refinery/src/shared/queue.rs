//! What the warden does next: what somebody waits for, then work for the projects, which share its time.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use blindsmith_identity::{Action, Order, PublicKey};
use blindsmith_protocol::{Id, UploadHeader};

use super::{Job, Project, Round, State};

/// A project's share of the warden's time.
#[derive(Default)]
pub(crate) struct Share {
    /// How long the warden worked for it, in rounds, uploads and versions brought back; more if it had nothing to do for
    /// a while, which does not count in its favour.
    worked: Duration,
    /// Whether it had something to do when work was last given out.
    active: bool,
}

impl Share {
    /// The warden worked for it.
    pub fn add(&mut self, time: Duration) {
        self.worked += time;
    }
}

/// Where the shares stand: what the one had whose turn was last, the least of those with something to do.
#[derive(Default)]
pub(crate) struct Turn(Duration);

/// What is to be done for a project.
enum Task {
    Rollback(u64),
    Admit(Id),
    /// A round that is in the queue: it was asked for, or lost its warden.
    Queued,
    /// A round by itself.
    Due,
}

impl Job {
    /// The project whose share of the warden's time it takes from. What somebody waits for is short.
    pub(crate) fn works_for(&self) -> Option<Id> {
        match self {
            Job::Admit { project, .. } | Job::Rollback { project, .. } => Some(*project),
            Job::Round(round) => Some(round.project),
            _ => None,
        }
    }
}

impl Project {
    fn task(&self, queued: bool, now: u64) -> Option<Task> {
        if let Some((_, version)) = self.rollback.filter(|_| !self.waits()) {
            return Some(Task::Rollback(version));
        }
        if let Some(upload) = self.unread() {
            return Some(Task::Admit(upload));
        }
        match queued {
            true => Some(Task::Queued),
            false => self.due(now).then_some(Task::Due),
        }
    }
}

impl State {
    /// Queues an order, as it was signed, before what it is about, and after those before it. A warden that comes later is
    /// told of all.
    pub(crate) fn queue_order(&mut self, order: &Order, signed: Vec<u8>) {
        if self.warden.is_none() {
            return;
        }
        let invited = if let Action::Invite { member, .. } = order.action { Some(member) } else { None };
        let at = self.jobs.iter().rposition(|job| matches!(job, Job::Order { .. })).map_or(0, |at| at + 1);
        self.jobs.insert(at, Job::Order { project: order.project, order: signed, invited });
    }

    /// How many rounds of a project are to come, without the one that is running.
    pub(super) fn queued(&self, project: &Project, now: u64) -> u32 {
        let id = project.spec.id();
        let waits = |job: &&Job| matches!(job, Job::Round(round) if round.project == id);
        self.jobs.iter().filter(waits).count() as u32 + u32::from(project.due(now))
    }

    /// Whether who asks was invited by an order that the warden is told now, or once the round that is running is over: it
    /// would refuse the query.
    fn unknown_yet(&self, query: &UploadHeader) -> bool {
        if self.told == Some((query.project, PublicKey::from(query.contributor))) {
            return true;
        }
        let querier = Some(PublicKey::from(query.contributor));
        let invites = |job: &Job| match job {
            Job::Order { project, invited, .. } => *project == query.project && *invited == querier,
            _ => false,
        };
        self.jobs.iter().any(invites)
    }

    /// For the link for queries: a query of a project whose secrets the warden holds, or a request for evidence.
    pub(super) fn take_query(&mut self) -> Option<Job> {
        let held = |header: &UploadHeader| self.projects.get(&header.project).is_some_and(|p| p.ready);
        let at = self.jobs.iter().position(|job| match job {
            Job::Query { header, .. } => held(header) && !self.unknown_yet(header),
            Job::Attest { .. } => self.restored,
            _ => false,
        })?;
        self.jobs.remove(at)
    }

    /// For the link for rounds: what somebody waits for, then work for the project whose turn it is.
    pub(super) fn take_job(&mut self, now: u64) -> Option<Job> {
        let at = self.jobs.iter().position(|job| match job {
            // There is a link for them, once the secrets are there.
            Job::Query { header, .. } if self.queries => {
                self.projects.get(&header.project).is_none_or(|p| !p.ready)
            }
            Job::Round(_) => false,
            _ => true,
        });
        if let Some(at) = at {
            let job = self.jobs.remove(at);
            if let Some(Job::Order { project, invited, .. }) = &job {
                self.told = invited.map(|invited| (*project, invited));
            }
            return job;
        }
        let (project, task) = self.next_turn(now)?;
        match task {
            Task::Rollback(version) => Some(Job::Rollback { project, version }),
            Task::Admit(upload) => Some(Job::Admit { project, upload }),
            Task::Queued => {
                let next = |job: &Job| matches!(job, Job::Round(round) if round.project == project);
                self.jobs.iter().position(next).and_then(|at| self.jobs.remove(at))
            }
            Task::Due => {
                self.projects.get_mut(&project)?.pending += 1;
                let key = Vec::new();
                Some(Job::Round(Round { project, epochs: None, attempt: 0, key, asked: false }))
            }
        }
    }

    /// Of the projects that have something to do, the one that had the least of the warden's time. One that had nothing to
    /// do starts with what the one had whose turn was last: nobody saves up.
    fn next_turn(&mut self, now: u64) -> Option<(Id, Task)> {
        let queued = |job: &Job| if let Job::Round(round) = job { Some(round.project) } else { None };
        let queued: HashSet<Id> = self.jobs.iter().filter_map(queued).collect();
        let held = self.projects.iter().filter(|(_, p)| p.ready);
        let mut tasks: BTreeMap<Id, Task> =
            held.filter_map(|(id, p)| Some((*id, p.task(queued.contains(id), now)?))).collect();
        if tasks.is_empty() {
            // Who comes next has no less than anybody else.
            let most = self.projects.values().map(|p| p.share.worked).max();
            self.turn.0 = self.turn.0.max(most.unwrap_or_default());
        }
        for (id, project) in &mut self.projects {
            let active = tasks.contains_key(id);
            if active && !project.share.active {
                project.share.worked = project.share.worked.max(self.turn.0);
            }
            project.share.active = active;
        }
        let worked = |id: &Id| self.projects.get(id).map(|p| p.share.worked).unwrap_or_default();
        let next = *tasks.keys().min_by_key(|id| worked(id))?;
        self.turn.0 = self.turn.0.max(worked(&next));
        tasks.remove_entry(&next)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use blindsmith_identity::{MemberRole, Quota, Roster, SigningKey, sign_order};
    use blindsmith_protocol::{Blob, ProjectSpec};

    use super::*;
    use crate::operations::Kind;
    use crate::shared::tests::{round, state, upload};
    use crate::shared::trigger::tests::admitted;

    /// Projects that a warden holds, none of which has anything to do.
    fn projects(count: u8) -> (State, Vec<Id>) {
        let mut state = state(Some("simulated"));
        let specs = (0..count).map(|salt| ProjectSpec { salt: [salt; 32], ..crate::shared::tests::spec() });
        let ids = specs.map(|spec| {
            let id = spec.id();
            let mut project = Project::new(spec, Vec::new());
            project.ready = true;
            project.record(&round(0, &[]));
            state.projects.insert(id, project);
            id
        });
        let ids = ids.collect();
        (state, ids)
    }

    /// Rows arrive that a round goes over.
    fn push(state: &mut State, id: Id) {
        let project = state.projects.get_mut(&id).unwrap();
        let number = project.uploads.len() as u32;
        project.uploads.push(admitted(number, 0));
    }

    /// The next job, which takes so many seconds of each project; whose it was.
    fn work(state: &mut State, seconds: &BTreeMap<Id, u64>) -> Id {
        let job = state.take_job(0).unwrap();
        let id = job.works_for().unwrap();
        let project = state.projects.get_mut(&id).unwrap();
        match job {
            Job::Round(_) => {
                let given: Vec<Id> = project.uploads.iter().map(|u| u.id).collect();
                let number = project.rounds.len() as u64;
                project.record(&round(number, &given));
                project.ended(Ok(()), 0);
            }
            Job::Admit { upload, .. } => {
                project.judge(&upload, crate::store::Verdict::Admitted(Blob(vec![1])));
            }
            _ => panic!("nothing else is to be done"),
        }
        project.share.add(Duration::from_secs(seconds[&id]));
        id
    }

    /// The seconds that each had of so many jobs, rows arriving for each as soon as they are used up.
    fn shared_out(state: &mut State, seconds: &BTreeMap<Id, u64>, jobs: usize) -> BTreeMap<Id, u64> {
        let mut had: BTreeMap<Id, u64> = seconds.keys().map(|id| (*id, 0)).collect();
        for _ in 0..jobs {
            for id in seconds.keys() {
                if !state.projects[id].has_new() {
                    push(state, *id);
                }
            }
            let id = work(state, seconds);
            *had.get_mut(&id).unwrap() += seconds[&id];
        }
        had
    }

    #[test]
    fn projects_with_rounds_of_any_length_have_equal_time() {
        let (mut state, ids) = projects(3);
        let seconds: BTreeMap<Id, u64> = ids.iter().copied().zip([8, 1, 3]).collect();
        let had = shared_out(&mut state, &seconds, 240);
        let (least, most) = (had.values().min().unwrap(), had.values().max().unwrap());
        // No more apart than the longest round.
        assert!(most - least <= 8, "{had:?}");
    }

    #[test]
    fn who_had_nothing_to_do_does_not_save_up() {
        let (mut state, ids) = projects(2);
        let alone = BTreeMap::from([(ids[0], 10)]);
        shared_out(&mut state, &alone, 100);
        // The other comes after a thousand seconds, and has no more than half from then on.
        let both = BTreeMap::from([(ids[0], 10), (ids[1], 2)]);
        let had = shared_out(&mut state, &both, 60);
        assert!(had[&ids[0]].abs_diff(had[&ids[1]]) <= 20, "{had:?}");
        // Nor after everybody had nothing to do.
        while state.projects.values().any(Project::has_new) {
            work(&mut state, &both);
        }
        assert!(state.take_job(0).is_none());
        let had = shared_out(&mut state, &both, 60);
        assert!(had[&ids[0]].abs_diff(had[&ids[1]]) <= 20, "{had:?}");
    }

    #[test]
    fn rounds_that_are_asked_for_take_from_their_own_projects_share() {
        let (mut state, ids) = projects(2);
        for id in &ids {
            push(&mut state, *id);
        }
        let seconds: BTreeMap<Id, u64> = ids.iter().map(|id| (*id, 5)).collect();
        let (greedy, other) = (ids[0], ids[1]);
        for key in 0..8 {
            state.expect_round(&greedy).unwrap();
            let key = vec![key];
            state.jobs.push_back(Job::Round(Round {
                project: greedy,
                epochs: None,
                attempt: 0,
                key,
                asked: true,
            }));
        }
        assert_eq!(state.queued(&state.projects[&greedy], 0), 8);
        assert_eq!(state.queued(&state.projects[&other], 0), 1);
        // One more is refused, in words, and changes nothing.
        let refusal = state.expect_round(&greedy).unwrap_err();
        assert_eq!(refusal.kind, Kind::Conflict);
        assert!(refusal.message.contains("ask again when one is over"), "{}", refusal.message);
        assert_eq!(state.projects[&greedy].pending, 8);
        state.expect_round(&other).unwrap();
        state.projects.get_mut(&other).unwrap().pending = 0;
        // The other's rows are trained on as often.
        let mut turns = Vec::new();
        for _ in 0..8 {
            if !state.projects[&other].has_new() {
                push(&mut state, other);
            }
            turns.push(work(&mut state, &seconds));
        }
        assert_eq!(turns.iter().filter(|id| **id == greedy).count(), 4);
        assert_eq!(state.queued(&state.projects[&greedy], 0), 4);
        assert!(state.expect_round(&greedy).is_ok());
    }

    #[test]
    fn a_round_that_is_asked_for_comes_before_one_by_itself_and_after_unread_uploads() {
        let (mut state, ids) = projects(1);
        push(&mut state, ids[0]);
        state.projects.get_mut(&ids[0]).unwrap().uploads.push(upload(70));
        state.expect_round(&ids[0]).unwrap();
        let asked = Round { project: ids[0], epochs: Some(3), attempt: 0, key: vec![1], asked: true };
        state.jobs.push_back(Job::Round(asked));
        let Some(Job::Admit { upload, .. }) = state.take_job(0) else { panic!("it is not read first") };
        state.projects.get_mut(&ids[0]).unwrap().judge(&upload, crate::store::Verdict::Refused("no".into()));
        assert!(matches!(state.take_job(0), Some(Job::Round(Round { epochs: Some(3), .. }))));
        assert!(state.take_job(0).is_none());
    }

    #[test]
    fn a_querier_that_was_invited_beside_a_round_asks_once_the_warden_knows() {
        let owner = SigningKey::from_seed(&[5; 32]);
        let spec = ProjectSpec { owner: owner.verifying().into(), ..crate::shared::tests::spec() };
        let (id, member) = (spec.id(), SigningKey::from_seed(&[6; 32]).verifying());
        let mut state = state(Some("simulated"));
        let mut project = Project::new(spec, Vec::new());
        project.ready = true;
        state.projects.insert(id, project);
        let (role, quota, name) = (MemberRole::Querier, Quota::default(), "q".to_owned());
        let order = Roster::default().next(id, Action::Invite { member, name, role, quota });
        state.queue_order(&order, sign_order(&order, &owner));
        let (reply, _answers) = channel();
        for contributor in [member, PublicKey([7; 32])] {
            let header = crate::shared::tests::header_of(1);
            let header = UploadHeader { project: id, contributor: contributor.into(), ..header };
            let (rows, envelope) = (tempfile::tempfile().unwrap(), vec![]);
            state.jobs.push_back(Job::Query {
                header: Box::new(header),
                rows,
                envelope,
                reply: reply.clone(),
            });
        }
        // Who was a member before does not wait.
        let asked = |state: &mut State| match state.take_query() {
            Some(Job::Query { header, .. }) => Some(PublicKey::from(header.contributor)),
            _ => None,
        };
        assert_eq!(asked(&mut state), Some(PublicKey([7; 32])));
        assert_eq!(asked(&mut state), None);
        assert!(matches!(state.take_job(0), Some(Job::Order { .. })));
        assert_eq!(asked(&mut state), None, "the warden is being told");
        state.told = None;
        assert_eq!(asked(&mut state), Some(member));
    }

    #[test]
    fn evidence_is_asked_for_beside_a_round_once_the_warden_was_given_its_states() {
        let mut state = state(Some("simulated"));
        let (reply, _answers) = channel();
        state.jobs.push_back(Job::Attest { asker: Id([1; 32]), request: vec![], reply });
        assert!(state.take_query().is_none());
        state.restored = true;
        assert!(matches!(state.take_query(), Some(Job::Attest { .. })));
        assert!(state.take_query().is_none());
    }
}
