//! A cell as a format delivers it, and what it is as a number, a truth value, a date or a name: the same for every format.

use std::fmt::Write;

use crate::classes::{canonical, of_number};
use crate::error::CellDefect;
use crate::instant::Instant;
use crate::table::ReadOptions;

/// A cell as a format delivers it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Null,
    Text(&'a str),
    Float(f64),
    Single(f32),
    /// `units` / 10^`scale`.
    Decimal {
        units: i128,
        scale: u32,
    },
    Signed(i64),
    Unsigned(u64),
    Bool(bool),
    Instant(Instant),
}

/// A finite number within single precision, in which predictions are given; or why not.
pub(crate) fn number(value: Value<'_>, options: &ReadOptions) -> Result<f64, CellDefect> {
    match value {
        Value::Null => Err(CellDefect::Missing),
        Value::Text(text) => parse(text, options),
        Value::Single(x) => float(x.into()),
        Value::Float(x) => float(x),
        Value::Decimal { units, scale } => finite(units as f64 / 10_f64.powi(scale as i32)),
        Value::Signed(n) => Ok(n as f64),
        Value::Unsigned(n) => Ok(n as f64),
        Value::Bool(bit) => Ok(f64::from(u8::from(bit))),
        Value::Instant(_) => Err(CellDefect::NotANumber { hint: "" }),
    }
}

/// 1 for true and 0 for false, in the words or the numbers for them.
pub(crate) fn boolean(value: Value<'_>, options: &ReadOptions) -> Result<f64, CellDefect> {
    if let Some(bit) = word(value, options) {
        return Ok(f64::from(u8::from(bit)));
    }
    match number(value, options) {
        Ok(bit) if bit == 0.0 || bit == 1.0 => Ok(bit),
        Err(missing @ (CellDefect::Missing | CellDefect::TooLong { .. })) => Err(missing),
        _ => Err(CellDefect::NotABoolean),
    }
}

/// What a truth value says, if it is one other than by a number.
pub(crate) fn word(value: Value<'_>, options: &ReadOptions) -> Option<bool> {
    let text = match value {
        Value::Bool(bit) => return Some(bit),
        Value::Text(text) if !marks_missing(text.trim(), options) => text.trim(),
        _ => return None,
    };
    let is = |words: [&str; 2]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(["true", "yes"]) {
        return Some(true);
    }
    is(["false", "no"]).then_some(false)
}

/// Days since 1970-01-01 of a date, with or without a time of day.
pub(crate) fn date(value: Value<'_>, options: &ReadOptions) -> Result<f64, CellDefect> {
    match value {
        Value::Null => Err(CellDefect::Missing),
        Value::Instant(instant) => Ok(instant.number()),
        Value::Text(text) => {
            let text = trimmed(text, options)?;
            if marks_missing(text, options) || text.eq_ignore_ascii_case("none") {
                return Err(CellDefect::Missing);
            }
            Instant::parse(text).map(Instant::number).ok_or(CellDefect::NotADate)
        }
        Value::Float(x) if x.is_nan() => Err(CellDefect::Missing),
        Value::Single(x) if x.is_nan() => Err(CellDefect::Missing),
        _ => Err(CellDefect::NotADate),
    }
}

fn float(x: f64) -> Result<f64, CellDefect> {
    match x {
        x if x.is_nan() => Err(CellDefect::Missing),
        x if x.is_infinite() => Err(CellDefect::NotFinite),
        x => finite(x),
    }
}

fn finite(x: f64) -> Result<f64, CellDefect> {
    if x.abs() <= f64::from(f32::MAX) { Ok(x) } else { Err(CellDefect::OutOfRange) }
}

fn parse(text: &str, options: &ReadOptions) -> Result<f64, CellDefect> {
    let text = trimmed(text, options)?;
    if marks_missing(text, options) {
        return Err(CellDefect::Missing);
    }
    let refused = || Err(CellDefect::NotANumber { hint: hint(text, options) });
    let parsed = match options.decimal_comma {
        // Where the comma is the decimal mark, a point separates thousands.
        true if text.contains('.') => return refused(),
        true => text.replacen(',', ".", 1).parse(),
        false => text.parse::<f64>(),
    };
    match parsed {
        Ok(x) if x.is_nan() => Err(CellDefect::Missing),
        Ok(_) if !text.bytes().any(|b| b.is_ascii_digit()) => Err(CellDefect::NotFinite),
        Ok(x) => finite(x),
        Err(_) if text.eq_ignore_ascii_case("true") => Ok(1.0),
        Err(_) if text.eq_ignore_ascii_case("false") => Ok(0.0),
        Err(_) if text.eq_ignore_ascii_case("none") => Err(CellDefect::Missing),
        Err(_) => refused(),
    }
}

