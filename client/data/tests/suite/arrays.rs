use std::fs;

use blindsmith_data::{LabelKind, LabelValues, Limits, Part, ReadOptions, Table};

use crate::{golden, golden_bytes, gzip, refusal};

const ROWS: [f32; 6] = [1.5, -2.0, 0.25, 3.0, 1e-3, 4.0];

#[test]
fn doubles_stay_doubles() {
    assert_eq!(plain("f8_fortran.npy").features.matrix().row(2), [1e-3, 4.0]);
    assert_eq!(plain("f4.npy").features.matrix().row(2), [f64::from(1e-3_f32), 4.0]);
}

fn plain(name: &str) -> Table {
    Table::read(golden(name), &ReadOptions::default()).unwrap()
}

fn categories(features: &str, labels: &str) -> (Vec<String>, Vec<u32>) {
    let table = Table::read_pair(golden(features), golden(labels), &ReadOptions::default()).unwrap();
    match table.labels.unwrap().values {
        LabelValues::Category { distinct, codes } => (distinct, codes),
        LabelValues::Number(_) => panic!("category"),
    }
}

#[test]
fn numpy_layouts_agree() {
    for name in ["f4.npy", "f8_fortran.npy", "f4_big_endian.npy", "version2.npy"] {
        let table = plain(name);
        assert_eq!(table.features.matrix().shape(), (3, 2), "{name}");
        assert_eq!(table.features.matrix().rounded().as_slice(), ROWS, "{name}");
        assert_eq!(table.features.names(), None);
    }
    let half: Vec<f32> = ROWS.iter().map(|&x| half::f16::from_f32(x).to_f32()).collect();
    assert_eq!(plain("f2.npy").features.matrix().rounded().as_slice(), half);
}

#[test]
fn further_dimensions_are_flattened() {
    let table = plain("u1_images.npy");
    assert_eq!(table.features.matrix().shape(), (3, 4));
    assert_eq!(table.features.matrix().as_slice(), (0..12_u8).map(f64::from).collect::<Vec<_>>());
}

