//! Every backend of this processor through the one suite, and what is refused.

use blindsmith_compute::{
    Error, Operand, Orientation, Output, Product, Strip, backend, check, conformance, output_len, product,
};
use blindsmith_ring::backend::{Backend as _, Portable};
use blindsmith_ring::{Lanes, PACKED_BYTES_PER_LANES, Q, zeroed_lanes};

const POINTS: usize = 64;

#[test]
fn every_backend_gives_the_oracles_bits() {
    for backend in backend::available() {
        conformance::run(*backend);
    }
}

#[test]
fn the_active_backend_is_one_of_those_available() {
    let names: Vec<_> = backend::available().iter().map(|backend| backend.name()).collect();
    assert!(names.contains(&backend::active().name()));
    assert_eq!(names.last(), Some(&"portable"));
}

#[test]
fn pools_of_any_size_give_the_same_bits() {
    let strips = filled(13, 5);
    let strips: Vec<_> = strips.iter().map(|strip| Strip::Lanes(strip)).collect();
    let a = Operand::new(POINTS, &strips[..5], 5).unwrap();
    let b = Operand::new(POINTS, &strips, 5).unwrap();
    let compute = |threads: usize, output: Output| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let product = Product::new(Orientation::Forward, a, b, output).unwrap();
        let mut out = vec![0; product.layout().len()];
        pool.install(|| product.compute(false, &mut out)).unwrap();
        out
    };
    for output in [Output::Window(16), Output::Fold(8), Output::Comb { stride: 16, width: 4 }] {
        assert_eq!(compute(1, output), compute(7, output));
    }
}

#[test]
fn residues_that_were_never_checked_do_no_harm() {
    let wild = vec![Lanes([u64::MAX; 8]); POINTS / 8 * 3];
    let packed = vec![0xff; POINTS / 8 * 3 * PACKED_BYTES_PER_LANES];
    for output in [Output::Full, Output::Fold(8), Output::Window(8)] {
        for backend in backend::available() {
            let strips = [Strip::Lanes(&wild), Strip::Packed(&packed)];
            let x = Operand::new(POINTS, &strips, 3).unwrap().with_mask(strips[0]).unwrap();
            let product = Product::new(Orientation::Forward, x, x, output).unwrap();
            let mut out = vec![0; product.layout().len()];
            product.compute_on(*backend, false, &mut out).unwrap();
            // 2^50 - 1 stands for 2^14 - 2, so even this is a product.
            assert!(out.iter().all(|&x| x < Q), "{} {output:?}", backend.name());
        }
    }
}

#[test]
fn admission_finds_a_single_residue_that_is_not_below_q() {
    let mut lanes = filled(1, 3).remove(0);
    let pack = |lanes: &[Lanes]| {
        let mut bytes = vec![0; lanes.len() * PACKED_BYTES_PER_LANES];
        Portable.pack(&mut bytes, bytemuck::cast_slice(lanes));
        bytes
    };
    assert!(check(&Strip::Lanes(&lanes)) && check(&Strip::Packed(&pack(&lanes))));
    lanes.last_mut().unwrap().0[7] = Q;
    assert!(!check(&Strip::Lanes(&lanes)) && !check(&Strip::Packed(&pack(&lanes))));
    assert!(!check(&Strip::Packed(&pack(&lanes)[1..])), "not a whole number of units");
}

#[test]
fn wrong_points_are_refused() {
    for points in [0, 32, 100, 16384] {
        assert_eq!(Operand::new(points, &[], 1).unwrap_err(), Error::Points { points });
    }
}

#[test]
fn an_empty_operand_is_refused() {
    let lanes = filled(1, 2);
    let strips = [Strip::Lanes(&lanes[0])];
    assert_eq!(Operand::new(POINTS, &[], 2).unwrap_err(), Error::Empty { strips: 0, length: 2 });
    assert_eq!(Operand::new(POINTS, &strips, 0).unwrap_err(), Error::Empty { strips: 1, length: 0 });
}

