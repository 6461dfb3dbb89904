//! What an owner orders: signed, numbered, kept by the refinery, carried out by refinery and warden.

use std::collections::BTreeMap;

use blindsmith_protocol::{Blob, Id, MAX_NAME, to_cbor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::envelope::{Kind, SignedError, open, sign};
use crate::key::{PublicKey, SigningKey};

const ORDER: Kind = Kind { content: "application/vnd.blindsmith.order+cbor", aad: b"blindsmith order v1" };
/// What enters first, so that no other digest of ours is one of orders.
const CHAIN: &[u8] = b"blindsmith orders v1\0";
/// Most members of a project, those that left included.
pub const MAX_MEMBERS: usize = 4096;
/// Most wardens that an order approves.
const MAX_APPROVED: usize = 64;
/// Longest kind and longest measurement of a warden, in bytes.
const MAX_BYTES: usize = 64;
/// Longest policy of an approval, in bytes.
pub const MAX_APPROVAL_POLICY: usize = 64 << 10;

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberRole {
    /// Send rows.
    Contributor,
    /// Ask for predictions.
    Querier,
    /// See what goes on: every upload's state, every round; nothing else.
    Viewer,
}

/// What a member may use; the refinery keeps to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Bytes stored at a time.
    pub bytes: u64,
    /// Rows stored at a time.
    pub rows: u64,
    /// Uploads stored at a time.
    pub uploads: u32,
}

impl Default for Quota {
    fn default() -> Self {
        Quota { bytes: 1 << 40, rows: 1 << 32, uploads: 1000 }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Somebody becomes a member, or a member gets another name, role or quota.
    Invite {
        /// Its key.
        member: PublicKey,
        /// For people.
        name: String,
        /// What it may do.
        role: MemberRole,
        /// How much.
        quota: Quota,
    },
    /// A member is none any more: its rows enter no further round.
    Revoke {
        /// Its key.
        member: PublicKey,
    },
    /// The model of an earlier version becomes the current one.
    Rollback {
        /// Which version.
        version: u64,
    },
    /// A quarantined upload is tried again.
    Readmit {
        /// Which upload.
        upload: Id,
    },
    /// Wrong answers and attempts are forgiven.
    Forgive,
    /// The warden that handed the project over to this one goes on with it: this one is lost.
    Resume {
        /// The key of the warden that is lost.
        lost: Id,
    },
    /// Wardens may hand the project over to these, and to no others any more.
    Approve(Approval),
    /// Nothing. It takes the number of an order that the refinery refused, which shall count no more.
    Void {
        /// The digest of all orders up to the refused one, had it counted.
        refused: Id,
    },
}

/// To which wardens a project may be handed over while its owner is away. None are approved before an order does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Kind and measurement of each; of simulated wardens the SHA-256 of the program, as they say themselves.
    pub wardens: Vec<(String, Blob)>,
    /// What verifies the project's receipts: whoever takes the project over makes sure by it that this is the project
    /// that its owner released.
    pub receipts: PublicKey,
    /// The policy (see `blindsmith-appraisal`) by which their evidence is appraised; an empty one accepts nobody.
    pub policy: String,
    /// When the owner said so, in seconds since 1970: a warden whose clock shows less appraises nothing.
    pub since: u64,
}

impl Approval {
    /// Whether a warden of this kind and measurement may be handed the project.
    pub fn allows(&self, tee: &str, measurement: &[u8]) -> bool {
        self.wardens.iter().any(|(kind, found)| kind == tee && found.0 == measurement)
    }

    fn check(&self) -> Result<(), SignedError> {
        let good = |(tee, measurement): &(String, Blob)| {
            (1..=MAX_BYTES).contains(&tee.len())
                && !tee.chars().any(char::is_control)
                && (1..=MAX_BYTES).contains(&measurement.0.len())
        };
        if self.policy.len() > MAX_APPROVAL_POLICY {
            return Err(SignedError::Limit(format!("a policy of more than {MAX_APPROVAL_POLICY} bytes")));
        }
        match self.wardens.len() <= MAX_APPROVED && self.wardens.iter().all(good) {
            true => Ok(()),
            false => Err(SignedError::Limit(format!(
                "more than {MAX_APPROVED} wardens, or a kind or measurement that has not 1 to {MAX_BYTES} bytes"
            ))),
        }
    }
}

/// One order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The project.
    pub project: Id,
    /// 1, 2, 3 and so on.
    pub sequence: u64,
    /// The digest of all orders before it ([`Roster::digest`]): so no other can stand in the place of one of them.
    pub previous: Id,
    /// What is to be done.
    pub action: Action,
}

