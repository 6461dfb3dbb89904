//! No bytes make a reader panic: random ones, and good files with random damage.

use blindsmith_data::{
    Beyond, Choices, Columns, LabelKind, Limits, ModelFile, ReadOptions, Standardiser, Table,
};
use proptest::prelude::*;

use crate::{golden_bytes, gzip};

/// Whatever the columns are, and whatever they lack.
fn inferred() -> Columns {
    let median = vec!["median".parse().unwrap()];
    Columns::Inferred(Choices { imputations: median, ..Choices::default() })
}

/// As the first table's record says, the same file is the same table.
fn read_again(bytes: &[u8], table: &Table, options: &ReadOptions) {
    let columns = Columns::Recorded { preprocessing: table.preprocessing.clone(), beyond: Beyond::Refuse };
    let again = Table::read_bytes("t", bytes, &ReadOptions { columns, ..options.clone() }).unwrap();
    assert_eq!((&again.features, &again.labels), (&table.features, &table.labels));
    assert!(again.unknown.is_empty());
}

/// Reads in every way that takes one file.
fn read_anyhow(bytes: &[u8]) {
    let limits = Limits { file_bytes: 1 << 20, matrix_bytes: 1 << 24, ..Limits::default() };
    for options in [
        ReadOptions { limits: limits.clone(), ..ReadOptions::default() },
        ReadOptions { limits: limits.clone(), header: false, ..ReadOptions::labelled("#last") },
        ReadOptions {
            limits: limits.clone(),
            label_kind: LabelKind::Number,
            ..ReadOptions::labelled("label")
        },
        ReadOptions { limits: limits.clone(), ..ReadOptions::labelled("label") },
        ReadOptions { limits: limits.clone(), columns: inferred(), ..ReadOptions::labelled("label") },
    ] {
        if let Ok(table) = Table::read_bytes("t", bytes, &options) {
            read_again(bytes, &table, &options);
            assert!(table.features.matrix().as_slice().iter().all(|x| x.is_finite()));
            let _ = table.clone().classify(None);
            let _ = table.clone().multi_label();
            let _ = table.regress();
        }
        let labels = [&[0, 0, 8, 1, 0, 0, 0, 3][..], &[1, 2, 3]].concat();
        let _ = Table::read_pair_bytes(("t", bytes), ("l", &labels), &options);
        let _ = Table::read_pair_bytes(("t", &golden_bytes("f4.npy")), ("l", bytes), &options);
    }
}

/// Damage: positions (in 65,536ths of the file's length) and what is put there, then a length to cut to.
type Damage = (Vec<(u16, u8)>, Option<u16>);

fn damage() -> impl Strategy<Value = Damage> {
    (prop::collection::vec((any::<u16>(), any::<u8>()), 0..6), prop::option::weighted(0.2, any::<u16>()))
}

fn damaged(mut bytes: Vec<u8>, (places, cut): &Damage) -> Vec<u8> {
    let at = |share: u16, length: usize| length * usize::from(share) / 65_536;
    for &(share, byte) in places {
        let position = at(share, bytes.len());
        bytes[position] = byte;
    }
    if let Some(share) = cut {
        bytes.truncate(at(*share, bytes.len()));
    }
    bytes
}

const ARRAYS: [&str; 4] = ["f4.npy", "f8_fortran.npy", "labels_unicode.npy", "u1_images.npy"];

const PARQUET: [&str; 5] =
    ["snappy.parquet", "gzip.parquet", "zstd.parquet", "none.parquet", "pages_v2.parquet"];

const MAGICS: [&[u8]; 6] =
    [b"", b"PAR1", b"\x93NUMPY\x01\x00", &[0, 0, 8, 3], &[0x1f, 0x8b, 8, 0], b"a,label\n1,x\n"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(
        magic in prop::sample::select(&MAGICS[..]),
        tail in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let bytes = [magic, &tail].concat();
        read_anyhow(&bytes);
        read_anyhow(&gzip(&bytes));
    }

    #[test]
    fn text_of_the_wrong_kind(text in "[0-9a-z,;\"\r\n .+eE\u{fffd}-]{0,200}") {
        read_anyhow(text.as_bytes());
        read_anyhow(format!("a,label\n{text}").as_bytes());
        read_anyhow(format!("a,label\n1,x\n{text}").replace(['\r', '"'], "").as_bytes());
    }

    #[test]
    fn damaged_arrays(
        name in prop::sample::select(&ARRAYS[..]),
        damage in damage(),
    ) {
        read_anyhow(&damaged(golden_bytes(name), &damage));
    }

    #[test]
    fn damaged_models(damage in damage(), tail in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = ModelFile::from_bytes("m", &damaged(golden_bytes("mlp.safetensors"), &damage));
        let _ = ModelFile::from_bytes("m", &tail);
        let _ = ModelFile::from_bytes("m", &[&(tail.len() as u64).to_le_bytes()[..], &tail].concat());
    }

    #[test]
    fn damaged_records(damage in damage()) {
        let record = Standardiser::from_ranges(Some(vec!["a".into()]), &[(-1.5, 4.0)], Beyond::Clip).unwrap();
        let json = serde_json::to_vec(&record).unwrap();
        let _ = serde_json::from_slice::<Standardiser>(&damaged(json, &damage));
    }

    #[test]
    fn damaged_gzip(damage in damage()) {
        read_anyhow(&damaged(gzip(b"a,label\n1,x\n2,y\n3,z\n"), &damage));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn damaged_parquet(
        name in prop::sample::select(&PARQUET[..]),
        damage in damage(),
    ) {
        let bytes = damaged(golden_bytes(name), &damage);
        let _ = Table::read_bytes("t", &bytes, &ReadOptions { columns: inferred(), ..ReadOptions::labelled("label") });
        let options = ReadOptions::labelled("label");
        if let Ok(table) = Table::read_bytes("t", &bytes, &options) {
            assert!(table.features.matrix().as_slice().iter().all(|x| x.is_finite()));
        }
    }
}

/// Every byte of a file in turn, so that the refusals by which the parquet crate panics are among them.
#[test]
fn parquet_with_any_one_byte_damaged() {
    let options = ReadOptions::labelled("label");
    for name in ["none.parquet", "pages_v2.parquet"] {
        let whole = golden_bytes(name);
        for position in 0..whole.len() {
            for byte in [whole[position] ^ 1, !whole[position], 0] {
                let mut bytes = whole.clone();
                bytes[position] = byte;
                let _ = Table::read_bytes("t", &bytes, &options);
            }
        }
    }
}
