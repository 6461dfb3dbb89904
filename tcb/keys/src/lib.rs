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
mod secret;
mod sum;
mod upload;

pub use admit::{ADMISSION_TESTS, Admission, AdmittedBlock, RowTests, UploadScalars};
pub use check::{Check, Checked, Malformed, Received, Wrong, contract};
pub use encrypt::{Contraction, Encryption, ProjectionScalars, Projections, Share, Stripe, expand};
pub use hedge::{Context, Freshness, ProductKind};
pub use key::{Key, random_bytes};
pub use meter::{check_nanos, metered};
pub use open::{MaskTerms, Opener, OutOfRange, RowStrip, SecretRef};
pub use release::{Confirmation, Recipient, RecipientKey, ReleaseError, SealedTo, Suite};
pub use seal::{SealError, Sealed};
pub use secret::Secrets;
pub use sum::{Projection, Scalars};
pub use upload::{UploadContext, UploadKey, column_secrets};
