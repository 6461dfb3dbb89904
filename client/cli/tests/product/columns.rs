//! Tables as their users have them: categories, dates, truth values, gaps, identifiers, directories.

use serde_json::json;

use super::site::{Outcome, Site};

const DOCUMENT: &str = include_str!("../../../../docs/data.md");

/// The code blocks of a language in the document's example.
fn blocks(language: &str) -> Vec<&'static str> {
    let (_, example) = DOCUMENT.split_once("### An example").unwrap();
    let fence = format!("```{language}\n");
    example.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// Runs a command of the document on this site's refinery.
fn run(site: &Site, command: &str) -> Outcome {
    let socket = site.socket();
    let words = command.split_whitespace().skip(1);
    let arguments: Vec<&str> =
        words.map(|word| if word == "refinery.sock" { &socket } else { word }).collect();
    site.run(&arguments)
}

#[test]
fn the_example_of_the_document_says_what_it_says() {
    let site = Site::new();
    let (tables, commands, said) = (blocks("csv"), blocks("sh"), blocks("text"));
    site.write("first.csv", tables[0]);
    site.write("query.csv", tables[1]);
    let created = run(&site, commands[0]).ok();
    for line in said[0].lines() {
        assert!(created.stderr.lines().any(|other| other == line), "{line:?} is not in {}", created.stderr);
    }
    site.on_project("push", &["--data", "first.csv"]).ok();
    site.wait();
    let answer = run(&site, commands[1]).ok();
    for line in said[1].lines() {
        assert!(answer.stderr.lines().any(|other| other == line), "{line:?} is not in {}", answer.stderr);
    }
    let first: Vec<&str> = answer.stdout.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(first, ["customer", "C-09", "C-10"]);
    assert!(answer.stdout.starts_with("customer,churned,p(no),p(yes)\n"), "{}", answer.stdout);
}

/// Rows of which the city and the membership decide, and the number says nothing.
fn customers(rows: std::ops::Range<usize>) -> String {
    let mut text = String::from("id,n,city,member,when,y\n");
    for row in rows {
        let (city, member) = (["Rome", "Oslo", "Lima"][row % 3], row % 7 < 3);
        let n = if row % 11 == 5 { String::new() } else { (row * 37 % 101).to_string() };
        let label = if (city == "Oslo") != member { "stays" } else { "goes" };
        let day = row % 28 + 1;
        text +=
            &format!("c{row},{n},{city},{},2024-02-{day:02},{label}\n", if member { "yes" } else { "no" });
    }
    text
}

const INIT: [&str; 7] = ["--label", "y", "--id", "id", "--impute", "median", "--manual"];

