//! Each function against an `f64` reference, over its whole range.

use blindsmith_learn::elementary::*;

/// `count` floats spread over `from..=to`, evenly and, for the small ones, over the exponents.
fn spread(from: f32, to: f32, count: u32) -> impl Iterator<Item = f32> {
    let even = (0..=count).map(move |i| from + (to - from) * (i as f32 / count as f32));
    let small = (0..count).map(move |i| f32::from_bits(i * (0x4000_0000 / count)));
    even.chain(small.flat_map(|x| [x, -x])).filter(move |x| (from..=to).contains(x))
}

/// The largest |found - expected| in units of the last place of `expected`.
fn worst_ulp(
    points: impl Iterator<Item = f32>,
    found: impl Fn(f32) -> f32,
    expected: impl Fn(f64) -> f64,
) -> f64 {
    points
        .map(|x| {
            let expected = expected(f64::from(x));
            let ulp = f64::from((expected.abs() as f32).next_up()) - f64::from(expected.abs() as f32);
            (f64::from(found(x)) - expected).abs() / ulp
        })
        .fold(0.0, f64::max)
}

fn worst_absolute(
    points: impl Iterator<Item = f32>,
    found: impl Fn(f32) -> f32,
    expected: impl Fn(f64) -> f64,
) -> f64 {
    points.map(|x| (f64::from(found(x)) - expected(f64::from(x))).abs()).fold(0.0, f64::max)
}

/// Powers of two times mantissas, over the range of the reciprocals.
fn scales() -> impl Iterator<Item = f32> {
    (-120..120).flat_map(|e| (0..500).map(move |i| (2.0_f64.powi(e) * (1.0 + f64::from(i) / 500.0)) as f32))
}

#[test]
fn reciprocals_and_roots_are_within_their_ulps() {
    assert!(worst_ulp(scales(), reciprocal, |x| 1.0 / x) <= 2.0);
    assert!(worst_ulp(scales().map(|x| -x), reciprocal, |x| 1.0 / x) <= 2.0);
    assert!(worst_ulp(scales(), reciprocal_sqrt, |x| 1.0 / x.sqrt()) <= 2.0);
    assert!(worst_ulp(scales(), sqrt, f64::sqrt) <= 2.0);
    assert_eq!(sqrt(0.0), 2.0_f32.powi(-60));
}

#[test]
fn exponential_and_logarithm_are_within_their_ulps() {
    assert!(worst_ulp(spread(-87.0, 88.0, 200_000), exp, f64::exp) <= 2.0);
    let far_from_one = scales().filter(|x| x.ln().abs() >= 0.5);
    assert!(worst_ulp(far_from_one, ln, f64::ln) <= 2.0);
    assert!(worst_absolute(spread(0.6, 1.65, 200_000), ln, f64::ln) <= 1e-7);
    assert_eq!((ln(1.0), exp(0.0)), (0.0, 1.0));
}

#[test]
fn exponential_ends_in_normal_numbers() {
    for x in [-87.0, -1e3, -1e30, f32::NEG_INFINITY] {
        assert!(exp(x).is_normal() && exp(x) < 2e-38);
    }
    for x in [88.0, 1e3, 1e30, f32::INFINITY] {
        assert!(exp(x).is_normal() && exp(x) > 1e38);
    }
}

#[test]
fn sigmoid_and_its_slope_are_within_their_errors() {
    let exact = |x: f64| 1.0 / (1.0 + (-x).exp());
    let slope = |x: f64| 1.0 / ((1.0 + (-x).exp()) * (1.0 + x.exp()));
    assert!(worst_absolute(spread(-80.0, 80.0, 200_000), |x| sigmoid(x).0, exact) < 1e-7);
    assert!(worst_ulp(spread(-60.0, 60.0, 200_000), |x| sigmoid(x).1, slope) <= 5.0);
    assert_eq!((sigmoid(1e9).0, sigmoid(0.0), sigmoid(-1e9).0), (1.0, (0.5, 0.25), 0.0));
}

#[test]
fn tanh_is_within_its_ulps_and_bounded() {
    let points = || spread(-20.0, 20.0, 200_000).filter(|x| x.abs() >= SMALLEST);
    assert!(worst_ulp(points(), tanh, f64::tanh) <= 4.0);
    assert!(points().chain([1e30, -1e30]).all(|x| tanh(x).abs() <= 1.0));
    assert_eq!((tanh(0.0), tanh(1e30), tanh(-1e30)), (0.0, 1.0, -1.0));
}

