//! What of others is in the programs: a bill of materials (CycloneDX 1.5) and the texts of licences.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, Package, PackageId};
use serde_json::{Value, json};

use super::Release;
use super::programs::NAMES;

/// Every crate that is linked into a program, or run while one is compiled.
pub struct Inventory {
    crates: Vec<Entry>,
}

struct Entry {
    name: String,
    version: String,
    licence: Option<String>,
    /// SHA-256 of its archive in the registry; none of ours.
    checksum: Option<String>,
    /// Names of its files on licences, and their texts.
    texts: Vec<(String, String)>,
    /// References to what it needs.
    needs: BTreeSet<String>,
}

impl Entry {
    fn reference(&self) -> String {
        reference(&self.name, &self.version)
    }
}

fn reference(name: &str, version: &str) -> String {
    format!("pkg:cargo/{name}@{version}")
}

impl Inventory {
    /// Follows the programs' dependencies on this platform.
    pub fn of(metadata: &Metadata) -> Result<Self> {
        let resolve = metadata.resolve.as_ref().context("cargo resolved no dependencies")?;
        let nodes: BTreeMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
        let packages: BTreeMap<&PackageId, &Package> = metadata.packages.iter().map(|p| (&p.id, p)).collect();
        let lock = fs::read_to_string(metadata.workspace_root.join("Cargo.lock"))
            .context("cannot read Cargo.lock")?;
        let checksums = checksums(&lock)?;
        let roots = metadata.packages.iter().filter(|p| NAMES.contains(&p.name.as_str()));
        let mut open: Vec<&PackageId> = roots.map(|p| &p.id).collect();
        let mut seen: BTreeSet<&PackageId> = open.iter().copied().collect();
        let mut crates = Vec::new();
        while let Some(id) = open.pop() {
            let package = packages[id];
            let mut needs = BTreeSet::new();
            for dependency in &nodes[id].deps {
                if dependency.dep_kinds.iter().all(|kind| kind.kind == DependencyKind::Development) {
                    continue;
                }
                let needed = packages[&dependency.pkg];
                needs.insert(reference(&needed.name, &needed.version.to_string()));
                if seen.insert(&dependency.pkg) {
                    open.push(&dependency.pkg);
                }
            }
            crates.push(entry(package, &checksums, needs)?);
        }
        crates.sort_by_key(Entry::reference);
        Ok(Inventory { crates })
    }

    /// The bill of materials, as JSON.
    pub fn bill_of_materials(&self, release: &Release) -> Result<Vec<u8>> {
        let component = |entry: &Entry| {
            let mut component = json!({
                "type": "library", "bom-ref": entry.reference(), "name": entry.name, "version": entry.version,
                "purl": entry.reference(),
            });
            if let Some(licence) = &entry.licence {
                component["licenses"] = json!([{ "expression": licence }]);
            }
            if let Some(sum) = &entry.checksum {
                component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
            }
            component
        };
        let dependencies: Vec<Value> =
            self.crates.iter().map(|e| json!({ "ref": e.reference(), "dependsOn": e.needs })).collect();
        let bill = json!({
            "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
            "metadata": { "component": {
                "type": "application", "bom-ref": "blindsmith", "name": "blindsmith", "version": release.version,
            } },
            "components": self.crates.iter().map(component).collect::<Vec<_>>(),
            "dependencies": dependencies,
        });
        Ok(serde_json::to_vec_pretty(&bill)?)
    }

    /// What others ask to be passed on: each of their texts once, below the crates that it is of.
    pub fn licences(&self) -> String {
        let mut texts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut without = String::new();
        for entry in self.crates.iter().filter(|entry| entry.checksum.is_some()) {
            for (file, text) in &entry.texts {
                texts.entry(text).or_default().push(format!("{} {} ({file})", entry.name, entry.version));
            }
            if entry.texts.is_empty() {
                let licence = entry.licence.as_deref().unwrap_or("no licence named");
                _ = writeln!(without, "{} {}: {licence}", entry.name, entry.version);
            }
        }
        let mut all = format!("Crates whose archives have no text of their licence:\n{without}");
        for (text, crates) in texts {
            _ = write!(all, "\n{}\n{}\n\n{text}\n", "=".repeat(80), crates.join("\n"));
        }
        all
    }
}