#[test]
fn a_table_of_names_dates_and_gaps_is_learnt_and_asked() {
    let site = Site::new();
    site.write("first.csv", customers(0..600));
    site.write("held-out.csv", customers(600..900));
    let training = ["--hidden", "16", "--epochs", "40", "--batch-rows", "32"];
    let created = site.init("first.csv", &[&INIT[..], &training].concat()).ok().json();
    let columns = created["columns"].as_array().unwrap();
    assert_eq!(columns.len(), 5);
    assert_eq!(columns[0], "column \"id\": identifies rows, and is no feature");
    // n and where it is missing, three cities, member, when.
    assert_eq!(created["layers"], json!([7, 16, 1]));
    assert_eq!(site.project().preprocessing.ids(), ["id"]);
    let pushed = site.push("held-out.csv", &["--validation"]).ok().json();
    let gaps = (600..900).filter(|row| row % 11 == 5).count();
    assert_eq!(pushed["filled"], json!([{"column": "n", "values": gaps}]));
    site.push("first.csv", &[]).ok();
    let report = site.on_project("refine", &[]).ok().json();
    let accuracy = report["rounds"][1]["validation"]["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.95, "{accuracy}");
    // Other columns first, and no identifier in one of the rows.
    site.write("query.csv", "when,city,member,n,id\n2024-02-03,Oslo,1,7,x-1\n2024-02-04T06:00Z,Oslo,no,,\n");
    let answer = site.on_project("predict", &["--data", "query.csv"]).ok().json();
    assert_eq!(answer["columns"], json!(["id", "y", "p(goes)", "p(stays)"]));
    let of_row = |row: usize| (&answer["predictions"][row][0], &answer["predictions"][row][1]);
    assert_eq!((of_row(0), of_row(1)), ((&json!("x-1"), &json!("goes")), (&json!(""), &json!("stays"))));
    // A query need not have identifiers.
    site.write("query.csv", "when,city,member,n\n2024-02-03,Oslo,1,7\n");
    let answer = site.on_project("predict", &["--data", "query.csv"]).ok().json();
    assert_eq!(answer["columns"], json!(["y", "p(goes)", "p(stays)"]));
}

#[test]
fn categories_that_the_first_table_lacked_are_counted_or_refused() {
    let site = Site::new();
    site.write("first.csv", customers(0..60));
    site.write("later.csv", customers(60..90).replace("Lima", "Quito"));
    let init = [&INIT[..], &["--hidden", "none"]].concat();
    site.init("first.csv", &init).ok();
    let said = site.run(&["push", "--project", "p", "--data", "later.csv"]).ok().stdout;
    let words = "10 values are no recorded category of their column, and count as none: \"city\" 10";
    assert!(said.contains(words), "{said}");
    let asked = site.on_project("predict", &["--data", "later.csv"]).ok();
    assert!(asked.stderr.contains(words), "{}", asked.stderr);
    assert_eq!(asked.json()["unknown"], json!([{"column": "city", "values": 10}]));
    site.init_as("strict", "first.csv", &[&init[..], &["--beyond", "refuse"]].concat()).ok();
    let push = ["push", "--project", "strict", "--data", "later.csv"];
    let words = ["later.csv: row 3 (line 4), column \"city\": not among the recorded categories"];
    assert!(!site.run(&push).refused(3, &words).stderr.contains("Quito"));
    // What the first table had is within the bound, however rare.
    site.run(&["push", "--project", "strict", "--data", "first.csv"]).ok();
}

#[test]
fn a_table_of_which_nothing_can_be_made_is_refused_with_advice_for_every_column() {
    let site = Site::new();
    let rows: String =
        (0..120).map(|row| format!("name {row},{row},{},a\n", if row == 3 { "" } else { "1" })).collect();
    site.write("first.csv", format!("name,n,gap,y\n{rows}"));
    let advice = [
        "2 columns cannot be used",
        "first.csv: row 51 (line 52), column \"name\": text with more than 50 different values in 120 rows",
        "--ignore COLUMN",
        "--category COLUMN",
        "--id COLUMN",
        "first.csv: row 4 (line 5), column \"gap\": missing value, as are 1 of this column in all",
        "--impute median",
    ];
    site.init("first.csv", &["--label", "y"]).refused(3, &advice);
    let unknown = ["--label", "y", "--ignore", "name", "--impute", "gap=much"];
    site.init("first.csv", &unknown).refused(3, &["preprocessing, column \"gap\": what is to stand in"]);
    assert!(!site.path("p").exists());
    let help = site.run(&["init", "--help"]).ok().stdout;
    for flag in [
        "--category <COLUMN>",
        "--date <COLUMN>",
        "--id <COLUMN>",
        "--impute <[COLUMN=]VALUE>",
        "--no-indicator",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
}

#[test]
fn a_directory_of_files_is_one_table() {
    let site = Site::new();
    for (name, rows) in [("b.csv", 30..60), ("a.csv", 0..30)] {
        std::fs::create_dir_all(site.path("parts")).unwrap();
        site.write(&format!("parts/{name}"), customers(rows));
    }
    site.init("parts", &[&INIT[..], &["--hidden", "none"]].concat()).ok();
    assert_eq!(site.push("parts", &[]).ok().json()["rows"], 60);
    site.write("parts/c.parquet", "PAR1");
    site.push("parts", &[])
        .refused(3, &["parts: has files that end in .csv and others that end in .parquet"]);
}

#[test]
fn dates_and_times_of_parquet() {
    let site = Site::new();
    let users = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/tests/data/users");
    for name in ["date", "timestamp"] {
        let file = format!("{users}/{name}.parquet");
        let created = site.init_as(name, &file, &["--label", "y", "--hidden", "none", "--manual"]).ok();
        assert!(created.stderr.contains("dates, as days since 1970-01-01"), "{}", created.stderr);
        site.run(&["push", "--project", name, "--data", &file]).ok();
    }
}

#[test]
fn rows_that_were_pushed_before_are_refused_unless_they_are_to_count_twice() {
    let site = Site::new();
    site.write("first.csv", customers(0..60));
    site.init("first.csv", &[&INIT[..], &["--hidden", "none"]].concat()).ok();
    let push = ["push", "--project", "p", "--data", "first.csv", "--json"];
    let upload = site.run(&push).ok().json()["upload"].as_str().unwrap().to_owned();
    let words = ["first.csv: these rows were pushed before, as upload", upload.as_str(), "--again"];
    site.run(&push).refused(2, &words);
    // In another order, and with an identifier that was corrected, they are the same rows.
    let table = customers(0..60);
    let (header, rows) = table.split_once('\n').unwrap();
    let reversed: Vec<&str> = rows.lines().rev().collect();
    site.write("first.csv", format!("{header}\n{}\n", reversed.join("\n").replace("c59,", "c0059,")));
    site.run(&push).refused(2, &words);
    site.run(&[&push[..], &["--validation"]].concat()).ok();
    site.run(&[&push[..], &["--again"]].concat()).ok();
    assert_eq!(site.status()["uploads"].as_array().unwrap().len(), 3);
    site.write("first.csv", customers(1..61));
    site.run(&push).ok();
}
