//! Project specifications: what is bound into a project's identifier, and what is out of range.

use blindsmith_matrix::{Encoding, MaskSeed, Scale, Security};
use blindsmith_protocol::{
    Id, Layer, MAX_BATCH_ROWS, MAX_BODY, MAX_CONTRACTION, MAX_LABEL_BYTES, MAX_WIDTH, Offload, ProjectSpec,
    Role, Trigger,
};
use proptest::prelude::*;

fn encoding(n: usize, m: usize, r: usize) -> Encoding {
    Encoding::new(n, m, r).unwrap()
}

fn offload(forward: u16, gradient: u16, input: u16) -> Option<Offload> {
    Some(Offload { forward, gradient, input })
}

/// 60 inputs, 32 hidden, 10 outputs; blocks of 32 rows.
pub fn example() -> ProjectSpec {
    ProjectSpec {
        name: "example".into(),
        salt: [1; 32],
        owner: Id([2; 32]),
        security: Security::Bits128,
        layers: vec![
            Layer { inputs: 60, outputs: 32, offload: offload(8, 16, 1) },
            Layer { inputs: 32, outputs: 10, offload: offload(32, 16, 2) },
        ],
        feature_scale: Scale::from_log2(20),
        mask: MaskSeed([2; 32]),
        label_bytes: 8,
        block_rows: 32,
        row_form: encoding(8, 32, 8),
        column_form: encoding(16, 64, 2),
        batch_rows: 256,
        trigger: Trigger { rows: Some(1), daily: Some(60), rounds_per_day: Some(24) },
    }
}

pub fn specification() -> impl Strategy<Value = ProjectSpec> {
    let numbers = (1..1000u32, 1..1000u32, 1..1000u32, 1..100u32);
    (".{0,20}", any::<[u8; 32]>(), any::<bool>(), numbers, any::<bool>()).prop_map(
        |(name, salt, high, (inputs, outputs, batch_rows, label_bytes), automatic)| ProjectSpec {
            name,
            salt,
            security: if high { Security::Bits256 } else { Security::Bits128 },
            layers: vec![Layer { inputs, outputs, offload: offload(8, 16, 1) }],
            label_bytes,
            batch_rows,
            trigger: if automatic { Trigger::AT_ONCE } else { Trigger::MANUAL },
            ..example()
        },
    )
}

/// The example with one change.
fn changed(change: impl FnOnce(&mut ProjectSpec)) -> ProjectSpec {
    let mut spec = example();
    change(&mut spec);
    spec
}

#[test]
fn the_example_is_valid_and_its_identifier_is_known() {
    assert_eq!(example().validate(), Ok(()));
    // A change here is a change of the format: projects made before it become unknown.
    let expected = "10b58281a979752117e3077ad0c686a721f002b0efe6801a16a10640ae453997";
    assert_eq!(example().id().to_string(), expected);
}

#[test]
fn every_field_is_bound_into_the_identifier() {
    let specs = [
        example(),
        changed(|s| s.name.push('x')),
        changed(|s| s.salt[31] ^= 1),
        changed(|s| s.security = Security::Bits256),
        changed(|s| s.layers[0].inputs += 1),
        changed(|s| s.layers[1].outputs += 1),
        changed(|s| s.layers[1].offload = None),
        changed(|s| s.layers[1].offload = offload(16, 16, 2)),
        changed(|s| s.layers[1].offload = offload(32, 8, 2)),
        changed(|s| s.layers[1].offload = offload(32, 16, 4)),
        changed(|s| s.row_form = encoding(8, 64, 4)),
        changed(|s| s.column_form = encoding(16, 32, 4)),
        changed(|s| s.feature_scale = Scale::from_log2(19)),
        changed(|s| s.mask.0[0] ^= 1),
        changed(|s| s.label_bytes += 1),
        changed(|s| s.block_rows *= 2),
        changed(|s| s.batch_rows += 1),
        changed(|s| s.trigger.rows = None),
        changed(|s| s.trigger.daily = None),
        changed(|s| s.trigger.rounds_per_day = None),
        changed(|s| s.owner = Id([9; 32])),
    ];
    let ids: std::collections::HashSet<Id> = specs.iter().map(ProjectSpec::id).collect();
    assert_eq!(ids.len(), specs.len());
}

