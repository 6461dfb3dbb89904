//! Every device of this machine through the one suite, and what is refused.

use blindsmith_compute::{Error, Left, MaskSet, Name, Names, Product, Row, backend, check, conformance};
use blindsmith_ring::backend::{Backend as _, Portable};
use blindsmith_ring::{PACKED_BYTES_PER_LANES, Q, modulus};

#[test]
fn every_device_gives_the_oracles_bits() {
    for device in backend::tested() {
        conformance::run(device);
    }
}

#[test]
fn pools_of_any_size_give_the_oracles_bits() {
    for threads in [1, 2, 7, 40] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for roots in [1, 4, 32] {
            let case = conformance::Case {
                roots,
                places: 6,
                rows: 150,
                columns: 140,
                skip: 1,
                sets: 3,
                widths: [70, 9],
                transposed: threads == 2,
                packed: [true, true],
                add: false,
                constant: None,
            };
            for device in backend::tested().iter().filter(|device| device.name() != "portable") {
                pool.install(|| conformance::check(*device, &case));
            }
        }
    }
}

#[test]
fn largest_sums_of_either_sign_are_exact() {
    for device in backend::tested() {
        for [x, y] in [[Q / 2, Q / 2], [Q / 2, Q / 2 + 1], [1 << 49, 1 << 49], [1 << 49, (1 << 49) - 1]] {
            for depth in [512, 513, 1100] {
                let (left, right) = (vec![x; depth], [y; 40]);
                let (left, right) = ([Row::Plain(&left); 40], vec![Row::Plain(&right); depth]);
                let product =
                    Product { left: Left::Rows(&left), rows: 40, right: &right, columns: 0..40, ..small() };
                let mut out = vec![0; product.residues()];
                product.multiply_on(device, false, &mut out).unwrap();
                let expected = modulus::mul(modulus::mul(x, y), depth as u64);
                assert!(out.iter().all(|&z| z == expected), "{} {x} {y} {depth}", device.name());
            }
        }
    }
}

#[test]
fn panels_and_chunks_of_any_size_give_the_oracles_bits() {
    let case = conformance::Case {
        roots: 2,
        places: 70,
        rows: 45,
        columns: 37,
        skip: 5,
        sets: 2,
        widths: [35, 50],
        transposed: false,
        packed: [true, true],
        add: true,
        constant: None,
    };
    for device in backend::tested() {
        for (roots, places) in [(1, 2), (1, 65), (4, 129), (16, 33), (1, 600)] {
            for transposed in [false, true] {
                conformance::check(device, &conformance::Case { roots, places, transposed, ..case.clone() });
            }
        }
        // Several strips of panels.
        let wide = conformance::Case { rows: 170, columns: 140, widths: [133, 161], ..case.clone() };
        conformance::check(device, &wide);
    }
}

#[test]
fn the_active_device_is_one_of_those_available() {
    let names: Vec<_> = backend::available().iter().map(|device| device.name()).collect();
    assert!(names.contains(&backend::active().name()));
    assert_eq!(names.last(), Some(&"portable"));
}

/// Runs [`the_active_device_is_the_one_that_the_environment_names`] in a process of its own.
fn run_with(variables: &[(&str, &str)]) -> std::process::Output {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_active_device_is_the_one_that_the_environment_names"]);
    command.env_remove("BLINDSMITH_COMPUTE").env_remove("BLINDSMITH_BACKEND");
    command.envs(variables.iter().copied()).output().unwrap()
}

#[test]
fn the_active_device_is_the_one_that_the_environment_names() {
    if let Ok(expected) = std::env::var("EXPECTED_DEVICE") {
        return assert_eq!(backend::active().name(), expected);
    }
    let names = || backend::available().iter().map(|device| device.name());
    for name in names() {
        let output = run_with(&[("BLINDSMITH_COMPUTE", name), ("EXPECTED_DEVICE", name)]);
        assert!(output.status.success(), "{output:?}");
        if name != "amx" {
            let output = run_with(&[("BLINDSMITH_BACKEND", name), ("EXPECTED_DEVICE", name)]);
            assert!(output.status.success(), "{output:?}");
        }
    }
    assert!(run_with(&[("EXPECTED_DEVICE", names().next().unwrap())]).status.success());
    let output = run_with(&[("BLINDSMITH_COMPUTE", "abacus"), ("EXPECTED_DEVICE", "abacus")]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("BLINDSMITH_COMPUTE=abacus"), "{said}");
}

