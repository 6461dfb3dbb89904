//! What the warden does next: what somebody waits for, then work for the projects, which share its time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::sync::mpsc::Sender;
use std::time::Duration;

use blindsmith_identity::PublicKey;
use blindsmith_project::{Effect, Event, Now, Project, Task};
use blindsmith_protocol::{Blob, Evidence, Id, UploadHeader};

use crate::link::connection::Connection;
use crate::link::error::LinkError;

/// Where the result of a job goes.
pub(crate) type Reply<T> = Sender<Result<T, LinkError>>;

/// Work for the warden, and where its result goes.
pub(crate) enum Job {
    /// Fetch evidence.
    Attest { asker: Id, request: Vec<u8>, reply: Reply<Evidence> },
    /// Hand over a release.
    Release { project: Id, release: Vec<u8>, reply: Reply<Blob> },
    /// Answer a query.
    Query(Query),
    /// Tell of an order of the owner, which is stored.
    Order { project: Id, order: Vec<u8>, invited: Option<PublicKey> },
    /// Have a contributor enrolled; what the warden seals for itself comes back.
    Enrol { project: Id, contributor: Id, enrolment: Vec<u8>, reply: Reply<Blob> },
    /// Hand the projects over to another warden.
    HandOver(Successor),
    /// What a project has to do.
    Work { project: Id, task: Task },
}

/// A query, and where its answer goes.
pub(crate) struct Query {
    pub header: Box<UploadHeader>,
    pub rows: File,
    pub envelope: Vec<u8>,
    pub reply: Reply<Vec<u8>>,
}

/// A warden that takes projects over, and where it waits for its turn.
pub(crate) struct Successor {
    pub warden: Box<Connection>,
    pub back: Sender<Box<Connection>>,
}

/// A project's share of the warden's time.
#[derive(Default)]
struct Share {
    /// How long the warden worked for it, in rounds, uploads and versions brought back; more if it had nothing to do for
    /// a while, which does not count in its favour.
    worked: Duration,
    /// Whether it had something to do when work was last given out.
    active: bool,
}

/// A member that the warden does not know yet, because it was not told of the order that invites it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Invitation {
    project: Id,
    member: PublicKey,
}

/// The queue of what somebody waits for, and the shares of the projects.
#[derive(Default)]
pub(crate) struct Scheduler {
    jobs: VecDeque<Job>,
    /// Of an order that the warden is being told.
    telling: Option<Invitation>,
    shares: BTreeMap<Id, Share>,
    /// Where the shares stand: what the one had whose turn was last, the least of those with something to do.
    turn: Duration,
}

impl Scheduler {
    /// Jobs that wait, without rounds.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Adds a job behind the others.
    pub fn push(&mut self, job: Job) {
        self.jobs.push_back(job);
    }

    /// Adds a job before the others.
    pub fn push_first(&mut self, job: Job) {
        self.jobs.push_front(job);
    }

    /// Adds an order, as it was signed, before what it is about, and after those before it.
    pub fn push_order(&mut self, project: Id, order: Vec<u8>, invited: Option<PublicKey>) {
        let at = self.jobs.iter().rposition(|job| matches!(job, Job::Order { .. })).map_or(0, |at| at + 1);
        self.jobs.insert(at, Job::Order { project, order, invited });
    }

    /// The warden was told of the order that it was given last.
    pub fn order_told(&mut self) {
        self.telling = None;
    }

    /// The warden worked for a project.
    pub fn worked(&mut self, project: Id, time: Duration) {
        self.shares.entry(project).or_default().worked += time;
    }

    /// The warden is gone: whoever waits for an answer learns that none will come.
    pub fn clear(&mut self) {
        self.jobs.clear();
        self.telling = None;
    }

    /// Whether the querier was invited by an order that the warden is told now, or once the round that is running is
    /// over: it would refuse the query.
    fn is_unknown(&self, query: &UploadHeader) -> bool {
        let wanted = Invitation { project: query.project, member: PublicKey::from(query.contributor) };
        let waits = |job: &Job| match job {
            Job::Order { project, invited: Some(member), .. } => {
                Invitation { project: *project, member: *member } == wanted
            }
            _ => false,
        };
        self.telling == Some(wanted) || self.jobs.iter().any(waits)
    }

