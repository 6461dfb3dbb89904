//! A specification and an upload's header: every size that follows from valid ones can be computed.

#![no_main]

use blindsmith_fuzz::decoded;
use blindsmith_protocol::{MAX_BODY, ProjectSpec, UploadHeader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((spec, mut header)) = decoded::<(ProjectSpec, UploadHeader)>(data) else { return };
    if spec.validate().is_err() {
        return;
    }
    header.project = spec.id();
    if header.validate(&header.project).is_err() {
        return;
    }
    let (blocks, groups) = (header.blocks(&spec), header.groups(&spec));
    assert!(blocks as u64 * spec.block_rows() as u64 >= u64::from(header.rows));
    assert_eq!(header.body_bytes(&spec), u64::from(blocks) * spec.block_bytes() as u64);
    assert!(spec.group_blocks as usize * spec.block_bytes() <= MAX_BODY);
    assert!(spec.kept_bytes(spec.group_blocks) > 0);
    // The ends suffice: there may be millions of groups between them.
    let last = groups - 1;
    assert!((1..=spec.group_blocks).contains(&header.group_blocks(&spec, last)));
    assert_eq!(header.group_blocks(&spec, groups), 0);
    assert_eq!(last * spec.group_blocks + header.group_blocks(&spec, last), blocks);
    header.id();
});
