use blindsmith_data::{Classes, LabelKind, ReadOptions, Table, Targets};

use crate::{golden, read, refusal};

fn classes(names: &[&str]) -> Classes {
    Classes::new(names.iter().map(ToString::to_string).collect()).unwrap()
}

fn column(labels: &[&str]) -> Table {
    let rows: String = labels.iter().map(|label| format!("0,{label}\n")).collect();
    read(&format!("x,y\n{rows}")).unwrap()
}

fn classified(labels: &[&str]) -> (Vec<String>, Vec<u32>) {
    match column(labels).classify(None).unwrap().targets {
        Targets::Classes { classes, index } => (classes.names().to_vec(), index),
        _ => panic!("classes"),
    }
}

#[test]
fn order_does_not_depend_on_the_rows() {
    let (names, index) = classified(&["b", "a", "c", "a"]);
    assert_eq!((names, index), (vec!["a".into(), "b".into(), "c".into()], vec![1, 0, 2, 0]));
}

#[test]
fn integers_by_value_anything_else_by_text() {
    assert_eq!(classified(&["10", "9", "-1"]).0, ["-1", "9", "10"]);
    assert_eq!(classified(&["10", "9", "x"]).0, ["10", "9", "x"]);
    assert_eq!(classified(&["1", "01", "0"]).0, ["0", "01", "1"]);
}

#[test]
fn recorded_classes_rule() {
    let known = classes(&["no", "yes", "maybe"]);
    let data = column(&["yes", "yes"]).classify(Some(&known)).unwrap();
    let Targets::Classes { classes: found, index } = data.targets else { panic!("classes") };
    assert_eq!((found, index), (known.clone(), vec![2, 2]));
    assert_eq!(
        refusal(column(&["yes", "no", "Yes"]).classify(Some(&known))),
        concat!(
            r#"t.csv: row 3, column "y": label "Yes" is not among the recorded classes "#,
            r#""maybe", "no", "yes"; correct it or remove the row"#
        )
    );
}

#[test]
fn one_class() {
    assert_eq!(
        refusal(column(&["a", "a"]).classify(None)),
        r#"t.csv: every row has the label "a"; a classifier needs at least two classes"#
    );
}

#[test]
fn classes_as_a_record() {
    let known = classes(&["b", "a"]);
    let json = serde_json::to_string(&known).unwrap();
    assert_eq!(json, r#"["a","b"]"#);
    assert_eq!(serde_json::from_str::<Classes>(&json).unwrap(), known);
    assert_eq!(known.index_of("b"), Some(1));
    for (json, reason) in [
        (r#"[]"#, "0 given, at least two"),
        (r#"["a"]"#, "1 given, at least two"),
        (r#"["a","a"]"#, "\"a\" is there twice"),
        (r#"["a",""]"#, "a name is empty"),
    ] {
        let message = serde_json::from_str::<Classes>(json).unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn without_labels_or_with_the_other_kind() {
    let table = || Table::read_bytes("t.csv", b"x\n1\n", &ReadOptions::default()).unwrap();
    for message in
        [refusal(table().classify(None)), refusal(table().regress()), refusal(table().multi_label())]
    {
        assert_eq!(message, "t.csv: has no labels; name the label column");
    }
    let message = refusal(column(&["1", "2"]).regress());
    assert!(
        message.starts_with("t.csv: labels were read as a category, but this task needs numbers"),
        "{message}"
    );
    let options = ReadOptions { label_kind: LabelKind::Number, ..ReadOptions::labelled("y") };
    let table = Table::read_bytes("t.csv", b"x,y\n1,2\n", &options).unwrap();
    assert!(refusal(table.classify(None)).contains("read as numbers, but this task needs a category"));
}

#[test]
fn several_bits_a_row() {
    let options = ReadOptions {
        labels: vec!["cat".into(), "dog".into()],
        label_kind: LabelKind::Number,
        ..ReadOptions::default()
    };
    let read = |csv: &str| Table::read_bytes("t.csv", csv.as_bytes(), &options).unwrap().multi_label();
    let data = read("cat,x,dog\n1,5,0\n0,6,1\nTrue,7,false\n").unwrap();
    let Targets::Bits(bits) = data.targets else { panic!("bits") };
    assert_eq!(bits.names().unwrap(), ["cat", "dog"]);
    assert_eq!(bits.matrix().as_slice(), [1.0, 0.0, 0.0, 1.0, 1.0, 0.0]);
    assert_eq!(
        refusal(read("cat,x,dog\n1,5,0\n0,6,2\n")),
        r#"t.csv: row 2, column "dog": a multi-label column holds 0 or 1 only"#
    );
}

#[test]
fn debug_shows_no_rows() {
    let table = read("x,y\n123456,a\n654321,b\n").unwrap();
    let text = format!("{table:?}{:?}", table.clone().classify(None).unwrap());
    assert!(!text.contains("123456") && !text.contains("654321"), "{text}");
}

#[test]
fn class_names_do_not_depend_on_the_format() {
    assert_eq!(classified(&["1.0", "2.000", "+3", "-0.0", "-1.0"]).0, ["-1", "0", "1", "2", "3"]);
    assert_eq!(classified(&["True", "FALSE"]), (vec!["false".into(), "true".into()], vec![1, 0]));
    assert_eq!(classified(&["1.000e+00", "2.500000e+00"]).0, ["1", "2.5"]);
    // Codes, versions and words are names of their own.
    for names in
        [["007", "7"], ["1.1", "1.10"], ["1e5", "1e6"], ["x1.0", "y"], ["1.0.0", "2.0.0"], ["+", "-"]]
    {
        assert_eq!(classified(&names).0, names);
    }
    assert_eq!(classes(&["1.0", "True"]).names(), ["1", "true"]);
}

#[test]
fn a_table_written_twice_has_the_same_classes() {
    let read = |name: &str| {
        let table = Table::read(golden(&format!("users/{name}")), &ReadOptions::labelled("y")).unwrap();
        match table.classify(None).unwrap().targets {
            Targets::Classes { classes, index } => (classes.names().to_vec(), index),
            _ => panic!("classes"),
        }
    };
    assert_eq!(read("lab_10.csv"), read("lab_10.parquet"));
    assert_eq!(read("lab_10.csv").0, ["0", "1"]);
}

#[test]
fn a_class_that_usually_marks_what_is_missing() {
    let read = |missing: Option<&[&str]>| {
        let missing = missing.map(|marks| marks.iter().map(ToString::to_string).collect());
        let options = ReadOptions { missing, ..ReadOptions::labelled("y") };
        Table::read(golden("users/label_NA.csv"), &options)
    };
    let message = refusal(read(None));
    assert!(message.contains("column \"y\": missing value, which is what \"NA\" marks"), "{message}");
    assert!(message.ends_with("if it is a class, say what marks missing values"), "{message}");
    let Targets::Classes { classes, .. } = read(Some(&["?"])).unwrap().classify(None).unwrap().targets else {
        panic!("classes")
    };
    assert!(classes.names().contains(&"NA".into()), "{:?}", classes.names());
}