    /// For the link for queries: a query of a project whose secrets the warden holds, or a request for evidence once the
    /// warden was given its states.
    pub fn take_query(&mut self, projects: &BTreeMap<Id, Project>, restored: bool) -> Option<Job> {
        let ready = |header: &UploadHeader| projects.get(&header.project).is_some_and(Project::ready);
        let at = self.jobs.iter().position(|job| match job {
            Job::Query(query) => ready(&query.header) && !self.is_unknown(&query.header),
            Job::Attest { .. } => restored,
            _ => false,
        })?;
        self.jobs.remove(at)
    }

    /// For the link for rounds: what somebody waits for, then work for the project whose turn it is. `queries` says
    /// whether the warden has a link for those.
    pub fn take_job(&mut self, projects: &mut BTreeMap<Id, Project>, queries: bool, now: Now) -> Option<Job> {
        let at = self.jobs.iter().position(|job| match job {
            // There is a link for them, once the secrets are there.
            Job::Query(query) if queries => projects.get(&query.header.project).is_none_or(|p| !p.ready()),
            _ => true,
        });
        if let Some(at) = at {
            let job = self.jobs.remove(at);
            if let Some(Job::Order { project, invited, .. }) = &job {
                self.telling = invited.map(|member| Invitation { project: *project, member });
            }
            return job;
        }
        let project = self.next_turn(projects, now)?;
        let effects = projects.get_mut(&project)?.apply(Event::Turn, now);
        effects.into_iter().find_map(|effect| match effect {
            Effect::Start(task) => Some(Job::Work { project, task }),
            _ => None,
        })
    }

