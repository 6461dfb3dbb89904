//! Limits of bodies that clients and refineries both know.

/// Largest chunk of an upload or query, in bytes, that any refinery takes.
pub const MAX_CHUNK: usize = 8 << 20;
/// Longest sealed release, in bytes.
pub const MAX_RELEASE: usize = 1 << 20;
/// Longest header of an upload or query with its sealed seed, in bytes of CBOR.
pub const MAX_HEADER: usize = 128 << 10;
/// Longest other body, in bytes.
pub const MAX_SMALL: usize = 4 << 10;
