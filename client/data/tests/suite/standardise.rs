use blindsmith_data::{Beyond, Error, Frame, Matrix, Standardiser};
use proptest::prelude::*;

use crate::refusal;

fn frame(names: Option<&[&str]>, rows: &[&[f64]]) -> Frame {
    let columns = rows.first().map_or(0, |row| row.len());
    let matrix = Matrix::new(rows.len(), columns, rows.concat()).unwrap();
    Frame::new("t.csv", names.map(|names| names.iter().map(ToString::to_string).collect()), matrix)
}

fn fit(frame: &Frame) -> Standardiser {
    Standardiser::fit(frame, Standardiser::FACTOR, Beyond::Clip).unwrap()
}

#[test]
fn known_moments() {
    let s = fit(&frame(
        None,
        &[
            &[2.0, 10.0],
            &[4.0, 10.0],
            &[4.0, 10.0],
            &[4.0, 10.0],
            &[5.0, 10.0],
            &[5.0, 10.0],
            &[7.0, 10.0],
            &[9.0, 10.0],
        ],
    ));
    assert_eq!(s.centre(), [5.0, 10.0]);
    assert_eq!(s.scale(), [2.0, 0.0]);
    assert_eq!(s.range(0), (-11.0, 21.0));
}

#[test]
fn constant_columns_become_zero_however_they_round() {
    // The mean of ten times 0.1 is not exactly 0.1.
    let rows: Vec<[f64; 1]> = vec![[0.1]; 10];
    let rows: Vec<&[f64]> = rows.iter().map(<[f64; 1]>::as_slice).collect();
    let data = frame(None, &rows);
    let s = fit(&data);
    assert_eq!(s.scale(), [0.0]);
    let out = s.apply(data).unwrap();
    assert!(out.matrix.as_slice().iter().all(|&x| x == 0.0));
    assert_eq!(s.apply(frame(None, &[&[7.0]])).unwrap().matrix.as_slice(), [0.0]);
}

#[test]
fn what_differs_from_a_constant_is_counted_or_refused() {
    let fitted = frame(Some(&["a", "flag"]), &[&[0.0, 1e8], &[2.0, 1e8]]);
    let rows = frame(Some(&["a", "flag"]), &[&[1.0, 1e8], &[9.5, 1e8 + 1.0], &[1.0, 0.0]]);
    let clip = fit(&fitted);
    assert!(!clip.is_constant(0) && clip.is_constant(1));
    let out = clip.clone().apply(rows.clone()).unwrap();
    assert_eq!((out.clipped, out.differing), (vec![1, 0], vec![0, 2]));
    let refuse = Standardiser::fit(&fitted, 8.0, Beyond::Refuse).unwrap();
    let only_flag = frame(Some(&["a", "flag"]), &[&[1.0, 0.0]]);
    let message = refusal(refuse.apply(only_flag));
    assert!(
        message.starts_with("t.csv: row 1, column \"flag\": differs from 100000000, the only"),
        "{message}"
    );
    // A range of its own brings the column to life.
    let given = clip.with(1, 1e8, 2.0).unwrap();
    assert_eq!(given.apply(rows).unwrap().matrix.row(1), [1.0, 0.0625]);
}

#[test]
fn large_offsets_keep_their_spread() {
    // Single precision steps by 8 near 1e8 and by 128 near seconds since 1970.
    for offset in [1e7, 1e8, 1.8e9] {
        let spread = [-0.75, 0.25, 0.5];
        let csv: String = spread.iter().map(|x| format!("{},a\n", offset + x)).collect();
        let data = crate::read(&format!("x,y\n{csv}")).unwrap().features;
        let s = fit(&data);
        let sigma = (0.875_f64 / 3.0).sqrt();
        assert!((s.scale()[0] - sigma).abs() < 1e-9, "{}", s.scale()[0]);
        let out = s.apply(data).unwrap().matrix;
        for (found, wanted) in out.as_slice().iter().zip(spread) {
            assert!((f64::from(*found) - wanted / (8.0 * sigma)).abs() < 1e-7, "{found} {wanted}");
        }
        let back = s.invert(&out).unwrap();
        for (found, wanted) in back.as_slice().iter().zip(spread) {
            assert!((found - offset - wanted).abs() < 1e-6, "{found}");
        }
    }
}

