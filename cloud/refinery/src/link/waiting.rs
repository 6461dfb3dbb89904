//! A warden that wants to take projects over waits for the one that has them.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use blindsmith_protocol::FrameError;
use rustix::event::{PollFd, PollFlags, poll};
use tracing::warn;

use super::connection::Connection;
use super::released::holds_all;
use crate::scheduler::{Job, Successor};
use crate::state::Shared;

/// How often is looked whether a warden came from which another one takes over.
const LOOK: Duration = Duration::from_millis(200);

/// Waits for a warden from which this one takes projects over, unless it has all of them, and for the end of that. One
/// that does not come in time is not waited for: its projects may be lost, and others are to be served.
pub(super) fn wait(shared: &Shared, warden: Box<Connection>) -> Result<Box<Connection>, FrameError> {
    let begun = Instant::now();
    let mut state = shared.lock();
    loop {
        if state.warden.is_some() {
            let (back, returned) = channel();
            state.scheduler.push_first(Job::HandOver(Successor { warden, back }));
            drop(state);
            shared.changed.notify_all();
            // If the other is lost first, this warden comes again.
            return returned.recv().map_err(|_| FrameError::Closed);
        }
        let released = state.released();
        drop(state);
        if holds_all(shared, &warden.origin.holder, &released) {
            return Ok(warden);
        }
        if begun.elapsed() >= shared.take_over_wait {
            warn!("no warden came that has the other projects: this one serves without them");
            return Ok(warden);
        }
        let mut watched = [PollFd::new(&warden.writer, PollFlags::RDHUP)];
        let none = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut watched, Some(&none)).is_ok_and(|ready| ready > 0) {
            return Err(FrameError::Closed);
        }
        let woken = shared.changed.wait_timeout(shared.lock(), LOOK);
        state = woken.unwrap_or_else(|e| e.into_inner()).0;
    }
}
