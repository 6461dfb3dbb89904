//! Ranges and fitted scalers that an owner gives in place of what the first table tells.

use std::path::Path;

use blindsmith_data::Standardiser;
use serde_json::{Map, Value};

use crate::failure::Failure;

/// Centre and scale of columns, as read from a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scales(Vec<Given>);

#[derive(Debug, Clone, PartialEq)]
struct Given {
    /// None where the file lists all features in their order, without names.
    column: Option<String>,
    centre: f64,
    scale: f64,
}

impl Scales {
    /// Reads a file. A CSV has a line for each column, below `column,min,max` or `column,mean,std`. A JSON object has an
    /// entry for each column, `{"age": {"min": 0, "max": 120}}`, or the lists of a scaler of scikit-learn: `mean_` and
    /// `scale_`, or `data_min_` and `data_max_`, and `feature_names_in_` if the scaler knows names.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|e| Failure::unusable(path, e))?;
        let text = text.trim_start_matches('\u{feff}');
        let read = if text.trim_start().starts_with('{') { of_json(text) } else { of_csv(text) };
        let given = read.map_err(|message| Failure::unusable(path, message))?;
        if given.is_empty() {
            return Err(Failure::unusable(path, "it names no column"));
        }
        Ok(Scales(given))
    }

    /// Puts the given centres and scales in the place of fitted ones, of features or of the targets of a regression.
    pub fn apply(
        &self,
        mut features: Standardiser,
        mut targets: Option<Standardiser>,
    ) -> Result<(Standardiser, Option<Standardiser>), Failure> {
        if self.0.iter().any(|given| given.column.is_none()) && self.0.len() != features.columns() {
            let (given, columns) = (self.0.len(), features.columns());
            let message =
                format!("--ranges gives {given} columns without names, where there are {columns} features");
            return Err(Failure::Settings(message));
        }
        for (position, Given { column, centre, scale }) in self.0.iter().enumerate() {
            let Some(name) = column else {
                features = features.with(position, *centre, *scale)?;
                continue;
            };
            if let Some(found) = index(&features, name) {
                features = features.with(found, *centre, *scale)?;
                continue;
            }
            let of_target = targets.as_ref().and_then(|targets| index(targets, name));
            let (Some(found), Some(of_targets)) = (of_target, targets.take()) else {
                let message =
                    format!("--ranges names {name:?}, which is no feature and no target of a regression");
                return Err(Failure::Settings(message));
            };
            targets = Some(of_targets.with(found, *centre, *scale)?);
        }
        Ok((features, targets))
    }
}

/// The column of a name, or of `#` and a position where there are no names.
fn index(standardiser: &Standardiser, name: &str) -> Option<usize> {
    match standardiser.names() {
        Some(names) => names.iter().position(|known| known == name),
        None => (0..standardiser.columns()).find(|&column| standardiser.display(column) == name),
    }
}

/// Of a range: its middle, and the standard deviation of values that are spread evenly over it.
fn of_range(low: f64, high: f64) -> Result<(f64, f64), String> {
    if !(low < high && (high - low).is_finite()) {
        return Err("a range needs two finite numbers, the lower one first".into());
    }
    Ok((low / 2.0 + high / 2.0, (high - low) / 12_f64.sqrt()))
}

/// Of a mean and a standard deviation.
fn of_moments(mean: f64, deviation: f64) -> Result<(f64, f64), String> {
    if !(mean.is_finite() && deviation.is_finite() && deviation > 0.0) {
        return Err("a mean has to be finite, and a standard deviation finite and above 0".into());
    }
    Ok((mean, deviation))
}

type Pair = fn(f64, f64) -> Result<(f64, f64), String>;

/// What two values of a column are called, and what follows from them.
const PAIRS: [(&str, &str, Pair); 3] =
    [("min", "max", of_range), ("mean", "std", of_moments), ("mean", "scale", of_moments)];
