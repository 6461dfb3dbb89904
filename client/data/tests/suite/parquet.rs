use blindsmith_data::{LabelKind, Limits, ReadOptions, Table, Targets};

use crate::{golden, golden_bytes, gzip, refusal};

const LABEL: &str = "label";

/// x, f, h, n, u, w, flag of the five golden rows.
const ROWS: [[f64; 7]; 5] = [
    [1.5, 0.5, 1.5, 1.0, 0.0, 0.0, 1.0],
    [-2.0, 1.5, -2.0, -2.0, 1.0, 1.0, 0.0],
    [0.25, 2.5, 0.25, 3.0, 2.0, 2.0, 1.0],
    [3.0, 3.5, 3.0, -4.0, 254.0, 3.0, 1.0],
    [1e-3, 4.5, 4.0, 5.0, 255.0, 4_294_967_295.0, 0.0],
];

fn check(table: Table) {
    assert_eq!(table.features.names().unwrap(), ["x", "f", "h", "n", "u", "w", "flag"]);
    assert_eq!(table.features.matrix().as_slice(), ROWS.as_flattened());
    let Targets::Classes { classes, index } = table.classify(None).unwrap().targets else {
        panic!("classes")
    };
    assert_eq!(classes.names(), ["maybe", "no", "yes"]);
    assert_eq!(index, [2, 1, 2, 1, 0]);
}

#[test]
fn codecs_and_page_versions_agree() {
    for name in ["none", "snappy", "gzip", "zstd", "brotli", "lz4", "pages_v2"] {
        let file = format!("{name}.parquet");
        check(Table::read(golden(&file), &ReadOptions::labelled(LABEL)).unwrap());
        check(Table::read_bytes(&file, &golden_bytes(&file), &ReadOptions::labelled(LABEL)).unwrap());
    }
    let packed = gzip(&golden_bytes("snappy.parquet"));
    check(Table::read_bytes("packed", &packed, &ReadOptions::labelled(LABEL)).unwrap());
}

#[test]
fn labels_of_other_types() {
    for (label, classes) in [("n", ["-4", "-2", "1", "3", "5"]), ("f", ["0.5", "1.5", "2.5", "3.5", "4.5"])] {
        let options = ReadOptions { ignore: vec![LABEL.into()], ..ReadOptions::labelled(label) };
        let data = Table::read(golden("none.parquet"), &options).unwrap().classify(None).unwrap();
        let Targets::Classes { classes: found, .. } = data.targets else { panic!("classes") };
        assert_eq!(found.names(), classes);
    }
    let options = ReadOptions {
        labels: vec!["flag".into(), "x".into()],
        label_kind: LabelKind::Number,
        ignore: vec![LABEL.into()],
        ..ReadOptions::default()
    };
    let data = Table::read(golden("none.parquet"), &options).unwrap().regress().unwrap();
    let Targets::Values(values) = data.targets else { panic!("values") };
    assert_eq!(values.matrix().row(1), [0.0, -2.0]);
}

/// The refusal of `column` of the odd file, alone.
fn odd(column: &str) -> String {
    let options = ReadOptions { keep: Some(vec![column.into()]), ..ReadOptions::default() };
    let bytes = golden_bytes("odd.parquet");
    refusal(Table::read_bytes("odd", &bytes, &options))
}

#[test]
fn columns_named_by_their_defect() {
    for (column, reason) in [
        ("x", "odd: row 2, column \"x\": missing value"),
        ("inf", "odd: row 2, column \"inf\": not finite"),
        ("big", "odd: row 2, column \"big\": too large for single precision"),
        ("when", "odd: column \"when\": values of type Timestamp"),
        ("list.list.element", "odd: column \"list.list.element\": nested values are not supported; flatten"),
        ("city", "odd: column \"city\": text as a number is not supported"),
    ] {
        let message = odd(column);
        assert!(message.starts_with(reason), "{message}");
    }
    let options = ReadOptions { keep: Some(vec!["fine".into()]), ..ReadOptions::labelled("none") };
    let message = refusal(Table::read_bytes("odd", &golden_bytes("odd.parquet"), &options));
    assert!(message.starts_with("odd: row 2, column \"none\": missing value"), "{message}");
}

