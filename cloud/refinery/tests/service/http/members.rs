//! Members: what the owner's orders let them do, and what they see of each other.

use blindsmith_api::message::Ledger;
use blindsmith_api::{Withdrawal, sign_withdrawal};
use blindsmith_identity::{Action, MemberRole, Order, Quota, Roster, SigningKey, open_order, sign_order};
use blindsmith_protocol::{Blob, Id, ProjectSpec, from_cbor};
use serde_json::json;

use super::service::{Answer, Service, upload};
use crate::project::block_bytes;

pub fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&[byte; 32])
}

pub fn order(
    service: &Service,
    spec: &ProjectSpec,
    sequence: u64,
    action: Action,
    sender: &SigningKey,
) -> Answer {
    let path = format!("/v1/projects/{}/orders", spec.id());
    // After what was ordered before, as the owner of all projects here is shown it.
    let known = service.call("GET", &path, b"", &key(1)).body;
    let known: Vec<Blob> = from_cbor(&known).unwrap();
    let mut roster = Roster::default();
    for known in known.iter().take(sequence as usize - 1) {
        roster.apply(&open_order(&known.0, &key(1).verifying()).unwrap()).unwrap();
    }
    let order = Order { sequence, ..roster.next(spec.id(), action) };
    service.call("POST", &path, &sign_order(&order, sender), sender)
}

pub fn invite(member: &SigningKey, role: MemberRole, quota: Quota) -> Action {
    Action::Invite { member: member.verifying(), name: "member".into(), role, quota }
}

pub fn stored(service: &Service, spec: &ProjectSpec, key: &SigningKey, nonce: u8) -> (String, Id, Answer) {
    let (bytes, header) = upload(spec, 2, key, nonce);
    let path = service.begin(&spec.id(), key);
    service.append(&path, &bytes, 0, key);
    let answer = service.commit(&path, &header, key);
    (path, header.id(), answer)
}

#[test]
fn contributors_see_and_touch_nothing_of_each_other() {
    let owner = key(1);
    let service = Service::start(&format!("owners = [\"{}\"]", owner.verifying()), "");
    let (one, two, querier) = (key(2), key(3), key(4));
    let spec = service.create(&owner);
    let id = spec.id();
    for (i, (member, role)) in
        [(&one, MemberRole::Contributor), (&two, MemberRole::Contributor), (&querier, MemberRole::Querier)]
            .into_iter()
            .enumerate()
    {
        let done = order(&service, &spec, i as u64 + 1, invite(member, role, Quota::default()), &owner);
        assert_eq!(done.status, 204, "{}", done.json());
    }
    let (_, upload_of_one, answer) = stored(&service, &spec, &one, 1);
    assert_eq!(answer.status, 200, "{}", answer.json());
    let of_one = service.begin(&id, &one);
    service.append(&of_one, &[1; 100], 0, &one);
    // Uploads.
    assert_eq!(service.uploads(&id, &one).len(), 1);
    assert_eq!(service.uploads(&id, &two).len(), 0);
    let status = service.call("GET", &format!("/v1/projects/{id}"), &[], &two);
    assert_eq!(status.json()["uploads"].as_array().unwrap().len(), 0);
    let seen = service.call("GET", &format!("/v1/projects/{id}/uploads"), &[], &owner).json();
    assert_eq!(seen["contributors"][0]["contributor"], one.verifying().to_string());
    assert_eq!(seen["contributors"][0]["uploads"], 1);
    // Uploads under way.
    service.call("GET", &of_one, &[], &two).refused(404, "no such open upload");
    service
        .call("PATCH", &format!("{of_one}?offset=100"), &[2; 10], &two)
        .refused(404, "no such open upload");
    assert_eq!(service.offset(&of_one, &one), 100);
    // Withdrawal.
    let path = format!("/v1/projects/{id}/uploads/{upload_of_one}");
    let withdrawal = Withdrawal { project: id, upload: upload_of_one };
    service.call("DELETE", &path, &sign_withdrawal(&withdrawal, &two), &two).refused(404, "has no upload");
    service.call("DELETE", &path, &sign_withdrawal(&withdrawal, &one), &two).refused(422, "not this key's");
    assert_eq!(service.uploads(&id, &one)[0]["state"], "stored");
    // What is the owner's alone.
    for (method, rest) in
        [("GET", "/models/newest"), ("POST", "/rounds"), ("POST", "/release"), ("POST", "/orders")]
    {
        service.call(method, &format!("/v1/projects/{id}{rest}"), b"{}", &one).refused(403, "owner alone");
    }
    service.call("POST", &format!("/v1/projects/{id}/uploads"), &[], &querier).refused(403, "contributors");
    service.call("GET", &format!("/v1/projects/{id}/uploads"), &[], &querier).refused(403, "viewers alone");
    service.call("POST", &format!("/v1/projects/{id}/queries"), &[], &one).refused(403, "queriers");
    // Its own it may take back, once and for all.
    assert_eq!(service.call("DELETE", &path, &sign_withdrawal(&withdrawal, &one), &one).status, 204);
    assert_eq!(service.uploads(&id, &one)[0]["state"], "withdrawn");
    let (_, _, again) = stored(&service, &spec, &one, 1);
    again.refused(410, "withdrawn");
}

