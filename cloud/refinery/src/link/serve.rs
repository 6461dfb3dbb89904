//! Serves wardens: one at a time, one command after the other; during a command the warden instructs.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use blindsmith_project::{Event, Task};
use blindsmith_protocol::{Blob, Evidence, FrameError, FromWarden, Id, Lane, Outcome, ToWarden};
use rustix::event::{PollFd, PollFlags, poll};
use tracing::info;

use super::connection::Connection;
use super::error::{LinkError, unexpected};
use super::session::{Session, answer};
use super::waiting;
use crate::scheduler::Job;
use crate::state::{Served, Shared};

/// Time in which whoever connects must say hello.
const HELLO: Duration = Duration::from_secs(10);

/// Serves one warden until it leaves or the refinery stops. Another one waits for its turn.
pub(crate) fn serve_warden(shared: &Shared, stream: &UnixStream) -> Result<(), FrameError> {
    stream.set_read_timeout(Some(HELLO))?;
    let (greeting, warden) = Connection::accept(stream)?;
    stream.set_read_timeout(None)?;
    let (lane, tee) = (greeting.lane, greeting.tee);
    let mut warden = Box::new(warden);
    if lane == Lane::Rounds && greeting.take_over {
        info!(warden = %warden.origin.holder, "a warden waits to take projects over");
        warden = waiting::wait(shared, warden)?;
    }
    let turns = if lane == Lane::Rounds { &shared.link } else { &shared.query_link };
    let _turn = turns.lock().unwrap_or_else(|e| e.into_inner());
    let mut state = shared.lock();
    match lane {
        Lane::Rounds => {
            info!(%tee, "a warden connected");
            state.warden = Some(Served { tee, origin: warden.origin, restored: false });
        }
        Lane::Queries => state.queries = true,
    }
    drop(state);
    let gone = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _leaving = Leaving { shared, stream, lane };
        scope.spawn(|| {
            hang_up(stream);
            // Under the lock, or the link could miss it on its way to wait.
            let state = shared.lock();
            gone.store(true, Ordering::Relaxed);
            drop(state);
            shared.changed.notify_all();
        });
        Session::new(shared, warden).run(lane, &gone)
    })
}

/// Waits until the other side is gone: a link that has nothing to do does not read.
fn hang_up(stream: &UnixStream) {
    let mut watched = [PollFd::new(stream, PollFlags::RDHUP)];
    while poll(&mut watched, None).is_err_and(|e| e == rustix::io::Errno::INTR) {}
}

/// Forgets the warden, however its link ends.
struct Leaving<'a> {
    shared: &'a Shared,
    stream: &'a UnixStream,
    lane: Lane,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        _ = self.stream.shutdown(Shutdown::Both);
        let mut state = self.shared.lock();
        match self.lane {
            // The link for rounds answers those that wait, if it is there.
            Lane::Queries => state.queries = false,
            Lane::Rounds => {
                state.warden = None;
                state.scheduler.clear();
                let projects: Vec<Id> = state.projects.keys().copied().collect();
                for project in projects {
                    state.report(&project, Event::WardenGone);
                }
            }
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Session<'_> {
    fn run(&mut self, lane: Lane, gone: &AtomicBool) -> Result<(), FrameError> {
        if lane == Lane::Rounds {
            self.restore()?;
            // Who is told that a warden answers may use what it was given.
            if let Some(served) = &mut self.shared.lock().warden {
                served.restored = true;
            }
            self.shared.changed.notify_all();
        }
        let origin = self.warden.origin;
        while let Some(job) = self.shared.next_job(lane, &origin, gone) {
            match job {
                Job::Work { project, task } => {
                    let start = Instant::now();
                    let result = self.work(project, task);
                    self.shared.lock().scheduler.worked(project, start.elapsed());
                    self.shared.changed.notify_all();
                    result?;
                }
                job => self.perform(job)?,
            }
        }
        Ok(())
    }

    /// Does what a project has to do.
    fn work(&mut self, project: Id, task: Task) -> Result<(), FrameError> {
        match task {
            Task::Rollback { version } => self.run_rollback(project, version),
            Task::Admit { upload } => self.read_upload(project, upload),
            Task::Round(round) => self.run_round(project, &round),
        }
    }

    /// Does what somebody waits for.
    fn perform(&mut self, job: Job) -> Result<(), FrameError> {
        match job {
            Job::Attest { asker, request, reply } => answer(&reply, self.attest(asker, request)),
            Job::Release { project, release, reply } => answer(&reply, self.release(&project, release)),
            Job::Query(query) => self.query(query),
            Job::HandOver(successor) => self.make_way(successor),
            Job::Order { project, order, .. } => {
                let result = self.ordered(project, order);
                self.shared.lock().scheduler.order_told();
                self.shared.changed.notify_all();
                result
            }
            Job::Enrol { project, contributor, enrolment, reply } => {
                answer(&reply, self.enrol(project, contributor, enrolment))
            }
            Job::Work { project, task } => self.work(project, task),
        }
    }

    /// Fetches the warden's evidence.
    fn attest(&mut self, asker: Id, request: Vec<u8>) -> Result<Evidence, LinkError> {
        self.warden.send(&ToWarden::Attest { asker, request: Blob(request) }, &[])?;
        match self.warden.receive()? {
            (FromWarden::Evidence(evidence), 0) => Ok(evidence),
            (FromWarden::Finished(Outcome::Refused { message }), 0) => Err(LinkError::Refused(message)),
            _ => Err(unexpected("not evidence")),
        }
    }
}
