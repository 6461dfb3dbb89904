//! Where rows come from, on the command line.

use std::path::PathBuf;

use blindsmith_client::rows::{DataFile, Format};
use blindsmith_data::{Choices, ColumnRef, Imputation};
use clap::Args;

/// How a file is written.
#[derive(Debug, Clone, Args)]
pub struct FormatArguments {
    /// The first line of a CSV is data; columns are then called by their number: #1, #2, #last.
    #[arg(long)]
    pub no_header: bool,
    /// What separates the cells of a CSV: one character, or `tab`.
    #[arg(long, value_name = "CHARACTER", default_value = ",", value_parser = delimiter)]
    pub delimiter: u8,
    /// Numbers of a CSV have a decimal comma.
    #[arg(long)]
    pub decimal_comma: bool,
    /// Columns to leave out.
    #[arg(long, value_name = "COLUMN")]
    pub ignore: Vec<String>,
    /// A cell that marks a missing value, beside empty ones, in place of the usual marks; may be repeated [default: NA,
    /// N/A, #N/A, `<NA>`, ?, nan, null; those that `init` was given].
    #[arg(long, visible_alias = "na", value_name = "MARK")]
    pub missing_marker: Vec<String>,
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !b"\"\r\n".contains(byte) => Ok(*byte),
        _ => Err("give one character, such as ';', or tab".into()),
    }
}

impl FormatArguments {
    /// The marks of missing values, if they were given.
    pub fn marks(&self) -> Option<Vec<String>> {
        (!self.missing_marker.is_empty()).then(|| self.missing_marker.clone())
    }

    /// The format.
    pub fn format(&self) -> Format {
        Format {
            no_header: self.no_header,
            delimiter: self.delimiter,
            decimal_comma: self.decimal_comma,
            ignore: self.ignore.clone(),
            missing: self.marks(),
        }
    }
}

/// What the columns of a first table are, and what becomes of missing values.
#[derive(Debug, Clone, Default, Args)]
pub struct ColumnArguments {
    /// A column of names, each of which becomes a feature of 0 or 1; may be repeated [default: columns of text with at most
    /// 50 different values, in more than twice as many rows].
    #[arg(long, value_name = "COLUMN")]
    category: Vec<String>,
    /// A column of dates, such as 2024-05-31 or 2024-05-31T12:30:00Z, which becomes days since 1970-01-01; may be repeated
    /// [default: columns of nothing else].
    #[arg(long, value_name = "COLUMN")]
    date: Vec<String>,
    /// A column that identifies rows: no feature, never encrypted, and passed through to predictions; may be repeated.
    #[arg(long, value_name = "COLUMN")]
    id: Vec<String>,
    /// What stands in for missing values: `median` or a value, of all columns or, as COLUMN=median or COLUMN=VALUE, of one;
    /// may be repeated [default: missing values are refused].
    #[arg(long, value_name = "[COLUMN=]VALUE", value_parser = imputation)]
    impute: Vec<Imputation>,
    /// With --impute: no feature that tells where a value was missing.
    #[arg(long)]
    no_indicator: bool,
}

fn imputation(text: &str) -> Result<Imputation, std::convert::Infallible> {
    text.parse()
}

impl ColumnArguments {
    /// The choices.
    pub fn choices(&self) -> Choices {
        let columns = |names: &[String]| names.iter().map(|name| ColumnRef::from(name.as_str())).collect();
        Choices {
            categories: columns(&self.category),
            dates: columns(&self.date),
            ids: columns(&self.id),
            imputations: self.impute.clone(),
            indicators: !self.no_indicator,
        }
    }
}

/// Names on one line, as a record of a CSV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

/// Reads names that are separated by commas.
pub fn names(text: &str) -> Result<Names, String> {
    let reader =
        csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(text.as_bytes());
    let record = reader.into_records().next().ok_or("give names, separated by commas")?;
    Ok(Names(record.map_err(|e| e.to_string())?.iter().map(str::to_owned).collect()))
}

impl std::fmt::Display for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
        writer.write_record(&self.0).map_err(|_| std::fmt::Error)?;
        let line = writer.into_inner().map_err(|_| std::fmt::Error)?;
        f.write_str(String::from_utf8_lossy(&line).trim_end())
    }
}

/// Where rows come from.
#[derive(Debug, Clone, Args)]
pub struct DataArguments {
    /// CSV, Parquet, .npy or IDX, gzipped or not; or a directory of .csv or of .parquet files that are one table.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// A second .npy or IDX file that holds the labels.
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// How it is written.
    #[command(flatten)]
    pub format: FormatArguments,
}

impl DataArguments {
    /// The file.
    pub fn file(&self) -> DataFile {
        DataFile { data: self.data.clone(), labels: self.labels.clone(), format: self.format.format() }
    }
}

/// Says which columns of a file are no features, on standard error.
pub fn say_left_out(file: &std::path::Path, left_out: &[String]) {
    for column in left_out {
        let file = file.display();
        eprintln!("{file}: column {column:?} counts rows, as pandas writes its index: it is left out");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_a_record() {
        assert_eq!(names("a, b"), Ok(Names(vec!["a".into(), "b".into()])));
        let odd = Names(vec!["a,b".into(), "c\"d".into(), "e f".into()]);
        assert_eq!(names(&odd.to_string()), Ok(odd));
        assert!(names("").is_err());
    }

    #[test]
    fn delimiters_are_one_character() {
        assert_eq!(delimiter(";"), Ok(b';'));
        assert_eq!(delimiter("tab"), Ok(b'\t'));
        for text in ["", ";;", "\"", "ä", "\n"] {
            assert!(delimiter(text).is_err(), "{text:?}");
        }
    }
}
