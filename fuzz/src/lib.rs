//! What the targets share: a project as an owner makes it, and ways past a signature, so that what is behind it is
//! fuzzed too.

use std::path::Path;

use blindsmith_attest::chain::Trust;
use blindsmith_evidence::{Claims, Tee};
use blindsmith_formats::{Release, label_bytes};
use blindsmith_identity::{AttestRequest, Confirmed, Kind, Purpose, SigningKey, sign, sign_confirmed};
use blindsmith_keys::{Key, Suite};
use blindsmith_learn::{Loss, Network, Recipe};
use blindsmith_matrix::{Encoding, MaskSeed, Scale, Security};
use blindsmith_protocol::{
    Blob, Evidence, Id, Layer, Offload, ProjectSpec, Role, Trigger, UploadHeader, from_cbor, to_cbor,
};
use blindsmith_receipts::Rules;
use blindsmith_warden::Identity;
use ciborium::Value;

/// The owner of [`spec`].
pub fn owner() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

/// A small training: six inputs, four hidden, three classes.
pub fn recipe() -> Recipe {
    let mut recipe = Recipe::new(&[6, 4, 3], Loss::SoftmaxCrossEntropy);
    (recipe.batch_rows, recipe.epochs) = (32, 1);
    recipe
}

/// Its project.
///
/// # Panics
/// Never: the sizes are possible ones.
pub fn spec() -> ProjectSpec {
    let layer = |inputs, outputs, (forward, gradient, input)| Layer {
        inputs,
        outputs,
        offload: Some(Offload { forward, gradient, input }),
    };
    let encoding = |n, m, r| Encoding::new(n, m, r).expect("a possible encoding");
    ProjectSpec {
        name: "for a test".into(),
        salt: [1; 32],
        owner: owner().verifying().into(),
        security: Security::Bits128,
        layers: vec![layer(6, 4, (8, 4, 1)), layer(4, 3, (2, 8, 4))],
        feature_scale: Scale::from_log2(20),
        mask: MaskSeed([2; 32]),
        label_bytes: label_bytes(&recipe()),
        block_rows: 8,
        row_form: encoding(8, 8, 32),
        column_form: encoding(4, 32, 16),
        batch_rows: 32,
        trigger: Trigger::AT_ONCE,
    }
}

/// A header of an upload to it.
pub fn header() -> UploadHeader {
    UploadHeader {
        project: spec().id(),
        contributor: Id([3; 32]),
        terms: [0; 32],
        role: Role::Training,
        nonce: [4; 32],
        era: 0,
        rows: 20,
        root: Id([6; 32]),
        tag: [5; 32],
    }
}

/// The secrets of its project, under keys that are known.
pub fn release() -> Release {
    Release {
        owner: Key::from_bytes([10; 32]),
        model: Key::from_bytes([12; 32]),
        rows: Key::from_bytes([13; 32]),
        rules: Rules::default(),
        recipe: recipe(),
    }
}

/// What a warden claims to who asked so.
pub fn claims(request: &AttestRequest, warden: &Identity) -> Claims {
    let suite = Suite::numbered(request.kem).unwrap_or_default();
    Claims {
        tee: warden.tee(),
        kem: request.kem,
        recipient: warden.key.recipient(suite).bytes().to_vec(),
        signing: warden.signing.verifying(),
        nonce: request.nonce,
        policy: request.policy,
        project: request.project,
        asker: owner().verifying(),
        build: "0.1.0".into(),
    }
}

/// The owner's request for evidence, to release secrets.
pub fn request() -> AttestRequest {
    let kem = Suite::X25519.number();
    AttestRequest { project: spec().id(), nonce: [1; 32], policy: [2; 32], kem, purpose: Purpose::Release }
}

/// Evidence of nobody, and what it would confirm.
pub fn trust() -> Trust {
    let claims = Claims {
        tee: Tee::Simulated,
        kem: Suite::X25519.number(),
        recipient: vec![1; 32],
        signing: owner().verifying(),
        nonce: [2; 32],
        policy: [3; 32],
        project: spec().id(),
        asker: owner().verifying(),
        build: "0.1.0".into(),
    };
    let (session, receipts) = (claims.session(), owner().verifying());
    let confirmed = Confirmed { project: spec().id(), session, receipts, confirmation: [4; 32] };
    let evidence = Evidence { claims: Blob(claims.encode()), report: Blob(vec![]), auxiliary: Blob(vec![]) };
    Trust { evidence, confirmation: Blob(sign_confirmed(&confirmed, &owner())) }
}

/// Its initial network.
///
/// # Panics
/// Never: the recipe is a possible one.
pub fn network() -> Network {
    let recipe = recipe();
    Network::initial(&recipe.widths, &recipe.activations, recipe.input_rms, 1).expect("a possible network")
}

/// The owner's signature around whatever CBOR these bytes are; nothing if they are none.
pub fn signed(bytes: &[u8], kind: &Kind) -> Option<Vec<u8>> {
    let value: Value = from_cbor(bytes).ok()?;
    Some(sign(&value, kind, &owner()))
}

/// Decodes, and requires that what was decoded is written and read again as the same.
///
/// # Panics
/// If it is not: that is what targets look for.
pub fn decoded<T: serde::Serialize + serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let value: T = from_cbor(bytes).ok()?;
    let written = to_cbor(&value);
    let again: T = from_cbor(&written).unwrap_or_else(|e| panic!("what was written is not read: {e}"));
    assert!(to_cbor(&again) == written, "what was read again is another");
    Some(value)
}

/// Puts bytes into a file, for parsers that take a path.
///
/// # Panics
/// If it cannot be written: choose a directory with space by TMPDIR.
pub fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
