//! Jobs that somebody waits for.

use std::sync::mpsc::channel;

use crate::refusal::{Refusal, RefusalKind};
use crate::scheduler::{Job, Reply};
use crate::state::Shared;

impl Shared {
    /// Has the warden do a job, and waits for its answer.
    pub(super) fn ask_warden<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, Refusal> {
        let unavailable = |message: &str| Refusal::new(RefusalKind::Unavailable, message);
        let (reply, answer) = channel();
        if !self.submit(job(reply)) {
            return Err(unavailable("no warden is connected: start blindsmith-warden, then try again"));
        }
        match answer.recv() {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(unavailable("the warden left before it answered: try again")),
        }
    }
}
