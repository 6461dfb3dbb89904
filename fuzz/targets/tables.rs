//! Tables of rows: CSV, Parquet, `.npy`, IDX, gzipped or not, read in every way.

#![no_main]

use blindsmith_data::{Choices, Columns, LabelKind, Limits, ReadOptions, Table};
use libfuzzer_sys::fuzz_target;

fn median() -> Vec<blindsmith_data::Imputation> {
    "median".parse().into_iter().collect()
}

fn options(kind: u8) -> ReadOptions {
    let limits = Limits { file_bytes: 1 << 20, matrix_bytes: 1 << 24, ..Limits::default() };
    let options = match kind % 4 {
        0 => ReadOptions::default(),
        1 => ReadOptions { header: false, ..ReadOptions::labelled("#last") },
        2 => ReadOptions { label_kind: LabelKind::Number, ..ReadOptions::labelled("label") },
        _ => ReadOptions::labelled("label"),
    };
    let columns = match kind / 16 % 2 {
        0 => Columns::Plain,
        _ => Columns::Inferred(Choices { imputations: median(), ..Choices::default() }),
    };
    ReadOptions { limits, columns, ..options }
}

fuzz_target!(
    // The Parquet decoder's panics are caught where they arise, so no panic may end the process before that; one that
    // is not caught still does.
    init: drop(std::panic::take_hook()),
    |data: &[u8]| {
        let [kind, split, bytes @ ..] = data else { return };
        let options = options(*kind);
        if kind / 4 % 4 == 0 {
            // Features and labels in a file each.
            let (features, labels) = bytes.split_at(bytes.len() * usize::from(*split) / 256);
            _ = Table::read_pair_bytes(("t", features), ("l", labels), &options);
            return;
        }
        if let Ok(table) = Table::read_bytes("t", bytes, &options) {
            assert!(table.features.matrix().as_slice().iter().all(|x| x.is_finite()));
            _ = table.clone().classify(None);
            _ = table.clone().multi_label();
            _ = table.regress();
        }
    }
);
