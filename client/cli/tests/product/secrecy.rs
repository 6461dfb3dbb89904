//! Nothing secret in what the refinery wrote or logged, nor in the warden's log: all of it is scanned for
//! everything that the project must keep to itself, in every form in which it could have slipped out.

use std::collections::HashMap;
use std::path::Path;

use blindsmith_data::ModelFile;

use crate::plain;
use crate::site::Site;
use crate::tables;

/// Byte strings of at least eight bytes, found by their first eight.
#[derive(Default)]
struct Needles(HashMap<[u8; 8], Vec<(String, Vec<u8>)>>);

impl Needles {
    fn add(&mut self, what: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        let first = *bytes.first_chunk().expect("shorter needles are found by chance");
        self.0.entry(first).or_default().push((what.into(), bytes));
    }

    /// Consecutive numbers, as single and as double precision, little-endian and big-endian.
    fn add_numbers(&mut self, what: &str, numbers: &[f32]) {
        let bytes = |f: fn(f32) -> Vec<u8>| numbers.iter().copied().flat_map(f).collect::<Vec<_>>();
        self.add(format!("{what}, f32"), bytes(|v| v.to_le_bytes().into()));
        self.add(format!("{what}, f32, big-endian"), bytes(|v| v.to_be_bytes().into()));
        self.add(format!("{what}, f64"), bytes(|v| f64::from(v).to_le_bytes().into()));
        // A serialised list: each with its type before it.
        self.add(format!("{what}, CBOR"), bytes(|v| [vec![0xfa], v.to_be_bytes().into()].concat()));
    }

    fn in_bytes(&self, bytes: &[u8]) -> Option<&str> {
        (0..bytes.len()).find_map(|at| {
            let found = self.0.get(bytes[at..].first_chunk()?)?;
            found.iter().find(|(_, needle)| bytes[at..].starts_with(needle)).map(|(what, _)| what.as_str())
        })
    }

