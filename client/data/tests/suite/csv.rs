use blindsmith_data::{ColumnRef, LabelKind, LabelValues, Limits, ReadOptions, Table};

use crate::{features, gzip, read, refusal};

fn with(csv: &str, options: ReadOptions) -> Result<Table, blindsmith_data::Error> {
    Table::read_bytes("t.csv", csv.as_bytes(), &options)
}

fn headerless(label: &str) -> ReadOptions {
    ReadOptions { header: false, ..ReadOptions::labelled(label) }
}

#[test]
fn numbers_names_and_labels() {
    let table = read("b,y,a\n1,yes,-2.5\n+3e2,no, .5 \n").unwrap();
    assert_eq!(table.features.names().unwrap(), ["b", "a"]);
    assert_eq!(table.features.matrix().shape(), (2, 2));
    assert_eq!(table.features.matrix().as_slice(), [1.0, -2.5, 300.0, 0.5]);
    let labels = table.labels.unwrap();
    assert_eq!(labels.names, ["y"]);
    let LabelValues::Category { distinct, codes } = labels.values else { panic!("category") };
    assert_eq!((distinct, codes), (vec!["yes".to_string(), "no".into()], vec![0, 1]));
}

#[test]
fn every_double_within_single_precision_reads_back_as_itself() {
    let some = (0..u64::MAX).step_by(72_340_172_838_076_673);
    for bits in some.chain([1, 0x7fff_ffff_ffff_ffff, 0x47ef_ffff_e000_0000, 1 << 63]) {
        let value = f64::from_bits(bits);
        if value.abs() <= f64::from(f32::MAX) {
            assert_eq!(features(&format!("x,y\n{value:e},a\n"))[0].to_bits(), bits);
        }
    }
}

#[test]
fn line_endings_mark_blank_lines_and_quotes() {
    let plain = features("x,z,y\n1,2,a\n3,4,b\n");
    for same in [
        "x,z,y\r\n1,2,a\r\n3,4,b\r\n",
        "x,z,y\n1,2,a\n3,4,b",
        "\u{feff}x,z,y\n1,2,a\n3,4,b\n",
        "x,z,y\n\n1,2,a\n\n\n3,4,b\n\n",
        "\"x\",\"z\",\"y\"\n\"1\",\"2\",\"a\"\n\"3\",\"4\",\"b\"\n",
        " x , z,y\n1 , 2,\"a\"\n 3,4,b\n",
    ] {
        assert_eq!(features(same), plain, "{same:?}");
    }
}

#[test]
fn quoted_delimiters_quotes_and_newlines_belong_to_the_cell() {
    let table = read("\"a,b\",y\n1,\"x\"\"1\"\"\"\n2,\"two\nlines\"\n").unwrap();
    assert_eq!(table.features.names().unwrap(), ["a,b"]);
    let LabelValues::Category { distinct, .. } = table.labels.unwrap().values else { panic!("category") };
    assert_eq!(distinct, ["x\"1\"", "two\nlines"]);
}

#[test]
fn gzip_is_told_by_content() {
    let table = Table::read_bytes("t.csv", &gzip(b"x,y\n1,a\n"), &ReadOptions::labelled("y")).unwrap();
    assert_eq!(table.features.matrix().as_slice(), [1.0]);
    let mut two_members = gzip(b"x,y\n1,a\n");
    two_members.extend(gzip(b"2,b\n"));
    let table = Table::read_bytes("t.csv", &two_members, &ReadOptions::labelled("y")).unwrap();
    assert_eq!(table.features.matrix().as_slice(), [1.0, 2.0]);
}

#[test]
fn columns_by_position() {
    for (label, features) in
        [("last", [1.0, 2.0]), ("#last", [1.0, 2.0]), ("1", [2.0, 3.0]), ("#2", [1.0, 3.0])]
    {
        let table = with("1,2,3\n", headerless(label)).unwrap();
        assert_eq!(table.features.matrix().as_slice(), features, "{label}");
        assert_eq!(table.features.names(), None);
    }
    // With a header a bare "last" or "1" is a name.
    let table = with("1,last,c\n1,2,3\n", ReadOptions::labelled("last")).unwrap();
    assert_eq!(table.features.matrix().as_slice(), [1.0, 3.0]);
    let table = with("1,last,c\n1,2,3\n", ReadOptions::labelled("#last")).unwrap();
    assert_eq!(table.features.matrix().as_slice(), [1.0, 2.0]);
    assert_eq!("#12".parse(), Ok(ColumnRef::Number(12)));
    assert_eq!("#x".parse(), Ok(ColumnRef::Name("#x".into())));
}

