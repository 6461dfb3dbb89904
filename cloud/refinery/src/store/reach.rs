//! Whether a database or an object store can be used now. A watch finds out; work that waits is given up as soon as it
//! cannot be done, and new work is refused at once.

use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::error::StoreError;

/// What is known of a database or an object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It answers, and this refinery may write.
    Good,
    /// It does not answer, and why.
    Unreachable(String),
    /// It may answer, but the lock of the one refinery that writes was lost, and why. It is being taken again.
    Unlocked(String),
    /// Another refinery took it over. This one never writes again.
    Taken,
}

impl Standing {
    /// One word for logs and answers.
    pub fn word(&self) -> &'static str {
        match self {
            Standing::Good => "good",
            Standing::Unreachable(_) => "unreachable",
            Standing::Unlocked(_) => "unlocked",
            Standing::Taken => "taken",
        }
    }
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Read,
    Write,
}

impl Standing {
    fn forbids(&self, used: Use) -> bool {
        match self {
            Standing::Good => false,
            Standing::Unreachable(_) | Standing::Taken => true,
            // What is read may be old by a moment, as always.
            Standing::Unlocked(_) => used == Use::Write,
        }
    }
}

/// The standing of one service, and those who wait for it.
#[derive(Debug)]
pub(super) struct Reach {
    /// What it is called: `database` or `object store`.
    what: &'static str,
    /// Which one, without a password.
    place: String,
    standing: watch::Sender<Standing>,
    suspicion: Notify,
}

impl Reach {
    pub(super) fn new(what: &'static str, place: &str) -> Self {
        let (standing, suspicion) = (watch::Sender::new(Standing::Good), Notify::new());
        Reach { what, place: place.into(), standing, suspicion }
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Takes note of what was found, and logs what changed.
    pub(super) fn found(&self, standing: Standing) {
        let (what, place) = (self.what, &self.place);
        self.standing.send_if_modified(|known| {
            if *known == Standing::Taken || *known == standing {
                return false;
            }
            let (from, to) = (known.word(), standing.word());
            match &standing {
                _ if from == to => {}
                Standing::Good => tracing::info!(place, "the {what} can be used again"),
                Standing::Unreachable(why) => {
                    tracing::warn!(
                        place,
                        "the {what} is not reachable: {why}; it is asked again until it is"
                    );
                }
                Standing::Unlocked(why) => tracing::warn!(
                    place,
                    "the lock on the {what} was lost: {why}; nothing is written until it is held again"
                ),
                Standing::Taken => {
                    tracing::error!(place, "another refinery took over the {what}: this one stops work");
                }
            }
            *known = standing;
            true
        });
    }

    /// Has the watch look at once: something went wrong.
    pub(super) fn suspect(&self) {
        self.suspicion.notify_one();
    }

    /// Waits before the next look, less long if somebody suspects something.
    pub(super) async fn pause(&self, longest: Duration) {
        tokio::select! {
            () = tokio::time::sleep(longest) => {}
            () = self.suspicion.notified() => {}
        }
    }

    /// An error if such work cannot be done now.
    pub(super) fn check(&self, used: Use) -> Result<(), StoreError> {
        let standing = self.standing();
        if standing.forbids(used) { Err(self.refusal(standing)) } else { Ok(()) }
    }

    fn refusal(&self, standing: Standing) -> StoreError {
        let place = self.place.clone();
        match standing {
            Standing::Unlocked(why) => StoreError::Unlocked { place, why },
            Standing::Unreachable(why) => self.unreachable(why),
            // Nothing is refused while it is good.
            Standing::Taken | Standing::Good => StoreError::Taken { place },
        }
    }

    /// That it does not answer, and why.
    pub(super) fn unreachable(&self, why: impl Into<String>) -> StoreError {
        StoreError::Unreachable { what: self.what, place: self.place.clone(), why: why.into() }
    }

    /// Does work as long as it can be done.
    pub(super) async fn guard<T, E: From<StoreError>>(
        &self,
        used: Use,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut seen = self.standing.subscribe();
        let forbidden = async {
            match seen.wait_for(|standing| standing.forbids(used)).await {
                Ok(standing) => standing.clone(),
                // The sender is here.
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            standing = forbidden => Err(self.refusal(standing).into()),
            done = work => done,
        }
    }

    /// Waits until another refinery took it over.
    pub(super) async fn taken(&self) -> StoreError {
        let mut seen = self.standing.subscribe();
        if seen.wait_for(|standing| *standing == Standing::Taken).await.is_err() {
            std::future::pending::<()>().await;
        }
        StoreError::Taken { place: self.place.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach() -> Reach {
        Reach::new("database", "postgres://host:5432/name")
    }

    #[tokio::test]
    async fn work_that_hangs_is_given_up_when_the_service_goes() {
        let reach = reach();
        let work = reach.guard(Use::Read, std::future::pending::<Result<(), StoreError>>());
        let lost = async { reach.found(Standing::Unreachable("gone".into())) };
        let (done, ()) = tokio::join!(work, lost);
        assert!(matches!(done, Err(StoreError::Unreachable { .. })), "{done:?}");
        // What comes later does not even begin.
        let begun = async { panic!("it was begun") };
        let done = reach.guard::<(), StoreError>(Use::Read, begun).await;
        assert!(done.unwrap_err().to_string().contains("postgres://host:5432/name"));
        reach.found(Standing::Good);
        reach.guard(Use::Write, async { Ok::<_, StoreError>(()) }).await.unwrap();
    }

    #[test]
    fn without_the_lock_one_reads_and_what_was_taken_over_never_comes_back() {
        let reach = reach();
        reach.found(Standing::Unlocked("the server ended".into()));
        reach.check(Use::Read).unwrap();
        assert!(matches!(reach.check(Use::Write), Err(StoreError::Unlocked { .. })));
        reach.found(Standing::Taken);
        reach.found(Standing::Good);
        for used in [Use::Read, Use::Write] {
            assert!(matches!(reach.check(used), Err(StoreError::Taken { .. })));
        }
    }
}
