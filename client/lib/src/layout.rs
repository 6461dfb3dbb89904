//! The names of the files in a project's directory.

/// Everything but the keys: what contributors and queriers need too.
pub const PROJECT_FILE: &str = "project.json";
/// The owner's key.
pub const KEY_FILE: &str = "owner.key";
/// A member's key.
pub const MEMBER_FILE: &str = "member.key";
/// What a member accepts for its rows.
pub const TERMS_FILE: &str = "terms.toml";
/// By what receipts are verified.
pub const POLICY_FILE: &str = "policy.toml";
/// The evidence of the warden that was given the secrets.
pub const EVIDENCE_FILE: &str = "evidence.cbor";
/// By what wardens are appraised.
pub const ATTESTATION_FILE: &str = "attestation.toml";
/// The directory of what verifies evidence of hardware.
pub const COLLATERAL: &str = "collateral";

/// The digest of the terms under which the warden last took a member's seed.
pub const ENROLLED_FILE: &str = "enrolled";

/// All files that are written while a project's directory is made, but for the policy of attestation.
pub(crate) const MADE: [&str; 6] =
    [PROJECT_FILE, KEY_FILE, MEMBER_FILE, POLICY_FILE, EVIDENCE_FILE, TERMS_FILE];
