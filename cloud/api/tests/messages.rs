//! Every message between client and refinery survives its way, means what was sent, and is nothing else.

use blindsmith_api::message::{Ledger, ProjectStatus, Reply, Request, Seen, UploadState, UploadSummary};
use blindsmith_matrix::{Encoding, MaskSeed, Scale, Security};
use blindsmith_protocol::{
    Blob, Evidence, FrameError, Id, Layer, Offload, Progress, ProjectSpec, Role, RoundSummary, ToWarden,
    Trigger, UploadHeader, from_cbor, read_head, to_cbor, write_frame,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn ids() -> impl Strategy<Value = Id> {
    any::<[u8; 32]>().prop_map(Id)
}

fn role() -> impl Strategy<Value = Role> {
    prop::sample::select(vec![Role::Training, Role::Validation, Role::Query])
}

fn blob() -> impl Strategy<Value = Blob> {
    vec(any::<u8>(), 0..40).prop_map(Blob)
}

fn text() -> impl Strategy<Value = String> {
    ".{0,40}"
}

fn specification() -> ProjectSpec {
    ProjectSpec {
        name: "example".into(),
        salt: [1; 32],
        owner: Id([2; 32]),
        security: Security::Bits128,
        layers: vec![Layer {
            inputs: 64,
            outputs: 10,
            offload: Some(Offload { forward: 8, gradient: 16, input: 1 }),
        }],
        feature_scale: Scale::from_log2(20),
        mask: MaskSeed([2; 32]),
        label_bytes: 8,
        block_rows: 32,
        row_form: Encoding::new(8, 32, 8).unwrap(),
        column_form: Encoding::new(16, 64, 2).unwrap(),
        batch_rows: 256,
        trigger: Trigger::AT_ONCE,
    }
}

fn header() -> impl Strategy<Value = UploadHeader> {
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

fn progress() -> impl Strategy<Value = Progress> {
    any::<[u64; 3]>().prop_map(|[round, step, steps]| Progress { round, step, steps })
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let parts = (blob(), blob(), blob());
    parts.prop_map(|(claims, report, auxiliary)| Evidence { claims, report, auxiliary })
}

fn summary() -> impl Strategy<Value = RoundSummary> {
    let parts = (any::<[u64; 3]>(), any::<u32>(), blob());
    parts.prop_map(|([round, rows, steps], uploads, metrics)| RoundSummary {
        round,
        rows,
        steps,
        uploads,
        metrics,
        ..RoundSummary::default()
    })
}

fn seen() -> impl Strategy<Value = Seen> {
    any::<(u64, u64, u64)>().prop_map(|(run, change, rounds)| Seen { run, change, rounds })
}

fn status() -> impl Strategy<Value = ProjectStatus> {
    let states = [UploadState::Stored, UploadState::Used, UploadState::Quarantined, UploadState::Withdrawn];
    let state = prop::sample::select(states.to_vec());
    let rounds = vec(any::<(u64, u64)>(), 0..3);
    let numbers = (any::<(u32, u32)>(), any::<u64>(), rounds);
    let upload = (ids(), ids(), role(), numbers, option::of(text()), state);
    let upload =
        upload.prop_map(|(upload, contributor, role, ((place, rows), bytes, used_in), reason, state)| {
            UploadSummary { upload, place, role, rows, bytes, contributor, state, reason, used_in }
        });
    let flags = (any::<bool>(), (any::<bool>(), any::<u32>()), option::of(text()), option::of(text()));
    (ids(), text(), flags, vec(upload, 0..4), vec(summary(), 0..3), (seen(), any::<bool>())).prop_map(
        |(project, name, (ready, (busy, queued), warden, failure), uploads, rounds, (seen, more))| {
            ProjectStatus { project, name, ready, warden, busy, queued, failure, uploads, rounds, seen, more }
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        Just(Request::Create { spec: specification() }),
        (ids(), blob()).prop_map(|(asker, request)| Request::Attest { asker, request }),
        ids().prop_map(|project| Request::Release { project }),
        ids().prop_map(|project| Request::Spec { project }),
        (ids(), role(), any::<u32>()).prop_map(|(project, role, rows)| Request::Push { project, role, rows }),
        any::<u32>().prop_map(|first| Request::Blocks { first }),
        header().prop_map(|header| Request::Commit { header }),
        header().prop_map(|header| Request::Ask { header }),
        (ids(), option::of(any::<u32>())).prop_map(|(project, epochs)| Request::Refine { project, epochs }),
        ids().prop_map(|project| Request::Watch { project }),
        (ids(), seen()).prop_map(|(project, seen)| Request::Status { project, seen }),
        (ids(), option::of(any::<u64>())).prop_map(|(project, version)| Request::Pull { project, version }),
        (ids(), any::<u64>(), any::<u64>()).prop_map(|(project, from, faults)| Request::Receipts {
            project,
            from,
            faults
        }),
        (ids(), blob()).prop_map(|(project, order)| Request::Order { project, order }),
        (ids(), ids(), blob()).prop_map(|(project, contributor, enrolment)| Request::Enrol {
            project,
            contributor,
            enrolment
        }),
        (ids(), ids(), blob()).prop_map(|(project, contributor, withdrawal)| Request::Withdraw {
            project,
            contributor,
            withdrawal
        }),
        ids().prop_map(|project| Request::Orders { project }),
        proptest::option::of(ids()).prop_map(|key| Request::Projects { key }),
        Just(Request::Ping),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        Just(Reply::Done),
        Just(Reply::Spec(specification())),
        evidence().prop_map(Reply::Evidence),
        blob().prop_map(|confirmation| Reply::Confirmed { confirmation }),
        (ids(), any::<bool>()).prop_map(|(upload, new)| Reply::Accepted { upload, new }),
        progress().prop_map(Reply::Progress),
        any::<u64>().prop_map(|version| Reply::Model { version }),
        Just(Reply::Answer),
        Just(Reply::Receipts),
        Just(Reply::StatusFollows),
        vec(blob(), 0..3).prop_map(Reply::Orders),
        text().prop_map(|message| Reply::Failed { message }),
    ]
}

fn frame(message: &impl Serialize, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, message, &[body]).unwrap();
    bytes
}

/// Through a frame and back.
fn returned<T: Serialize + DeserializeOwned>(message: &T, body: &[u8]) -> (T, usize) {
    read_head(&mut frame(message, body).as_slice()).unwrap()
}

/// What client and refinery may have to read from each other.
fn decode_as_everything(bytes: &[u8]) {
    _ = read_head::<Request>(&mut &*bytes);
    _ = read_head::<Reply>(&mut &*bytes);
    _ = from_cbor::<ProjectStatus>(bytes);
    _ = from_cbor::<Ledger>(bytes);
}

proptest! {
    #[test]
    fn requests_survive(message in request(), body in vec(any::<u8>(), 0..9)) {
        prop_assert_eq!(returned(&message, &body), (message, body.len()));
    }

    #[test]
    fn replies_survive(message in reply(), body in vec(any::<u8>(), 0..9)) {
        prop_assert_eq!(returned(&message, &body), (message, body.len()));
    }

    #[test]
    fn a_status_survives(status in status()) {
        prop_assert_eq!(from_cbor::<ProjectStatus>(&to_cbor(&status)).unwrap(), status);
    }

    #[test]
    fn a_ledger_survives(receipts in vec(blob(), 0..4), faults in vec(blob(), 0..4), more: bool) {
        let ledger = Ledger { receipts, faults, more };
        prop_assert_eq!(from_cbor::<Ledger>(&to_cbor(&ledger)).unwrap(), ledger);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..256)) {
        decode_as_everything(&bytes);
    }

    #[test]
    fn altered_messages_never_panic(
        (request, reply, status) in (request(), reply(), status()),
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        for mut bytes in [frame(&request, b""), frame(&reply, b""), to_cbor(&status)] {
            let at = at.index(bytes.len());
            bytes[at] = to;
            decode_as_everything(&bytes);
        }
    }
}

#[test]
fn a_request_is_no_reply() {
    let bytes = frame(&Request::Spec { project: Id([3; 32]) }, b"");
    assert!(read_head::<ToWarden>(&mut bytes.as_slice()).is_err());
    assert!(read_head::<Reply>(&mut bytes.as_slice()).is_err());
}

#[test]
fn a_truncated_request_is_an_error() {
    let bytes = to_cbor(&Request::Pull { project: Id([1; 32]), version: Some(7) });
    for len in 0..bytes.len() {
        assert!(
            matches!(from_cbor::<Request>(&bytes[..len]), Err(FrameError::Malformed(_))),
            "cut to {len} bytes"
        );
    }
}

#[test]
fn lengths_within_a_request_reserve_no_memory() {
    // {"Order": {"order": 2^60 bytes}}, of which none follows.
    let order =
        [&[0xa1, 0x65], b"Order".as_slice(), &[0xa1, 0x65], b"order", &[0x5b], &(1u64 << 60).to_be_bytes()];
    assert!(matches!(from_cbor::<Request>(&order.concat()), Err(FrameError::Malformed(_))));
}