    /// What was found, and where, in all files below `dir`; how many bytes were looked at.
    fn scan(&self, dir: &Path, found: &mut Vec<String>) -> usize {
        let mut scanned = 0;
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                scanned += self.scan(&path, found);
            } else if path.is_file() {
                let bytes = std::fs::read(&path).unwrap();
                scanned += bytes.len();
                found.extend(self.in_bytes(&bytes).map(|what| format!("{what} in {}", path.display())));
            }
        }
        scanned
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn nothing_secret_is_in_what_the_refinery_wrote_or_anybody_logged() {
    let site = Site::new();
    let (first, rows_text) = (tables::largest(0..60), tables::largest(60..400));
    let (held_out, query) = (tables::largest(450..480), tables::largest(400..450));
    site.write("first.csv", &first);
    let plan = ["--label", "largest", "--hidden", "16", "--epochs", "3", "--warm-epochs", "1"];
    site.init("first.csv", &[plan.as_slice(), &["--batch-rows", "64"]].concat()).ok();
    site.pull("initial.safetensors", &[]);
    site.write("held-out.csv", &held_out);
    site.push("held-out.csv", &["--validation"]).ok();
    site.write("rows.csv", &rows_text);
    site.push("rows.csv", &[]).ok();
    let status = site.wait();
    site.pull("refined.safetensors", &[]);
    site.write("query.csv", &query);
    let answer = site.on_project("predict", &["--data", "query.csv"]).ok().json();
    // A round that fails says why without saying what it saw.
    let one = tables::largest(500..501);
    site.write("one.csv", &one);
    let pushed = site.on_project("push", &["--data", "one.csv", "--validation"]).ok().json();
    let rows = site.stored_rows(&pushed["upload"].as_str().unwrap().parse().unwrap());
    // Altered after the warden read it; before, it would not be admitted.
    site.wait();
    let mut altered = std::fs::read(&rows).unwrap();
    altered[site.project().spec.sealed_label_bytes(1)] ^= 1;
    std::fs::write(&rows, altered).unwrap();
    site.on_project("refine", &[]).refused(5, &["a wrong product"]);

    let mut needles = Needles::default();
    let project = site.project();
    for text in [&first, &rows_text, &held_out, &query, &one] {
        text.lines().skip(1).for_each(|line| needles.add("a row's text", line));
        let data = plain::read(&project, text, true);
        let stored = plain::stored(&project, &data);
        for (raw, stored) in data.features.matrix().iter_rows().zip(stored.iter_rows()) {
            needles.add("a row, f64", raw.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
            needles.add_numbers("a row", &raw.iter().map(|v| *v as f32).collect::<Vec<_>>());
            needles.add_numbers("a standardised row", stored);
        }
        let blindsmith_data::Targets::Classes { index, .. } = &data.targets else { panic!("classes") };
        for classes in index.chunks_exact(8) {
            let sealed = classes.iter().flat_map(|c| [1f32.to_le_bytes(), c.to_le_bytes()].concat());
            needles.add("labels with weights", sealed.collect::<Vec<_>>());
            needles.add("labels", classes.iter().flat_map(|c| c.to_le_bytes()).collect::<Vec<_>>());
            needles.add("labels as bytes", classes.iter().map(|c| *c as u8).collect::<Vec<_>>());
        }
    }
    for model in ["initial.safetensors", "refined.safetensors"] {
        for layer in ModelFile::load(site.path(model)).unwrap().model.layers {
            // Row by row and column by column: either way of storing a matrix.
            layer
                .weight
                .chunks_exact(layer.outputs)
                .for_each(|row| needles.add_numbers("weights", &row[..3]));
            for column in 0..layer.outputs {
                let weights: Vec<f32> =
                    layer.weight.chunks_exact(layer.outputs).map(|row| row[column]).collect();
                needles.add_numbers("weights", &weights[..3]);
            }
            layer.bias.windows(3).filter(|b| b.iter().any(|v| *v != 0.0)).for_each(|b| {
                needles.add_numbers("biases", b);
            });
        }
    }
    for row in answer["predictions"].as_array().unwrap() {
        let p: Vec<f32> = row.as_array().unwrap()[1..].iter().map(|v| v.as_f64().unwrap() as f32).collect();
        // A certain prediction is 0, 0, 1 in any order: found in any file.
        if p.iter().all(|v| *v > 0.01) {
            needles.add_numbers("a prediction", &p);
        }
    }
    let figures = &status["rounds"][1];
    for figure in [&figures["training_loss"][0], &figures["training_loss"][2], &figures["validation"]["loss"]]
    {
        let figure = figure.as_f64().expect("a figure");
        needles.add("a metric", figure.to_le_bytes());
        needles.add("a metric", figure.to_be_bytes());
        needles.add("a metric in words", figure.to_string().into_bytes());
    }
    let secrets =
        ["p/owner.key", "warden/sealing.simulated.key"].map(|name| std::fs::read(site.path(name)).unwrap());
    let owner = String::from_utf8(secrets[0].clone()).unwrap();
    let root: blindsmith_protocol::Id = owner.lines().last().unwrap().parse().unwrap();
    let keys = blindsmith_client::Keys::load(&site.path("p")).unwrap();
    let id = project.id();
    for (what, key) in [
        ("the owner's root", root.0),
        ("the sealing key", secrets[1].as_slice().try_into().unwrap()),
        ("the owner's key", *keys.owner(&id).expose()),
        ("the model's key", *keys.model(&id).expose()),
        ("the contributor's seed", *keys.contributor(&id).expose()),
    ] {
        needles.add(what, key);
        needles.add(format!("{what}, hexadecimal"), hexadecimal(&key));
        needles.add(format!("{what}, hexadecimal"), hexadecimal(&key).to_uppercase());
    }

    // The scan finds all of this where it may be.
    let mut found = Vec::new();
    needles.scan(&site.path("p"), &mut found);
    assert!(found.iter().any(|f| f.contains("owner.key")), "{found:?}");
    for (file, what) in [
        ("rows.csv", "a row's text"),
        ("initial.safetensors", "weights, f32"),
        ("refined.safetensors", "weights, f32"),
    ] {
        let bytes = std::fs::read(site.path(file)).unwrap();
        assert_eq!(needles.in_bytes(&bytes), Some(what));
    }

    let mut found = Vec::new();
    let scanned = needles.scan(&site.services.store(), &mut found);
    let stored: u64 = status["uploads"][0]["bytes"].as_u64().unwrap();
    assert!(scanned as u64 > stored, "only {scanned} bytes were scanned");
    let logs = site.logs();
    found.extend(needles.in_bytes(logs.as_bytes()).map(|what| format!("{what} in a log: {logs}")));
    assert_eq!(found, [""; 0]);
}
