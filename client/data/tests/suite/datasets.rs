use std::path::PathBuf;

use blindsmith_data::{Beyond, Dataset, LabelKind, ReadOptions, Standardiser, Table, Targets, digits};

use crate::{read, refusal};

fn index(data: &Dataset) -> &[u32] {
    match &data.targets {
        Targets::Classes { index, .. } => index,
        _ => panic!("classes"),
    }
}

#[test]
fn the_shipped_digits() {
    let data = digits().unwrap();
    assert_eq!(data.features.matrix().shape(), (1797, 64));
    assert!(data.features.matrix().as_slice().iter().all(|&x| (0.0..=16.0).contains(&x) && x.fract() == 0.0));
    assert_eq!(&data.features.matrix().row(0)[..8], [0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0]);
    let Targets::Classes { classes, index } = &data.targets else { panic!("classes") };
    assert_eq!(classes.names(), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!(index[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let counts: Vec<usize> = (0..10).map(|class| index.iter().filter(|&&i| i == class).count()).collect();
    assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);

    let s = Standardiser::fit(&data.features, Standardiser::FACTOR, Beyond::Clip).unwrap();
    // Three pixels at the border are never inked.
    assert_eq!(s.scale().iter().filter(|&&scale| scale == 0.0).count(), 3);
    let rows = s.apply(data.features).unwrap();
    assert!(rows.matrix.as_slice().iter().all(|x| x.abs() <= 1.0));
}

#[test]
fn the_shipped_binary_set() {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "assets", "breast_cancer.csv"].iter().collect();
    let data = Table::read(path, &ReadOptions::labelled("diagnosis")).unwrap().classify(None).unwrap();
    assert_eq!(data.features.matrix().shape(), (569, 30));
    assert_eq!(data.features.names().unwrap()[..2], ["radius_mean", "texture_mean"]);
    let Targets::Classes { classes, index } = &data.targets else { panic!("classes") };
    assert_eq!(classes.names(), ["benign", "malignant"]);
    assert_eq!(index.iter().filter(|&&i| i == 1).count(), 212);
}

/// Row `i` has features 10 i and 10 i + 1, class i mod 3.
fn numbered(rows: usize) -> Dataset {
    let lines: String = (0..rows).map(|i| format!("{},{},{}\n", 10 * i, 10 * i + 1, i % 3)).collect();
    read(&format!("a,b,y\n{lines}")).unwrap().classify(None).unwrap()
}

fn assert_rows_are_whole(data: &Dataset) {
    for (row, &class) in data.features.matrix().iter_rows().zip(index(data)) {
        assert_eq!(row[1], row[0] + 1.0);
        assert_eq!((row[0] as u32 / 10) % 3, class);
    }
}

#[test]
fn shuffling_moves_whole_rows() {
    let original = numbered(100);
    let mut data = original.clone();
    let order = data.shuffle(&[9; 32]);
    assert_ne!(data.features.matrix(), original.features.matrix());
    assert_rows_are_whole(&data);
    assert_eq!(data, original.select(order.as_slice()));
    let mut again = original.clone();
    again.shuffle(&[9; 32]);
    assert_eq!(again, data);
    let mut other = original.clone();
    other.shuffle(&[8; 32]);
    assert_ne!(other, data);
    assert_eq!(data.select(order.inverse().as_slice()).features.matrix(), original.features.matrix());
}

#[test]
fn shuffling_moves_targets_of_every_kind() {
    for task in [Table::multi_label, Table::regress] {
        let options = ReadOptions { label_kind: LabelKind::Number, ..ReadOptions::labelled("y") };
        let csv: String = (0..64).map(|i| format!("{},{}\n", i % 2, i % 2)).collect();
        let table = Table::read_bytes("t.csv", format!("x,y\n{csv}").as_bytes(), &options).unwrap();
        let mut data = task(table).unwrap();
        data.shuffle(&[1; 32]);
        let (train, test) = data.split(0.25, &[2; 32]).unwrap();
        for part in [data, train, test] {
            let (Targets::Bits(targets) | Targets::Values(targets)) = &part.targets else {
                panic!("numbers")
            };
            assert_eq!(targets.matrix().as_slice(), part.features.matrix().as_slice());
        }
    }
}

#[test]
fn splits_are_disjoint_and_complete() {
    let data = numbered(101);
    let (train, held_out) = data.split(0.2, &[4; 32]).unwrap();
    assert_eq!((train.rows(), held_out.rows()), (81, 20));
    let firsts =
        |part: &Dataset| part.features.matrix().iter_rows().map(|row| row[0] as u32).collect::<Vec<_>>();
    let (a, b) = (firsts(&train), firsts(&held_out));
    assert!(a.is_sorted() && b.is_sorted());
    let mut all = [a, b].concat();
    all.sort_unstable();
    assert_eq!(all, (0..101).map(|i| 10 * i).collect::<Vec<_>>());
    assert_rows_are_whole(&train);
    assert_eq!(data.split(0.2, &[4; 32]).unwrap().1, held_out);
    assert_ne!(data.split(0.2, &[5; 32]).unwrap().1, held_out);
}

#[test]
fn splits_that_leave_a_side_empty() {
    for (rows, share) in [(1, 0.5), (10, 0.0), (10, 1.0), (10, 0.01), (10, -1.0), (10, f64::NAN), (10, 1e300)]
    {
        let lines: String = (0..rows).map(|i| format!("1,{i}\n")).collect();
        let options = ReadOptions { label_kind: LabelKind::Number, ..ReadOptions::labelled("y") };
        let table = Table::read_bytes("t.csv", format!("x,y\n{lines}").as_bytes(), &options).unwrap();
        let message = refusal(table.regress().unwrap().split(share, &[0; 32]));
        assert!(message.contains("both sides need at least one row"), "{message}");
    }
}

#[test]
fn a_regression_from_file_to_unit_and_back() {
    let csv: String = (0..40).map(|i| format!("{i},{}\n", 1000.0 + 3.5 * f64::from(i))).collect();
    let options = ReadOptions { label_kind: LabelKind::Number, ..ReadOptions::labelled("price") };
    let table = Table::read_bytes("t.csv", format!("x,price\n{csv}").as_bytes(), &options).unwrap();
    let Targets::Values(prices) = table.regress().unwrap().targets else { panic!("values") };
    let s = Standardiser::fit(&prices, Standardiser::FACTOR, Beyond::Refuse).unwrap();
    let scaled = s.apply(prices.clone()).unwrap().matrix;
    assert!(scaled.as_slice().iter().all(|x| x.abs() < 0.25));
    for (back, price) in s.invert(&scaled).unwrap().as_slice().iter().zip(prices.matrix().as_slice()) {
        assert!((back - price).abs() < 1e-3);
    }
}