/// Signs an order.
pub fn sign_order(order: &Order, owner: &SigningKey) -> Vec<u8> {
    sign(order, &ORDER, owner)
}

/// The digest of all orders up to this one, which names that of those before it.
pub fn order_digest(order: &Order) -> Id {
    Id(Sha256::new().chain_update(CHAIN).chain_update(to_cbor(order)).finalize().into())
}

/// Opens an order that should be signed by this owner.
///
/// # Errors
/// [`SignedError`] if it is another's, malformed, or its name too long.
pub fn open_order(bytes: &[u8], owner: &PublicKey) -> Result<Order, SignedError> {
    let order: Order = open(bytes, &ORDER, owner)?;
    if let Action::Invite { name, .. } = &order.action
        && (name.len() > MAX_NAME || name.chars().any(char::is_control))
    {
        return Err(SignedError::Limit(format!(
            "a name of more than {MAX_NAME} bytes, or control characters"
        )));
    }
    if let Action::Approve(approval) = &order.action {
        approval.check()?;
    }
    Ok(order)
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// For people.
    pub name: String,
    /// What it may do.
    pub role: MemberRole,
    /// How much.
    pub quota: Quota,
    /// Whether it was revoked.
    pub revoked: bool,
    /// The number of the order that made it a member; a later one after it was revoked.
    pub since: u64,
}

/// The members of a project, as its owner's orders made them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    members: BTreeMap<PublicKey, Member>,
    shared: bool,
    sequence: u64,
    digest: Id,
}

/// An order that does not follow.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RosterError {
    /// Another number than the next.
    #[error("order {found} was given, but {next} is the next")]
    Sequence {
        /// Its number.
        found: u64,
        /// The next.
        next: u64,
    },
    /// It was signed after others than these.
    #[error("order {0} was signed after other orders than those before it here")]
    Chain(u64),
    /// No such member.
    #[error("{0} is no member of this project")]
    Unknown(PublicKey),
    /// Too many members.
    #[error("a project has at most {MAX_MEMBERS} members, those that left included")]
    Full,
}

impl Roster {
    /// The number of the last order.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The digest of all orders; zero before the first.
    pub fn digest(&self) -> Id {
        self.digest
    }

    /// Whether somebody was ever invited to send rows.
    pub fn shared(&self) -> bool {
        self.shared
    }

    /// The order that comes next, by which this is to be done.
    pub fn next(&self, project: Id, action: Action) -> Order {
        Order { project, sequence: self.sequence + 1, previous: self.digest, action }
    }

    /// All members, those that were revoked too.
    pub fn members(&self) -> impl Iterator<Item = (&PublicKey, &Member)> {
        self.members.iter()
    }

    /// A member that was not revoked.
    pub fn member(&self, key: &PublicKey) -> Option<&Member> {
        self.members.get(key).filter(|m| !m.revoked)
    }

    /// A member that was not revoked and may send rows.
    pub fn contributor(&self, key: &PublicKey) -> Option<&Member> {
        self.member(key).filter(|m| m.role == MemberRole::Contributor)
    }

    /// Members that were not revoked and may ask for predictions.
    pub fn queriers(&self) -> impl Iterator<Item = &PublicKey> {
        let may = |m: &Member| !m.revoked && m.role == MemberRole::Querier;
        self.members.iter().filter(move |(_, m)| may(m)).map(|(key, _)| key)
    }