#[test]
fn a_strip_of_another_size_is_refused_by_its_index() {
    let (lanes, short) = (filled(2, 2), filled(1, 1));
    let strips = [Strip::Lanes(&lanes[0]), Strip::Lanes(&short[0])];
    let error = Operand::new(POINTS, &strips, 2).unwrap_err();
    let text = "strip 1 has 512 bytes: 2 polynomials of 64 points need 64 bytes for each 8 points";
    assert_eq!(error.to_string(), text);
    let packed = vec![0; 2 * POINTS / 8 * PACKED_BYTES_PER_LANES + 1];
    assert!(Operand::new(POINTS, &[Strip::Packed(&packed)], 2).is_err());
    // A length whose size overflows.
    assert!(Operand::new(POINTS, &strips[..1], usize::MAX / 2).is_err());
    // Masks are checked likewise.
    let operand = Operand::new(POINTS, &strips[..1], 2).unwrap();
    assert!(matches!(operand.with_mask(strips[1]), Err(Error::StripSize { strip: 1, .. })));
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let lanes = filled(4, 3);
    let strips: Vec<_> = lanes.iter().map(|strip| Strip::Lanes(strip)).collect();
    let x = Operand::new(POINTS, &strips, 3).unwrap();
    let masked = x.with_mask(strips[0]).unwrap();
    let larger = zeroed_lanes(128 / 8 * 3);
    let larger = [Strip::Lanes(&larger)];
    let other = Operand::new(128, &larger, 3).unwrap();
    let refuse = |orientation, a, b, output| output_len(orientation, a, b, output).unwrap_err();

    use Orientation::{Forward, InputGradient, WeightGradient};
    assert_eq!(refuse(Forward, x, other, Output::Full), Error::PointsDiffer { left: 64, right: 128 });
    for (orientation, left, right) in [(WeightGradient, 4, 3), (InputGradient, 3, 4)] {
        let error = Error::Contraction { orientation, left, right };
        assert_eq!(refuse(orientation, x, x, Output::Full), error);
    }
    let square = Operand::new(POINTS, &strips[..3], 3).unwrap();
    let masked_square = square.with_mask(strips[3]).unwrap();
    assert!(matches!(
        refuse(WeightGradient, masked_square, square, Output::Full),
        Error::Mask { side: "left", .. }
    ));
    assert!(matches!(
        refuse(InputGradient, square, masked_square, Output::Full),
        Error::Mask { side: "right", .. }
    ));
    assert_eq!(output_len(Forward, masked, masked, Output::Fold(16)), Ok(4 * 4 * 4 + 9 * 64));
}

#[test]
fn outputs_that_do_not_fit_are_refused() {
    let lanes = filled(2, 3);
    let strips: Vec<_> = lanes.iter().map(|strip| Strip::Lanes(strip)).collect();
    let x = Operand::new(POINTS, &strips, 3).unwrap();
    let comb = |stride, width| Output::Comb { stride, width };
    for output in [
        Output::Fold(0),
        Output::Fold(3),
        Output::FoldEval(128),
        Output::Window(0),
        Output::Window(128),
        comb(3, 1),
        comb(8, 0),
        comb(8, 9),
        comb(128, 1),
    ] {
        let error = output_len(Orientation::Forward, x, x, output).unwrap_err();
        assert_eq!(error, Error::Output { output, points: POINTS });
    }
    let mut short = vec![0; 2 * 2 * POINTS - 1];
    let error = product(Orientation::Forward, x, x, Output::Full, false, &mut short).unwrap_err();
    assert_eq!(error.to_string(), "the result needs 256 residues, the buffer has 255");
}

fn filled(strips: usize, length: usize) -> Vec<Vec<Lanes>> {
    let value = |i: usize| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) % Q;
    let lanes = |s: usize, i: usize| Lanes(std::array::from_fn(|lane| value((s * 1000 + i) * 8 + lane)));
    (0..strips).map(|s| (0..POINTS / 8 * length).map(|i| lanes(s, i)).collect()).collect()
}