#[test]
fn other_delimiters_truth_values_and_ignored_columns() {
    let options = ReadOptions {
        delimiter: b';',
        ignore: vec!["id".into(), "note".into()],
        ..ReadOptions::labelled("y")
    };
    let table = with("id;flag;y;note\nA7;True;a;\nB1;false;b;\u{1}\n", options).unwrap();
    assert_eq!(table.features.names().unwrap(), ["flag"]);
    assert_eq!(table.features.matrix().as_slice(), [1.0, 0.0]);
}

#[test]
fn a_query_keeps_the_recorded_columns_in_their_order() {
    let keep = ReadOptions {
        keep: Some(vec!["b".into(), "a".into()]),
        labels_optional: true,
        ..ReadOptions::labelled("y")
    };
    let table = with("a,note,b\n1,hello,2\n", keep.clone()).unwrap();
    assert_eq!(table.features.names().unwrap(), ["b", "a"]);
    assert_eq!(table.features.matrix().as_slice(), [2.0, 1.0]);
    assert_eq!(table.labels, None);
    assert!(with("a,y,b\n1,hello,2\n", keep.clone()).unwrap().labels.is_some());
    assert_eq!(
        refusal(with("a,c\n1,2\n", keep.clone())),
        r#"t.csv: lacks the feature columns "b"; every table must have the recorded features"#
    );
    let nameless = ReadOptions { header: false, labels_optional: false, labels: vec![], ..keep };
    assert_eq!(with("1,2\n", nameless.clone()).unwrap().features.columns(), 2);
    assert_eq!(refusal(with("1,2,3\n", nameless)), "t.csv: has 3 feature columns where 2 are recorded");
}

#[test]
fn cells_that_are_no_numbers() {
    let at = |cell: &str| {
        let message = refusal(read(&format!("x,y\n1,a\n{cell},b\n")));
        message.strip_prefix("t.csv: row 2 (line 3), column \"x\": ").unwrap().to_string()
    };
    let missing = "missing value; fill it in or remove the row";
    for cell in ["", " ", "NA", "nan", "NaN", "null", "None", "?", "N/A", "-nan"] {
        assert_eq!(at(cell), missing, "{cell:?}");
    }
    for cell in ["inf", "-inf", "Infinity"] {
        assert_eq!(at(cell), "not finite; replace it or remove the row");
    }
    for cell in ["1e39", "-99999999999999999999999999999999999999999"] {
        assert_eq!(at(cell), "too large for single precision; rescale the column");
    }
    for cell in ["abc", "1 2", "0x10", "1_000", "12 kg", "1e", "--1"] {
        let message = at(cell);
        assert_eq!(message, "not a number; convert the column to numbers, or ignore it", "{cell:?}");
    }
    for cell in ["\"1,5\"", "\"1,000.5\""] {
        assert!(at(cell).contains("decimal point"), "{cell:?}");
    }
}

#[test]
fn an_error_never_quotes_a_feature() {
    let message = refusal(read("x,y\nSECRET,a\n"));
    assert!(!message.contains("SECRET"), "{message}");
}

#[test]
fn missing_label() {
    for label in ["", "NA", "nan", "?", "NULL"] {
        let message = refusal(read(&format!("x,y\n1,{label}\n")));
        assert!(message.starts_with("t.csv: row 1 (line 2), column \"y\": missing value"), "{message}");
    }
    assert!(read("x,y\n1,None\n").is_ok(), "a class may be called None");
}

#[test]
fn rows_and_lines_in_errors() {
    let message = refusal(read("x,y\r\n\r\n1,\"a\r\nb\"\r\n2,b\r\nbad,c\r\n"));
    assert!(message.starts_with("t.csv: row 3 (line 6), column \"x\": not a number"), "{message}");
    let message = refusal(with("1,2\n3,x\n", headerless("1")));
    assert!(message.starts_with("t.csv: row 2 (line 2), column #2: not a number"), "{message}");
}