/// The same of lists of all columns.
const LISTS: [(&str, &str, Pair); 2] =
    [("mean_", "scale_", of_moments), ("data_min_", "data_max_", of_range)];

fn of_json(text: &str) -> Result<Vec<Given>, String> {
    let object: Map<String, Value> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let list =
        LISTS.iter().find(|(first, second, _)| object.contains_key(*first) && object.contains_key(*second));
    if let Some((first, second, pair)) = list {
        return of_lists(&object, (first, second), *pair);
    }
    let number = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_f64);
    let given = object.iter().map(|(column, entry)| {
        let numbers = PAIRS
            .iter()
            .find_map(|(first, second, pair)| Some((number(entry, first)?, number(entry, second)?, pair)));
        let (first, second, pair) =
            numbers.ok_or_else(|| format!("{column:?} needs the numbers min and max, or mean and std"))?;
        let (centre, scale) = pair(first, second).map_err(|e| format!("{column:?}: {e}"))?;
        Ok(Given { column: Some(column.clone()), centre, scale })
    });
    given.collect()
}

fn of_lists(
    object: &Map<String, Value>,
    (first, second): (&str, &str),
    pair: Pair,
) -> Result<Vec<Given>, String> {
    let numbers = |name: &str| -> Result<Vec<f64>, String> {
        let list = object.get(name).and_then(Value::as_array);
        let all = list.and_then(|list| list.iter().map(Value::as_f64).collect());
        all.ok_or_else(|| format!("{name} must be a list of numbers"))
    };
    let (firsts, seconds) = (numbers(first)?, numbers(second)?);
    let names: Option<Vec<String>> = match object.get("feature_names_in_") {
        None | Some(Value::Null) => None,
        Some(names) => {
            Some(serde_json::from_value(names.clone()).map_err(|e| format!("feature_names_in_: {e}"))?)
        }
    };
    let named = names.as_ref().map_or(firsts.len(), Vec::len);
    if firsts.len() != seconds.len() || firsts.len() != named {
        return Err(format!("{first}, {second} and feature_names_in_ differ in length"));
    }
    let given = firsts.iter().zip(&seconds).enumerate().map(|(i, (&first, &second))| {
        let column = names.as_ref().map(|names| names[i].clone());
        let place = || column.clone().unwrap_or_else(|| format!("#{}", i + 1));
        let (centre, scale) = pair(first, second).map_err(|e| format!("{:?}: {e}", place()))?;
        Ok(Given { column, centre, scale })
    });
    given.collect()
}