fn trimmed<'a>(text: &'a str, options: &ReadOptions) -> Result<&'a str, CellDefect> {
    let limit = options.limits.cell_bytes;
    if text.len() > limit { Err(CellDefect::TooLong { limit }) } else { Ok(text.trim()) }
}

/// Whether a cell marks a missing value: by the usual marks, if no others are set. "None" is not among them for names,
/// of which it may be one.
fn marks_missing(text: &str, options: &ReadOptions) -> bool {
    match &options.missing {
        Some(marks) => text.is_empty() || marks.iter().any(|mark| mark == text),
        None => {
            matches!(text, "" | "?" | "NA" | "N/A" | "#N/A" | "<NA>")
                || text.eq_ignore_ascii_case("nan")
                || text.eq_ignore_ascii_case("null")
        }
    }
}

fn hint(text: &str, options: &ReadOptions) -> &'static str {
    let numeric = |b: u8| b.is_ascii_digit() || b"+-., '_".contains(&b);
    if Instant::parse(text).is_some() {
        " (a date: turn it into a number, such as days since a day of your choice)"
    } else if !text.bytes().all(numeric) {
        ""
    } else if options.decimal_comma && text.contains('.') {
        " (use the decimal comma that was announced, and no separator of thousands)"
    } else if text.contains(',') {
        " (use a decimal point and no separator of thousands, or say that the decimal mark is a comma)"
    } else {
        ""
    }
}

/// Writes the name of a class or a category into `out`, the same for every format: see [`canonical`].
pub(crate) fn category(value: Value<'_>, options: &ReadOptions, out: &mut String) -> Result<(), CellDefect> {
    out.clear();
    match value {
        Value::Null => return Err(CellDefect::Missing),
        Value::Text(text) => {
            let text = trimmed(text, options)?;
            if marks_missing(text, options) {
                return Err(match text.is_empty() {
                    true => CellDefect::Missing,
                    false => CellDefect::MissingLabel { mark: text.into() },
                });
            }
            match text.replacen(',', ".", 1) {
                number if options.decimal_comma && number.parse::<f64>().is_ok() => {
                    out.push_str(&canonical(&number));
                }
                _ => out.push_str(&canonical(text)),
            }
            return Ok(());
        }
        Value::Float(x) if x.is_nan() => return Err(CellDefect::Missing),
        Value::Float(x) if x.is_infinite() => return Err(CellDefect::NotFinite),
        Value::Single(x) if x.fract() != 0.0 && x.is_finite() => write!(out, "{x}"),
        Value::Single(x) => return category(Value::Float(x.into()), options, out),
        Value::Float(x) => write!(out, "{}", of_number(x)),
        Value::Decimal { units, scale } => {
            let (one, sign) = (10_u128.pow(scale), if units < 0 { "-" } else { "" });
            let (whole, fraction) = (units.unsigned_abs() / one, units.unsigned_abs() % one);
            let text = format!("{sign}{whole}.{fraction:0width$}", width = scale as usize);
            out.push_str(&canonical(&text));
            Ok(())
        }
        Value::Signed(n) => write!(out, "{n}"),
        Value::Unsigned(n) => write!(out, "{n}"),
        Value::Bool(bit) => write!(out, "{bit}"),
        Value::Instant(_) => return Err(CellDefect::NotAName),
    }
    .map_err(|_| CellDefect::Missing)
}

/// What identifies a row, as text; empty where there is nothing.
pub(crate) fn identifier(value: Value<'_>, options: &ReadOptions) -> Result<String, CellDefect> {
    match value {
        Value::Text(text) => trimmed(text, options).map(str::to_owned),
        Value::Instant(instant) => Ok(instant.to_string()),
        value => {
            let mut text = String::new();
            match category(value, options, &mut text) {
                Ok(()) | Err(CellDefect::Missing) => Ok(text),
                Err(defect) => Err(defect),
            }
        }
    }
}
