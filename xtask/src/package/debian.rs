//! A Debian package (deb(5)): its version, its control files, its data.

use anyhow::Result;

use super::Release;
use super::archive::{ar, tar_gz};
use super::programs::Programs;
use super::tree::{File, Tree};

/// Makes the services' user and tells systemd of the units. No service is enabled or started: each needs a configuration first.
const AFTER_INSTALLATION: &str = "\
#!/bin/sh
set -e
[ \"$1\" = configure ] || exit 0
if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers blindsmith.conf
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
";

/// Ends what would lose its program.
const BEFORE_REMOVAL: &str = "\
#!/bin/sh
set -e
if [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now blindsmith-gc.timer blindsmith-refinery.service blindsmith-warden.service || true
fi
";

/// What the file is called.
pub fn file_name(release: &Release) -> String {
    format!("blindsmith_{}_{}.deb", release.version, release.architecture)
}

/// The package.
pub fn package(tree: &Tree, programs: &Programs, release: &Release) -> Result<Vec<u8>> {
    let script = |path: &str, text: &str| File { path: path.into(), mode: 0o755, content: text.into() };
    let text = |path: &str, content: String| File { path: path.into(), mode: 0o644, content: content.into() };
    let control = Tree(vec![
        text("conffiles", configurations(tree)),
        text("control", fields(tree, programs.glibc, release)),
        script("postinst", AFTER_INSTALLATION),
        script("prerm", BEFORE_REMOVAL),
    ]);
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", tar_gz(&control, "", release.time)?),
        ("data.tar.gz", tar_gz(tree, "", release.time)?),
    ];
    ar(&members, release.time)
}

/// Files that an operator changes and an upgrade leaves.
fn configurations(tree: &Tree) -> String {
    let etc = tree.0.iter().filter(|file| file.path.starts_with("etc/"));
    etc.map(|file| format!("/{}\n", file.path)).collect()
}

fn fields(tree: &Tree, (major, minor): (u32, u32), release: &Release) -> String {
    let size: usize = tree.0.iter().map(|file| file.content.len()).sum();
    format!(
        "Package: blindsmith\n\
         Version: {}\n\
         Architecture: {}\n\
         Maintainer: Blindsmith <nobody@localhost>\n\
         Installed-Size: {}\n\
         Depends: libc6 (>= {major}.{minor}), libgcc-s1\n\
         Recommends: systemd\n\
         Section: science\n\
         Priority: optional\n\
         Description: refines a machine-learning model in a cloud that cannot read it\n \
         The client, the refinery (which stores and multiplies what it cannot read), the warden and its\n \
         appraiser. The warden's unit runs a SIMULATED enclave, which protects nothing from whoever runs\n \
         the machine.\n",
        release.version,
        release.architecture,
        size.div_ceil(1024),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_has_its_three_parts_in_order_and_names_what_it_needs() {
        let file = |path: &str| File { path: path.into(), mode: 0o644, content: vec![7; 3000] };
        let tree = Tree(vec![file("etc/blindsmith/warden.conf"), file("usr/bin/blindsmith")]);
        let programs =
            Programs { all: Vec::new(), pages: Vec::new(), completions: Default::default(), glibc: (2, 34) };
        let release = Release { version: "0.1.0".into(), architecture: "amd64", time: 1_700_000_000 };
        let packed = package(&tree, &programs, &release).unwrap();
        let mut archive = ar::Archive::new(packed.as_slice());
        let mut names = Vec::new();
        while let Some(entry) = archive.next_entry() {
            names.push(String::from_utf8(entry.unwrap().header().identifier().to_vec()).unwrap());
        }
        assert_eq!(names, ["debian-binary", "control.tar.gz", "data.tar.gz"]);
        assert_eq!(configurations(&tree), "/etc/blindsmith/warden.conf\n");
        let fields = fields(&tree, programs.glibc, &release);
        for line in [
            "Version: 0.1.0",
            "Architecture: amd64",
            "Installed-Size: 6",
            "Depends: libc6 (>= 2.34), libgcc-s1",
        ] {
            assert!(fields.lines().any(|l| l == line), "{line}: {fields}");
        }
        assert_eq!(file_name(&release), "blindsmith_0.1.0_amd64.deb");
    }
}
