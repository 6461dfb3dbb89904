//! Who may contribute: the owner, and members that enrolled under terms of their own.

use std::collections::{BTreeMap, BTreeSet};

use blindsmith_formats::enrolment_info;
use blindsmith_identity::{Action, Approval, Origin, Roster, Terms, open_enrolment, open_order};
use blindsmith_keys::Key;
use blindsmith_protocol::{Blob, Id, ProjectSpec, UploadHeader, from_cbor, to_cbor};
use zeroize::Zeroizing;

use crate::counters::Counter;
use crate::error::Refusal;
use crate::identity::{Delivery, Identity};

/// Most terms under which a contributor has uploads.
const MAX_TERMS: usize = 64;

/// To whom contributors hand their seeds: a project in a warden.
pub(crate) struct Host<'a> {
    pub spec: &'a ProjectSpec,
    pub identity: &'a Identity,
    /// Tokens are sealed under it, which ends with the project: a project that its owner releases again, with another
    /// recipe or model, gets no seed back.
    pub vault: &'a Key,
    pub origin: Origin,
}

/// A contributor under terms.
pub(crate) struct Contributor {
    seed: Key,
    pub terms: Terms,
}

/// The members of a project, and the seeds of those that enrolled.
#[derive(Default)]
pub(crate) struct Members {
    pub roster: Roster,
    /// To which wardens the project may be handed over, and the order that says so.
    pub approval: Option<(Approval, Vec<u8>)>,
    enrolled: BTreeMap<(Id, [u8; 32]), Contributor>,
}

impl Members {
    /// Carries out the next order, as far as it concerns members. What was told before must be what is told now: the
    /// counter knows the digest of all orders up to its newest.
    pub(crate) fn order(
        &mut self,
        spec: &ProjectSpec,
        counter: &Counter,
        order: &[u8],
    ) -> Result<Action, Refusal> {
        let signed = order;
        let order = open_order(signed, &spec.owner.into());
        let order = order.map_err(|e| Refusal::new(format!("the order: {e}")))?;
        if order.project != spec.id() {
            return Err(Refusal::new("the order is of another project"));
        }
        let mut roster = self.roster.clone();
        roster.apply(&order)?;
        if order.sequence == counter.orders && roster.digest().0 != counter.orders_digest {
            return Err(Refusal::new(format!(
                "orders up to number {} are others than those that the refinery gave before: the owner signed one of \
                 them without having been shown all",
                order.sequence
            )));
        }
        self.roster = roster;
        if let Action::Approve(approval) = &order.action {
            self.approval = Some((approval.clone(), signed.to_vec()));
        }
        Ok(order.action)
    }

    /// Members that were invited by orders after this one.
    pub(crate) fn since(&self, order: u64) -> BTreeSet<Id> {
        let members = self.roster.members().filter(|(_, member)| member.since > order);
        members.map(|(key, _)| (*key).into()).collect()
    }

    /// Takes a contributor's seed; what tells this warden later that it did.
    pub(crate) fn enrol(
        &mut self,
        host: &Host<'_>,
        contributor: &Id,
        enrolment: &[u8],
    ) -> Result<(Blob, Blob), Refusal> {
        let project = host.spec.id();
        let enrolment = open_enrolment(enrolment, &(*contributor).into())?;
        if enrolment.project != project {
            return Err(Refusal::new("the enrolment is for another project"));
        }
        if self.roster.contributor(&(*contributor).into()).is_none() {
            return Err(Refusal::new(format!(
                "{contributor} is not invited to this project: ask its owner for blindsmith invite"
            )));
        }
        let info = enrolment_info(&enrolment.session, &enrolment.terms.digest());
        let delivery = Delivery {
            session: &enrolment.session,
            project: &project,
            sender: contributor,
            info: &info,
            envelope: &enrolment.envelope.0,
        };
        let (opened, known) = host.identity.receive(&delivery)?;
        let seed: &[u8; 32] = opened
            .as_slice()
            .try_into()
            .map_err(|_| Refusal::new("an enrolment holds a seed of 32 bytes"))?;
        let confirmation = host.identity.confirm(&delivery, host.vault, &known);
        let token = self.take(host, contributor, Key::from_bytes(*seed), enrolment.terms)?;
        Ok((token, confirmation))
    }

    /// Takes a contributor's seed; its token, sealed for wardens of the project.
    pub(crate) fn take(
        &mut self,
        host: &Host<'_>,
        contributor: &Id,
        seed: Key,
        terms: Terms,
    ) -> Result<Blob, Refusal> {
        let terms_bytes = to_cbor(&terms);
        let mut out = Zeroizing::new(Vec::with_capacity(32 + terms_bytes.len()));
        out.extend_from_slice(seed.expose());
        out.extend_from_slice(&terms_bytes);
        let token = host.vault.seal(&token_context(&host.spec.id(), contributor), &out);
        self.admit(host, contributor, Contributor { seed, terms })?;
        Ok(Blob(token.0))
    }

