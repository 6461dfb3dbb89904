//! Uploads: resumed, refused when altered, stored once.

use blindsmith_identity::SigningKey;
use blindsmith_protocol::{Id, Role, UploadHeader};

use super::service::{Ask, Service, upload};

fn owner() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

#[test]
fn an_upload_goes_on_after_a_crash_and_is_stored_once() {
    let (mut service, owner) = (Service::start("", ""), owner());
    let spec = service.create(&owner);
    let (bytes, header) = upload(&spec, 40, &owner, 1);
    let path = service.begin(&spec.id(), &owner);
    let half = bytes.len() / 2 + 13;
    service.append(&path, &bytes[..half], 0, &owner);
    service.crash();
    assert_eq!(service.offset(&path, &owner), half, "what was acknowledged outlives the process");
    let at = |offset: usize| format!("{path}?offset={offset}");
    let elsewhere = service.call("PATCH", &at(half + 1), &bytes[half + 1..half + 2], &owner);
    elsewhere.refused(409, "here for good");
    assert_eq!(elsewhere.json()["offset"], half);
    service.append(&path, &bytes, half, &owner);
    let first = service.commit(&path, &header, &owner);
    assert_eq!((first.status, &first.json()["new"]), (200, &true.into()), "{}", first.json());
    assert_eq!(first.json()["upload"], header.id().to_string());
    // Who did not hear of it asks again, and who sends all of it again is told so.
    let again = service.commit(&path, &header, &owner);
    assert_eq!((again.status, &again.json()["new"]), (200, &false.into()));
    let other = service.begin(&spec.id(), &owner);
    service.append(&other, &bytes, 0, &owner);
    assert_eq!(service.commit(&other, &header, &owner).json()["new"], false);
    service.crash();
    assert_eq!(service.uploads(&spec.id(), &owner).len(), 1);
}

#[test]
fn what_was_altered_or_cut_off_is_not_stored() {
    let (service, owner) = (Service::start("", ""), owner());
    let spec = service.create(&owner);
    let (bytes, header) = upload(&spec, 2, &owner, 1);
    let path = service.begin(&spec.id(), &owner);
    // On the way: the chunk is not the one that was signed.
    let mut altered = bytes.clone();
    altered[100] ^= 1;
    let target = format!("{path}?offset=0");
    let chunk = Ask { signed_body: Some(&bytes), ..Ask::new("PATCH", &target, &altered, &owner) };
    service.send(&chunk).refused(400, "not the one that was signed");
    assert_eq!(service.offset(&path, &owner), 0);
    // Cut off: it can go on.
    service.append(&path, &bytes[..bytes.len() - 1], 0, &owner);
    let cut = service.commit(&path, &header, &owner);
    cut.refused(409, "truncated");
    assert_eq!(cut.json()["offset"], bytes.len() - 1);
    service.append(&path, &bytes, bytes.len() - 1, &owner);
    // By its sender: the digest in the header is another.
    let other = UploadHeader { root: Id([8; 32]), ..header.clone() };
    service.commit(&path, &other, &owner).refused(422, "digest");
    let residues = service.begin(&spec.id(), &owner);
    service.append(&residues, &vec![0xff; bytes.len()], 0, &owner);
    service.commit(&residues, &header, &owner).refused(422, "modulus");
    let query = UploadHeader { role: Role::Query, ..header.clone() };
    service.commit(&path, &query, &owner).refused(422, "asked, not stored");
    let foreign = UploadHeader { contributor: Id([3; 32]), ..header.clone() };
    service.commit(&path, &foreign, &owner).refused(403, "another contributor");
    assert_eq!(service.uploads(&spec.id(), &owner).len(), 0, "nothing was stored");
    assert_eq!(service.commit(&path, &header, &owner).status, 200, "the right header still can");
}
