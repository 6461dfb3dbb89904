//! What an upload's keys are bound to.

use blindsmith_keys::UploadContext;
use blindsmith_protocol::{Id, ProjectSpec};

/// The public context of a project's uploads in an era.
pub fn upload_context(spec: &ProjectSpec, id: &Id, era: u32) -> UploadContext {
    UploadContext {
        project: id.0,
        mask: spec.row_mask(era),
        era,
        row_form: spec.row_form,
        column_form: spec.column_form,
        block_rows: spec.block_rows(),
        inputs: spec.inputs(),
        scale: spec.feature_scale,
    }
}