    /// The seeds that were handed over, and under which terms.
    pub(crate) fn enrolled(&self) -> impl Iterator<Item = (&Id, &Key, &Terms)> {
        self.enrolled.iter().map(|((contributor, _), found)| (contributor, &found.seed, &found.terms))
    }

    /// Takes a contributor whose token a warden of the project sealed.
    pub(crate) fn restore(&mut self, host: &Host<'_>, contributor: &Id, token: &[u8]) -> Result<(), Refusal> {
        let damaged =
            || Refusal::new("the token of an enrolment is not one that a warden of this project made");
        let opened = host.vault.unseal(&token_context(&host.spec.id(), contributor), token);
        let opened = Zeroizing::new(opened.map_err(|_| damaged())?);
        let (seed, terms) = opened.split_first_chunk::<32>().ok_or_else(damaged)?;
        let terms: Terms = from_cbor(terms).map_err(|_| damaged())?;
        terms.validate()?;
        self.admit(host, contributor, Contributor { seed: Key::from_bytes(*seed), terms })
    }

    /// A seed is held only where its contributor's own terms allow it, whatever the owner allows.
    fn admit(&mut self, host: &Host<'_>, contributor: &Id, member: Contributor) -> Result<(), Refusal> {
        let (tee, terms) = (host.identity.tee().name(), &member.terms);
        let key = (*contributor, terms.digest());
        let others = self.enrolled.range((*contributor, [0; 32])..=(*contributor, [0xff; 32]));
        let refused = if !terms.allow_warden(tee, &host.identity.measurement) {
            format!("the contributor's terms do not allow a warden of the kind {tee} with this measurement")
        } else if terms.origin != host.origin {
            "the contributor's terms name another recipe or another initial model than this project's".into()
        } else if !terms.allow_recipient(&host.spec.owner.into()) {
            "the contributor's terms do not allow this owner to receive models".into()
        } else if !self.enrolled.contains_key(&key) && others.count() >= MAX_TERMS {
            format!("a contributor enrols under at most {MAX_TERMS} different terms")
        } else {
            self.enrolled.insert(key, member);
            return Ok(());
        };
        Err(Refusal::new(refused))
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

#[cfg(test)]
mod tests {
    use blindsmith_evidence::Simulated;
    use blindsmith_identity::{PublicKey, SigningKey};
    use blindsmith_matrix::{Encoding, MaskSeed, Scale, Security};
    use blindsmith_protocol::{Layer, Offload, Trigger};

    use super::*;
    use crate::counters::MemoryCounters;

    #[test]
    fn a_contributor_enrols_under_a_limited_number_of_terms() {
        let attester = Simulated::new(SigningKey::from_seed(Key::random().expose()), [7; 32]);
        let counters = Box::new(MemoryCounters::default());
        let identity = Identity::new(Box::new(attester), Key::random(), counters).unwrap();
        let offload = Offload { forward: 16, gradient: 16, input: 1 };
        let spec = ProjectSpec {
            name: "example".into(),
            salt: [1; 32],
            owner: Id([2; 32]),
            security: Security::Bits128,
            layers: vec![Layer { inputs: 64, outputs: 10, offload: Some(offload) }],
            feature_scale: Scale::from_log2(20),
            mask: MaskSeed([2; 32]),
            label_bytes: 4,
            block_rows: 64,
            row_form: Encoding::new(16, 64, 2).unwrap(),
            column_form: Encoding::new(16, 64, 2).unwrap(),
            batch_rows: 256,
            trigger: Trigger::MANUAL,
        };
        let (vault, mut members) = (Key::random(), Members::default());
        let host = Host { spec: &spec, identity: &identity, vault: &vault, origin: Origin::default() };
        let mut enrol = |contributor: u8, metrics_rows: usize| {
            let base = Terms::without_minima(PublicKey([2; 32]), "simulated", &[]);
            let terms = Terms { metrics_rows: metrics_rows as u64, ..base };
            members.take(&host, &Id([contributor; 32]), Key::random(), terms)
        };
        for terms in 0..MAX_TERMS {
            enrol(5, terms).unwrap();
        }
        assert!(enrol(5, MAX_TERMS).unwrap_err().to_string().contains("at most 64 different terms"));
        // Again under terms that are known, and another contributor beside it.
        enrol(5, 3).unwrap();
        for contributor in [4, 6] {
            enrol(contributor, MAX_TERMS).unwrap();
        }
    }
}
