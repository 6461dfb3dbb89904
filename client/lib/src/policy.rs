//! What a directory verifies receipts by: `policy.toml`, and the evidence of the warden that was given the secrets.

use std::fs;
use std::path::Path;

use blindsmith_attest::chain::{Measured, OwnerPolicy, Trust};
use blindsmith_evidence::Tee;
use blindsmith_protocol::from_cbor;

use crate::failure::Failure;
use crate::files::{locked, write_file};
use crate::layout::{EVIDENCE_FILE, POLICY_FILE};
use crate::unfinished;

/// Whether a directory has what receipts are verified by.
pub fn has_policy(dir: &Path) -> bool {
    dir.join(POLICY_FILE).exists()
}

/// Reads the policy of a project's directory.
pub fn load_policy(dir: &Path) -> Result<OwnerPolicy, Failure> {
    let path = dir.join(POLICY_FILE);
    let text = fs::read_to_string(&path).map_err(|e| Failure::project(&path, e))?;
    OwnerPolicy::parse(&text).map_err(|e| Failure::project(&path, e))
}

/// Changes the policy of a directory, while no other command does: what one of them remembers is not forgotten by another.
pub fn change_policy<T>(
    dir: &Path,
    change: impl FnOnce(&mut OwnerPolicy) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let _alone = locked(&dir.join("policy.lock"))?;
    let mut policy = load_policy(dir)?;
    let before = policy.clone();
    let changed = change(&mut policy)?;
    if policy != before { save_policy(&policy, dir).map(|()| changed) } else { Ok(changed) }
}

/// Writes it.
pub fn save_policy(policy: &OwnerPolicy, dir: &Path) -> Result<(), Failure> {
    write_file(&dir.join(POLICY_FILE), policy.to_toml().as_bytes())
}

/// Adds wardens to those of a policy. Simulated ones have no measurement in receipts.
pub fn list(known: &mut Vec<Measured>, wardens: impl IntoIterator<Item = Measured>) {
    for warden in wardens {
        if warden.tee != Tee::Simulated && !known.contains(&warden) {
            known.push(warden);
        }
    }
}

/// Reads what leads from the warden that was given the secrets to the key of the receipts.
pub fn load_trust(dir: &Path) -> Result<Trust, Failure> {
    unfinished::refuse(dir)?;
    let path = dir.join(EVIDENCE_FILE);
    let bytes = fs::read(&path).map_err(|e| Failure::project(&path, e))?;
    from_cbor(&bytes).map_err(|e| Failure::project(&path, e))
}
