//! Project specifications: what is bound into a project's identifier, and what is out of range.

use blindsmith_matrix::{MaskSeed, Scale, Security, Tile};
use blindsmith_protocol::{
    Id, Layer, MAX_BATCH_ROWS, MAX_BODY, MAX_LABEL_BYTES, MAX_WIDTH, ProjectSpec, Trigger,
};
use proptest::prelude::*;

fn tile(m: usize, n: usize, p: usize) -> Tile {
    Tile::new(m, n, p).unwrap()
}

/// 64 inputs, 32 hidden, 10 outputs.
pub fn example() -> ProjectSpec {
    ProjectSpec {
        name: "example".into(),
        salt: [1; 32],
        owner: Id([2; 32]),
        security: Security::Bits128,
        layers: vec![
            Layer { inputs: 64, outputs: 32, tile: tile(16, 16, 8) },
            Layer { inputs: 32, outputs: 10, tile: tile(8, 32, 8) },
        ],
        feature_scale: Scale::from_log2(20),
        mask: MaskSeed([2; 32]),
        label_bytes: 8,
        group_blocks: 4,
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
            layers: vec![Layer { inputs, outputs, tile: tile(16, if high { 32 } else { 16 }, 8) }],
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
    let expected = "37be483bc823d79f6e5531c79c2e69f6b56ecdfa3efe3095bdfd9fde09a031de";
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
        changed(|s| s.layers[0].tile = tile(8, 32, 8)),
        changed(|s| s.feature_scale = Scale::from_log2(19)),
        changed(|s| s.mask.0[0] ^= 1),
        changed(|s| s.label_bytes += 1),
        changed(|s| s.group_blocks += 1),
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
        (changed(|s| s.layers[0].tile = tile(16, 16, 16)), "tile of layer 0"),
        (changed(|s| s.security = Security::Bits256), "tile of layer 0"),
        (changed(|s| s.layers[1].inputs = 31), "layer 1 does not take what layer 0 gives"),
        (changed(|s| s.label_bytes = 0), "0 bytes of labels"),
        (changed(|s| s.label_bytes = MAX_LABEL_BYTES + 1), "4097 bytes of labels"),
        (changed(|s| s.batch_rows = 0), "batch"),
        (changed(|s| s.batch_rows = MAX_BATCH_ROWS + 1), "batch"),
        (changed(|s| s.batch_rows = 30_000), "chains of more than 4096 tiles in layer 1"),
        (changed(|s| s.group_blocks = 3_000), "chains of more than 4096 tiles in layer 1"),
        (changed(|s| s.group_blocks = 0), "sampling group"),
        (changed(|s| s.feature_scale = Scale::from_log2(0)), "feature scale"),
        (changed(|s| s.feature_scale = Scale::from_log2(31)), "feature scale"),
    ] {
        let error = spec.validate().expect_err(why).to_string();
        assert!(
            error.starts_with("the project's specification is not valid") && error.contains(why),
            "{error}"
        );
    }
}

/// Rows are sent in whole blocks, so the largest block must fit a frame.
#[test]
fn the_largest_row_block_fits_a_frame() {
    let widest = |tile| {
        changed(|s| {
            s.security = Security::Bits256;
            s.label_bytes = MAX_LABEL_BYTES;
            s.group_blocks = 1;
            s.layers = vec![Layer { inputs: MAX_WIDTH, outputs: 1, tile }];
        })
    };
    let spec = widest(tile(16, 16, 16));
    assert_eq!(spec.validate(), Ok(()));
    assert!(spec.block_bytes() <= MAX_BODY);
    let groups = ProjectSpec { group_blocks: 4, ..spec };
    assert!(groups.validate().unwrap_err().to_string().contains("a sampling group of"));
    // A narrower tile makes longer chains, which is refused before its blocks are too large.
    let error = widest(tile(16, 8, 32)).validate().unwrap_err().to_string();
    assert!(error.contains("chains of more than 4096 tiles in layer 0"), "{error}");
}

#[test]
fn sizes_follow_from_shape_and_tile() {
    let spec = example();
    assert_eq!((spec.inputs(), spec.block_rows(), spec.input_blocks()), (64, 16, 4));
    // Four tiles of 2048 residues of 50 bits; sixteen rows of eight bytes of labels and a tag.
    assert_eq!(spec.packed_block_bytes(), 4 * 2048 * 50 / 8);
    assert_eq!(spec.sealed_label_bytes(), 16 * 8 + 16);
    assert_eq!(spec.block_bytes(), spec.packed_block_bytes() + spec.sealed_label_bytes());
    // A column too many needs a whole tile more.
    assert_eq!(changed(|s| s.layers[0].inputs = 65).input_blocks(), 5);
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
