//! Upload headers and digests: what is authenticated, and what does not fit.

use blindsmith_protocol::{
    Id, MAX_ERAS, MAX_ROWS, Role, UploadError, UploadHeader, block_digest, from_cbor, root_digest, to_cbor,
};
use proptest::prelude::*;

use super::specifications;

pub fn id(byte: u8) -> Id {
    Id([byte; 32])
}

pub fn ids() -> impl Strategy<Value = Id> {
    any::<[u8; 32]>().prop_map(Id)
}

pub fn role() -> impl Strategy<Value = Role> {
    prop::sample::select(vec![Role::Training, Role::Validation, Role::Query])
}

pub fn header() -> impl Strategy<Value = UploadHeader> {
    (ids(), ids(), role(), any::<[[u8; 32]; 3]>(), any::<[u32; 2]>(), ids()).prop_map(
        |(project, contributor, role, [nonce, tag, terms], [era, rows], root)| UploadHeader {
            project,
            contributor,
            terms,
            role,
            nonce,
            era,
            rows,
            root,
            tag,
        },
    )
}

pub fn example() -> UploadHeader {
    UploadHeader {
        project: specifications::example().id(),
        contributor: id(2),
        terms: [6; 32],
        role: Role::Training,
        nonce: [3; 32],
        era: 1,
        rows: 100,
        root: id(4),
        tag: [5; 32],
    }
}

fn changes() -> [UploadHeader; 8] {
    let e = example;
    [
        UploadHeader { project: id(9), ..e() },
        UploadHeader { contributor: id(9), ..e() },
        UploadHeader { terms: [9; 32], ..e() },
        UploadHeader { role: Role::Validation, ..e() },
        UploadHeader { nonce: [9; 32], ..e() },
        UploadHeader { era: 2, ..e() },
        UploadHeader { rows: 99, ..e() },
        UploadHeader { root: id(9), ..e() },
    ]
}

#[test]
fn the_tag_authenticates_everything_but_itself() {
    let other_tag = UploadHeader { tag: [9; 32], ..example() };
    assert_eq!(example().authenticated(), other_tag.authenticated());
    for changed in changes() {
        assert_ne!(changed.authenticated(), example().authenticated());
    }
}

#[test]
fn the_identifier_depends_on_everything() {
    let mut all: Vec<Id> = changes().iter().map(UploadHeader::id).collect();
    all.extend([example().id(), UploadHeader { tag: [9; 32], ..example() }.id()]);
    let distinct: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
}

#[test]
fn the_last_block_has_the_rows_that_are_left() {
    let spec = specifications::example();
    for (rows, blocks, last) in [(1, 1, 1), (32, 1, 32), (33, 2, 1), (100, 4, 4)] {
        for role in [Role::Training, Role::Validation, Role::Query] {
            let header = UploadHeader { rows, role, ..example() };
            assert_eq!(header.blocks(&spec), blocks);
            let each: Vec<u32> = (0..blocks).map(|i| header.rows_of_block(&spec, i)).collect();
            assert_eq!((each.iter().sum::<u32>(), each.last()), (rows, Some(&last)));
            assert!(each[..each.len() - 1].iter().all(|&rows| rows == 32));
            // Blocks follow each other without a gap.
            let mut end = 0;
            for (i, &rows) in each.iter().enumerate() {
                assert_eq!(header.block_offset(&spec, i as u32), end);
                end += spec.block_bytes(role, rows) as u64;
            }
            assert_eq!(header.body_bytes(&spec), end);
            assert_eq!(header.rows_of_block(&spec, blocks), 0);
            assert_eq!(header.rows_of_block(&spec, u32::MAX), 0);
        }
    }
}

#[test]
fn other_projects_and_impossible_numbers_are_refused() {
    let project = specifications::example().id();
    assert_eq!(example().validate(&project), Ok(()));
    assert_eq!(example().validate(&id(1)), Err(UploadError::OtherProject));
    for rows in [0, MAX_ROWS + 1, u32::MAX] {
        assert_eq!(UploadHeader { rows, ..example() }.validate(&project), Err(UploadError::Rows(rows)));
    }
    for era in [MAX_ERAS, u32::MAX] {
        assert_eq!(UploadHeader { era, ..example() }.validate(&project), Err(UploadError::Era(era)));
    }
    // Before it is validated, nothing that it says may overflow.
    let spec = specifications::example();
    for rows in [0, u32::MAX] {
        let header = UploadHeader { rows, ..example() };
        assert_eq!(header.body_bytes(&spec) == 0, rows == 0);
    }
}

#[test]
fn digests_bind_content_place_and_order() {
    let (a, b) = (block_digest(0, b"a"), block_digest(1, b"b"));
    assert_ne!(a, block_digest(1, b"a"));
    assert_ne!(a, block_digest(0, b"b"));
    assert_ne!(root_digest([&a, &b]), root_digest([&b, &a]));
    assert_ne!(root_digest([&a, &b]), root_digest([&a]));
    assert_ne!(root_digest([&a]), a);
}

proptest! {
    #[test]
    fn headers_survive(header in header()) {
        prop_assert_eq!(from_cbor::<UploadHeader>(&to_cbor(&header)).unwrap(), header);
    }
}