#[test]
fn what_is_out_of_range_is_refused_and_named() {
    let wide = MAX_WIDTH + 1;
    for (spec, why) in [
        (changed(|s| s.name = "x".repeat(129)), "at most 128 bytes"),
        (changed(|s| s.name = "a\nb".into()), "control characters"),
        (changed(|s| s.layers.clear()), "0 layers"),
        (changed(|s| s.layers = vec![s.layers[0]; 65]), "65 layers"),
        (changed(|s| s.layers[0].inputs = 0), "layer 0 has [0, 32]"),
        (changed(|s| s.layers[1].outputs = wide), "layer 1 has [32, 65537]"),
        (changed(|s| s.layers[1].inputs = 31), "layer 1 does not take what layer 0 gives"),
        (changed(|s| s.layers[0].offload = None), "must multiply for the first layer"),
        (changed(|s| s.layers[0].offload = offload(4, 16, 1)), "the n of the row form"),
        (changed(|s| s.layers[0].offload = offload(8, 8, 1)), "the n of the row form"),
        (changed(|s| s.layers[0].offload = offload(8, 16, 2)), "with 1 where it has no product"),
        (changed(|s| s.layers[1].offload = offload(0, 1, 1)), "layer 1 has n = 0, 1 and 1"),
        (changed(|s| s.layers[1].offload = offload(1, 3, 1)), "layer 1 has n = 1, 3 and 1"),
        (changed(|s| s.layers[1].offload = offload(1, 1, 256)), "layer 1 has n = 1, 1 and 256"),
        (changed(|s| s.security = Security::Bits256), "n m r = 4096"),
        (changed(|s| s.row_form = encoding(8, 32, 16)), "n m r = 2048"),
        (changed(|s| s.column_form = encoding(16, 64, 4)), "n m r = 2048"),
        (changed(|s| s.row_form = encoding(8, 64, 4)), "whole strips of 64 rows"),
        (changed(|s| s.block_rows = 16), "whole strips of 32 rows"),
        (
            changed(|s| {
                s.column_form = encoding(64, 32, 1);
                s.layers[0].offload = offload(8, 64, 1);
            }),
            "whole groups of 64",
        ),
        (changed(|s| s.block_rows = 48), "blocks of 48 rows"),
        (changed(|s| s.block_rows = 0), "blocks of 0 rows"),
        (changed(|s| s.block_rows = 4), "blocks of 4 rows"),
        (changed(|s| s.block_rows = 8192), "blocks of 8192 rows"),
        (changed(|s| s.label_bytes = 0), "0 bytes of labels"),
        (changed(|s| s.label_bytes = MAX_LABEL_BYTES + 1), "4097 bytes of labels"),
        (changed(|s| s.batch_rows = 0), "batches of 0 rows"),
        (changed(|s| s.batch_rows = MAX_BATCH_ROWS + 1), "batches of 262145 rows"),
        (changed(|s| s.batch_rows = MAX_CONTRACTION as u32 * 2 / 3), "adds up at most 65664"),
        (changed(|s| s.feature_scale = Scale::from_log2(0)), "feature scale"),
        (changed(|s| s.feature_scale = Scale::from_log2(31)), "feature scale"),
        (changed(|s| s.trigger.daily = Some(1440)), "minutes 0 to 1439"),
        (changed(|s| s.trigger.rounds_per_day = Some(0)), "at least one"),
    ] {
        let error = spec.validate().expect_err(why).to_string();
        assert!(
            error.starts_with("the project's specification is not valid") && error.contains(why),
            "{error}"
        );
    }
}

/// Rows are sent in whole blocks, so a block must fit a frame.
#[test]
fn the_largest_block_fits_a_frame() {
    let widest = |block_rows| {
        changed(|s| {
            s.label_bytes = MAX_LABEL_BYTES;
            s.layers = vec![Layer { inputs: MAX_WIDTH, ..s.layers[0] }];
            s.block_rows = block_rows;
        })
    };
    let spec = widest(256);
    assert_eq!(spec.validate(), Ok(()));
    // Two forms of 256 rows of 65,536 residues, and labels.
    assert_eq!(spec.block_bytes(Role::Training, 256), 256 * (2 * (MAX_WIDTH as usize / 8 * 50) + 4096) + 16);
    assert!(spec.block_bytes(Role::Training, 256) <= MAX_BODY);
    let error = widest(512).validate().unwrap_err().to_string();
    assert!(error.contains("choose blocks of fewer rows"), "{error}");
}

