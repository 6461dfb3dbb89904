//! What is made of columns that are no plain numbers: by default, as the owner says, and in later tables.

use blindsmith_data::{
    Beyond, Choices, ColumnKind, Columns, Counted, Filling, Imputation, Limits, Preprocessing, ReadOptions,
    Standardiser, Table,
};

use crate::refusal;

/// Twelve rows: a number, a category, a truth value, a date, and the label.
const FIRST: &str = "age,city,member,since,y\n\
    30,Berlin,yes,2024-01-01,a\n31,Paris,no,2024-01-02,b\n32,Berlin,yes,2024-01-03,a\n33,Rome,no,2024-01-04,b\n\
    34,Paris,yes,2024-01-05T12:00,a\n35,Rome,no,2024-01-06,b\n36,Berlin,yes,2024-01-07,a\n37,Rome,no,2024-01-08,b\n\
    38,Paris,YES,2024-01-09,a\n39,Rome,No,2024-01-10,b\n40,Berlin,yes,2024-01-11,a\n41,Rome,no,2024-01-12,b\n";

fn inferred(csv: &str, choices: Choices) -> Result<Table, blindsmith_data::Error> {
    let options = ReadOptions { columns: Columns::Inferred(choices), ..ReadOptions::labelled("y") };
    Table::read_bytes("t.csv", csv.as_bytes(), &options)
}

fn later(csv: &str, first: &Table, beyond: Beyond) -> Result<Table, blindsmith_data::Error> {
    let columns = Columns::Recorded { preprocessing: first.preprocessing.clone(), beyond };
    let options = ReadOptions { columns, labels_optional: true, ..ReadOptions::labelled("y") };
    Table::read_bytes("t.csv", csv.as_bytes(), &options)
}

fn impute(rules: &[&str]) -> Choices {
    Choices { imputations: rules.iter().map(|rule| rule.parse().unwrap()).collect(), ..Choices::default() }
}

fn kinds(table: &Table) -> Vec<ColumnKind> {
    table.preprocessing.columns().iter().map(|column| column.kind.clone()).collect()
}