    /// Of the projects that have something to do, the one that had the least of the warden's time. One that had nothing
    /// to do starts with what the one had whose turn was last: nobody saves up.
    fn next_turn(&mut self, projects: &BTreeMap<Id, Project>, now: Now) -> Option<Id> {
        let busy: BTreeSet<Id> =
            projects.iter().filter(|(_, p)| p.has_task(now)).map(|(id, _)| *id).collect();
        if busy.is_empty() {
            // Who comes next has no less than anybody else.
            let most = self.shares.values().map(|share| share.worked).max();
            self.turn = self.turn.max(most.unwrap_or_default());
        }
        for id in projects.keys() {
            let (active, share) = (busy.contains(id), self.shares.entry(*id).or_default());
            if active && !share.active {
                share.worked = share.worked.max(self.turn);
            }
            share.active = active;
        }
        let worked = |id: &Id| self.shares.get(id).map(|share| share.worked).unwrap_or_default();
        let next = busy.into_iter().min_by_key(worked)?;
        self.turn = self.turn.max(worked(&next));
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use blindsmith_identity::{Action, MemberRole, Quota, Roster, SigningKey, sign_order};
    use blindsmith_project::Verdict;
    use blindsmith_protocol::{ProjectSpec, RoundRecord};

    use super::*;
    use crate::refusal::Refusal;
    use crate::state::tests::{header_of, record, spec};

    const NOW: Now = Now { unix: 0, steady: Duration::ZERO };

    /// A scheduler and the projects of a refinery with a warden.
    #[derive(Default)]
    struct Site {
        scheduler: Scheduler,
        projects: BTreeMap<Id, Project>,
    }

    impl Site {
        fn report(&mut self, id: &Id, event: Event<'_>) {
            let effects = self.projects.get_mut(id).unwrap().apply(event, NOW);
            for effect in effects {
                if let Effect::Tell { order, invited } = effect {
                    self.scheduler.push_order(*id, order, invited);
                }
            }
        }

        fn take(&mut self) -> Option<Job> {
            self.scheduler.take_job(&mut self.projects, false, NOW)
        }

        fn ask(&mut self, id: &Id, epochs: Option<u32>) -> Result<(), Refusal> {
            self.projects[id].check_round(true)?;
            self.report(id, Event::RoundReserved);
            self.report(id, Event::RoundAsked { epochs, key: vec![1] });
            Ok(())
        }
    }

    /// A round that was given these uploads and used them.
    fn round(number: u64, given: &[Id]) -> RoundRecord {
        RoundRecord { given: given.to_vec(), used: given.to_vec(), ..record(number) }
    }

    fn order(project: Id) -> Vec<u8> {
        sign_order(&Roster::default().next(project, Action::Forgive), &SigningKey::from_seed(&[5; 32]))
    }

    /// Projects that a warden holds, none of which has anything to do.
    fn projects(count: u8) -> (Site, Vec<Id>) {
        let mut site = Site::default();
        let specs = (0..count).map(|salt| ProjectSpec { salt: [salt; 32], ..spec() });
        let ids = specs.map(|spec| {
            let id = spec.id();
            site.projects.insert(id, Project::new(spec));
            site.report(&id, Event::WardenReady);
            site.report(&id, Event::RoundStored(&round(0, &[])));
            id
        });
        let ids = ids.collect();
        (site, ids)
    }

    /// Rows arrive that a round goes over.
    fn push(site: &mut Site, id: Id) {
        let number = site.projects[&id].uploads().len() as u32;
        let verdict = Some(Verdict::Admitted(Blob(vec![1])));
        site.report(&id, Event::UploadStored { header: header_of(number), verdict });
    }

    /// The next job, which takes so many seconds of each project; whose it was.
    fn work(site: &mut Site, seconds: &BTreeMap<Id, u64>) -> Id {
        let Some(Job::Work { project: id, task }) = site.take() else { panic!("no work") };
        match task {
            Task::Round(_) => {
                let given: Vec<Id> = site.projects[&id].uploads().iter().map(|u| u.id()).collect();
                let number = site.projects[&id].rounds().len() as u64;
                site.report(&id, Event::RoundStored(&round(number, &given)));
                site.report(&id, Event::RoundEnded(Ok(())));
            }
            Task::Admit { upload } => {
                let verdict = Verdict::Admitted(Blob(vec![1]));
                site.report(&id, Event::UploadJudged { upload, verdict });
            }
            Task::Rollback { .. } => panic!("nothing else is to be done"),
        }
        site.scheduler.worked(id, Duration::from_secs(seconds[&id]));
        id
    }

    /// The seconds that each had of so many jobs, rows arriving for each as soon as they are used up.
    fn shared_out(site: &mut Site, seconds: &BTreeMap<Id, u64>, jobs: usize) -> BTreeMap<Id, u64> {
        let mut had: BTreeMap<Id, u64> = seconds.keys().map(|id| (*id, 0)).collect();
        for _ in 0..jobs {
            for id in seconds.keys() {
                if !site.projects[id].has_new() {
                    push(site, *id);
                }
            }
            let id = work(site, seconds);
            *had.get_mut(&id).unwrap() += seconds[&id];
        }
        had
    }

    #[test]
    fn orders_reach_the_warden_in_their_order_and_before_what_it_does_for_projects() {
        let (mut site, ids) = projects(1);
        push(&mut site, ids[0]);
        site.ask(&ids[0], None).unwrap();
        for number in 1..=3 {
            site.scheduler.push_order(ids[0], [order(ids[0]), vec![number]].concat(), None);
        }
        let mut orders = Vec::new();
        while let Some(Job::Order { order, .. }) = site.take() {
            orders.extend(order.last().copied());
            if orders.len() == 3 {
                break;
            }
        }
        assert_eq!(orders, [1, 2, 3]);
        assert!(matches!(site.take(), Some(Job::Work { task: Task::Round(_), .. })));
    }

    #[test]
    fn projects_with_rounds_of_any_length_have_equal_time() {
        let (mut site, ids) = projects(3);
        let seconds: BTreeMap<Id, u64> = ids.iter().copied().zip([8, 1, 3]).collect();
        let had = shared_out(&mut site, &seconds, 240);
        let (least, most) = (had.values().min().unwrap(), had.values().max().unwrap());
        // No more apart than the longest round.
        assert!(most - least <= 8, "{had:?}");
    }

    #[test]
    fn who_had_nothing_to_do_does_not_save_up() {
        let (mut site, ids) = projects(2);
        let alone = BTreeMap::from([(ids[0], 10)]);
        shared_out(&mut site, &alone, 100);
        // The other comes after a thousand seconds, and has no more than half from then on.
        let both = BTreeMap::from([(ids[0], 10), (ids[1], 2)]);
        let had = shared_out(&mut site, &both, 60);
        assert!(had[&ids[0]].abs_diff(had[&ids[1]]) <= 20, "{had:?}");
        // Nor after everybody had nothing to do.
        while site.projects.values().any(Project::has_new) {
            work(&mut site, &both);
        }
        assert!(site.take().is_none());
        let had = shared_out(&mut site, &both, 60);
        assert!(had[&ids[0]].abs_diff(had[&ids[1]]) <= 20, "{had:?}");
    }

    #[test]
    fn rounds_that_are_asked_for_take_from_their_own_projects_share() {
        let (mut site, ids) = projects(2);
        for id in &ids {
            push(&mut site, *id);
        }
        let seconds: BTreeMap<Id, u64> = ids.iter().map(|id| (*id, 5)).collect();
        let (greedy, other) = (ids[0], ids[1]);
        for _ in 0..8 {
            site.ask(&greedy, None).unwrap();
        }
        assert_eq!(site.projects[&greedy].queued(NOW), 8);
        assert_eq!(site.projects[&other].queued(NOW), 1);
        // One more is refused, in words, and changes nothing.
        let refusal = site.ask(&greedy, None).unwrap_err();
        assert_eq!(refusal.kind, crate::refusal::RefusalKind::Conflict);
        assert!(refusal.message.contains("ask again when one is over"), "{}", refusal.message);
        assert_eq!(site.projects[&greedy].unfinished(), 8);
        assert!(site.projects[&other].check_round(true).is_ok());
        // The other's rows are trained on as often.
        let mut turns = Vec::new();
        for _ in 0..8 {
            if !site.projects[&other].has_new() {
                push(&mut site, other);
            }
            turns.push(work(&mut site, &seconds));
        }
        assert_eq!(turns.iter().filter(|id| **id == greedy).count(), 4);
        assert_eq!(site.projects[&greedy].queued(NOW), 4);
        assert!(site.ask(&greedy, None).is_ok());
    }

    #[test]
    fn a_round_that_is_asked_for_comes_before_one_by_itself_and_after_unread_uploads() {
        let (mut site, ids) = projects(1);
        push(&mut site, ids[0]);
        site.report(&ids[0], Event::UploadStored { header: header_of(70), verdict: None });
        site.ask(&ids[0], Some(3)).unwrap();
        let Some(Job::Work { task: Task::Admit { upload }, .. }) = site.take() else {
            panic!("it is not read first")
        };
        let verdict = Verdict::Refused("no".into());
        site.report(&ids[0], Event::UploadJudged { upload, verdict });
        let Some(Job::Work { task: Task::Round(round), .. }) = site.take() else { panic!("no round") };
        assert_eq!(round.epochs, Some(3));
        assert!(site.take().is_none());
    }

    #[test]
    fn a_querier_that_was_invited_beside_a_round_asks_once_the_warden_knows() {
        let owner = SigningKey::from_seed(&[5; 32]);
        let spec = ProjectSpec { owner: owner.verifying().into(), ..spec() };
        let (id, member) = (spec.id(), SigningKey::from_seed(&[6; 32]).verifying());
        let mut site = Site::default();
        site.projects.insert(id, Project::new(spec));
        site.report(&id, Event::WardenReady);
        let (role, quota, name) = (MemberRole::Querier, Quota::default(), "q".to_owned());
        let order = Roster::default().next(id, Action::Invite { member, name, role, quota });
        let signed = sign_order(&order, &owner);
        site.report(&id, Event::OrderStored { order: &order, signed });
        let (reply, _answers) = channel();
        for contributor in [member, PublicKey([7; 32])] {
            let header = UploadHeader { project: id, contributor: contributor.into(), ..header_of(1) };
            let (rows, envelope) = (tempfile::tempfile().unwrap(), vec![]);
            let reply = reply.clone();
            site.scheduler.push(Job::Query(Query { header: Box::new(header), rows, envelope, reply }));
        }
        // Who was a member before does not wait.
        let asked = |site: &mut Site| match site.scheduler.take_query(&site.projects, true) {
            Some(Job::Query(query)) => Some(PublicKey::from(query.header.contributor)),
            _ => None,
        };
        assert_eq!(asked(&mut site), Some(PublicKey([7; 32])));
        assert_eq!(asked(&mut site), None);
        let job = site.scheduler.take_job(&mut site.projects, true, NOW);
        assert!(matches!(job, Some(Job::Order { .. })));
        assert_eq!(asked(&mut site), None, "the warden is being told");
        site.scheduler.order_told();
        assert_eq!(asked(&mut site), Some(member));
    }

    #[test]
    fn evidence_is_asked_for_beside_a_round_once_the_warden_was_given_its_states() {
        let mut site = Site::default();
        let (reply, _answers) = channel();
        site.scheduler.push(Job::Attest { asker: Id([1; 32]), request: vec![], reply });
        assert!(site.scheduler.take_query(&site.projects, false).is_none());
        assert!(matches!(site.scheduler.take_query(&site.projects, true), Some(Job::Attest { .. })));
        assert!(site.scheduler.take_query(&site.projects, true).is_none());
    }
}
