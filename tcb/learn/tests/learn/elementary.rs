//! Each function against an `f64` reference, over its whole range.

use blindsmith_learn::elementary::*;

/// `count` floats spread over `from..=to`, evenly and, for the small ones, over the exponents.
fn spread(from: f32, to: f32, count: u32) -> impl Iterator<Item = f32> {
    let even = (0..=count).map(move |i| from + (to - from) * (i as f32 / count as f32));
    let small = (0..count).map(|i| f32::from_bits(i * (0x4000_0000 / count)));
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
    assert!(worst_ulp(scales(), reciprocal_sqrt, |x| 1.0 / x.sqrt()) <= 3.0);
    assert!(worst_ulp(scales(), sqrt, f64::sqrt) <= 4.0);
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
fn sigmoid_and_its_slope_are_within_their_ulps() {
    let exact = |x: f64| 1.0 / (1.0 + (-x).exp());
    let slope = |x: f64| 1.0 / ((1.0 + (-x).exp()) * (1.0 + x.exp()));
    assert!(worst_ulp(spread(-80.0, 80.0, 200_000), |x| sigmoid(x).0, exact) <= 5.0);
    assert!(worst_ulp(spread(-80.0, 80.0, 200_000), |x| sigmoid(x).1, slope) <= 5.0);
    assert!((sigmoid(1e9).0, sigmoid(0.0)) == (1.0, (0.5, 0.25)) && sigmoid(-1e9).0 < 2e-35);
}

#[test]
fn tanh_is_within_its_ulps_and_bounded() {
    let points = || spread(-20.0, 20.0, 200_000).filter(|x| x.abs() >= SMALLEST);
    assert!(worst_ulp(points(), tanh, f64::tanh) <= 4.0);
    assert!(points().chain([1e30, -1e30]).all(|x| tanh(x).abs() <= 1.0));
    assert_eq!((tanh(0.0), tanh(1e30), tanh(-1e30)), (0.0, 1.0, -1.0));
}

#[test]
fn normal_distribution_and_erf_are_within_their_errors() {
    let phi = |x: f64| 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2);
    let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    assert!(worst_absolute(spread(-20.0, 20.0, 200_000), |x| normal(x).0, phi) < 1.5e-7);
    assert!(worst_absolute(spread(-20.0, 20.0, 200_000), |x| normal(x).1, density) < 1.5e-7);
    assert!(worst_absolute(spread(-10.0, 10.0, 200_000), erf, libm::erf) < 3e-7);
    // The tail is also right relative to its size, which the absolute error does not show.
    let tail = spread(-5.0, -0.1, 20_000);
    assert!(
        tail.map(|x| (f64::from(normal(x).0) / phi(f64::from(x)) - 1.0).abs()).fold(0.0, f64::max) < 3e-6
    );
}

#[test]
fn no_function_returns_a_subnormal_number() {
    let bad = |x: f32| x.is_subnormal();
    for x in spread(-1e4, 1e4, 100_000).filter(|x| flush(*x) != 0.0 || *x == 0.0) {
        assert!(!bad(exp(x)) && !bad(tanh(x)) && !bad(erf(x)), "{x}");
        assert!(!bad(sigmoid(x).0) && !bad(sigmoid(x).1), "{x}");
        assert!(!bad(normal(x).0) && !bad(normal(x).1), "{x}");
    }
}

#[test]
fn what_is_not_a_number_stays_so() {
    assert!(exp(f32::NAN).is_nan() && ln(f32::NAN).is_nan() && ln(f32::INFINITY).is_nan());
    assert!(sigmoid(f32::NAN).0.is_nan() && tanh(f32::NAN).is_nan() && normal(f32::NAN).0.is_nan());
    assert!(flush(f32::NAN).is_nan() && at_least(f32::NAN, 0.0).is_nan() && at_most(f32::NAN, 0.0).is_nan());
}

#[test]
fn masks_select_and_flush() {
    assert_eq!((mask(true), mask(false)), (u32::MAX, 0));
    assert_eq!((select(mask(true), 1.0, 2.0), select(mask(false), 1.0, 2.0)), (1.0, 2.0));
    assert_eq!((keep(mask(true), -3.0), keep(mask(false), f32::NAN)), (-3.0, 0.0));
    assert_eq!((flush(SMALLEST), flush(-SMALLEST), flush(SMALLEST.next_down())), (SMALLEST, -SMALLEST, 0.0));
    assert_eq!((at_least(-1.0, 0.0), at_most(2.0, 1.0), at_least(2.0, 0.0)), (0.0, 1.0, 2.0));
}