#[test]
fn what_is_left_out_does_not_matter() {
    let options = ReadOptions { keep: Some(vec!["fine".into()]), ..ReadOptions::labelled("city") };
    let table = Table::read(golden("odd.parquet"), &options).unwrap();
    assert_eq!(table.features.matrix().as_slice(), [1.0, 2.0, 3.0]);
}

#[test]
fn files_named_by_their_defect() {
    let read = |bytes: &[u8]| refusal(Table::read_bytes("t", bytes, &ReadOptions::labelled(LABEL)));
    let whole = golden_bytes("snappy.parquet");
    assert!(read(&whole[..whole.len() - 1]).contains("does not end as a Parquet file"));
    assert!(read(&whole[..10]).starts_with("t: not a readable Parquet file"));
    assert!(read(b"PAR1").starts_with("t: not a readable Parquet file: too short"));
    let beheaded = [&whole[..4], &whole[whole.len() - 900..]].concat();
    assert!(read(&beheaded).starts_with("t: not a readable Parquet file"), "{}", read(&beheaded));
    let mut encrypted = whole.clone();
    encrypted.truncate(whole.len() - 4);
    encrypted.extend(b"PARE");
    assert!(read(&encrypted).contains("encrypted; write it without encryption"));
    assert!(read(&golden_bytes("no_rows.parquet")).starts_with("t: no data rows"));
}

#[test]
fn limits_are_kept() {
    let limited = |limits: Limits| {
        let options = ReadOptions { limits, ..ReadOptions::labelled(LABEL) };
        refusal(Table::read(golden("none.parquet"), &options))
    };
    assert!(limited(Limits { rows: 4, ..Limits::default() }).contains("rows: 5 exceeds the limit of 4"));
    assert!(limited(Limits { columns: 7, ..Limits::default() }).contains("columns: 8 exceeds"));
    assert!(
        limited(Limits { matrix_bytes: 319, ..Limits::default() })
            .contains("features and labels: 320 exceeds")
    );
    assert!(limited(Limits { file_bytes: 1000, ..Limits::default() }).contains("bytes of content"));
    assert!(
        limited(Limits { cell_bytes: 2, ..Limits::default() })
            .contains("row 1, column \"label\": longer than")
    );
    assert!(limited(Limits { classes: 2, ..Limits::default() }).contains("distinct labels"));
}

