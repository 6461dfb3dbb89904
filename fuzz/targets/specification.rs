//! A specification and an upload's header: every size that follows from valid ones can be computed.

#![no_main]

use blindsmith_fuzz::decoded;
use blindsmith_protocol::{MAX_BODY, ProjectSpec, Role, UploadHeader, operand_residues};
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
    let (blocks, whole) = (header.blocks(&spec), spec.block_rows);
    assert!(spec.block_bytes(Role::Training, whole) <= MAX_BODY);
    // The ends suffice: there may be millions of blocks between them.
    let last = blocks - 1;
    let rows = header.rows_of_block(&spec, last);
    assert!((1..=whole).contains(&rows));
    assert_eq!(last * whole + rows, header.rows);
    assert_eq!(header.rows_of_block(&spec, blocks), 0);
    let layout = spec.block_layout(header.role, rows);
    assert!(layout.forms().len().is_multiple_of(50));
    assert_eq!(header.block_offset(&spec, last) + layout.bytes() as u64, header.body_bytes(&spec));
    assert!(spec.kept_bytes(rows) <= spec.kept_bytes(whole));
    assert!(operand_residues(&spec.row_shape(rows)).is_some());
    assert!(operand_residues(&spec.column_shape(rows)).is_some());
    assert!(spec.first_place(last) <= header.rows as usize);
    header.id();
});
