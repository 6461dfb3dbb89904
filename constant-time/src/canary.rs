//! Leaks on purpose: if they are not reported, no silence means anything.

use std::hint::black_box;

use crate::Case;
use crate::values::{secret, words};

pub const CASES: &[Case] = &[
    ("canary: branch", branch),
    ("canary: index", index),
    ("canary: comparison of reals", comparison),
    ("canary: early exit", early_exit),
];

fn branch() {
    let values = secret(words(1, 1));
    if black_box(values[0]) & 1 == 1 {
        black_box(&values);
    }
}

fn index() {
    let values = secret(words(2, 1));
    let table = words(3, 256);
    black_box(table[(values[0] & 255) as usize]);
}

fn comparison() {
    let values = secret(vec![0.5_f32]);
    if black_box(values[0]) > 0.25 {
        black_box(&values);
    }
}

fn early_exit() {
    let values = secret(words(4, 64));
    let found = values.iter().position(|&v| black_box(v) == 7);
    black_box(found);
}
