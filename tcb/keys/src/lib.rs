//! Secrets: their derivation, encryption under them, opening with them, and sealing to others.
//!
//! Everything that holds a secret lives in this crate, and the refinery must not reach it. Secrets have no
//! `Debug`, no `Clone` and no serialisation; they are wiped when dropped.

mod admit;
mod check;
mod encrypt;
mod hedge;
mod key;
mod meter;
mod open;
mod release;
mod seal;
mod sum;
mod upload;

pub use admit::{Admission, Block as AdmittedBlock, Reading};
pub use check::{Check, Checked, Malformed, Received, Wrong};
pub use encrypt::{Along, EncryptedStrip, Encryption, Scratch, Secret, Share, Taken};
pub use hedge::{Context, Freshness};
pub use key::{Key, random_bytes};
pub use meter::{check_nanos, metered};
pub use open::{Opener, OutOfRange};
pub use release::{Confirmation, Recipient, RecipientKey, ReleaseError, SealedTo, Suite};
pub use seal::{SealError, Sealed};
pub use sum::{Scalars, combine, contract};
pub use upload::{UploadContext, UploadKey};
