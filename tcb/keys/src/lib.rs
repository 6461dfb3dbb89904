//! Secrets: their derivation, encryption under them, opening with them, and sealing to others.
//!
//! Everything that holds a secret lives in this crate, and the refinery must not reach it. Secrets have no
//! `Debug`, no `Clone` and no serialisation; they are wiped when dropped.

mod encrypt;
mod hedge;
mod key;
mod open;
mod release;
mod seal;
mod upload;

pub use encrypt::{EncryptedStrip, Encryption, Scratch, Secret, Share};
pub use hedge::{Context, Freshness};
pub use key::{Key, random_bytes};
pub use open::{Checked, Extras, Malformed, Opener, OutOfRange};
pub use release::{Recipient, RecipientKey, ReleaseError, SealedTo};
pub use seal::{SealError, Sealed};
pub use upload::{UploadContext, UploadKey};
