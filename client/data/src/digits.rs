//! The data set that the demonstration ships.

use crate::dataset::Dataset;
use crate::error::Result;
use crate::table::{ReadOptions, Table};

const DIGITS: &[u8] = include_bytes!("../assets/digits.csv.gz");

/// Handwritten digits: 1,797 images of 8 x 8 pixels, integers from 0 to 16, classes 0 to 9.
///
/// The test set of *Optical Recognition of Handwritten Digits*, E. Alpaydin and C. Kaynak, UCI Machine
/// Learning Repository (1998), <https://doi.org/10.24432/C50P49>, licence CC BY 4.0.
///
/// # Errors
/// Not for the embedded data, which a test reads.
pub fn digits() -> Result<Dataset> {
    let options = ReadOptions { header: false, ..ReadOptions::labelled("#last") };
    Table::read_bytes("digits.csv.gz (built in)", DIGITS, &options)?.classify(None)
}
