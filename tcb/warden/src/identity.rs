//! Who a warden is: its keys, what vouches for it, what it remembers.

use std::sync::{Mutex, MutexGuard};

use blindsmith_evidence::{AttestError, Attester, Claims, Tee, measurement, report_data};
use blindsmith_identity::{
    Confirmed, PublicKey, Purpose, SignedError, SigningKey, open_request, sign_confirmed,
};
use blindsmith_keys::{Confirmation, Key, RecipientKey, Suite, random_bytes};
use blindsmith_protocol::{Blob, Evidence, Id};
use blindsmith_receipts::receipt_signing_key;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::appraiser::Appraiser;
use crate::challenges::Challenges;
use crate::counters::{Counter, Counters};
use crate::lock::lock;
use crate::sessions::{SessionError, Sessions};

/// Why there is no evidence.
#[derive(Debug, Error)]
pub(crate) enum RequestError {
    /// The request is not signed by who asks, or malformed.
    #[error("the request for evidence: {0}")]
    Signed(#[from] SignedError),
    /// An unknown key encapsulation.
    #[error("this warden knows no key encapsulation {0:#06x}")]
    Suite(u16),
    /// There is no report.
    #[error(transparent)]
    Attest(#[from] AttestError),
}

/// What was sealed to this warden in a session.
pub(crate) struct Delivery<'a> {
    pub session: &'a [u8; 32],
    pub project: &'a Id,
    /// Who began the session.
    pub sender: &'a Id,
    /// What it is bound to.
    pub info: &'a [u8],
    pub envelope: &'a [u8],
}

/// Who this warden is.
pub struct Identity {
    /// What vouches for it.
    pub attester: Box<dyn Attester>,
    /// What its environment measured of it; empty if simulated.
    pub measurement: Vec<u8>,
    /// The key to which secrets are sealed, fresh for each start.
    pub key: RecipientKey,
    /// The key under which it seals what it keeps for itself.
    pub sealing: Key,
    /// The key in its claims.
    pub signing: SigningKey,
    /// What it remembers beside the states that the refinery keeps.
    pub counters: Box<dyn Counters>,
    /// Whether it asks for the projects of the warden that the refinery has.
    pub take_over: bool,
    /// What judges the evidence of wardens that take projects over; none at first.
    pub appraiser: Appraiser,
    /// What tells this start of it from others.
    pub(crate) start: Id,
    /// Held while a counter is read and written.
    counting: Mutex<()>,
    sessions: Sessions,
    pub(crate) challenges: Challenges,
}

impl Identity {
    /// A warden with a fresh key for secrets; what it signs its claims' confirmations with follows from the sealing key.
    ///
    /// # Errors
    /// If its environment gives no report.
    pub fn new(
        attester: Box<dyn Attester>,
        sealing: Key,
        counters: Box<dyn Counters>,
    ) -> Result<Self, AttestError> {
        let signing = SigningKey::from_seed(sealing.derive("warden", &[]).expose());
        let measurement = measurement(attester.as_ref())?;
        let (key, counting) = (RecipientKey::generate(), Mutex::default());
        let (sessions, challenges) = (Sessions::default(), Challenges::default());
        let take_over = false;
        Ok(Identity {
            attester,
            measurement,
            key,
            sealing,
            signing,
            counters,
            take_over,
            appraiser: Appraiser::none("it has no appraiser"),
            start: Id(random_bytes()),
            counting,
            sessions,
            challenges,
        })
    }

    /// Its kind.
    pub fn tee(&self) -> Tee {
        self.attester.tee()
    }

    /// Evidence for who asks.
    pub(crate) fn attest(&self, asker: &Id, request: &[u8]) -> Result<Evidence, RequestError> {
        let asker = PublicKey::from(*asker);
        let request = open_request(request, &asker)?;
        let suite = Suite::numbered(request.kem).ok_or(RequestError::Suite(request.kem))?;
        let claims = Claims {
            tee: self.tee(),
            kem: request.kem,
            recipient: self.key.recipient(suite).bytes().to_vec(),
            signing: self.signing.verifying(),
            nonce: request.nonce,
            policy: request.policy,
            project: request.project,
            asker,
            build: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let encoded = claims.encode();
        let report = self.attester.report(&report_data(&encoded))?;
        if request.purpose == Purpose::Release {
            self.sessions.open(&claims, suite);
        }
        let (report, auxiliary) = (Blob(report.report), Blob(report.auxiliary));
        Ok(Evidence { claims: Blob(encoded), report, auxiliary })
    }

    /// Opens what was sealed to this warden in a session, which is over by that; and what only who opened it knows.
    ///
    /// # Errors
    /// [`SessionError`]: there is no such session of this project and sender, or it does not open.
    pub(crate) fn receive(
        &self,
        delivery: &Delivery<'_>,
    ) -> Result<(Zeroizing<Vec<u8>>, Confirmation), SessionError> {
        let Delivery { session, project, sender, info, envelope } = *delivery;
        let suite = self.sessions.close(session, project, &PublicKey::from(*sender))?;
        Ok(self.key.open(suite, info, envelope)?)
    }

    /// Signs that what was sealed in a session was opened, and names the key of the project's receipts.
    pub(crate) fn confirm(&self, delivery: &Delivery<'_>, vault: &Key, opened: &Confirmation) -> Blob {
        let confirmed = Confirmed {
            project: *delivery.project,
            session: *delivery.session,
            receipts: receipt_signing_key(vault).verifying(),
            confirmation: opened.bytes(),
        };
        Blob(sign_confirmed(&confirmed, &self.signing))
    }

    /// Nobody else changes a counter while this is held.
    pub(crate) fn counting(&self) -> MutexGuard<'_, ()> {
        lock(&self.counting)
    }

    /// Changes a project's counter, or one that begins at `place`; durable when this returns.
    pub(crate) fn count<E: From<std::io::Error>>(
        &self,
        project: &Id,
        place: Counter,
        change: impl FnOnce(Counter) -> Result<Counter, E>,
    ) -> Result<Counter, E> {
        let _counting = self.counting();
        let changed = change(self.counters.load(project)?.unwrap_or(place))?;
        self.counters.store(project, &changed)?;
        Ok(changed)
    }
}