#[test]
fn viewers_see_everything_that_is_sealed_or_public_and_do_nothing() {
    let owner = key(1);
    let service = Service::start(&format!("owners = [\"{}\"]", owner.verifying()), "");
    let (one, viewer, spec) = (key(2), key(3), service.create(&owner));
    let id = spec.id();
    let roles = [(&one, MemberRole::Contributor, 1), (&viewer, MemberRole::Viewer, 2)];
    for (member, role, number) in roles {
        let done = order(&service, &spec, number, invite(member, role, Quota::default()), &owner);
        assert_eq!(done.status, 204, "{}", done.json());
    }
    let (_, uploaded, answer) = stored(&service, &spec, &one, 1);
    assert_eq!(answer.status, 200, "{}", answer.json());
    let path = format!("/v1/projects/{id}");
    let status = service.call("GET", &path, &[], &viewer).json();
    assert_eq!(status["uploads"][0]["upload"], uploaded.to_string());
    assert_eq!(service.call("GET", "/v1/projects", &[], &viewer).json()["projects"][0]["role"], "viewer");
    assert_eq!(service.uploads(&id, &viewer)[0]["upload"], uploaded.to_string());
    for (rest, words) in [("/uploads", "contributors"), ("/queries", "queriers"), ("/rounds", "owner alone")]
    {
        service.call("POST", &format!("{path}{rest}"), b"{}", &viewer).refused(403, words);
    }
    for rest in ["/models/newest", "/release", "/orders"] {
        let method = if rest == "/models/newest" { "GET" } else { "POST" };
        service.call(method, &format!("{path}{rest}"), b"{}", &viewer).refused(403, "owner alone");
    }
    let withdrawal = sign_withdrawal(&Withdrawal { project: id, upload: uploaded }, &viewer);
    let refused = service.call("DELETE", &format!("{path}/uploads/{uploaded}"), &withdrawal, &viewer);
    assert!((400..500).contains(&refused.status), "{}", refused.json());
    // Revoked, it is a stranger.
    let revoke = Action::Revoke { member: viewer.verifying() };
    assert_eq!(order(&service, &spec, 3, revoke, &owner).status, 204);
    service.call("GET", &path, &[], &viewer).refused(403, "not a member");
}