#[test]
fn beyond_the_bound() {
    let fitted = frame(Some(&["a", "b"]), &[&[0.0, 0.0], &[2.0, 2.0]]);
    let rows = frame(Some(&["a", "b"]), &[&[1.0, 9.0], &[9.5, 1.0], &[-7.5, 9.0]]);
    let clip = fit(&fitted);
    let out = clip.apply(rows.clone()).unwrap();
    assert_eq!(out.matrix.as_slice(), [0.0, 1.0, 1.0, 0.0, -1.0, 1.0]);
    assert_eq!(out.clipped, [2, 0]);
    let refuse = Standardiser::fit(&fitted, 8.0, Beyond::Refuse).unwrap();
    let message = refusal(refuse.apply(rows));
    assert!(
        message.starts_with(r#"t.csv: row 2, column "a": outside the recorded range -7..=9"#),
        "{message}"
    );
}

#[test]
fn the_row_named_is_the_files_even_after_a_shuffle() {
    let s = Standardiser::from_ranges(None, &[(0.0, 100.0)], Beyond::Refuse).unwrap();
    let rows: Vec<[f64; 1]> = (0..50).map(|i| [if i == 33 { 101.0 } else { f64::from(i) }]).collect();
    let rows: Vec<&[f64]> = rows.iter().map(<[f64; 1]>::as_slice).collect();
    let mut shuffled = frame(None, &rows);
    shuffled.permute(&blindsmith_data::Permutation::keyed(50, &[1; 32]));
    let selected = shuffled.select(&(0..50).rev().collect::<Vec<_>>());
    assert!(refusal(s.apply(selected)).starts_with("t.csv: row 34, column #1: outside"));
}

#[test]
fn columns_follow_their_names() {
    let s = fit(&frame(Some(&["a", "b", "c"]), &[&[0.0, 0.0, 0.0], &[2.0, 20.0, 200.0]]));
    let here = s.apply(frame(Some(&["a", "b", "c"]), &[&[2.0, 10.0, 0.0]])).unwrap();
    let moved = s.apply(frame(Some(&["c", "a", "b"]), &[&[0.0, 2.0, 10.0]])).unwrap();
    assert_eq!(here, moved);
    assert_eq!(
        refusal(s.apply(frame(Some(&["a", "d"]), &[&[0.0, 0.0]]))),
        r#"t.csv: lacks the feature columns "b", "c"; every table must have the recorded features"#
    );
    assert_eq!(
        refusal(s.apply(frame(Some(&["a", "b", "c", "d"]), &[&[0.0; 4]]))),
        r#"t.csv: has columns that are no recorded feature: "d"; ignore them explicitly or remove them"#
    );
    assert_eq!(s.apply(frame(None, &[&[2.0, 10.0, 0.0]])).unwrap(), here);
    assert_eq!(
        refusal(s.apply(frame(None, &[&[0.0; 2]]))),
        "t.csv: has 2 feature columns where 3 are recorded"
    );
}

#[test]
fn targets_come_back_in_their_unit() {
    let targets = frame(Some(&["price"]), &[&[100.0], &[250.0], &[400.0]]);
    let s = fit(&targets);
    let matrix = s.apply(targets.clone()).unwrap().matrix;
    assert!(matrix.as_slice()[0] < 0.0);
    for (back, target) in s.invert(&matrix).unwrap().as_slice().iter().zip(targets.matrix().as_slice()) {
        assert!((back - target).abs() < 1e-4 * target, "{back} {target}");
    }
    let wide = Matrix::new(1, 2, vec![0.0; 2]).unwrap();
    assert_eq!(refusal(s.invert(&wide)), "2 columns where the record has 1");
    let constant = fit(&frame(None, &[&[5.0], &[5.0]]));
    let any = Matrix::new(1, 1, vec![0.7]).unwrap();
    assert_eq!(constant.invert(&any).unwrap().as_slice(), [5.0]);
}

#[test]
fn published_ranges() {
    let s = Standardiser::from_ranges(None, &[(0.0, 16.0), (-3.0, 1.0)], Beyond::Refuse).unwrap();
    let out = s.apply(frame(None, &[&[0.0, -3.0], &[16.0, 1.0], &[8.0, -1.0]])).unwrap();
    assert_eq!(out.matrix.as_slice(), [-1.0, -1.0, 1.0, 1.0, 0.0, 0.0]);
    let backwards = Standardiser::from_ranges(None, &[(1.0, 0.0)], Beyond::Clip);
    assert!(refusal(backwards).contains("column #1: a range needs finite bounds, the lower one first"));
    assert!(Standardiser::from_ranges(None, &[(f64::NAN, 0.0)], Beyond::Clip).is_err());
    let widest = Standardiser::from_ranges(None, &[(-f64::MAX, f64::MAX)], Beyond::Clip).unwrap();
    assert_eq!(widest.centre(), [0.0]);
}

#[test]
fn settings_named_by_their_defect() {
    let recorded = |centre: &[f64], scale: &[f64], factor| {
        let names = Some(vec!["a".into(), "b".into()]);
        refusal(Standardiser::recorded(names, centre.to_vec(), scale.to_vec(), factor, Beyond::Clip))
    };
    assert!(recorded(&[0.0], &[1.0, 1.0], 8.0).contains("2 names, 1 centres, 2 scales"));
    assert!(recorded(&[0.0, f64::NAN], &[1.0, 1.0], 8.0).contains("column \"b\": the centre must be finite"));
    assert!(recorded(&[0.0, 0.0], &[-1.0, 1.0], 8.0).contains("column \"a\": the scale must be finite"));
    assert!(recorded(&[0.0, 0.0], &[1.0, f64::MAX], 8.0).contains("column \"b\": the scale must be finite"));
    assert!(recorded(&[0.0, 0.0], &[1.0, f64::NAN], 8.0).contains("column \"b\": the scale must be finite"));
    for factor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(recorded(&[0.0, 0.0], &[1.0, 1.0], factor).contains("must be positive and finite"));
    }
    let twice =
        Standardiser::recorded(Some(vec!["a".into(); 2]), vec![0.0; 2], vec![1.0; 2], 8.0, Beyond::Clip);
    assert!(refusal(twice).contains("the name is there twice"));
    let nothing = Standardiser::fit(&frame(None, &[]), 8.0, Beyond::Clip);
    assert_eq!(refusal(nothing), "cannot fit a standardisation on 0 rows of 0 columns");
    let message = refusal(Standardiser::fit(&frame(None, &[&[1.0], &[f64::NAN]]), 8.0, Beyond::Clip));
    assert!(message.starts_with("t.csv: row 2, column #1: not finite"), "{message}");
}