#[test]
fn numpy_labels_of_every_kind() {
    assert_eq!(categories("f4.npy", "labels_i8.npy"), (vec!["7".into(), "-1".into()], vec![0, 1, 0]));
    assert_eq!(
        categories("f4.npy", "labels_unicode.npy"),
        (vec!["rot".into(), "grün".into()], vec![0, 1, 0])
    );
    assert_eq!(categories("f4.npy", "labels_bytes.npy"), (vec!["red".into(), "green".into()], vec![0, 1, 0]));
    let options = ReadOptions { label_kind: LabelKind::Number, ..ReadOptions::default() };
    let table = Table::read_pair(golden("f4.npy"), golden("labels_bool.npy"), &options).unwrap();
    let LabelValues::Number(bits) = table.labels.unwrap().values else { panic!("numbers") };
    assert_eq!(bits.as_slice(), [1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn a_column_of_an_array_as_label() {
    let table = Table::read(golden("u1_images.npy"), &ReadOptions::labelled("last")).unwrap();
    assert_eq!(table.features.matrix().as_slice(), [0.0, 1.0, 2.0, 4.0, 5.0, 6.0, 8.0, 9.0, 10.0]);
    assert_eq!(table.classify(None).unwrap().rows(), 3);
}

#[test]
fn gzipped_arrays() {
    for name in ["f4.npy", "f8_fortran.npy"] {
        let packed = gzip(&golden_bytes(name));
        let table = Table::read_bytes(name, &packed, &ReadOptions::default()).unwrap();
        assert_eq!(table.features.matrix().rounded().as_slice(), ROWS);
    }
}

#[test]
fn numpy_refusals() {
    for (name, reason) in [
        ("object.npy", "elements of type \"|O\" are not supported; convert with array.astype"),
        ("records.npy", "it holds records; save a plain array of numbers"),
        ("complex.npy", "elements of type \"<c16\" are not supported"),
        ("scalar.npy", "a single number, not a table"),
    ] {
        let message = refusal(Table::read(golden(name), &ReadOptions::default()));
        assert!(message.contains(reason), "{name}: {message}");
    }
}

/// A version 1 file with this header and data.
fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn numpy_headers_named_by_their_defect() {
    let shape = |shape: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    for (name, bytes, reason) in [
        ("truncated", npy(&shape("(2, 2)"), &[0; 15]), "declares 85 bytes in all, but there are 84"),
        ("trailing", npy(&shape("(2, 2)"), &[0; 17]), "declares 85 bytes in all, but there are 86"),
        ("overflow", npy(&shape("(4294967296, 4294967296)"), &[]), "columns: 4294967296 exceeds the limit"),
        ("overflow_rows", npy(&shape("(9223372036854775807, 2)"), &[]), "its declared size is impossible"),
        ("number_too_long", npy(&shape("(99999999999999999999999, 2)"), &[]), "unreadable shape"),
        ("dimensions", npy(&shape(&format!("({})", "1,".repeat(40))), &[]), "unreadable shape"),
        ("no_rows", npy(&shape("(0, 2)"), &[]), "no data rows"),
        ("no_columns", npy(&shape("(2, 0)"), &[]), "no data rows"),
        ("not_a_dict", npy("[]", &[]), "no Python dictionary"),
        ("unclosed", npy("{'descr': '<f4'", &[]), "without a comma"),
        ("unclosed_string", npy("{'descr': '<f4", &[]), "unreadable string"),
        (
            "no_shape",
            npy("{'descr': '<f4', 'fortran_order': False}", &[]),
            "lacks descr, fortran_order or shape",
        ),
        ("unknown_entry", npy("{'x': 1}", &[]), "unknown entry"),
        ("order", npy("{'fortran_order': 0}", &[]), "neither True nor False"),
        (
            "text_of_no_length",
            npy("{'descr': '<U0', 'fortran_order': False, 'shape': (1,)}", &[]),
            "impossible",
        ),
        (
            "long_text",
            npy("{'descr': '<U99999999999', 'fortran_order': False, 'shape': (1,)}", &[]),
            "bytes of one element: 399999999996 exceeds",
        ),
        ("version", b"\x93NUMPY\x09\x00....".to_vec(), "version 9 of .npy is not supported"),
        ("long_header", b"\x93NUMPY\x02\x00\xff\xff\xff\x7f".to_vec(), "header of 2147483647 bytes exceeds"),
        ("cut_header", npy(&shape("(2, 2)"), &[])[..40].to_vec(), "ends before its declared size"),
    ] {
        let message = refusal(Table::read_bytes("t.npy", &bytes, &ReadOptions::default()));
        assert!(message.contains(reason), "{name}: {message}");
    }
    let cube = "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2, 2)}";
    let message = refusal(Table::read_bytes("t.npy", &npy(cube, &[0; 16]), &ReadOptions::default()));
    assert!(message.contains("save numpy.ascontiguousarray(array)"), "{message}");
}

#[test]
fn a_gzipped_array_shorter_or_longer_than_declared() {
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (100000000, 2)}";
    let message = refusal(Table::read_bytes("t.npy", &gzip(&npy(header, &[0; 64])), &ReadOptions::default()));
    assert!(message.contains("not a readable gzip file: ends early"), "{message}");
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)}";
    let message = refusal(Table::read_bytes("t.npy", &gzip(&npy(header, &[0; 17])), &ReadOptions::default()));
    assert!(message.contains("goes on after its declared size"), "{message}");
}

#[test]
fn cells_of_arrays() {
    let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2)}";
    for (value, reason) in [
        (f64::NAN, "t.npy: row 2, column #1: missing value"),
        (f64::INFINITY, "t.npy: row 2, column #1: not finite"),
        (1e300, "t.npy: row 2, column #1: too large for single precision"),
    ] {
        let data: Vec<u8> = [0.0, 1.0, value, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let message = refusal(Table::read_bytes("t.npy", &npy(header, &data), &ReadOptions::default()));
        assert!(message.starts_with(reason), "{message}");
    }
    let header = "{'descr': '<U1', 'fortran_order': False, 'shape': (1, 1)}";
    let message =
        refusal(Table::read_bytes("t.npy", &npy(header, &[0, 0, 0xff, 0xff]), &ReadOptions::default()));
    assert!(message.contains("not UTF-8"), "{message}");
}

/// An IDX file of bytes.
fn idx(shape: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    shape.iter().for_each(|n| bytes.extend(n.to_be_bytes()));
    bytes.extend(data);
    bytes
}

