//! What the state does with orders, and what other tests make projects of.

use blindsmith_identity::{Action, SigningKey, sign_order};
use blindsmith_protocol::UploadHeader;

pub use project::{header, record, spec};

use super::*;

/// What the tests of the service have a project of.
#[allow(dead_code)]
#[path = "../../tests/service/project.rs"]
pub mod project;

/// The header of an upload of eight rows.
pub fn header_of(number: u32) -> UploadHeader {
    let mut nonce = [0; 32];
    nonce[..4].copy_from_slice(&number.to_le_bytes());
    let contributor = Id([(number % 3) as u8; 32]);
    UploadHeader { nonce, contributor, rows: 8, ..header(&spec(), &[]) }
}

#[test]
fn without_a_warden_orders_do_not_wait_in_memory() {
    let owner = SigningKey::from_seed(&[5; 32]);
    let spec = ProjectSpec { owner: owner.verifying().into(), ..spec() };
    let id = spec.id();
    let (counts, scheduler) = (RoundCounts::default(), Scheduler::default());
    let projects = BTreeMap::from([(id, Project::new(spec))]);
    let mut state = State { projects, counts, scheduler, warden: None, queries: false };
    let give = |state: &mut State| {
        let order = state.projects[&id].roster().next(id, Action::Forgive);
        state.report(&id, Event::OrderStored { order: &order, signed: sign_order(&order, &owner) });
    };
    give(&mut state);
    assert_eq!((state.projects[&id].orders().len(), state.jobs()), (1, 0));
    let origin = Origin { holder: Id([1; 32]), start: Id([2; 32]) };
    state.warden = Some(Served { tee: "simulated".into(), origin, restored: true });
    give(&mut state);
    assert_eq!((state.projects[&id].orders().len(), state.jobs()), (2, 1));
}
