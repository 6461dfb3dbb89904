//! A project and an upload as they come: public material, random where ciphertext would be.

use blindsmith_matrix::{Encoding, MaskSeed, Scale, Security};
use blindsmith_protocol::{
    Blob, Id, Layer, Offload, ProjectSpec, Role, RoundRecord, RoundSummary, Trigger, UploadHeader,
    block_digest, root_digest,
};
use blindsmith_ring::{Q, backend};

/// Six inputs, four hidden, three outputs; blocks of eight rows.
pub fn spec() -> ProjectSpec {
    let layer = |inputs, outputs, (forward, gradient, input)| Layer {
        inputs,
        outputs,
        offload: Some(Offload { forward, gradient, input }),
    };
    let spec = ProjectSpec {
        name: "for a test".into(),
        salt: [1; 32],
        owner: Id([7; 32]),
        security: Security::Bits128,
        layers: vec![layer(6, 4, (8, 4, 1)), layer(4, 3, (2, 8, 4))],
        feature_scale: Scale::from_log2(20),
        mask: MaskSeed([2; 32]),
        label_bytes: 8,
        block_rows: 8,
        row_form: Encoding::new(8, 8, 32).unwrap(),
        column_form: Encoding::new(4, 32, 16).unwrap(),
        batch_rows: 32,
        trigger: Trigger::AT_ONCE,
    };
    spec.validate().unwrap();
    spec
}

/// Bytes of a whole block of rows to train on.
pub fn block_bytes(spec: &ProjectSpec) -> usize {
    spec.block_bytes(Role::Training, spec.block_rows)
}

/// The blocks of an upload of so many rows, of residues below q.
pub fn body(spec: &ProjectSpec, role: Role, rows: u32) -> Vec<u8> {
    numbered_body(spec, role, rows, 0)
}

/// The same; the number makes them others.
pub fn numbered_body(spec: &ProjectSpec, role: Role, rows: u32, number: u64) -> Vec<u8> {
    let block = |index: u32| {
        let layout = spec.block_layout(role, spec.rows_of_block(rows, index));
        let residues: Vec<u64> = (0..layout.forms().len() as u64 * 8 / 50)
            .map(|i| (number << 48 | u64::from(index) << 32 | i).wrapping_mul(0x9e37_79b9_7f4a_7c15) % Q)
            .collect();
        let mut bytes = vec![index as u8; layout.bytes()];
        backend::active().pack(&mut bytes[layout.forms()], &residues);
        bytes
    };
    (0..spec.blocks(rows)).flat_map(block).collect()
}

/// So many whole blocks of rows to train on.
pub fn blocks(spec: &ProjectSpec, count: u32) -> Vec<u8> {
    body(spec, Role::Training, count * spec.block_rows)
}

/// The header of an upload of so many rows.
pub fn header_of(spec: &ProjectSpec, role: Role, rows: u32, body: &[u8]) -> UploadHeader {
    let mut rest = body;
    let digest = |index| {
        let len = spec.block_bytes(role, spec.rows_of_block(rows, index));
        block_digest(index, rest.split_off(..len).unwrap())
    };
    let digests: Vec<Id> = (0..spec.blocks(rows)).map(digest).collect();
    UploadHeader {
        project: spec.id(),
        contributor: Id([3; 32]),
        terms: [0; 32],
        role,
        nonce: [4; 32],
        era: 0,
        rows,
        root: root_digest(&digests),
        tag: [5; 32],
    }
}

/// The header of whole blocks of rows to train on.
pub fn header(spec: &ProjectSpec, blocks: &[u8]) -> UploadHeader {
    let count = (blocks.len() / block_bytes(spec)) as u32;
    header_of(spec, Role::Training, count * spec.block_rows, blocks)
}

/// A record of this round.
pub fn record(round: u64) -> RoundRecord {
    RoundRecord {
        given: vec![],
        summary: RoundSummary { round, ..RoundSummary::default() },
        used: vec![],
        state: Blob(vec![6; 100]),
        model: Blob(vec![7; 100]),
        receipt: Blob::default(),
    }
}