#[test]
fn what_the_parquet_crate_writes() {
    use std::sync::Arc;

    use parquet::data_type::{DoubleType, Int32Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    let schema = "message m { REQUIRED DOUBLE a; OPTIONAL INT32 b (INTEGER(32, true)); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, schema, Arc::new(WriterProperties::builder().build())).unwrap();
    // More rows than a batch, so that reading crosses batches and pages.
    let rows = 10_000;
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let a: Vec<f64> = (0..rows).map(|i| f64::from(i) / 4.0).collect();
    column.typed::<DoubleType>().write_batch(&a, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let b: Vec<i32> = (0..rows).map(|i| i * 7 - 100).collect();
    column.typed::<Int32Type>().write_batch(&b, Some(&vec![1; rows as usize]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();

    let table = Table::read_bytes("t", &bytes, &ReadOptions::default()).unwrap();
    for (row, values) in table.features.matrix().iter_rows().enumerate() {
        assert_eq!(values, [row as f64 / 4.0, (row as i32 * 7 - 100).into()]);
    }
}

/// A file as users' tools write it, with the label `y`.
fn of_users(name: &str) -> Result<Table, blindsmith_data::Error> {
    Table::read(golden(&format!("users/{name}")), &ReadOptions::labelled("y"))
}

#[test]
fn a_row_index_of_pandas_is_left_out_by_name() {
    let table = of_users("index.parquet").unwrap();
    assert_eq!(table.features.names().unwrap(), ["a", "b", "c"]);
    assert_eq!(table.left_out, ["__index_level_0__"]);
    // Asked for by name it is a column as any other.
    let index = "__index_level_0__";
    let keep = ReadOptions { keep: Some(vec![index.into()]), ..ReadOptions::labelled("y") };
    let table = Table::read(golden("users/index.parquet"), &keep).unwrap();
    assert_eq!((table.features.names().unwrap(), table.left_out.len()), (&[index.to_owned()][..], 0));
}

#[test]
fn codecs_of_other_tools() {
    let (lz4, brotli) = (of_users("lz4.parquet").unwrap(), of_users("brotli.parquet").unwrap());
    assert_eq!(lz4.features.matrix(), brotli.features.matrix());
    assert!(lz4.features.rows() > 1);
}

#[test]
fn decimals_are_numbers_and_their_names_are_those_of_text() {
    assert!(of_users("decimal.parquet").is_ok());
    for (physical, width) in [("INT32", 4), ("INT64", 8), ("FIXED_LEN_BYTE_ARRAY (5)", 5), ("BYTE_ARRAY", 2)]
    {
        let file = decimals(physical, width, &[1250, -5, 700]);
        let numbers = ReadOptions { label_kind: LabelKind::Number, ..ReadOptions::labelled("d") };
        let table = Table::read_bytes("t", &file, &numbers).unwrap();
        let Targets::Values(values) = table.regress().unwrap().targets else { panic!("values") };
        assert_eq!(values.matrix().as_slice(), [12.5, -0.05, 7.0], "{physical}");
        let table = Table::read_bytes("t", &file, &ReadOptions::labelled("d")).unwrap();
        let csv =
            Table::read_bytes("t", b"x,d\n0,12.50\n1,-0.05\n2,7.00\n", &ReadOptions::labelled("d")).unwrap();
        let names = |table: Table| match table.classify(None).unwrap().targets {
            Targets::Classes { classes, .. } => classes.names().to_vec(),
            _ => panic!("classes"),
        };
        assert_eq!(names(table), names(csv), "{physical}");
    }
}

/// A file with a column `x`, and decimals with two places in `d`.
fn decimals(physical: &str, width: usize, units: &[i64]) -> Vec<u8> {
    use std::sync::Arc;

    use parquet::data_type::{ByteArray, ByteArrayType, FixedLenByteArrayType, Int32Type, Int64Type};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    let schema = format!("message m {{ REQUIRED INT32 x; REQUIRED {physical} d (DECIMAL(4, 2)); }}");
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let x: Vec<i32> = (0..units.len() as i32).collect();
    column.typed::<Int32Type>().write_batch(&x, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let of_bytes = |unit: &i64| ByteArray::from(unit.to_be_bytes()[8 - width..].to_vec());
    match physical {
        "INT32" => {
            let units: Vec<i32> = units.iter().map(|&unit| unit as i32).collect();
            column.typed::<Int32Type>().write_batch(&units, None, None)
        }
        "INT64" => column.typed::<Int64Type>().write_batch(units, None, None),
        "BYTE_ARRAY" => {
            let units: Vec<ByteArray> = units.iter().map(of_bytes).collect();
            column.typed::<ByteArrayType>().write_batch(&units, None, None)
        }
        _ => {
            let units: Vec<_> = units.iter().map(|unit| of_bytes(unit).into()).collect();
            column.typed::<FixedLenByteArrayType>().write_batch(&units, None, None)
        }
    }
    .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn dates_and_times_are_refused_with_the_way_to_convert_them() {
    for (name, words) in [
        (
            "date.parquet",
            ["values of type Date are not supported; convert the column to a number", ".dt.days"],
        ),
        ("timestamp.parquet", ["values of type Timestamp", ".dt.total_seconds()"]),
    ] {
        let message = refusal(of_users(name));
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
    let message = refusal(Table::read_bytes("odd", &golden_bytes("odd.parquet"), &ReadOptions::default()));
    for column in ["when", "list.list.element", "city"] {
        assert!(message.contains(&format!("\n  odd: column {column:?}: ")), "{message}");
    }
}