#[test]
fn a_status_brings_what_changed_since_the_last_one() {
    let owner = key(1);
    let service = Service::start(&format!("owners = [\"{}\"]", owner.verifying()), "");
    let (one, two, spec) = (key(2), key(3), service.create(&owner));
    let id = spec.id();
    for (member, number) in [(&one, 1), (&two, 2)] {
        let role = MemberRole::Contributor;
        assert_eq!(
            order(&service, &spec, number, invite(member, role, Quota::default()), &owner).status,
            204
        );
    }
    let (_, first, answer) = stored(&service, &spec, &one, 1);
    assert_eq!(answer.status, 200, "{}", answer.json());
    let (_, second, _) = stored(&service, &spec, &two, 2);
    let path = format!("/v1/projects/{id}");
    let after = |seen: &serde_json::Value, key: &_| {
        let query = format!("{path}?run={}&change={}&rounds={}", seen["run"], seen["change"], seen["rounds"]);
        service.call("GET", &query, &[], key).json()
    };
    let named = |status: &serde_json::Value| -> Vec<(String, u64)> {
        let uploads = status["uploads"].as_array().unwrap().iter();
        uploads.map(|u| (u["upload"].as_str().unwrap().to_owned(), u["place"].as_u64().unwrap())).collect()
    };
    let all = service.call("GET", &path, &[], &owner).json();
    assert_eq!(named(&all), [(first.to_string(), 0), (second.to_string(), 1)]);
    assert_eq!(all["more"], false);
    let seen = &all["seen"];
    assert_eq!(named(&after(seen, &owner)), []);
    let withdrawal = sign_withdrawal(&Withdrawal { project: id, upload: first }, &one);
    assert_eq!(service.call("DELETE", &format!("{path}/uploads/{first}"), &withdrawal, &one).status, 204);
    let changed = after(seen, &owner);
    assert_eq!(named(&changed), [(first.to_string(), 0)]);
    assert_eq!(changed["uploads"][0]["state"], "withdrawn");
    assert_eq!(named(&after(&changed["seen"], &owner)), []);
    // Each of its own alone, and all of it after another run of the refinery.
    assert_eq!(named(&after(seen, &one)), [(first.to_string(), 0)]);
    assert_eq!(named(&after(seen, &two)), []);
    let mut other = changed["seen"].clone();
    other["run"] = (other["run"].as_u64().unwrap() + 1).into();
    assert_eq!(named(&after(&other, &two)), [(second.to_string(), 1)]);
    assert_eq!(service.call("GET", &format!("{path}/rounds?from=3"), &[], &one).json(), json!([]));
    let page = service.call("GET", &format!("{path}/receipts?from=3&faults=1"), &[], &one);
    assert_eq!(from_cbor::<Ledger>(&page.body).unwrap(), Ledger::default());
    let refused = service.call("GET", &format!("{path}/receipts?round=3"), &[], &one);
    refused.refused(400, "?from=NUMBER&faults=NUMBER");
    for query in ["rounds=x", "rounds=+1", "round=1", "run=1&run=1", "run", "", "change=18446744073709551616"]
    {
        service
            .call("GET", &format!("{path}?{query}"), &[], &owner)
            .refused(400, "?run=NUMBER&change=NUMBER");
    }
}

#[test]
fn quotas_hold_and_revoked_members_are_strangers() {
    let owner = key(1);
    let mut service = Service::start(&format!("owners = [\"{}\"]", owner.verifying()), "");
    let (member, spec) = (key(2), service.create(&owner));
    let id = spec.id();
    let one = 2 * block_bytes(&spec) as u64;
    let quota = Quota { uploads: 1, bytes: one + one / 2, rows: 1000 };
    assert_eq!(
        order(&service, &spec, 1, invite(&member, MemberRole::Contributor, quota), &owner).status,
        204
    );
    order(&service, &spec, 1, Action::Forgive, &owner).refused(409, "is the next");
    let (_, _, first) = stored(&service, &spec, &member, 1);
    assert_eq!(first.status, 200, "{}", first.json());
    // Bytes are counted as they come, uploads when they end.
    let path = service.begin(&id, &member);
    let (bytes, header) = upload(&spec, 2, &member, 2);
    let too_many = service.call("PATCH", &format!("{path}?offset=0"), &bytes, &member);
    too_many.refused(413, "are left to you");
    assert_eq!(service.offset(&path, &member), 0);
    let quota = Quota { uploads: 1, ..Quota::default() };
    assert_eq!(
        order(&service, &spec, 2, invite(&member, MemberRole::Contributor, quota), &owner).status,
        204
    );
    service.append(&path, &bytes, 0, &member);
    service.commit(&path, &header, &member).refused(413, "2 uploads, and the owner allows 1");
    assert_eq!(service.uploads(&id, &owner).len(), 1);
    let revoke = Action::Revoke { member: member.verifying() };
    assert_eq!(order(&service, &spec, 3, revoke, &owner).status, 204);
    service.call("GET", &path, &[], &member).refused(403, "not a member");
    // Orders outlive the process.
    service.crash();
    service.commit(&path, &header, &member).refused(403, "not a member");
    assert_eq!(service.uploads(&id, &owner).len(), 1);
}
