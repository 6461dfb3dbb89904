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

/// A flag that may decide alone: 1 if a + 2 flag is above one half.
pub fn flagged(rows: Range<usize>, flags: bool) -> String {
    let mut text = String::from("a,flag,y\n");
    for [a, b, _] in rows.map(features) {
        let flag = u8::from(flags && b > 0.0);
        writeln!(text, "{a},{flag},{}", u8::from(a + 2.0 * f64::from(flag) > 0.5)).unwrap();
    }
    text
}

/// Three kinds of flowers, with the means and standard deviations of Fisher's irises.
pub fn flowers(rows: Range<usize>) -> String {
    const KINDS: [(&str, [(f64, f64); 4]); 3] = [
        ("setosa", [(5.0, 0.35), (3.43, 0.38), (1.46, 0.17), (0.25, 0.1)]),
        ("versicolor", [(5.94, 0.52), (2.77, 0.31), (4.26, 0.47), (1.33, 0.2)]),
        ("virginica", [(6.59, 0.64), (2.97, 0.32), (5.55, 0.55), (2.03, 0.27)]),
    ];
    let mut text = String::from("sepal length,sepal width,petal length,petal width,kind\n");
    for row in rows {
        let (kind, figures) = KINDS[row % 3];
        for (i, (mean, deviation)) in figures.iter().enumerate() {
            // The sum of three such is of unit variance, and nearly normal.
            let normal: f64 = (0..3).map(|j| uniform((12 * row + 3 * i + j) as u64)).sum();
            write!(text, "{:.1},", mean + deviation * normal).unwrap();
        }
        writeln!(text, "{kind}").unwrap();
    }
    text
}

/// Two classes by the sign of a - b, the label first; one row in 50 is of a third class, far away, and called NA.
pub fn rare(rows: Range<usize>) -> String {
    let mut text = String::from("y,a,b\n");
    for (row, [a, b, _]) in rows.clone().zip(rows.map(features)) {
        match row % 50 {
            49 => writeln!(text, "NA,{},{}", a + 5.0, b + 5.0).unwrap(),
            _ => writeln!(text, "{},{a},{b}", if a > b { "more" } else { "less" }).unwrap(),
        }
    }
    text
}