fn entry(package: &Package, checksums: &BTreeMap<String, String>, needs: BTreeSet<String>) -> Result<Entry> {
    let folder = package.manifest_path.parent().context("a package lies in no folder")?;
    let mut texts = Vec::new();
    for file in fs::read_dir(folder).with_context(|| format!("cannot read {folder}"))? {
        let name = file?.file_name().to_string_lossy().into_owned();
        let upper = name.to_ascii_uppercase();
        let about = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT"];
        if about.iter().any(|word| upper.starts_with(word)) && folder.join(&name).is_file() {
            let text = fs::read(folder.join(&name))?;
            texts.push((name, String::from_utf8_lossy(&text).trim().to_owned()));
        }
    }
    texts.sort();
    let version = package.version.to_string();
    let checksum = checksums.get(&reference(&package.name, &version)).cloned();
    Ok(Entry {
        name: package.name.to_string(),
        version,
        licence: package.license.clone(),
        checksum,
        texts,
        needs,
    })
}

/// The checksums of Cargo.lock, by reference.
fn checksums(lock: &str) -> Result<BTreeMap<String, String>> {
    let lock: toml::Table = lock.parse().context("Cargo.lock is no TOML")?;
    let packages =
        lock.get("package").and_then(toml::Value::as_array).context("Cargo.lock names no package")?;
    let one = |package: &toml::Value| {
        let text = |key: &str| package.get(key)?.as_str();
        Some((reference(text("name")?, text("version")?), text("checksum")?.to_owned()))
    };
    Ok(packages.iter().filter_map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, needs: &[&str], text: &str) -> Entry {
        let texts = if text.is_empty() { Vec::new() } else { vec![("LICENSE".to_owned(), text.to_owned())] };
        Entry {
            name: name.into(),
            version: "1.0.0".into(),
            licence: Some("MIT".into()),
            checksum: Some("ab".into()),
            texts,
            needs: needs.iter().map(|n| reference(n, "1.0.0")).collect(),
        }
    }

    #[test]
    fn a_bill_names_every_crate_its_licence_its_checksum_and_what_it_needs() {
        let inventory = Inventory { crates: vec![entry("a", &["b"], ""), entry("b", &[], "")] };
        let release = Release { version: "0.1.0".into(), architecture: "amd64", time: 0 };
        let bill: Value = serde_json::from_slice(&inventory.bill_of_materials(&release).unwrap()).unwrap();
        assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&json!("CycloneDX"), &json!("1.5")));
        let first = &bill["components"][0];
        assert_eq!(first["purl"], "pkg:cargo/a@1.0.0");
        assert_eq!(first["licenses"][0]["expression"], "MIT");
        assert_eq!(first["hashes"][0]["content"], "ab");
        assert_eq!(bill["dependencies"][0]["dependsOn"], json!(["pkg:cargo/b@1.0.0"]));
    }

    #[test]
    fn a_text_that_crates_share_is_there_once_and_a_crate_without_one_is_named() {
        let crates =
            vec![entry("a", &[], "do as you like"), entry("b", &[], "do as you like"), entry("c", &[], "")];
        let text = Inventory { crates }.licences();
        assert_eq!(text.matches("do as you like").count(), 1);
        assert!(text.contains("a 1.0.0 (LICENSE)\nb 1.0.0 (LICENSE)"));
        assert!(text.contains("c 1.0.0: MIT"));
    }

    #[test]
    fn checksums_come_from_the_lock_file() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"ab\"\n\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n";
        let found = checksums(lock).unwrap();
        assert_eq!(found, BTreeMap::from([("pkg:cargo/a@1.0.0".to_owned(), "ab".to_owned())]));
    }
}
