//! Frames: magic, version, lengths, a CBOR head, and a body of raw bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `BLSM` |
//! | 2 | protocol version, little-endian |
//! | 2 | zero |
//! | 4 | length of the head, little-endian |
//! | 4 | length of the body, little-endian |
//!
//! The head is read whole; the body is read by the receiver, who knows from the head what it is.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::{MAX_BODY, MAX_HEAD, from_cbor, to_cbor};

/// The version that this build speaks.
pub const PROTOCOL_VERSION: u16 = 4;
/// The first bytes of every frame.
pub const MAGIC: [u8; 4] = *b"BLSM";
/// Length of the fixed part of a frame.
pub const HEADER_BYTES: usize = 16;

/// A frame that cannot be read or written.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The peer closed between frames.
    #[error("the peer closed the connection")]
    Closed,
    /// The connection failed, or ended inside a frame.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The bytes are no frame of this protocol.
    #[error("the peer does not speak this protocol (its first bytes were {0:02x?})")]
    NotOurs([u8; 4]),
    /// Another version.
    #[error(
        "the peer speaks protocol version {theirs}, this program speaks {PROTOCOL_VERSION}: upgrade the older"
    )]
    Version {
        /// The peer's version.
        theirs: u16,
    },
    /// Above a limit.
    #[error("a frame of {bytes} bytes is above the limit of {limit}")]
    TooLarge {
        /// What was announced.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The head is not the message expected.
    #[error("a malformed message: {0}")]
    Malformed(String),
    /// A message that has no place here.
    #[error("an unexpected message: {0}")]
    Unexpected(&'static str),
}

/// Writes one frame; the body may come in parts.
pub fn write_frame(w: &mut impl Write, head: &impl Serialize, body: &[&[u8]]) -> Result<(), FrameError> {
    let head = to_cbor(head);
    let body_len = body.iter().map(|b| b.len()).sum::<usize>();
    check(head.len(), MAX_HEAD)?;
    check(body_len, MAX_BODY)?;
    let mut start = Vec::with_capacity(HEADER_BYTES + head.len());
    start.extend_from_slice(&MAGIC);
    start.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
    start.extend_from_slice(&[0; 2]);
    start.extend_from_slice(&(head.len() as u32).to_le_bytes());
    start.extend_from_slice(&(body_len as u32).to_le_bytes());
    start.extend_from_slice(&head);
    w.write_all(&start)?;
    for part in body {
        w.write_all(part)?;
    }
    w.flush()?;
    Ok(())
}

/// Reads the fixed part and the head of a frame; returns the head and the length of the body, which the
/// caller must read next.
pub fn read_head<T: DeserializeOwned>(r: &mut impl Read) -> Result<(T, usize), FrameError> {
    let mut fixed = [0; HEADER_BYTES];
    let mut have = 0;
    while have < HEADER_BYTES {
        match r.read(&mut fixed[have..]) {
            Ok(0) if have == 0 => return Err(FrameError::Closed),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(count) => have += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    let [a, b, c, d, v0, v1, z0, z1, lengths @ ..] = fixed;
    if [a, b, c, d] != MAGIC {
        return Err(FrameError::NotOurs([a, b, c, d]));
    }
    let theirs = u16::from_le_bytes([v0, v1]);
    if theirs != PROTOCOL_VERSION {
        return Err(FrameError::Version { theirs });
    }
    if [z0, z1] != [0, 0] {
        return Err(FrameError::Malformed("reserved bytes are not zero".into()));
    }
    let [h0, h1, h2, h3, b0, b1, b2, b3] = lengths;
    let head_len = u32::from_le_bytes([h0, h1, h2, h3]) as usize;
    let body_len = u32::from_le_bytes([b0, b1, b2, b3]) as usize;
    check(head_len, MAX_HEAD)?;
    check(body_len, MAX_BODY)?;
    let mut head = vec![0; head_len];
    r.read_exact(&mut head)?;
    Ok((from_cbor(&head)?, body_len))
}

/// Reads a body of `len` bytes that must not exceed `limit`. Memory grows with what arrives, not with what
/// was announced.
pub fn read_body(r: &mut impl Read, len: usize, limit: usize) -> Result<Vec<u8>, FrameError> {
    check(len, limit)?;
    let mut body = Vec::new();
    r.take(len as u64).read_to_end(&mut body)?;
    if body.len() < len {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(body)
}

fn check(bytes: usize, limit: usize) -> Result<(), FrameError> {
    if bytes > limit { Err(FrameError::TooLarge { bytes, limit }) } else { Ok(()) }
}
