//! Sessions in which secrets may be released: each begins with evidence, and takes one release.

use std::collections::VecDeque;
use std::sync::Mutex;

use blindsmith_evidence::Claims;
use blindsmith_identity::PublicKey;
use blindsmith_keys::{ReleaseError, Suite};
use blindsmith_protocol::Id;
use thiserror::Error;

use crate::lock::lock;

/// Why nothing is taken in a session.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum SessionError {
    /// There is none.
    #[error(
        "no such session: it took a release already, or this warden was started anew since. Ask for evidence again"
    )]
    Unknown,
    /// It is another's.
    #[error("the session is about another project, or was begun by somebody else")]
    Other,
    /// What was sealed does not open in it.
    #[error(transparent)]
    Sealed(#[from] ReleaseError),
}

/// Sessions that wait for a release; of more the oldest is forgotten.
const MOST: usize = 256;

struct Session {
    id: [u8; 32],
    project: Id,
    asker: PublicKey,
    suite: Suite,
}

/// The sessions of a warden since it was started.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<VecDeque<Session>>);

impl Sessions {
    /// Remembers a session.
    pub fn open(&self, claims: &Claims, suite: Suite) {
        let mut sessions = lock(&self.0);
        if sessions.len() == MOST {
            sessions.pop_front();
        }
        let Claims { project, asker, .. } = *claims;
        sessions.push_back(Session { id: claims.session(), project, asker, suite });
    }

    /// Ends a session; the suite that what is sealed in it has.
    ///
    /// # Errors
    /// If there is no such session, of this project and who asked.
    pub fn close(&self, id: &[u8; 32], project: &Id, sender: &PublicKey) -> Result<Suite, SessionError> {
        let mut sessions = lock(&self.0);
        let at = sessions.iter().position(|session| session.id == *id);
        let found = at.and_then(|at| sessions.remove(at)).ok_or(SessionError::Unknown)?;
        let own = found.project == *project && found.asker == *sender;
        own.then_some(found.suite).ok_or(SessionError::Other)
    }
}

#[cfg(test)]
mod tests {
    use blindsmith_evidence::Tee;

    use super::*;

    fn claims(nonce: u64) -> Claims {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&nonce.to_le_bytes());
        Claims {
            tee: Tee::Simulated,
            kem: Suite::XWing.number(),
            recipient: vec![1],
            signing: PublicKey([2; 32]),
            nonce: bytes,
            policy: [3; 32],
            project: Id([4; 32]),
            asker: PublicKey([5; 32]),
            build: String::new(),
        }
    }

    #[test]
    fn a_session_takes_one_release_of_who_began_it() {
        let (sessions, project, asker) = (Sessions::default(), Id([4; 32]), PublicKey([5; 32]));
        let session = claims(1).session();
        assert!(
            sessions.close(&session, &project, &asker).unwrap_err().to_string().contains("no such session")
        );
        sessions.open(&claims(1), Suite::XWing);
        assert_eq!(sessions.close(&session, &project, &asker), Ok(Suite::XWing));
        assert!(
            sessions.close(&session, &project, &asker).unwrap_err().to_string().contains("no such session")
        );
        for (project, asker) in [(Id([9; 32]), asker), (project, PublicKey([9; 32]))] {
            sessions.open(&claims(1), Suite::XWing);
            assert!(
                sessions.close(&session, &project, &asker).unwrap_err().to_string().contains("somebody else")
            );
        }
    }

    #[test]
    fn of_too_many_sessions_the_oldest_is_forgotten() {
        let (sessions, project, asker) = (Sessions::default(), Id([4; 32]), PublicKey([5; 32]));
        (0..=MOST as u64).for_each(|nonce| sessions.open(&claims(nonce), Suite::X25519));
        assert!(sessions.close(&claims(0).session(), &project, &asker).is_err());
        assert!(sessions.close(&claims(1).session(), &project, &asker).is_ok());
    }
}