    /// Carries out the next order, as far as it concerns members. Others leave only their number.
    ///
    /// # Errors
    /// If it is not the next one, or names no member; nothing changes then.
    pub fn apply(&mut self, order: &Order) -> Result<(), RosterError> {
        let next = self.sequence + 1;
        if order.sequence != next {
            return Err(RosterError::Sequence { found: order.sequence, next });
        }
        if order.previous != self.digest {
            return Err(RosterError::Chain(next));
        }
        match &order.action {
            Action::Invite { member, name, role, quota } => {
                if !self.members.contains_key(member) && self.members.len() >= MAX_MEMBERS {
                    return Err(RosterError::Full);
                }
                let (name, role, quota) = (name.clone(), *role, *quota);
                // Another name, role or quota makes nobody newer.
                let before = self.member(member).filter(|before| before.role == role);
                let since = before.map_or(next, |before| before.since);
                self.shared |= role == MemberRole::Contributor;
                self.members.insert(*member, Member { name, role, quota, revoked: false, since });
            }
            Action::Revoke { member } => {
                let found = self.members.get_mut(member).ok_or(RosterError::Unknown(*member))?;
                found.revoked = true;
            }
            Action::Rollback { .. }
            | Action::Readmit { .. }
            | Action::Forgive
            | Action::Resume { .. }
            | Action::Approve(_)
            | Action::Void { .. } => {}
        }
        (self.sequence, self.digest) = (next, order_digest(order));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROJECT: Id = Id([9; 32]);

    fn invite(byte: u8) -> Action {
        Action::Invite {
            member: PublicKey([byte; 32]),
            name: format!("member {byte}"),
            role: MemberRole::Contributor,
            quota: Quota::default(),
        }
    }

    fn first(action: Action) -> Order {
        Roster::default().next(PROJECT, action)
    }

    #[test]
    fn orders_make_the_roster_in_their_order_alone() {
        let mut roster = Roster::default();
        let revoke = |byte| Action::Revoke { member: PublicKey([byte; 32]) };
        let early = Order { sequence: 2, ..roster.next(PROJECT, invite(1)) };
        assert_eq!(roster.apply(&early), Err(RosterError::Sequence { found: 2, next: 1 }));
        let one = roster.next(PROJECT, invite(1));
        roster.apply(&one).unwrap();
        assert_eq!(roster.apply(&one), Err(RosterError::Sequence { found: 1, next: 2 }));
        let unknown = roster.next(PROJECT, revoke(5));
        assert_eq!(roster.apply(&unknown), Err(RosterError::Unknown(PublicKey([5; 32]))));
        assert!(roster.contributor(&PublicKey([1; 32])).is_some());
        roster.apply(&roster.next(PROJECT, revoke(1))).unwrap();
        assert!(roster.contributor(&PublicKey([1; 32])).is_none());
        roster.apply(&roster.next(PROJECT, invite(1))).unwrap();
        assert_eq!(roster.contributor(&PublicKey([1; 32])).unwrap().since, 3, "invited again");
        roster.apply(&roster.next(PROJECT, invite(1))).unwrap();
        assert_eq!(roster.contributor(&PublicKey([1; 32])).unwrap().since, 3, "a member all the time");
    }

    #[test]
    fn an_order_follows_those_that_its_owner_signed_it_after_and_no_others() {
        let (mut shown, mut told) = (Roster::default(), Roster::default());
        shown.apply(&first(invite(1))).unwrap();
        told.apply(&first(Action::Forgive)).unwrap();
        let next = shown.next(PROJECT, invite(2));
        let before = told.clone();
        assert_eq!(told.apply(&next), Err(RosterError::Chain(2)));
        assert_eq!(told, before, "nothing changes");
        shown.apply(&next).unwrap();
        assert_ne!(shown.digest(), told.digest());
    }

    #[test]
    fn orders_count_only_with_the_owners_signature() {
        let (owner, other) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let signed = sign_order(&first(invite(1)), &owner);
        assert_eq!(open_order(&signed, &owner.verifying()).unwrap(), first(invite(1)));
        assert!(open_order(&signed, &other.verifying()).is_err());
        for at in 0..signed.len() {
            let mut altered = signed.clone();
            altered[at] ^= 1;
            assert!(open_order(&altered, &owner.verifying()).is_err(), "byte {at}");
        }
        let mut long = first(invite(1));
        if let Action::Invite { name, .. } = &mut long.action {
            *name = "x".repeat(MAX_NAME + 1);
        }
        assert!(open_order(&sign_order(&long, &owner), &owner.verifying()).is_err());
    }

    #[test]
    fn approvals_name_wardens_one_by_one_and_are_limited() {
        let owner = SigningKey::from_seed(&[1; 32]);
        let approval =
            |wardens| Approval { wardens, receipts: PublicKey([7; 32]), policy: String::new(), since: 0 };
        let one = |byte: u8, len| ("snp".to_owned(), Blob(vec![byte; len]));
        let opened = |wardens| {
            let action = Action::Approve(approval(wardens));
            open_order(&sign_order(&first(action), &owner), &owner.verifying())
        };
        assert!(opened(vec![]).is_ok() && opened(vec![one(1, 48); MAX_APPROVED]).is_ok());
        for refused in [vec![one(1, 0)], vec![one(1, 65)], vec![one(1, 48); MAX_APPROVED + 1]] {
            assert!(matches!(opened(refused), Err(SignedError::Limit(_))));
        }
        let approved = approval(vec![one(1, 48), one(2, 48)]);
        assert!(approved.allows("snp", &[2; 48]));
        assert!(!approved.allows("tdx", &[2; 48]) && !approved.allows("snp", &[3; 48]));
        assert!(!approval(vec![]).allows("simulated", &[]));
    }
}
