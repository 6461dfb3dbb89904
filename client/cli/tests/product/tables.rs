//! Rows for tests as CSV text.

use std::fmt::Write;
use std::ops::Range;

use blindsmith_data::Targets;

/// Rows of the shipped digits, without header: 64 pixels and the class.
pub fn digits(rows: Range<usize>) -> String {
    let data = blindsmith_data::digits().unwrap();
    let Targets::Classes { index, .. } = &data.targets else { panic!("digits have classes") };
    let mut text = String::new();
    for row in rows {
        data.features.matrix().row(row).iter().for_each(|v| write!(text, "{v},").unwrap());
        writeln!(text, "{}", index[row]).unwrap();
    }
    text
}

/// Rows of the shipped breast cancer data, with header; the label is `diagnosis`.
pub fn breast_cancer(rows: Range<usize>) -> String {
    let all = include_str!("../../../data/assets/breast_cancer.csv");
    let (header, body) = all.split_once('\n').unwrap();
    let rows = body.lines().skip(rows.start).take(rows.len());
    std::iter::once(header).chain(rows).flat_map(|line| [line, "\n"]).collect()
}

/// Uniform in -1 to 1, from a splitmix generator.
fn uniform(index: u64) -> f64 {
    let mut x = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)) as f64 / u64::MAX as f64 * 2.0 - 1.0
}

/// Three features.
fn features(row: usize) -> [f64; 3] {
    std::array::from_fn(|column| uniform(row as u64 * 3 + column as u64))
}

/// Price and weight, linear in a, b and c: 500 + 300 a - 200 b and 40 + 10 c.
pub fn regression(rows: Range<usize>) -> String {
    let mut text = String::from("a,b,c,price,weight\n");
    for [a, b, c] in rows.map(features) {
        writeln!(text, "{a},{b},{c},{},{}", 500.0 + 300.0 * a - 200.0 * b, 40.0 + 10.0 * c).unwrap();
    }
    text
}

/// Two bits: a above b, and c above 0.
pub fn bits(rows: Range<usize>) -> String {
    let mut text = String::from("a,b,c,larger,positive\n");
    for [a, b, c] in rows.map(features) {
        writeln!(text, "{a},{b},{c},{},{}", u8::from(a > b), u8::from(c > 0.0)).unwrap();
    }
    text
}

/// Forty features of two digits and a class of three, without header: many values, quickly read.
pub fn wide(rows: Range<usize>) -> String {
    let mut text = String::new();
    for row in rows {
        (0..40).for_each(|column| {
            let value = (99.0 * uniform(row as u64 * 41 + column)) as i32;
            write!(text, "{value},").unwrap();
        });
        writeln!(text, "{}", row % 3).unwrap();
    }
    text
}

/// Three classes by which of a, b and c is largest; cheap to train on.
pub fn largest(rows: Range<usize>) -> String {
    let mut text = String::from("a,b,c,largest\n");
    for x in rows.map(features) {
        let largest = (0..3).fold(0, |best, i| if x[i] > x[best] { i } else { best });
        writeln!(text, "{},{},{},{}", x[0], x[1], x[2], ["a", "b", "c"][largest]).unwrap();
    }
    text
}

/// The same features with the classes of other rows.
pub fn shuffled(rows: Range<usize>) -> String {
    let (features, classes) = (largest(rows.clone()), largest(rows.start + 10_000..rows.end + 10_000));
    let line = |(a, b): (&str, &str)| match (a.rsplit_once(','), b.rsplit_once(',')) {
        (Some((features, _)), Some((_, class))) => format!("{features},{class}\n"),
        _ => format!("{a}\n"),
    };
    features.lines().zip(classes.lines()).map(line).collect()
}

/// Two classes by the sign of what a large offset hides, and a column that says nothing.
pub fn offset(rows: Range<usize>, offset: f64) -> String {
    let mut text = String::from("x,noise,y\n");
    for [a, b, _] in rows.map(features) {
        writeln!(text, "{:.6},{b:.6},{}", offset + a, u8::from(a > 0.0)).unwrap();
    }
    text
}