#[test]
fn normal_distribution_erf_and_gelu_are_within_their_errors() {
    let phi = |x: f64| 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2);
    let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let points = || spread(-20.0, 20.0, 200_000);
    assert!(worst_absolute(points(), |x| normal_tail(x).0, |x| phi(-x.abs())) < 3e-7);
    assert!(worst_absolute(points(), |x| normal_tail(x).1, density) < 5e-8);
    let near = || points().filter(|x| x.abs() <= 5.0).map(f64::from);
    assert!(near().all(|x| (f64::from(normal_tail(x as f32).0) / phi(-x.abs()) - 1.0).abs() < 3e-6));
    assert!(near().all(|x| (f64::from(normal_tail(x as f32).1) / density(x) - 1.0).abs() < 3e-6));
    let erf = |x: f32| (1.0 - 2.0 * normal_tail(x * std::f32::consts::SQRT_2).0).copysign(x);
    assert!(worst_absolute(spread(-10.0, 10.0, 200_000), erf, libm::erf) < 5e-7);
    let worst = |z: f32| (f64::from(gelu(z).0) - f64::from(z) * phi(f64::from(z))).abs();
    assert!(points().all(|z| worst(z) < f64::max(5e-7, 2e-7 * f64::from(z.abs()))));
    assert!(worst_absolute(points(), |z| gelu(z).1, |z| phi(z) + z * density(z)) < 5e-7);
    assert_eq!((gelu(1e9), gelu(0.0).0), ((1e9, 1.0), 0.0));
    assert!(gelu(-1e9).0.abs() < 1e-20 && gelu(-1e9).1.abs() < 1e-20);
}

#[test]
fn no_function_returns_a_subnormal_number() {
    let bad = |x: f32| x.is_subnormal();
    for x in spread(-1e4, 1e4, 100_000).map(flush) {
        assert!(!bad(exp(x)) && !bad(tanh(x)), "{x}");
        assert!(!bad(sigmoid(x).0) && !bad(sigmoid(x).1) && !bad(gelu(x).0) && !bad(gelu(x).1), "{x}");
        assert!(!bad(normal_tail(x).0) && !bad(normal_tail(x).1), "{x}");
    }
}

#[test]
fn flushed_numbers_are_zero_or_large_enough_to_be_multiplied() {
    for x in spread(-1e-5, 1e-5, 10_000).chain(spread(-1e4, 1e4, 200_000)) {
        let flushed = flush(x);
        assert!(flushed == 0.0 || flushed.abs() >= SMALLEST, "{x}");
        assert!((x - flushed).abs() <= SMALLEST.max(x.abs() * f32::EPSILON), "{x}");
        let square = flush_square(x * x);
        assert!(square == 0.0 || square >= 2.0_f32.powi(-96), "{x}");
        assert!((x * x - square).abs() <= 2.0_f32.powi(-96).max(x * x * f32::EPSILON), "{x}");
    }
    assert_eq!((flush(0.0), flush(SMALLEST), flush(1.0), flush(-3.5e20)), (0.0, SMALLEST, 1.0, -3.5e20));
}

#[test]
fn what_is_not_a_number_stays_so() {
    assert!(exp(f32::NAN).is_nan() && ln(f32::NAN).is_nan() && ln(f32::INFINITY).is_nan());
    assert!(sigmoid(f32::NAN).0.is_nan() && tanh(f32::NAN).is_nan() && gelu(f32::NAN).0.is_nan());
    assert!(flush(f32::NAN).is_nan() && at_least(f32::NAN, 0.0).is_nan() && at_most(f32::NAN, 0.0).is_nan());
}

#[test]
fn masks_and_maxima_select() {
    assert_eq!((mask(true), mask(false)), (u32::MAX, 0));
    assert_eq!((select(mask(true), 1.0, 2.0), select(mask(false), 1.0, 2.0)), (1.0, 2.0));
    assert_eq!((keep(mask(true), -3.0), keep(mask(false), f32::NAN)), (-3.0, 0.0));
    assert_eq!((equal(7.0, 7.0), equal(7.0, 8.0), equal(0.0, 1_048_575.0)), (1.0, 0.0, 0.0));
    assert_eq!((at_least(-1.0, 0.0), at_most(2.0, 1.0), at_least(2.0, 0.0)), (0.0, 1.0, 2.0));
}