#[test]
fn residues_that_were_never_checked_count_modulo_2_to_the_50() {
    let (wild, tame) = ([u64::MAX; 16], [(1 << 14) - 2; 16]);
    let packed = [0xff; 2 * PACKED_BYTES_PER_LANES];
    let multiply = |device, row: Row<'_>, masks: &[u64]| {
        let left = [row; 9];
        let (masks, sets) = ([masks; 16], [0; 16].map(|_: u32| 0));
        let set = [MaskSet { places: &sets, rows: &masks }];
        let right = [row; 16];
        let product = Product {
            left: Left::Rows(&left),
            rows: 9,
            right: &right,
            columns: 0..16,
            left_masks: &set,
            right_masks: Some(&masks),
            ..small()
        };
        let mut out = vec![0; product.residues()];
        product.multiply_on(device, false, &mut out).unwrap();
        out
    };
    for device in backend::tested() {
        let expected = multiply(device, Row::Plain(&tame), &tame);
        assert!(expected.iter().all(|&x| x < Q));
        // 2^50 - 1 stands for 2^14 - 2.
        assert_eq!(multiply(device, Row::Plain(&wild), &wild), expected);
        assert_eq!(multiply(device, Row::Packed(&packed), &wild), expected);
    }
}

#[test]
fn admission_finds_a_single_residue_that_is_not_below_q() {
    let mut residues: Vec<u64> = (0..8 * 67).map(|i| i * i).collect();
    let pack = |residues: &[u64]| {
        let mut bytes = vec![0; residues.len() / 8 * PACKED_BYTES_PER_LANES];
        Portable.pack(&mut bytes, residues);
        bytes
    };
    assert!(check(&pack(&residues)) && check(&[]));
    assert!(!check(&pack(&residues)[1..]), "not a whole number of units");
    for place in [0, 511, 8 * 67 - 1] {
        let before = std::mem::replace(&mut residues[place], Q);
        assert!(!check(&pack(&residues)), "{place}");
        residues[place] = before;
    }
}

const EIGHT: &[u64] = &[1, 2, 3, 4, 5, 6, 7, 8];
const ROWS: [Row<'static>; 4] = [Row::Plain(EIGHT); 4];

/// (4 x 4) times (4 x 8).
fn small() -> Product<'static> {
    Product {
        roots: 1,
        rows: 4,
        left: Left::Rows(&ROWS),
        left_masks: &[],
        right: &ROWS,
        columns: 0..8,
        right_masks: None,
        names: Names::default(),
    }
}

fn refusal(product: &Product<'_>) -> Error {
    let before = vec![Q - 1; product.residues().min(1 << 16)];
    let mut out = before.clone();
    let error = product.multiply(false, &mut out).unwrap_err();
    assert_eq!(out, before);
    error
}

