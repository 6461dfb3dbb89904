//! The frame: known bytes, every way in which it can be wrong, and random bytes.

use std::io::{self, Cursor, Read};

use blindsmith_protocol::{
    FrameError, FromWarden, HEADER_BYTES, MAGIC, MAX_BODY, MAX_HEAD, PROTOCOL_VERSION, ToWarden, from_cbor,
    read_body, read_head, to_cbor, write_frame,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// A frame's bytes.
pub fn frame(head: &impl serde::Serialize, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, head, &[body]).unwrap();
    bytes
}

fn head_of(bytes: &[u8]) -> Result<(ToWarden, usize), FrameError> {
    read_head(&mut Cursor::new(bytes))
}

/// What refinery and warden may have to read from anybody.
fn decode_as_everything(bytes: &[u8]) {
    _ = read_head::<ToWarden>(&mut Cursor::new(bytes));
    _ = read_head::<FromWarden>(&mut Cursor::new(bytes));
    _ = from_cbor::<ToWarden>(bytes);
    _ = from_cbor::<FromWarden>(bytes);
}

#[test]
fn a_frame_has_these_bytes() {
    let expected = [
        b"BLSM".as_slice(),
        &[4, 0, 0, 0],
        &[7, 0, 0, 0],
        &[3, 0, 0, 0],
        // CBOR: a text of six bytes.
        &[0x66],
        b"Labels",
        b"xyz",
    ];
    assert_eq!(frame(&ToWarden::Labels, b"xyz"), expected.concat());
    let (command, body) = head_of(&expected.concat()).unwrap();
    assert_eq!((command, body), (ToWarden::Labels, 3));
}

#[test]
fn parts_of_a_body_are_sent_one_after_the_other() {
    let mut parts = Vec::new();
    write_frame(&mut parts, &ToWarden::Labels, &[b"ab", b"", b"c"]).unwrap();
    assert_eq!(parts, frame(&ToWarden::Labels, b"abc"));
}

#[test]
fn another_magic_is_named() {
    let mut bytes = frame(&ToWarden::Labels, b"");
    bytes[..4].copy_from_slice(b"HTTP");
    let error = head_of(&bytes).unwrap_err();
    assert!(matches!(error, FrameError::NotOurs(magic) if &magic == b"HTTP"));
    assert!(error.to_string().contains("does not speak this protocol"), "{error}");
}

#[test]
fn another_version_is_named_with_ours() {
    let mut bytes = frame(&ToWarden::Labels, b"");
    bytes[4..6].copy_from_slice(&(PROTOCOL_VERSION + 1).to_le_bytes());
    let error = head_of(&bytes).unwrap_err();
    assert!(matches!(error, FrameError::Version { theirs } if theirs == PROTOCOL_VERSION + 1));
    assert_eq!(
        error.to_string(),
        "the peer speaks protocol version 5, this program speaks 4: upgrade the older"
    );
}

#[test]
fn reserved_bytes_must_be_zero() {
    for at in [6, 7] {
        let mut bytes = frame(&ToWarden::Labels, b"");
        bytes[at] = 1;
        assert!(matches!(head_of(&bytes), Err(FrameError::Malformed(_))));
    }
}

#[test]
fn a_frame_truncated_anywhere_is_an_error() {
    let bytes = frame(&ToWarden::Stored { project: super::uploads::id(1), round: 7 }, b"");
    assert!(matches!(head_of(&[]), Err(FrameError::Closed)));
    for len in 1..bytes.len() {
        match head_of(&bytes[..len]) {
            Err(FrameError::Io(e)) => assert_eq!(e.kind(), io::ErrorKind::UnexpectedEof, "at {len}"),
            other => panic!("truncated to {len} bytes: {other:?}"),
        }
    }
}

#[test]
fn a_body_truncated_anywhere_is_an_error() {
    for have in 0..10 {
        let error = read_body(&mut Cursor::new(vec![0; have]), 10, 100).unwrap_err();
        assert!(matches!(error, FrameError::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof));
    }
    assert_eq!(read_body(&mut Cursor::new(vec![7; 12]), 10, 10).unwrap(), [7; 10]);
}

/// A peer that announces much and sends nothing more: whoever reads beyond the fixed part fails the test.
struct OnlyTheFixedPart(Cursor<Vec<u8>>);

