//! The files of a package, and where they lie.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Release;
use super::inventory::Inventory;
use super::programs::Programs;

/// A file that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// From the root of the system, without a slash at the start.
    pub path: String,
    pub mode: u32,
    pub content: Vec<u8>,
}

/// All files, by path.
pub struct Tree(pub Vec<File>);

/// Where the units are made for, and where a package of the distribution puts programs.
const LOCAL: &str = "/usr/local/bin/";
const SYSTEM: &str = "/usr/bin/";

const UNITS: [&str; 4] = [
    "blindsmith-gc.service",
    "blindsmith-gc.timer",
    "blindsmith-refinery.service",
    "blindsmith-warden.service",
];

impl Tree {
    /// What a package of a distribution installs.
    pub fn gather(
        root: &Path,
        programs: &Programs,
        inventory: &Inventory,
        release: &Release,
    ) -> Result<Self> {
        let read = |path: &str| fs::read(root.join(path)).with_context(|| format!("cannot read {path}"));
        let text = |path: &str| read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let mut files = Vec::new();
        let mut add = |path: String, mode, content: Vec<u8>| files.push(File { path, mode, content });
        for program in &programs.all {
            add(format!("usr/bin/{}", program.name), 0o755, program.stripped.clone());
        }
        for (name, page) in &programs.pages {
            add(format!("usr/share/man/man1/{name}"), 0o644, page.clone());
        }
        let places = [
            "usr/share/bash-completion/completions/blindsmith",
            "usr/share/zsh/vendor-completions/_blindsmith",
            "usr/share/fish/vendor_completions.d/blindsmith.fish",
        ];
        for (place, script) in places.iter().zip(&programs.completions) {
            add((*place).to_owned(), 0o644, script.clone());
        }
        for unit in UNITS {
            let unit_text = text(&format!("deploy/systemd/{unit}"))?.replace(LOCAL, SYSTEM);
            add(format!("usr/lib/systemd/system/{unit}"), 0o644, unit_text.into());
        }
        let users = read("deploy/systemd/blindsmith.sysusers")?;
        add("usr/lib/sysusers.d/blindsmith.conf".into(), 0o644, users);
        for name in ["refinery.toml", "warden.conf"] {
            add(format!("etc/blindsmith/{name}"), 0o644, read(&format!("deploy/etc/{name}"))?);
        }
        let documents = "usr/share/doc/blindsmith";
        add(format!("{documents}/refinery.toml"), 0o644, read("docs/refinery.toml")?);
        let licences = ["LICENSE-MIT", "LICENSE-APACHE"];
        let own: Vec<String> = licences.iter().map(|name| text(name)).collect::<Result<_>>()?;
        let copyright =
            format!("Blindsmith is under MIT or Apache-2.0, at your option.\n\n{}", own.join("\n\n"));
        add(format!("{documents}/copyright"), 0o644, copyright.into());
        add(format!("{documents}/third-party-licences.txt"), 0o644, inventory.licences().into());
        add(format!("{documents}/blindsmith.cdx.json"), 0o644, inventory.bill_of_materials(release)?);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Tree(files))
    }

    /// The same below a prefix such as /usr/local, where nothing of the distribution's own lies.
    pub fn relocated(&self) -> Self {
        let file = |file: &File| {
            let path = match file.path.strip_prefix("etc/blindsmith/") {
                Some(name) => format!("share/doc/blindsmith/examples/{name}"),
                None => file.path.trim_start_matches("usr/").to_owned(),
            };
            let mut content = file.content.clone();
            if path.ends_with(".service") {
                content = String::from_utf8_lossy(&content).replace(SYSTEM, LOCAL).into();
            }
            File { path, mode: file.mode, content }
        };
        Tree(self.0.iter().map(file).collect())
    }

    /// The programs' symbols, by the names that the programs give them.
    pub fn of_symbols(programs: &Programs) -> Self {
        let file = |program: &super::programs::Program| File {
            path: format!("{}.debug", program.name),
            mode: 0o644,
            content: program.symbols.clone(),
        };
        Tree(programs.all.iter().map(file).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_for_usr_local_has_units_for_it_and_examples_of_configurations() {
        let file =
            |path: &str, content: &str| File { path: path.into(), mode: 0o644, content: content.into() };
        let tree = Tree(vec![
            file("etc/blindsmith/warden.conf", "tee = simulated"),
            file("usr/lib/systemd/system/a.service", "ExecStart=/usr/bin/blindsmith-warden"),
        ]);
        let expected = vec![
            file("share/doc/blindsmith/examples/warden.conf", "tee = simulated"),
            file("lib/systemd/system/a.service", "ExecStart=/usr/local/bin/blindsmith-warden"),
        ];
        assert_eq!(tree.relocated().0, expected);
    }
}