#[test]
fn sizes_follow_from_shape_and_encodings() {
    let spec = example();
    assert_eq!(spec.validate(), Ok(()));
    assert_eq!((spec.inputs(), spec.block_rows()), (60, 32));
    // Inputs are filled up to whole groups of n = 8 in the row form, to whole residues of eight in the column form.
    assert_eq!((spec.row_bytes(), spec.contraction_row_bytes()), (400, 400));
    assert_eq!(spec.sealed_label_bytes(17), 17 * 8 + 16);
    // 17 rows are two places of 16.
    let layout = spec.block_layout(Role::Training, 17);
    assert_eq!((layout.labels.clone(), layout.row_form.clone()), (0..152, 152..152 + 17 * 400));
    assert_eq!(layout.column_form, 152 + 17 * 400..152 + (17 + 32) * 400);
    assert_eq!(layout.forms(), 152..layout.bytes());
    assert_eq!(spec.block_layout(Role::Validation, 17), layout);
    assert_eq!(spec.block_bytes(Role::Training, 17), layout.bytes());
    let query = spec.block_layout(Role::Query, 17);
    assert_eq!((query.labels.len(), query.row_form.len(), query.column_form.len()), (0, 17 * 400, 0));
    // One residue for each contraction row: 64 of the row form, 32 of the column form.
    assert_eq!((spec.kept_row_bytes(), spec.kept_column_bytes(17)), (400 + 16, 200 + 16));
    assert_eq!(spec.kept_bytes(17), 632);
    assert_eq!((spec.row_shape(17).padded(), spec.column_shape(17).padded()), (64, 32));
}

/// A row of the row form is filled up to whole groups of n and then to eight residues.
#[test]
fn short_groups_are_packed_by_eights() {
    let spec = changed(|s| {
        s.layers = vec![Layer { inputs: 5, outputs: 1, offload: offload(2, 16, 1) }];
        s.row_form = encoding(2, 32, 32);
    });
    assert_eq!(spec.validate(), Ok(()));
    assert_eq!(spec.row_shape(1).padded(), 6);
    assert_eq!((spec.row_bytes(), spec.contraction_row_bytes()), (50, 50));
}

#[test]
fn masks_depend_on_era_nonce_and_form() {
    let spec = example();
    let other = changed(|s| s.mask.0[9] ^= 1);
    let wider = changed(|s| s.column_form = encoding(16, 32, 4));
    let seeds = [
        spec.row_mask(0),
        spec.row_mask(1),
        other.row_mask(0),
        spec.column_mask(&[0; 32], 0),
        spec.column_mask(&[0; 32], 1),
        spec.column_mask(&[1; 32], 0),
        other.column_mask(&[0; 32], 0),
        wider.column_mask(&[0; 32], 0),
    ];
    let distinct: std::collections::HashSet<_> = seeds.iter().collect();
    assert_eq!(distinct.len(), seeds.len());
    // A change here is a change of the format: stored rows could not be read any more.
    let hex = |seed: MaskSeed| Id(seed.0).to_string();
    assert_eq!(hex(spec.row_mask(1)), "f8a2611f7db171c6dd1a2dcee8c09a433321d9e3234ed3b78c9c02af64bea494");
    assert_eq!(
        hex(spec.column_mask(&[1; 32], 2)),
        "8d54af2b2e7e7bb0f0771390c7588d7abe80f0e086a6cce49841fba4d957d0ea"
    );
    // Blocks of 32 rows are two groups of 16.
    assert_eq!((spec.first_place(0), spec.first_place(3)), (0, 6));
}

#[test]
fn identifiers_are_64_hexadecimal_digits() {
    let id = Id(std::array::from_fn(|i| i as u8 * 8));
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
    for text in
        ["", "00", &"g".repeat(64), &"é".repeat(32), &"0".repeat(63), &"0".repeat(65), &"+1".repeat(32)]
    {
        assert!(text.parse::<Id>().is_err(), "{text}");
    }
}