fn names(table: &Table) -> Vec<String> {
    table.features.names().unwrap().to_vec()
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn kinds_follow_from_cells() {
    let table = inferred(FIRST, Choices::default()).unwrap();
    let cities = ColumnKind::Category(strings(&["Berlin", "Paris", "Rome"]));
    assert_eq!(kinds(&table), [ColumnKind::Number, cities, ColumnKind::Boolean, ColumnKind::Date]);
    assert_eq!(names(&table), ["age", "city=Berlin", "city=Paris", "city=Rome", "member", "since"]);
    assert_eq!(table.features.matrix().row(0), [30.0, 1.0, 0.0, 0.0, 1.0, 19_723.0]);
    assert_eq!(table.features.matrix().row(4), [34.0, 0.0, 1.0, 0.0, 1.0, 19_727.5]);
    assert!(table.unknown.is_empty() && table.filled.is_empty() && table.ids.is_empty());
}

#[test]
fn a_later_table_is_read_as_the_first_whatever_the_order_of_its_columns() {
    let first = inferred(FIRST, Choices::default()).unwrap();
    let csv = "since,member,city,age\n2024-01-05 12:00:00Z,1,Paris,34\n2024-01-01,0,Oslo,50\n";
    let table = later(csv, &first, Beyond::Clip).unwrap();
    assert_eq!(table.features.matrix().row(0), first.features.matrix().row(4));
    assert_eq!(table.features.matrix().row(1), [50.0, 0.0, 0.0, 0.0, 0.0, 19_723.0]);
    assert_eq!(table.unknown, [Counted { column: "city".into(), cells: 1 }]);
    let message = refusal(later(csv, &first, Beyond::Refuse));
    let expected = "t.csv: row 2 (line 3), column \"city\": not among the recorded categories";
    assert!(message.starts_with(expected) && !message.contains("Oslo"), "{message}");
    for (csv, reason) in [
        ("age,city,member\n1,Rome,yes\n", "lacks the feature columns \"since\""),
        ("age,city,member,since,x\n1,Rome,yes,2024-01-01,1\n", "no recorded feature: \"x\""),
        ("age,city,member,since\n1,Rome,maybe,2024-01-01\n", "column \"member\": neither true nor false"),
        ("age,city,member,since\n1,Rome,yes,soon\n", "column \"since\": no date such as"),
        ("age,city,member,since\nold,Rome,yes,2024-01-01\n", "column \"age\": not a number"),
        ("age,city,member,since\n1,,yes,2024-01-01\n", "column \"city\": missing value"),
    ] {
        let message = refusal(later(csv, &first, Beyond::Clip));
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn text_of_many_values_is_refused_with_advice() {
    let rows: String = (0..200).map(|row| format!("{row},name {row},k{},a\n", row % 50)).collect();
    let csv = format!("n,name,kind,y\n{rows}");
    let message = refusal(inferred(&csv, Choices::default()));
    assert_eq!(
        message,
        "t.csv: row 51 (line 52), column \"name\": text with more than 50 different values in 200 rows; leave the column \
         out with --ignore COLUMN, pass it through to predictions with --id COLUMN, or make a feature of each value with \
         --category COLUMN"
    );
    let named = Choices { categories: vec!["name".into(), "n".into()], ..Choices::default() };
    let table = inferred(&csv, named).unwrap();
    assert_eq!(table.features.columns(), 450);
    // Numbers are in their order.
    assert_eq!(names(&table)[..3], ["n=0", "n=1", "n=2"]);
    let ids = Choices { ids: vec!["name".into()], ..Choices::default() };
    let table = inferred(&csv, ids).unwrap();
    assert_eq!((table.features.columns(), table.preprocessing.ids()), (51, &["name".to_owned()][..]));
    assert_eq!((table.ids[0].name.as_str(), table.ids[0].cells[7].as_str()), ("name", "name 7"));
    // Few rows: what a category is cannot be told.
    let message = refusal(inferred("x,city,y\n1,Rome,a\n2,Oslo,b\n3,Rome,a\n", Choices::default()));
    assert!(message.contains("column \"city\": text with 2 different values in 3 rows"), "{message}");
}

#[test]
fn odd_cells_do_not_make_names_of_numbers_and_dates() {
    for (cells, reason) in [
        (["1", "2", "much"], "row 3 (line 4), column \"x\": not a number"),
        (["2024-01-01", "2024-01-02", "soon"], "row 3 (line 4), column \"x\": no date such as"),
        (["2024-01-01", "7", "2024-01-02"], "row 2 (line 3), column \"x\": no date such as"),
        (["1", "2024-01-01", "7"], "row 2 (line 3), column \"x\": not a number"),
        (["1", "inf", "7"], "row 2 (line 3), column \"x\": not finite"),
        (["", "NA", "none"], "row 1 (line 2), column \"x\": no row has a value"),
    ] {
        let csv = format!("x,z,y\n{},1,a\n{},2,b\n{},3,a\n", cells[0], cells[1], cells[2]);
        let message = refusal(inferred(&csv, Choices::default()));
        assert!(message.starts_with(&format!("t.csv: {reason}")), "{message}");
    }
    // As ever, a word for true among numbers is 1.
    let table = inferred("x,y\n1,a\ntrue,b\n7,a\n", Choices::default()).unwrap();
    assert_eq!(
        (kinds(&table), table.features.matrix().as_slice()),
        (vec![ColumnKind::Number], &[1.0, 1.0, 7.0][..])
    );
}

#[test]
fn all_bad_columns_are_named_at_once() {
    let csv = "a,b,c,d,y\n1,,x,2024-01-01,p\n2,5,z,2024-01-02,q\nmuch,,w,soon,p\n";
    let message = refusal(inferred(csv, Choices::default()));
    for line in [
        "4 columns cannot be used",
        "\n  t.csv: row 3 (line 4), column \"a\": not a number",
        "\n  t.csv: row 1 (line 2), column \"b\": missing value, as are 2 of this column in all;",
        "\n  t.csv: row 1, column \"c\": text with 3 different values in 3 rows",
        "\n  t.csv: row 3 (line 4), column \"d\": no date such as",
    ] {
        assert!(message.contains(line), "{line:?} is not in {message}");
    }
    assert!(message.contains("--impute median"), "{message}");
}

#[test]
fn a_mark_of_missing_values_is_no_truth_value() {
    let columns = Columns::Inferred(impute(&["median"]));
    let options = ReadOptions { columns, missing: Some(vec!["no".into()]), ..ReadOptions::labelled("y") };
    let table = Table::read_bytes("t.csv", b"b,y\nyes,p\nno,q\nfalse,p\nyes,q\n", &options).unwrap();
    assert_eq!(table.filled, [Counted { column: "b".into(), cells: 1 }]);
    assert_eq!(table.features.matrix().as_slice(), [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0]);
}

/// Two columns of each kind but dates, one of which lacks a value.
const GAPS: &str =
    "n,m,c,d,b,y\n1,1,u,u,yes,a\n,2,v,u,no,b\n4,3,,v,,a\n10,4,u,v,no,b\n100,5,u,u,yes,a\n2,6,v,v,no,b\n";

#[test]
fn the_median_stands_in_for_missing_values() {
    let table = inferred(GAPS, impute(&["median"])).unwrap();
    let expected =
        ["n", "n is missing", "m", "c=u", "c=v", "c is missing", "d=u", "d=v", "b", "b is missing"];
    assert_eq!(names(&table), expected);
    // The median of 1, 2, 4, 10 and 100.
    assert_eq!(table.features.matrix().row(1), [4.0, 1.0, 2.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(table.features.matrix().row(2), [4.0, 0.0, 3.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
    let one = |column: &str| Counted { column: column.into(), cells: 1 };
    assert_eq!(table.filled, [one("n"), one("c"), one("b")]);
    // Later tables are filled with what was found in the first, also where it had no gap.
    let csv = "n,m,c,d,b\n,,,,\n7,1,u,u,1\n";
    let later = later(csv, &table, Beyond::Clip).unwrap();
    assert_eq!(later.features.matrix().row(0), [4.0, 1.0, 3.5, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!(later.filled.len(), 5);
    let without = Choices { indicators: false, ..impute(&["median"]) };
    assert_eq!(names(&inferred(GAPS, without).unwrap()), ["n", "m", "c=u", "c=v", "d=u", "d=v", "b"]);
}

#[test]
fn stated_values_stand_in_for_missing_ones() {
    let table = inferred(GAPS, impute(&["0", "c=v", "b=yes", "m=median"])).unwrap();
    let expected = [
        "n",
        "n is missing",
        "m",
        "m is missing",
        "c=u",
        "c=v",
        "c is missing",
        "d=u",
        "d=v",
        "b",
        "b is missing",
    ];
    assert_eq!(names(&table), expected);
    assert_eq!(table.features.matrix().row(1)[..2], [0.0, 1.0]);
    assert_eq!(table.features.matrix().row(2)[4..7], [0.0, 1.0, 1.0]);
    assert_eq!(table.features.matrix().row(2)[9..], [1.0, 1.0]);
    let message = refusal(inferred(GAPS, impute(&["c=v"])));
    assert!(message.contains("column \"n\"") && message.contains("column \"b\""), "{message}");
    for (rules, reason) in [
        (
            &["n=much"][..],
            "column \"n\": what is to stand in for missing values is none of the column's values",
        ),
        (&["c=w", "median"], "column \"c\": what is to stand in"),
        (&["q=1"], "no column is named \"q\""),
        (&["y=1"], "column \"y\" was given two roles"),
    ] {
        let message = refusal(inferred(GAPS, impute(rules)));
        assert!(message.contains(reason), "{message}");
    }
    assert_eq!("a=b=1".parse::<Imputation>().unwrap().column, Some("a=b".into()));
}

#[test]
fn flags_stay_within_the_bound_however_rare_they_are() {
    let rows: String = (0..1000)
        .map(|row| {
            format!(
                "{row},{},no,a\n",
                match row {
                    7 => "rare",
                    n if n % 2 == 0 => "even",
                    _ => "odd",
                }
            )
        })
        .collect();
    let table = inferred(&format!("n,kind,flag,y\n{rows}"), Choices::default()).unwrap();
    for factor in [8.0, 4.9, 49.0] {
        let standardiser = table.preprocessing.fit(&table.features, factor, Beyond::Refuse).unwrap();
        // Frequent values are standardised as numbers are: of 499 and of 501 rows.
        let plain = Standardiser::fit(&table.features, factor, Beyond::Refuse).unwrap();
        assert_eq!((standardiser.range(1), standardiser.range(2)), (plain.range(1), plain.range(2)));
        assert!(!standardiser.is_constant(4), "a flag that was always false may be true later");
        let first = standardiser.apply(table.features.clone()).unwrap();
        assert_eq!(first.clipped.iter().sum::<u64>(), 0);
        let later = later("n,kind,flag\n7,rare,yes\n7,nothing,no\n", &table, Beyond::Clip).unwrap();
        let later = standardiser.apply(later.features).unwrap();
        let (rare, flag) = (later.matrix.row(0)[3], later.matrix.row(0)[4]);
        assert!(rare > 0.6 && flag == 1.0, "{rare} {flag}");
        assert!(later.matrix.as_slice().iter().all(|value| value.abs() <= 1.0));
    }
}

#[test]
fn tables_without_names() {
    let csv = "30,Berlin,a\n31,Rome,b\n32,Berlin,a\n33,Rome,b\n34,Berlin,a\n";
    let options = |columns| ReadOptions { header: false, columns, ..ReadOptions::labelled("#last") };
    let first = Columns::Inferred(Choices::default());
    let table = Table::read_bytes("t.csv", csv.as_bytes(), &options(first)).unwrap();
    assert_eq!(names(&table), ["#1", "#2=Berlin", "#2=Rome"]);
    let recorded = Columns::Recorded { preprocessing: table.preprocessing.clone(), beyond: Beyond::Clip };
    let again = Table::read_bytes("t.csv", csv.as_bytes(), &options(recorded.clone())).unwrap();
    assert_eq!(again.features, table.features);
    let message = refusal(Table::read_bytes("t.csv", b"1,Rome,2,a\n", &options(recorded)));
    assert!(message.contains("has 3 feature columns where 2 are recorded"), "{message}");
    let plain = Columns::Inferred(Choices::default());
    let table = Table::read_bytes("t.csv", b"1,2,a\n3,4,b\n", &options(plain)).unwrap();
    assert_eq!((table.features.names(), table.preprocessing), (None, Preprocessing::plain(None, 2)));
}

#[test]
fn identifiers_are_passed_through_where_a_table_has_them() {
    let csv = "customer,x,y\nA-7,1,a\n,2,b\n007,3,a\n";
    let ids = Choices { ids: vec!["customer".into()], ..Choices::default() };
    let table = inferred(csv, ids).unwrap();
    assert_eq!(
        (names(&table), table.ids[0].cells.as_slice()),
        (strings(&["x"]), &strings(&["A-7", "", "007"])[..])
    );
    let with = later("x,customer\n1,B\n", &table, Beyond::Clip).unwrap();
    assert_eq!(with.ids[0].cells, ["B"]);
    assert!(later("x\n1\n", &table, Beyond::Clip).unwrap().ids.is_empty());
}

#[test]
fn limits_are_kept_for_features_too() {
    let rows: String = (0..100).map(|row| format!("k{row},k{row},a\n")).collect();
    let csv = format!("c,d,y\n{rows}");
    let limited = |limits| {
        let choices = Choices { categories: vec!["c".into(), "d".into()], ..Choices::default() };
        let columns = Columns::Inferred(choices);
        let options = ReadOptions { columns, limits, ..ReadOptions::labelled("y") };
        refusal(Table::read_bytes("t.csv", csv.as_bytes(), &options))
    };
    let message = limited(Limits { columns: 150, ..Limits::default() });
    assert!(
        message.contains("features, of which each category is one: 200 exceeds the limit of 150"),
        "{message}"
    );
    let message = limited(Limits { columns: 90, ..Limits::default() });
    assert!(message.contains("column \"d\": text with more than 90 different values"), "{message}");
    let message = limited(Limits { matrix_bytes: 100_000, ..Limits::default() });
    assert!(message.contains("bytes of features: 160000 exceeds the limit of 100000"), "{message}");
}

#[test]
fn the_record_reads_back_and_contradictions_are_refused() {
    let table = inferred(GAPS, impute(&["median"])).unwrap();
    let json = serde_json::to_string(&table.preprocessing).unwrap();
    assert_eq!(serde_json::from_str::<Preprocessing>(&json).unwrap(), table.preprocessing);
    assert_eq!(table.preprocessing.columns()[0].missing, Some(Filling { value: Some(4.0), indicator: true }));
    let number = r#"{"name":"x","kind":"number"}"#;
    let record = |columns: &str, ids: &str| {
        let json = format!(r#"{{"version":1,"named":true,"columns":[{columns}],"ids":{ids}}}"#);
        serde_json::from_str::<Preprocessing>(&json)
    };
    assert!(record(number, r#"["id"]"#).is_ok());
    for (columns, ids, reason) in [
        (format!("{number},{number}"), "[]", "the name is there twice"),
        (number.into(), r#"["x"]"#, "the name is there twice"),
        (number.replace('x', ""), "[]", "a column needs a name"),
        (r#"{"name":"x","kind":{"category":["a","a"]}}"#.into(), "[]", "categories need names that differ"),
        (r#"{"name":"x","kind":{"category":[]}}"#.into(), "[]", "categories need names"),
        (format!(r#"{number},{{"name":"x","kind":{{"category":["a"]}}}}"#), "[]", "there twice"),
        (
            r#"{"name":"x","kind":"boolean","missing":{"value":2.0,"indicator":true}}"#.into(),
            "[]",
            "none of the column's values",
        ),
        (
            r#"{"name":"x","kind":{"category":["a"]},"missing":{"value":1.0,"indicator":true}}"#.into(),
            "[]",
            "none of the column's values",
        ),
        (r#"{"name":"x","kind":"number","missing":{"value":null,"indicator":true}}"#.into(), "[]", "none of"),
    ] {
        let message = record(&columns, ids).unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    }
}
