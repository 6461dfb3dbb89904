//! The queue of work for the warden.

use super::*;

fn state(warden: Option<&str>) -> State {
    State {
        projects: BTreeMap::new(),
        jobs: VecDeque::new(),
        warden: warden.map(str::to_owned),
        holder: None,
        queries: false,
    }
}

#[test]
fn orders_reach_the_warden_in_their_order_and_before_rounds() {
    let (project, mut state) = (Id([1; 32]), state(Some("simulated")));
    let round = |key| Job::Round(Round { project, epochs: None, attempt: 0, key: vec![key], asked: true });
    state.jobs.push_back(round(0));
    state.queue_order(project, vec![1]);
    // A round that lost its warden comes first again.
    state.jobs.push_front(round(1));
    state.queue_order(project, vec![2]);
    state.queue_order(project, vec![3]);
    let orders: Vec<u8> = state
        .jobs
        .iter()
        .filter_map(|job| if let Job::Order { order, .. } = job { order.first().copied() } else { None })
        .collect();
    assert_eq!(orders, [1, 2, 3]);
    assert!(matches!(state.jobs.back(), Some(Job::Round(Round { key, .. })) if *key == [0]));
}

#[test]
fn without_a_warden_orders_do_not_wait_in_memory() {
    let mut state = state(None);
    state.queue_order(Id([1; 32]), vec![1]);
    assert!(state.jobs.is_empty());
}