#[test]
fn the_record_is_pinned() {
    let s = fit(&frame(Some(&["a"]), &[&[0.0], &[3.0]]));
    let json = serde_json::to_string(&s).unwrap();
    assert_eq!(
        json,
        r#"{"version":1,"factor":8.0,"beyond":"clip","names":["a"],"centre":[1.5],"scale":[1.5]}"#
    );
    for (from, to, reason) in [
        (r#""version":1"#, r#""version":2"#, "record of version 2; this program reads version 1"),
        (r#""scale":[1.5]"#, r#""scale":[]"#, "0 scales"),
        (r#""clip""#, r#""wrap""#, "unknown variant"),
        (r#""factor":8.0,"#, r#""factor":8.0,"extra":1,"#, "unknown field"),
        (r#""factor":8.0,"#, "", "missing field"),
    ] {
        let broken = json.replace(from, to);
        let message = serde_json::from_str::<Standardiser>(&broken).unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    }
}

proptest! {
    #[test]
    fn records_read_back_bit_for_bit(
        centre in prop::collection::vec(any::<f64>(), 1..8),
        scale in any::<f64>(),
        factor in any::<f64>(),
    ) {
        let scales = vec![scale; centre.len()];
        let s = Standardiser::recorded(None, centre, scales, factor, Beyond::Refuse);
        let Ok(s) = s else { return Ok(()) };
        let back: Standardiser = serde_json::from_str(&serde_json::to_string(&s).unwrap()).unwrap();
        let bits = |s: &Standardiser| {
            let numbers = s.centre().iter().chain(s.scale()).copied();
            numbers.chain([s.factor()]).map(f64::to_bits).collect::<Vec<_>>()
        };
        prop_assert_eq!(bits(&back), bits(&s));
    }

    #[test]
    fn agrees_with_the_definition(
        rows in prop::collection::vec(prop::array::uniform3(-1e6_f64..1e6), 1..60),
    ) {
        let slices: Vec<&[f64]> = rows.iter().map(<[f64; 3]>::as_slice).collect();
        let data = frame(None, &slices);
        let s = fit(&data);
        let out = s.apply(data).unwrap();
        let n = rows.len() as f64;
        for column in 0..3 {
            let mean = rows.iter().map(|row| row[column]).sum::<f64>() / n;
            let variance = rows.iter().map(|row| (row[column] - mean).powi(2)).sum::<f64>() / n;
            let sigma = variance.sqrt();
            prop_assert!((s.centre()[column] - mean).abs() <= 1e-9 * mean.abs().max(1.0));
            prop_assert!((s.scale()[column] - sigma).abs() <= 1e-6 * sigma.max(1.0));
            for (index, row) in rows.iter().enumerate() {
                let wanted = if sigma > 1e-6 { (row[column] - mean) / (8.0 * sigma) } else { 0.0 };
                let found = f64::from(out.matrix.row(index)[column]);
                prop_assert!((found - wanted.clamp(-1.0, 1.0)).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn never_beyond_the_bound(centre in any::<f64>(), scale in any::<f64>(), value in any::<f64>()) {
        let s = Standardiser::recorded(None, vec![centre], vec![scale], 8.0, Beyond::Clip);
        let Ok(s) = s else { return Ok(()) };
        match s.apply(frame(None, &[&[value]])) {
            Ok(out) => prop_assert!(out.matrix.as_slice()[0].abs() <= 1.0),
            Err(error) => {
                let refused = matches!(error, Error::Cell { .. });
                prop_assert!(refused && !value.is_finite());
            }
        }
    }
}

#[test]
fn every_column_beyond_the_bound_is_named_at_once() {
    let frame = |values: &[f64]| {
        let names = ["a", "b", "c"].map(String::from).to_vec();
        let matrix = Matrix::new(values.len() / 3, 3, values.to_vec()).unwrap();
        Frame::new("t", Some(names), matrix)
    };
    let narrow = Standardiser::from_ranges(None, &[(0.0, 1.0); 3], Beyond::Refuse).unwrap();
    let message = refusal(narrow.apply(frame(&[0.0, 1.0, 0.5, 2.0, 0.5, 0.5, 3.0, 0.5, -1.0])));
    let expected = ["t: row 2, column \"a\": outside", "t: row 3, column \"c\": outside"];
    assert!(expected.iter().all(|line| message.contains(line)), "{message}");
    assert!(message.starts_with("2 columns cannot be used"), "{message}");
}
