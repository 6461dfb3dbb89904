//! Who may contribute: the owner, and members that enrolled under terms of their own.

use std::collections::BTreeMap;

use blindsmith_identity::{Action, Roster, Terms, open_enrolment, open_order};
use blindsmith_keys::Key;
use blindsmith_protocol::{Blob, Id, ProjectSpec, UploadHeader, from_cbor, to_cbor};
use zeroize::{Zeroize, Zeroizing};

use crate::session::Identity;

/// What an enrolment's sealed seed is bound to.
pub fn enrolment_info(project: &Id, contributor: &Id, terms: &[u8; 32], recipient: &[u8; 32]) -> Vec<u8> {
    let mut info = b"blindsmith enrolment v1 ".to_vec();
    for part in [&project.0, &contributor.0, terms, recipient] {
        info.extend(part);
    }
    info
}

/// A contributor under terms.
pub(crate) struct Enrolled {
    seed: Key,
    pub terms: Terms,
}

/// The members of a project, and the seeds of those that enrolled.
#[derive(Default)]
pub(crate) struct Members {
    pub roster: Roster,
    enrolled: BTreeMap<(Id, [u8; 32]), Enrolled>,
}

impl Members {
    /// Carries out the next order, as far as it concerns members.
    pub(crate) fn order(&mut self, spec: &ProjectSpec, order: &[u8]) -> Result<Action, String> {
        let order = open_order(order, &spec.owner.into()).map_err(|e| format!("the order: {e}"))?;
        if order.project != spec.id() {
            return Err("the order is of another project".into());
        }
        self.roster.apply(&order).map_err(|e| e.to_string())?;
        Ok(order.action)
    }

    /// Takes a contributor's seed; what tells this warden later that it did.
    pub(crate) fn enrol(
        &mut self,
        spec: &ProjectSpec,
        identity: &Identity,
        contributor: &Id,
        enrolment: &[u8],
    ) -> Result<Blob, String> {
        let project = spec.id();
        let enrolment = open_enrolment(enrolment, &(*contributor).into()).map_err(|e| e.to_string())?;
        if enrolment.project != project {
            return Err("the enrolment is for another project".into());
        }
        if self.roster.contributor(&(*contributor).into()).is_none() {
            return Err(not_invited(contributor));
        }
        let recipient = identity.key.recipient().0;
        if enrolment.recipient != recipient {
            return Err(
                "the enrolment is sealed to another warden, or to this one before it was started anew: try again".into()
            );
        }
        let digest = enrolment.terms.digest();
        let info = enrolment_info(&project, contributor, &digest, &recipient);
        let opened = identity.key.open(&info, None, &enrolment.envelope.0).map_err(|e| e.to_string())?;
        let opened = Zeroizing::new(opened);
        let mut seed: [u8; 32] =
            opened.as_slice().try_into().map_err(|_| "an enrolment holds a seed of 32 bytes".to_string())?;
        let mut out = Zeroizing::new(seed.to_vec());
        out.extend(to_cbor(&enrolment.terms));
        let token = identity.sealing.seal(&token_context(&project, contributor), &out);
        let enrolled = Enrolled { seed: Key::from_bytes(seed), terms: enrolment.terms };
        seed.zeroize();
        self.admit(spec, identity, contributor, enrolled)?;
        Ok(Blob(token.0))
    }

    /// Takes a contributor that this or an earlier warden enrolled.
    pub(crate) fn enrolled(
        &mut self,
        spec: &ProjectSpec,
        identity: &Identity,
        contributor: &Id,
        token: &[u8],
    ) -> Result<(), String> {
        let damaged = || "the token of an enrolment is not one of this warden's".to_string();
        let opened = identity.sealing.unseal(&token_context(&spec.id(), contributor), token);
        let opened = Zeroizing::new(opened.map_err(|_| damaged())?);
        let (seed, terms) = opened.split_first_chunk::<32>().ok_or_else(damaged)?;
        let terms: Terms = from_cbor(terms).map_err(|_| damaged())?;
        terms.validate().map_err(|e| e.to_string())?;
        self.admit(spec, identity, contributor, Enrolled { seed: Key::from_bytes(*seed), terms })
    }

    /// A seed is held only where its contributor's own terms allow it, whatever the owner allows.
    fn admit(
        &mut self,
        spec: &ProjectSpec,
        identity: &Identity,
        contributor: &Id,
        enrolled: Enrolled,
    ) -> Result<(), String> {
        let tee = identity.tee.name();
        if !enrolled.terms.allow_warden(tee, &[]) {
            return Err(format!("the contributor's terms do not allow a warden of the kind {tee}"));
        }
        if !enrolled.terms.allow_recipient(&spec.owner.into()) {
            return Err("the contributor's terms do not allow this owner to receive models".into());
        }
        self.enrolled.insert((*contributor, enrolled.terms.digest()), enrolled);
        Ok(())
    }

    /// The seed of an upload's key, and the terms that it pins: the owner's own are its rules. None if nobody handed
    /// over that seed, or its contributor is no member any more.
    pub(crate) fn seed<'a>(
        &'a self,
        spec: &ProjectSpec,
        own: &'a Key,
        header: &UploadHeader,
    ) -> Option<(&'a Key, Option<&'a Terms>)> {
        if header.contributor == spec.owner {
            return (header.terms == [0; 32]).then_some((own, None));
        }
        self.roster.contributor(&header.contributor.into())?;
        let found = self.enrolled.get(&(header.contributor, header.terms))?;
        Some((&found.seed, Some(&found.terms)))
    }
}

fn token_context(project: &Id, contributor: &Id) -> String {
    format!("enrolment {project} {contributor}")
}

fn not_invited(contributor: &Id) -> String {
    format!("{contributor} is not invited to this project: ask its owner for blindsmith invite")
}
