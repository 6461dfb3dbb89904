//! A project and an upload as they come: public material, random where ciphertext would be.

use blindsmith_matrix::{MaskSeed, Scale, Security, Tile};
use blindsmith_protocol::{
    Blob, Id, Layer, ProjectSpec, Role, RoundRecord, RoundSummary, Trigger, UploadHeader, block_digest,
    root_digest,
};
use blindsmith_ring::{Q, backend};

/// Six inputs, four hidden, three outputs; blocks of eight rows.
pub fn spec() -> ProjectSpec {
    let layer = |inputs, outputs, (m, n, p)| Layer { inputs, outputs, tile: Tile::new(m, n, p).unwrap() };
    let spec = ProjectSpec {
        name: "for a test".into(),
        salt: [1; 32],
        owner: Id([7; 32]),
        security: Security::Bits128,
        layers: vec![layer(6, 4, (8, 64, 4)), layer(4, 3, (16, 64, 2))],
        feature_scale: Scale::from_log2(20),
        mask: MaskSeed([2; 32]),
        label_bytes: 8,
        group_blocks: 1,
        batch_rows: 32,
        trigger: Trigger::AT_ONCE,
    };
    spec.validate().unwrap();
    spec
}

/// Row blocks of residues below q.
pub fn blocks(spec: &ProjectSpec, count: u32) -> Vec<u8> {
    let block = |index: u64| {
        let residues: Vec<u64> = (0..spec.packed_block_bytes() as u64 * 8 / 50)
            .map(|i| (index << 32 | i).wrapping_mul(0x9e37_79b9_7f4a_7c15) % Q)
            .collect();
        let mut bytes = vec![index as u8; spec.block_bytes()];
        backend::active().pack(&mut bytes[spec.sealed_label_bytes()..], &residues);
        bytes
    };
    (0..u64::from(count)).flat_map(block).collect()
}

/// The header of these blocks, all their rows counted.
pub fn header(spec: &ProjectSpec, blocks: &[u8]) -> UploadHeader {
    let digests: Vec<Id> = blocks
        .chunks(spec.block_bytes())
        .enumerate()
        .map(|(i, block)| block_digest(i as u32, block))
        .collect();
    UploadHeader {
        project: spec.id(),
        contributor: Id([3; 32]),
        terms: [0; 32],
        role: Role::Training,
        nonce: [4; 32],
        rows: (digests.len() * spec.block_rows()) as u32,
        root: root_digest(&digests),
        tag: [5; 32],
    }
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
