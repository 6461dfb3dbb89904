//! Media types and headers of the HTTP service.

/// The media type of structures that are CBOR.
pub const CBOR: &str = "application/cbor";
/// The media type of what somebody signed.
pub const COSE: &str = "application/cose";
/// The media type of sealed bytes.
pub const BYTES: &str = "application/octet-stream";
/// The header of an answer that names a model's version.
pub const VERSION_HEADER: &str = "blindsmith-version";