fn of_csv(text: &str) -> Result<Vec<Given>, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| e.to_string())?.clone();
    let find = |name: &str| header.iter().position(|field| field == name);
    let pair = PAIRS.iter().find_map(|(first, second, pair)| Some((find(first)?, find(second)?, pair)));
    let (Some(name), Some((first, second, pair))) = (find("column"), pair) else {
        return Err("its first line must be column,min,max or column,mean,std; or give a JSON object".into());
    };
    let mut given = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| e.to_string())?;
        let column = record[name].to_owned();
        let number = |field: usize| {
            let not = |_| format!("{column:?}: {:?} is not a number", &record[field]);
            record[field].parse::<f64>().map_err(not)
        };
        let (centre, scale) =
            pair(number(first)?, number(second)?).map_err(|e| format!("{column:?}: {e}"))?;
        given.push(Given { column: Some(column), centre, scale });
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use blindsmith_data::Beyond;

    use super::*;

    fn fitted(names: &[&str]) -> Standardiser {
        let (columns, names) = (names.len(), names.iter().map(ToString::to_string).collect());
        Standardiser::recorded(Some(names), vec![0.0; columns], vec![1.0; columns], 8.0, Beyond::Clip)
            .unwrap()
    }

    fn read(text: &str) -> Result<Scales, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Scales::read(file.path())
    }

    #[test]
    fn ranges_and_moments_of_single_columns() {
        let sigma = 120.0 / 12_f64.sqrt();
        for text in [
            "column,min,max\nflag,0,120\n",
            "\u{feff}min, max , column\n0, 120, flag\n",
            r#"{"flag": {"min": 0, "max": 120}}"#,
            &format!("column,mean,std\nflag,60,{sigma}\n"),
            &format!(r#"{{"flag": {{"mean": 60, "scale": {sigma}}}}}"#),
        ] {
            let (features, _) = read(text).unwrap().apply(fitted(&["a", "flag"]), None).unwrap();
            assert_eq!(
                (features.centre(), features.scale()),
                (&[0.0, 60.0][..], &[1.0, sigma][..]),
                "{text}"
            );
        }
    }

    #[test]
    fn a_scaler_of_scikit_learn_with_and_without_names() {
        let named =
            r#"{"feature_names_in_": ["b", "a"], "mean_": [1, 2.5], "scale_": [3, 4], "var_": [9, 16]}"#;
        let (features, _) = read(named).unwrap().apply(fitted(&["a", "b"]), None).unwrap();
        assert_eq!((features.centre(), features.scale()), (&[2.5, 1.0][..], &[4.0, 3.0][..]));
        let unnamed = r#"{"mean_": [1, 2.5], "scale_": [3, 4]}"#;
        let (features, _) = read(unnamed).unwrap().apply(fitted(&["a", "b"]), None).unwrap();
        assert_eq!(features.scale(), [3.0, 4.0]);
        let failure = read(unnamed).unwrap().apply(fitted(&["a"]), None).unwrap_err();
        assert!(
            failure.to_string().contains("2 columns without names, where there are 1 features"),
            "{failure}"
        );
        let ranges = r#"{"data_min_": [0, -1], "data_max_": [12, 1]}"#;
        let (features, _) = read(ranges).unwrap().apply(fitted(&["a", "b"]), None).unwrap();
        assert_eq!((features.centre(), features.scale()[0]), (&[6.0, 0.0][..], 12.0 / 12_f64.sqrt()));
    }

    #[test]
    fn targets_of_a_regression_have_ranges_too() {
        let scales = read("column,mean,std\nprice,2000,900\n").unwrap();
        let (features, targets) = scales.apply(fitted(&["a"]), Some(fitted(&["price"]))).unwrap();
        assert_eq!((features.centre(), targets.unwrap().centre()), (&[0.0][..], &[2000.0][..]));
        for targets in [None, Some(fitted(&["weight"]))] {
            let failure = scales.apply(fitted(&["a"]), targets).unwrap_err();
            assert!(failure.to_string().contains("\"price\", which is no feature"), "{failure}");
        }
    }

    #[test]
    fn files_named_by_their_defect() {
        for (text, reason) in [
            ("", "its first line must be column,min,max"),
            ("a,min,max\n", "its first line must be"),
            ("column,min,max\n", "names no column"),
            ("column,min,max\na,1,x\n", "\"a\": \"x\" is not a number"),
            ("column,min,max\na,1,1\n", "\"a\": a range needs two finite numbers"),
            ("column,min,max\na,1\n", "found record with 2 fields"),
            ("column,mean,std\na,1,0\n", "\"a\": a mean has to be finite"),
            ("column,mean,std\na,nan,1\n", "\"a\": a mean has to be finite"),
            ("{", "EOF"),
            ("{}", "names no column"),
            (r#"{"a": {"min": 1}}"#, "\"a\" needs the numbers min and max, or mean and std"),
            (r#"{"mean_": [1], "scale_": [1, 2]}"#, "differ in length"),
            (r#"{"mean_": [1], "scale_": ["1"]}"#, "scale_ must be a list of numbers"),
            (r#"{"mean_": [1], "scale_": [0]}"#, "\"#1\": a mean has to be finite"),
        ] {
            let failure = read(text).unwrap_err();
            assert!(failure.to_string().contains(reason), "{text}: {failure}");
            assert!(matches!(failure, Failure::Unusable { .. }), "{failure}");
        }
    }
}
