//! Archives whose bytes follow from what is in them: no user, no clock.

use std::collections::BTreeSet;
use std::io::Write;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::tree::Tree;

/// A gzipped tar of files below a folder, with the folders that they lie in.
pub fn tar_gz(tree: &Tree, folder: &str, time: u64) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let prefix = if folder.is_empty() { ".".to_owned() } else { folder.to_owned() };
    let mut folders = BTreeSet::new();
    for file in &tree.0 {
        let path = format!("{prefix}/{}", file.path);
        let parents = path.match_indices('/').map(|(end, _)| format!("{}/", &path[..end]));
        for parent in parents {
            if folders.insert(parent.clone()) {
                let mut header = header(0o755, 0, time);
                header.set_entry_type(tar::EntryType::Directory);
                archive.append_data(&mut header, &parent, std::io::empty())?;
            }
        }
        let mut header = header(file.mode, file.content.len(), time);
        archive.append_data(&mut header, &path, file.content.as_slice())?;
    }
    gzip(&archive.into_inner()?)
}

fn header(mode: u32, size: usize, time: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(time);
    header.set_size(size as u64);
    header
}

/// Gzipped, without a name or a time.
fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// An `ar` archive, which a Debian package is.
pub fn ar(members: &[(&str, Vec<u8>)], time: u64) -> Result<Vec<u8>> {
    let mut archive = ar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = ar::Header::new(name.as_bytes().to_vec(), content.len() as u64);
        header.set_mode(0o100644);
        header.set_mtime(time);
        archive.append(&header, content.as_slice())?;
    }
    Ok(archive.into_inner()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::super::tree::File;
    use super::*;

    #[test]
    fn a_tar_has_its_files_with_their_modes_and_nobodys_name_and_is_the_same_again() {
        let file = |path: &str, mode| File { path: path.into(), mode, content: path.as_bytes().to_vec() };
        let tree = Tree(vec![file("bin/a", 0o755), file("share/doc/b", 0o644)]);
        let packed = tar_gz(&tree, "top", 1_700_000_000).unwrap();
        assert_eq!(packed, tar_gz(&tree, "top", 1_700_000_000).unwrap());
        let mut archive = tar::Archive::new(GzDecoder::new(packed.as_slice()));
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.mtime().unwrap()), (0, 1_700_000_000));
            found.push((path, header.mode().unwrap(), content));
        }
        let folder = |path: &str| (path.to_owned(), 0o755, String::new());
        let expected = vec![
            folder("top/"),
            folder("top/bin/"),
            ("top/bin/a".into(), 0o755, "bin/a".into()),
            folder("top/share/"),
            folder("top/share/doc/"),
            ("top/share/doc/b".into(), 0o644, "share/doc/b".into()),
        ];
        assert_eq!(found, expected);
    }
}