#[test]
fn ragged_rows() {
    let hint = "quote cells that hold a delimiter, and fill in what is missing";
    for (csv, found) in [("a,b,y\n1,2,x\n1,2\n", 2), ("a,b,y\n1,2,x\n1,2,x,4,5\n", 5)] {
        assert_eq!(
            refusal(read(csv)),
            format!("t.csv: row 2 (line 3) has {found} cells where 3 are expected; {hint}")
        );
    }
}

#[test]
fn empty_blank_and_header_only() {
    for csv in ["", "\n", "\r\n\r\n"] {
        assert!(refusal(read(csv)).starts_with("t.csv: the file is empty"), "{csv:?}");
    }
    assert!(refusal(read("x,y\n")).starts_with("t.csv: no data rows"));
    assert!(refusal(read("x,y")).starts_with("t.csv: no data rows"));
}

#[test]
fn label_column_missing() {
    let options = ReadOptions::labelled("diagnosys");
    let names = (0..20).map(|i| format!("v{i}")).collect::<Vec<_>>().join(",");
    let cells = vec!["1"; 21].join(",");
    let message = refusal(with(&format!("{names},Diagnosis\n{cells}\n"), options));
    assert!(
        message.starts_with(r#"t.csv: no column is named "diagnosys"; the most similar are "Diagnosis", "#),
        "{message}"
    );
    assert_eq!(
        refusal(with("a,b\n1,2\n", ReadOptions::labelled("c"))),
        r#"t.csv: no column is named "c"; there are "a", "b""#
    );
    assert_eq!(
        refusal(with("a;b;c\n1;2;3\n", ReadOptions::labelled("c"))),
        r#"t.csv: no column is named "c"; there are "a;b;c" (is the delimiter another than a comma?)"#
    );
    assert_eq!(
        refusal(with("1,2\n", headerless("c"))),
        r#"t.csv: no column is named "c": the 2 columns have no names; give a position such as #1 or #last"#
    );
    for position in ["#0", "#3", "#99999999999999999999"] {
        assert!(with("1,2\n", headerless(position)).is_err(), "{position}");
    }
    assert_eq!(
        refusal(with("1,2\n", headerless("#3"))),
        "t.csv: column #3 was asked for, but there are 2; positions count from 1"
    );
}

#[test]
fn duplicate_and_unnamed_columns() {
    let message = refusal(read("a,b,a,y\n1,2,3,x\n"));
    assert!(
        message.starts_with("t.csv: columns 1 and 3 are both named \"a\"; rename or ignore one"),
        "{message}"
    );
    let ignoring = ReadOptions { ignore: vec![ColumnRef::Number(3)], ..ReadOptions::labelled("y") };
    assert_eq!(with("a,b,a,y\n1,2,3,x\n", ignoring).unwrap().features.names().unwrap(), ["a", "b"]);
    let message = refusal(read(",a,y\n0,1,x\n"));
    assert!(message.starts_with("t.csv: column 1 has no name; name it, ignore it as #1"), "{message}");
    assert!(refusal(read("y,y\n0,1\n")).starts_with("t.csv: columns 1 and 2 are both named \"y\""));
}

#[test]
fn contradictory_roles() {
    let options = ReadOptions { ignore: vec!["y".into()], ..ReadOptions::labelled("y") };
    assert!(refusal(with("x,y\n1,a\n", options)).starts_with("t.csv: column \"y\" was given two roles"));
    let options = ReadOptions { ignore: vec!["x".into()], ..ReadOptions::labelled("y") };
    assert!(refusal(with("x,y\n1,a\n", options)).contains("no feature column is left"));
    let options = ReadOptions { labels: vec!["y".into(), "z".into()], ..ReadOptions::default() };
    assert!(refusal(with("x,y,z\n1,a,b\n", options)).starts_with("t.csv: 2 label columns"));
}

#[test]
fn not_text_at_all() {
    for (bytes, reason) in [
        (&b"\xff\xfex\0,\0y\0"[..], "t.csv: UTF-16 text is not supported; save the file as CSV in UTF-8"),
        (b"PK\x03\x04....", "t.csv: a zip archive (as .xlsx and .npz are) is not supported"),
        (b"\x28\xb5\x2f\xfd...", "t.csv: a zstd file is not supported"),
    ] {
        let message = refusal(Table::read_bytes("t.csv", bytes, &ReadOptions::labelled("y")));
        assert!(message.starts_with(reason), "{message}");
    }
    let read = |bytes: &[u8]| refusal(Table::read_bytes("t.csv", bytes, &ReadOptions::labelled("y")));
    assert!(read(b"x\xff,y\n1,a\n").contains("the name of column 1 is not UTF-8"));
    assert!(read(b"x,y\n1,a\xff\n").starts_with("t.csv: row 1 (line 2), column \"y\": not UTF-8"));
    assert!(read(b"x,y\n\xff,a\n").starts_with("t.csv: row 1 (line 2), column \"x\": not UTF-8"));
}

#[test]
fn damaged_gzip() {
    let whole = gzip(format!("x,y\n{}", "1,a\n2,b\n".repeat(50)).as_bytes());
    let read = |bytes: &[u8]| refusal(Table::read_bytes("t.csv.gz", bytes, &ReadOptions::labelled("y")));
    let message = read(&whole[..whole.len() - 9]);
    assert!(message.starts_with("t.csv.gz: not a readable gzip file: ends early"), "{message}");
    assert!(read(&whole[..5]).starts_with("t.csv.gz: not a readable gzip file"));
    let mut flipped = whole.clone();
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    assert!(read(&flipped).starts_with("t.csv.gz: not a readable gzip file"));
}

#[test]
fn limits_are_kept() {
    let limited = |csv: &str, change: fn(&mut Limits)| {
        let mut options = ReadOptions::labelled("y");
        change(&mut options.limits);
        let plain = with(csv, options.clone());
        let packed = Table::read_bytes("t.csv", &gzip(csv.as_bytes()), &options);
        match (plain, packed) {
            (Ok(_), Ok(_)) => None,
            (plain, packed) => Some((refusal(plain), refusal(packed))),
        }
    };
    let csv = "a,b,y\n1,2,x\n3,4,z\n";
    let bytes = csv.len() as u64;
    assert_eq!(bytes, 18);
    assert_eq!(limited(csv, |l| l.file_bytes = 18), None);
    let (plain, packed) = limited(csv, |l| l.file_bytes = 17).unwrap();
    assert!(plain.starts_with("t.csv: bytes of content: 18 exceeds the limit of 17"), "{plain}");
    assert!(plain.ends_with("split the file or raise `file_bytes`"), "{plain}");
    assert!(packed.starts_with("t.csv: bytes of content: "), "{packed}");
    assert_eq!(limited(csv, |l| l.rows = 2), None);
    assert!(limited(csv, |l| l.rows = 1).unwrap().0.starts_with("t.csv: rows: 2 exceeds the limit of 1"));
    assert_eq!(limited(csv, |l| l.columns = 3), None);
    assert!(limited(csv, |l| l.columns = 2).unwrap().0.starts_with("t.csv: columns: 3 exceeds"));
    assert_eq!(limited(csv, |l| l.matrix_bytes = 48), None);
    assert!(limited(csv, |l| l.matrix_bytes = 47).unwrap().0.contains("features and labels: 48 exceeds"));
    assert_eq!(limited(csv, |l| l.classes = 2), None);
    assert!(limited(csv, |l| l.classes = 1).unwrap().0.contains("read labels as numbers"));
    assert_eq!(limited(csv, |l| l.cell_bytes = 1), None);
    let long = "a,b,y\n1,2,x\n3,4,zz\n";
    assert!(
        limited(long, |l| l.cell_bytes = 1).unwrap().0.contains("row 2 (line 3), column \"y\": longer than")
    );
}

#[test]
fn a_decompression_bomb_stops_at_the_limit() {
    let bomb = gzip(&vec![b'0'; 8 << 20]);
    assert!(bomb.len() < 10_000);
    let limits = Limits { file_bytes: 1 << 20, ..Limits::default() };
    let options = ReadOptions { limits, ..ReadOptions::labelled("y") };
    let message = refusal(Table::read_bytes("t.csv", &bomb, &options));
    assert!(
        message.starts_with("t.csv: bytes of content: 1048577 exceeds the limit of 1048576"),
        "{message}"
    );
}

#[test]
fn a_stray_quote_is_bounded() {
    let mut csv = b"x,y\n1,\"".to_vec();
    csv.resize(70 << 20, b'\n');
    let message = refusal(Table::read_bytes("t.csv", &csv, &ReadOptions::labelled("y")));
    assert!(message.contains("look for an unbalanced quote"), "{message}");
}

#[test]
fn wide_and_long_tables() {
    let wide: Vec<String> = (0..5_000).map(|i| format!("c{i}")).collect();
    let row: Vec<String> = (0..5_000).map(|i| i.to_string()).collect();
    let csv = format!("{},y\n{},a\n{},b\n", wide.join(","), row.join(","), row.join(","));
    assert_eq!(features(&csv).len(), 10_000);
    let long = format!("x,y\n{}", "1,a\n2,b\n".repeat(40_000));
    assert_eq!(read(&long).unwrap().features.rows(), 80_000);
}

#[test]
fn missing_file_and_directory() {
    let message = refusal(Table::read("/no/such/file.csv", &ReadOptions::default()));
    assert!(message.starts_with("/no/such/file.csv: "), "{message}");
    let message = refusal(Table::read(env!("CARGO_MANIFEST_DIR"), &ReadOptions::default()));
    assert!(message.contains("is a directory"), "{message}");
}

#[test]
fn numeric_labels() {
    let options = ReadOptions {
        labels: vec!["t2".into(), "t1".into()],
        label_kind: LabelKind::Number,
        ..ReadOptions::default()
    };
    let table = with("x,t1,t2\n1,10,20\n2,30,40\n", options).unwrap();
    let labels = table.labels.unwrap();
    assert_eq!(labels.names, ["t2", "t1"]);
    let LabelValues::Number(matrix) = labels.values else { panic!("numbers") };
    assert_eq!(matrix.as_slice(), [20.0, 10.0, 40.0, 30.0]);
}

#[test]
fn of_every_bad_column_the_first_cell_is_named_at_once() {
    let message = refusal(read("a,b,c,y\n1,Bonn,2024-01-31,p\n2,Rome,x,q\n,Oslo,2,r\n"));
    assert_eq!(
        message,
        "3 columns cannot be used\n  \
         t.csv: row 3 (line 4), column \"a\": missing value; fill it in or remove the row\n  \
         t.csv: row 1 (line 2), column \"b\": not a number; convert the column to numbers, or ignore it\n  \
         t.csv: row 1 (line 2), column \"c\": not a number (a date: turn it into a number, such as days since a \
         day of your choice); convert the column to numbers, or ignore it"
    );
    // Nothing that follows could be used: a row of another length is not reached.
    assert!(refusal(read("a,y\nx,\n1\n")).starts_with("2 columns cannot be used"));
}

#[test]
fn a_decimal_comma() {
    let options =
        ReadOptions { delimiter: b';', decimal_comma: true, missing: None, ..ReadOptions::labelled("y") };
    let table = with("a;b;y\n1,5;-2;1,0\n,25;3,0;2,0\n", options.clone()).unwrap();
    assert_eq!(table.features.matrix().as_slice(), [1.5, -2.0, 0.25, 3.0]);
    assert_eq!(format!("{:?}", table.classify(None).unwrap().targets), r#"Classes(["1", "2"], 2 rows)"#);
    for cell in ["1.5", "1.000,5", "1,2,3"] {
        let message = refusal(with(&format!("a;y\n{cell};p\n"), options.clone()));
        assert!(message.contains("column \"a\": not a number"), "{message}");
    }
}

#[test]
fn marks_of_missing_values_in_place_of_the_usual_ones() {
    let options = ReadOptions { missing: Some(vec!["-9".into()]), ..ReadOptions::labelled("y") };
    for cell in ["-9", "", " -9 ", "nan"] {
        let message = refusal(with(&format!("x,y\n{cell},p\n"), options.clone()));
        assert!(message.contains("column \"x\": missing value"), "{cell}: {message}");
    }
    assert_eq!(with("x,y\n9,NA\n-9.0,?\n", options).unwrap().features.matrix().as_slice(), [9.0, -9.0]);
}

#[test]
fn a_column_that_counts_rows_is_left_out_by_name() {
    for name in ["Unnamed: 0", "__index_level_12__"] {
        let table = read(&format!("{name},x,y\n0,5,p\n1,6,q\n")).unwrap();
        assert_eq!(
            (table.features.names().unwrap(), table.left_out),
            (&["x".to_owned()][..], vec![name.into()])
        );
    }
    for name in ["Unnamed: 1", "__index_level__", "__index_level_x__"] {
        assert_eq!(read(&format!("{name},x,y\n0,5,p\n")).unwrap().features.columns(), 2, "{name}");
    }
}
