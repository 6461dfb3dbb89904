//! Directories of files that are one table.

use std::fs;
use std::path::Path;

use blindsmith_data::{Choices, Columns, LabelValues, ReadOptions, Table};

use crate::{golden, refusal};

fn inferred(path: &Path) -> Result<Table, blindsmith_data::Error> {
    let columns = Columns::Inferred(Choices::default());
    Table::read(path, &ReadOptions { columns, ..ReadOptions::labelled("y") })
}

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

#[test]
fn files_are_one_table_in_the_order_of_their_names() {
    let dir = directory(&[
        ("b.csv", "y,c,x\nq,v,3\nr,u,4\nq,v,5\n"),
        ("a.CSV", "x,c,y\n1,u,p\n2,v,q\n"),
        ("_SUCCESS", ""),
        (".hidden.csv", "nothing"),
        ("readme.txt", "nothing"),
    ]);
    let table = inferred(dir.path()).unwrap();
    assert_eq!(table.features.names().unwrap(), ["x", "c=u", "c=v"]);
    let rows: Vec<f64> = table.features.matrix().iter_rows().map(|row| row[0]).collect();
    assert_eq!(rows, [1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(table.features.matrix().row(2), [3.0, 0.0, 1.0]);
    let LabelValues::Category { distinct, codes } = table.labels.unwrap().values else { panic!("category") };
    assert_eq!((distinct.join(","), codes), ("p,q,r".into(), vec![0, 1, 1, 2, 1]));
}

#[test]
fn cells_are_placed_in_their_file() {
    let dir = directory(&[("a.csv", "x,y\n1,p\n2,q\n"), ("b.csv", "x,y\n3,p\n,s\n")]);
    let message = refusal(inferred(dir.path()));
    assert!(message.contains("b.csv: row 2 (line 3), column \"x\": missing value"), "{message}");
    let dir = directory(&[("a.csv", "x,y\n1,p\n2,q\n"), ("b.csv", "x,y\n3,p\n4,s\n")]);
    let table = inferred(dir.path()).unwrap();
    let known = blindsmith_data::Classes::new(vec!["p".into(), "q".into()]).unwrap();
    assert!(table.features.place(3, 0).to_string().ends_with("b.csv: row 2, column \"x\""));
    let message = refusal(table.classify(Some(&known)));
    assert!(message.contains("b.csv: row 2, column \"y\": label \"s\""), "{message}");
}

#[test]
fn directories_named_by_their_defect() {
    for (files, reason) in [
        (&[][..], "is a directory without a file that ends in .parquet or .csv"),
        (&[("a.txt", "x,y\n1,p\n")], "is a directory without a file"),
        (&[("a.csv", "x,y\n1,p\n"), ("b.parquet", "PAR1")], "keep those of one format"),
        (&[("a.csv", "x,y\n1,p\n"), ("b.csv", "x,z,y\n1,2,p\n")], "no recorded feature: \"z\""),
        (&[("a.csv", "x,z,y\n1,2,p\n"), ("b.csv", "x,y\n1,p\n")], "lacks the feature columns \"z\""),
        (&[("a.csv", "x,y\n1,p\n"), ("b.csv", "x,z\n1,p\n")], "b.csv: no column is named \"y\""),
        (&[("a.csv", "x,y\n1,p\n"), ("b.csv", "")], "b.csv: the file is empty"),
    ] {
        let dir = directory(files);
        let message = refusal(inferred(dir.path()));
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn parts_of_parquet() {
    let dir = tempfile::tempdir().unwrap();
    for part in ["part-0.parquet", "part-1.parquet"] {
        fs::copy(golden("snappy.parquet"), dir.path().join(part)).unwrap();
    }
    let options = |label: &str| ReadOptions::labelled(label);
    let (one, two) = (
        Table::read(golden("snappy.parquet"), &options("label")).unwrap(),
        Table::read(dir.path(), &options("label")).unwrap(),
    );
    let rows = one.features.matrix().as_slice();
    assert_eq!(two.features.matrix().as_slice(), [rows, rows].concat());
    assert_eq!(two.labels.unwrap().rows(), 10);
}