#[test]
fn parts_of_the_result_follow_one_another() {
    let masks = [EIGHT; 2];
    let sets = [MaskSet { places: &[1], rows: &masks[..1] }, MaskSet { places: &[0, 1], rows: &masks }];
    let product =
        Product { roots: 2, left_masks: &sets, right_masks: Some(&masks), columns: 3..6, ..small() };
    let layout = product.layout();
    assert_eq!(layout.c, 0..12);
    assert_eq!(layout.p, 12..12 + 2 * 3 * 8);
    assert_eq!(layout.q, 60..60 + 4 * 8);
    assert_eq!(layout.r, 92..92 + 2 * 8 * 8 / 2);
    assert_eq!(product.residues(), 156);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let rows = |operand, found, needed| Error::Rows { operand, found, needed };
    for roots in [0, 3] {
        assert_eq!(refusal(&Product { roots, ..small() }), Error::Roots { roots });
    }
    assert_eq!(refusal(&Product { roots: 8, ..small() }), rows("right operand", 4, 8));
    assert_eq!(refusal(&Product { rows: 5, ..small() }), rows("left operand", 4, 5));
    assert!(matches!(refusal(&Product { right: &[], ..small() }), Error::Empty { contraction: 0, .. }));
    assert!(matches!(refusal(&Product { columns: 3..3, ..small() }), Error::Empty { columns: 0, .. }));
    let transposed = Left::Transposed(&ROWS[..3]);
    assert_eq!(refusal(&Product { left: transposed, ..small() }), rows("left operand", 3, 4));

    let error = refusal(&Product { columns: 0..9, ..small() });
    assert_eq!(error.to_string(), "row 0 of the right operand has 8 residues, 9 are needed");
    let short = [ROWS[0], ROWS[1], Row::Plain(&EIGHT[..3]), ROWS[3]];
    for left in [Left::Rows(&short), Left::Transposed(&short)] {
        let error = Error::RowLength { operand: "left operand", row: 2, found: 3, needed: 4 };
        assert_eq!(refusal(&Product { left, ..small() }), error);
    }
    let torn = [Row::Packed(&[0; PACKED_BYTES_PER_LANES + 1]); 4];
    assert!(matches!(refusal(&Product { right: &torn, ..small() }), Error::RowLength { row: 0, .. }));

    let mut out = [0; 31];
    let error = small().multiply(true, &mut out).unwrap_err();
    assert_eq!(error.to_string(), "the result needs 32 residues, the buffer has 31");
}

#[test]
fn masks_that_do_not_fit_are_refused() {
    let masks = [EIGHT, EIGHT];
    let with = |roots: usize, places: &[u32], rows: &[&[u64]]| {
        let sets = [MaskSet { places, rows }];
        refusal(&Product { roots, left_masks: &sets, ..small() })
    };
    assert_eq!(with(2, &[], &[]), Error::Places { set: 0, places: 2 });
    assert_eq!(with(2, &[0, 2], &masks), Error::Places { set: 0, places: 2 });
    assert!(matches!(with(2, &[1], &masks), Error::Rows { found: 2, needed: 1, .. }));
    assert!(matches!(with(2, &[0, 1], &[EIGHT, &EIGHT[..6]]), Error::RowLength { row: 1, needed: 8, .. }));
    assert!(matches!(with(2, &[0], &[&EIGHT[..7]]), Error::RowLength { row: 0, needed: 8, .. }));
    assert!(matches!(with(2, &[0], &[&[]]), Error::RowLength { row: 0, needed: 2, .. }));
    // Sets of masks of two lengths.
    let sets = [MaskSet { places: &[0], rows: &masks[..1] }, MaskSet { places: &[1], rows: &[&EIGHT[..4]] }];
    assert!(matches!(
        refusal(&Product { roots: 2, left_masks: &sets, ..small() }),
        Error::RowLength { needed: 8, .. }
    ));
    // Masks of the right stand at all places.
    let error = refusal(&Product { roots: 1, right_masks: Some(&masks), ..small() });
    assert_eq!(error, Error::Rows { operand: "right operand's masks", found: 2, needed: 4 });
}

#[test]
fn names_that_do_not_fit_are_refused() {
    let outside = [Name { rows: 2..5, id: 7 }];
    for names in [
        Names { left: &outside, ..Names::default() },
        Names { left_masks: &[1], ..Names::default() },
        Names { right_masks: Some(1), ..Names::default() },
    ] {
        assert_eq!(refusal(&Product { names, ..small() }), Error::Names);
    }
    let inside = [Name { rows: 2..4, id: 7 }];
    let product = Product { names: Names { left: &inside, ..Names::default() }, ..small() };
    product.multiply(false, &mut vec![0; product.residues()]).unwrap();
}
