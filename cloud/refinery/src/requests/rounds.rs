//! Rounds that a client asks for.

use std::time::SystemTime;

use blindsmith_project::Event;
use blindsmith_protocol::{Id, MAX_EPOCHS, to_cbor};

use crate::refusal::{Refusal, RefusalKind};
use crate::state::Shared;
use crate::store::{JobName, ROUND_JOB};

impl Shared {
    /// Queues a round, which survives this refinery.
    pub(crate) fn refine(&self, project: Id, epochs: Option<u32>) -> Result<(), Refusal> {
        if epochs.is_some_and(|e| !(1..=MAX_EPOCHS).contains(&e)) {
            let message = format!("a round has 1 to {MAX_EPOCHS} epochs");
            return Err(Refusal::new(RefusalKind::Invalid, message));
        }
        let mut key = vec![0; 16];
        getrandom::fill(&mut key).map_err(|e| Refusal::new(RefusalKind::Failed, e.to_string()))?;
        {
            // Counted before it is stored, so that no two take the last place.
            let mut state = self.lock();
            let warden = state.warden.is_some();
            let found = state.projects.get(&project).ok_or_else(|| Refusal::no_project(&project))?;
            found.check_round(warden)?;
            state.report(&project, Event::RoundReserved);
        }
        // From here on it is done, whatever becomes of this refinery.
        let job = JobName { project, kind: ROUND_JOB.into(), key: key.clone() };
        let stored = self.store.enqueue(&job, &to_cbor(&epochs), SystemTime::now());
        self.report(
            &project,
            match &stored {
                Ok(_) => Event::RoundAsked { epochs, key },
                Err(_) => Event::ReservationDropped,
            },
        );
        Ok(stored.map(drop)?)
    }
}