impl Read for OnlyTheFixedPart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!((self.0.position() as usize) < HEADER_BYTES, "read on after lengths that are refused");
        self.0.read(buffer)
    }
}

#[test]
fn oversize_lengths_are_refused_before_anything_is_read_or_reserved() {
    let fixed = |head: u32, body: u32| {
        let lengths = [head.to_le_bytes(), body.to_le_bytes()].concat();
        [MAGIC.as_slice(), &PROTOCOL_VERSION.to_le_bytes(), &[0, 0], &lengths].concat()
    };
    for (head, body, limit) in [
        (MAX_HEAD as u32 + 1, 0, MAX_HEAD),
        (u32::MAX, 0, MAX_HEAD),
        (5, MAX_BODY as u32 + 1, MAX_BODY),
        (5, u32::MAX, MAX_BODY),
    ] {
        let error = read_head::<ToWarden>(&mut OnlyTheFixedPart(Cursor::new(fixed(head, body)))).unwrap_err();
        let bytes = head.max(body) as usize;
        assert!(matches!(error, FrameError::TooLarge { bytes: b, limit: l } if b == bytes && l == limit));
    }
    let error = read_body(&mut io::empty(), 11, 10).unwrap_err();
    assert!(matches!(error, FrameError::TooLarge { bytes: 11, limit: 10 }));
}

/// Serialises to more bytes than a head may have.
#[test]
fn what_is_too_large_is_not_sent() {
    let head = "x".repeat(MAX_HEAD + 1);
    let mut sent = Vec::new();
    assert!(matches!(write_frame(&mut sent, &head, &[]), Err(FrameError::TooLarge { .. })));
    assert!(sent.is_empty());
}

#[test]
fn bytes_after_a_message_are_refused() {
    let mut bytes = to_cbor(&ToWarden::Labels);
    assert_eq!(from_cbor::<ToWarden>(&bytes).unwrap(), ToWarden::Labels);
    bytes.push(0);
    assert!(matches!(from_cbor::<ToWarden>(&bytes), Err(FrameError::Malformed(_))));
}

#[test]
fn nesting_is_limited() {
    // A hundred arrays of one item, one within the other.
    let nested = [vec![0x81; 100], vec![0]].concat();
    assert!(matches!(from_cbor::<ToWarden>(&nested), Err(FrameError::Malformed(_))));
}

#[test]
fn lengths_within_a_message_reserve_no_memory() {
    // {"Do": {"Free": {"operands": [2^60 items]}}}, of which none follows.
    let mut bytes = vec![0xa1, 0x62];
    bytes.extend(b"Do");
    bytes.extend([0xa1, 0x64]);
    bytes.extend(b"Free");
    bytes.extend([0xa1, 0x68]);
    bytes.extend(b"operands");
    bytes.push(0x9b);
    bytes.extend((1u64 << 60).to_be_bytes());
    assert!(matches!(from_cbor::<FromWarden>(&bytes), Err(FrameError::Malformed(_))));
    // {"Attest": {"request": 2^60 bytes}}.
    let mut bytes = vec![0xa1, 0x66];
    bytes.extend(b"Attest");
    bytes.extend([0xa1, 0x67]);
    bytes.extend(b"request");
    bytes.push(0x5b);
    bytes.extend((1u64 << 60).to_be_bytes());
    assert!(matches!(from_cbor::<ToWarden>(&bytes), Err(FrameError::Malformed(_))));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..256)) {
        decode_as_everything(&bytes);
    }

    #[test]
    fn random_heads_in_good_frames_never_panic(head in vec(any::<u8>(), 0..256)) {
        let lengths = [(head.len() as u32).to_le_bytes(), [0; 4]].concat();
        let version = PROTOCOL_VERSION.to_le_bytes();
        let bytes = [MAGIC.as_slice(), &version, &[0, 0], &lengths, &head].concat();
        decode_as_everything(&bytes);
    }

    #[test]
    fn altered_messages_never_panic(
        message in super::messages::from_warden(),
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        let mut bytes = frame(&message, b"");
        let at = at.index(bytes.len());
        bytes[at] = to;
        decode_as_everything(&bytes);
        decode_as_everything(&bytes[HEADER_BYTES..]);
    }
}
