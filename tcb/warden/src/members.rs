//! Who may contribute: the owner, and members that enrolled under terms of their own.

use std::collections::BTreeMap;

use blindsmith_identity::{Action, Roster, Terms, open_enrolment, open_order};
use blindsmith_keys::Key;
use blindsmith_protocol::{Blob, Id, ProjectSpec, UploadHeader, from_cbor, to_cbor};
use blindsmith_receipts::receipt_signing_key;
use zeroize::{Zeroize, Zeroizing};

use crate::release::session_info;
use crate::session::Identity;

/// What an enrolment's sealed seed is bound to: the session, and the terms.
pub fn enrolment_info(session: &[u8; 32], terms: &[u8; 32]) -> Vec<u8> {
    let mut info = session_info("enrolment", session);
    info.extend(terms);
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
        vault: &Key,
        contributor: &Id,
        enrolment: &[u8],
    ) -> Result<(Blob, Blob), String> {
        let project = spec.id();
        let enrolment = open_enrolment(enrolment, &(*contributor).into()).map_err(|e| e.to_string())?;
        if enrolment.project != project {
            return Err("the enrolment is for another project".into());
        }
        if self.roster.contributor(&(*contributor).into()).is_none() {
            return Err(not_invited(contributor));
        }
        let info = enrolment_info(&enrolment.session, &enrolment.terms.digest());
        let receipts = |_: &[u8]| Ok(receipt_signing_key(vault).verifying());
        let sender = (&project, contributor);
        let (opened, confirmation) =
            identity.receive(&enrolment.session, sender, &info, &enrolment.envelope.0, receipts)?;
        let mut seed: [u8; 32] =
            opened.as_slice().try_into().map_err(|_| "an enrolment holds a seed of 32 bytes".to_string())?;
        let mut out = Zeroizing::new(seed.to_vec());
        out.extend(to_cbor(&enrolment.terms));
        let token = vault.seal(&token_context(&project, contributor), &out);
        let enrolled = Enrolled { seed: Key::from_bytes(seed), terms: enrolment.terms };
        seed.zeroize();
        self.admit(spec, identity, contributor, enrolled)?;
        Ok((Blob(token.0), confirmation))
    }

    /// Takes a contributor that this or an earlier warden enrolled.
    pub(crate) fn enrolled(
        &mut self,
        spec: &ProjectSpec,
        identity: &Identity,
        vault: &Key,
        contributor: &Id,
        token: &[u8],
    ) -> Result<(), String> {
        let damaged = || "the token of an enrolment is not one of this project's wardens".to_string();
        let opened = vault.unseal(&token_context(&spec.id(), contributor), token);
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
        let tee = identity.tee().name();
        if !enrolled.terms.allow_warden(tee, &identity.measurement) {
            return Err(format!(
                "the contributor's terms do not allow a warden of the kind {tee} with this measurement"
            ));
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
