//! What the unit tests make projects of.

use std::time::Duration;

use blindsmith_matrix::{Encoding, MaskSeed, Scale, Security};
use blindsmith_protocol::{
    Blob, Id, Layer, ProjectSpec, Role, RoundRecord, RoundSummary, Trigger, UploadHeader,
};

use crate::event::Event;
use crate::project::Project;
use crate::retry::Now;
use crate::upload::Verdict;

/// So many seconds since 1970.
pub fn at(seconds: u64) -> Now {
    Now { unix: seconds, steady: Duration::from_secs(seconds) }
}

pub fn spec(trigger: Trigger) -> ProjectSpec {
    ProjectSpec {
        name: "for a test".into(),
        salt: [1; 32],
        owner: Id([7; 32]),
        security: Security::Bits128,
        layers: vec![Layer { inputs: 6, outputs: 4, offload: None }],
        feature_scale: Scale::from_log2(20),
        mask: MaskSeed([2; 32]),
        label_bytes: 8,
        block_rows: 8,
        row_form: Encoding::new(8, 8, 32).unwrap(),
        column_form: Encoding::new(4, 32, 16).unwrap(),
        batch_rows: 32,
        trigger,
    }
}

/// The header of an upload of eight rows, of one of three contributors.
pub fn header(number: u32) -> UploadHeader {
    let mut nonce = [0; 32];
    nonce[..4].copy_from_slice(&number.to_le_bytes());
    UploadHeader {
        project: spec(Trigger::MANUAL).id(),
        contributor: Id([(number % 3) as u8; 32]),
        nonce,
        role: Role::Training,
        era: 0,
        rows: 8,
        terms: [0; 32],
        root: Id([4; 32]),
        tag: [5; 32],
    }
}

/// An upload arrives, which a warden admits.
pub fn admitted(project: &mut Project, number: u32, arrived: u64) {
    let verdict = Some(Verdict::Admitted(Blob(vec![1])));
    project.apply(Event::UploadStored { header: header(number), verdict }, at(arrived));
}

/// The record of a round that was given these uploads and used them.
pub fn record(round: u64, given: &[Id]) -> RoundRecord {
    RoundRecord {
        given: given.to_vec(),
        used: given.to_vec(),
        summary: RoundSummary { round, ..RoundSummary::default() },
        state: Blob(vec![6]),
        model: Blob(vec![7]),
        receipt: Blob::default(),
    }
}