#[test]
fn idx_element_types() {
    for (code, data) in [
        (0x08, vec![1, 200]),
        (0x09, vec![1, 200]),
        (0x0b, vec![0, 1, 0xff, 0x38]),
        (0x0c, vec![0, 0, 0, 1, 0xff, 0xff, 0xff, 0x38]),
        (0x0d, [1.0_f32.to_be_bytes(), (-200_f32).to_be_bytes()].concat()),
        (0x0e, [1.0_f64.to_be_bytes(), (-200_f64).to_be_bytes()].concat()),
    ] {
        let bytes = [&[0, 0, code, 2, 0, 0, 0, 2, 0, 0, 0, 1][..], &data].concat();
        let table = Table::read_bytes("t.idx", &bytes, &ReadOptions::default()).unwrap();
        let second = match code {
            0x08 => 200.0,
            0x09 => -56.0,
            _ => -200.0,
        };
        assert_eq!(table.features.matrix().as_slice(), [1.0, second], "{code:#x}");
    }
}

#[test]
fn idx_named_by_its_defect() {
    for (name, bytes, reason) in [
        ("truncated", idx(&[2, 2], &[0; 3]), "declares 16 bytes in all, but there are 15"),
        ("trailing", idx(&[2, 2], &[0; 5]), "declares 16 bytes in all, but there are 17"),
        ("impossible", idx(&[u32::MAX; 4], &[]), "its declared size is impossible"),
        ("too_wide", idx(&[1, 70_000, 1], &[]), "columns: 70000 exceeds the limit of 65536"),
        ("no_rows", idx(&[0, 4], &[]), "no data rows"),
        ("cut_header", idx(&[2, 2], &[])[..9].to_vec(), "ends before its declared size"),
    ] {
        let message = refusal(Table::read_bytes("t", &bytes, &ReadOptions::default()));
        assert!(message.contains(reason), "{name}: {message}");
    }
    let rows = Limits { rows: 1, ..Limits::default() };
    let options = ReadOptions { limits: rows, ..ReadOptions::default() };
    let message = refusal(Table::read_bytes("t", &idx(&[2, 2], &[0; 4]), &options));
    assert!(message.contains("rows: 2 exceeds the limit of 1"), "{message}");
}

#[test]
fn pairs() {
    let options = ReadOptions::default();
    let (images, labels) = (idx(&[2, 1, 2], &[1, 2, 3, 4]), idx(&[2], &[9, 3]));
    let data = Table::read_pair_bytes(("i", &images), ("l", &gzip(&labels)), &options).unwrap();
    let data = data.classify(None).unwrap();
    assert_eq!(data.features.matrix().as_slice(), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(format!("{:?}", data.targets), r#"Classes(["3", "9"], 2 rows)"#);

    let three = idx(&[3], &[0, 1, 2]);
    let message = refusal(Table::read_pair_bytes(("i", &images), ("l", &three), &options));
    assert_eq!(message, "l: 2 rows of features but 3 labels; give the two files of one set");
    let message = refusal(Table::read_pair_bytes(("i", &images), ("l", b"x,y\n"), &options));
    assert!(message.starts_with("l: not a readable .npy or IDX file"), "{message}");
    let message = refusal(Table::read_pair_bytes(("i", &images), ("l", &idx(&[2, 2], &[0; 4])), &options));
    assert!(message.starts_with("l: 2 label columns for a categorical label"), "{message}");

    let limits = Limits { matrix_bytes: 32, ..Limits::default() };
    let narrow = ReadOptions { limits, label_kind: LabelKind::Number, ..options };
    let wide = idx(&[2, 3], &[0; 6]);
    let message = refusal(Table::read_pair_bytes(("i", &images), ("l", &wide), &narrow));
    assert!(message.starts_with("l: bytes of features and labels: 48 exceeds the limit of 32"), "{message}");
}

#[test]
fn mnist_directory() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    let images = |first: u8| idx(&[2, 2, 2], &[first, 1, 2, 3, 4, 5, 6, 7]);
    write("train-images-idx3-ubyte", &images(10));
    write("train-labels-idx1-ubyte.gz", &gzip(&idx(&[2], &[0, 1])));
    write("t10k-images.idx3-ubyte", &images(20));

    let table = Table::read_mnist(directory.path(), Part::Train, &ReadOptions::default()).unwrap();
    assert_eq!(table.features.matrix().row(0), [10.0, 1.0, 2.0, 3.0]);
    let message = refusal(Table::read_mnist(directory.path(), Part::Test, &ReadOptions::default()));
    assert!(
        message.contains("neither t10k-labels-idx1-ubyte nor t10k-labels-idx1-ubyte.gz is there"),
        "{message}"
    );
    write("t10k-labels-idx1-ubyte", &idx(&[2], &[7, 7]));
    let table = Table::read_mnist(directory.path(), Part::Test, &ReadOptions::default()).unwrap();
    assert_eq!(table.features.matrix().row(0)[0], 20.0);
}
