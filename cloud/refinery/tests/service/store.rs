//! The store: what is acknowledged is there after a restart, whole; what is not leaves nothing.

use std::fs;
use std::path::{Path, PathBuf};

use blindsmith_protocol::{Id, ProjectSpec, Role, UploadError, UploadHeader};
use blindsmith_refinery::store::Extent;
use blindsmith_refinery::{Store, StoreError};
use tempfile::TempDir;

use super::project::{block_bytes, blocks, body, header_of, record, spec};

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

struct Stored {
    dir: TempDir,
    store: Store,
    spec: ProjectSpec,
}

fn created() -> Stored {
    let (dir, spec) = (TempDir::new().unwrap(), spec());
    let store = Store::open(dir.path()).unwrap();
    store.create(&spec, b"sealed model").unwrap();
    Stored { dir, store, spec }
}

impl Stored {
    fn commit(&self, count: u32, change: fn(&mut UploadHeader)) -> Result<Id, StoreError> {
        self.commit_rows(count * self.spec.block_rows, change)
    }

    fn commit_rows(&self, rows: u32, change: fn(&mut UploadHeader)) -> Result<Id, StoreError> {
        let bytes = body(&self.spec, Role::Training, rows);
        let mut header = header_of(&self.spec, Role::Training, rows, &bytes);
        change(&mut header);
        let mut incoming = self.store.receive(&self.spec, (&header).into())?;
        for part in bytes.chunks(2 * block_bytes(&self.spec)) {
            incoming.blocks_arrived(part)?;
        }
        incoming.commit(&header)?;
        Ok(header.id())
    }

    fn reopened(self) -> Stored {
        let Stored { dir, store, spec } = self;
        drop(store);
        Stored { store: Store::open(dir.path()).unwrap(), dir, spec }
    }
}

#[test]
fn everything_is_there_after_a_restart_in_the_order_of_arrival() {
    let stored = created();
    let earlier = stored.commit(3, |h| h.nonce = [2; 32]).unwrap();
    let later = stored.commit(1, |h| h.nonce = [1; 32]).unwrap();
    for round in [0, 1, 10, 2] {
        stored.store.save_round(&stored.spec.id(), &record(round), None).unwrap();
    }
    let stored = stored.reopened();
    let projects = stored.store.projects().unwrap();
    assert_eq!(projects.len(), 1);
    assert_eq!(projects[0].spec, stored.spec);
    assert_eq!(projects[0].uploads.iter().map(|(h, ..)| h.id()).collect::<Vec<_>>(), [earlier, later]);
    let mut rounds = Vec::new();
    stored.store.each_round(&stored.spec.id(), |r| rounds.push(r.summary.round)).unwrap();
    assert_eq!(rounds, [0, 1, 2, 10]);
    assert_eq!(stored.store.initial_model(&stored.spec.id()).unwrap(), b"sealed model");
    let rows = stored.store.rows(&stored.spec.id(), &earlier).unwrap();
    assert_eq!(rows.metadata().unwrap().len(), 3 * block_bytes(&stored.spec) as u64);
}

#[test]
fn a_project_is_created_once() {
    let stored = created();
    let Stored { store, spec, .. } = &stored;
    store.create(spec, b"sealed model").unwrap();
    let error = store.create(spec, b"another model").unwrap_err();
    assert!(matches!(error, StoreError::Exists(id) if id == spec.id()));
    assert_eq!(store.initial_model(&spec.id()).unwrap(), b"sealed model");
}

#[test]
fn uploads_that_do_not_fit_are_refused_and_leave_nothing() {
    let stored = created();
    let refused = |change: fn(&mut UploadHeader)| match stored.commit(2, change) {
        Err(StoreError::Upload(e)) => e,
        other => panic!("{other:?} where a refusal is due"),
    };
    assert_eq!(refused(|h| h.project = Id([9; 32])), UploadError::OtherProject);
    assert_eq!(refused(|h| h.rows = 0), UploadError::Rows(0));
    assert_eq!(refused(|h| h.root = Id([9; 32])), UploadError::Digest);
    // Two whole blocks came.
    assert!(matches!(refused(|h| h.rows = 17), UploadError::Length { rows: 17, .. }));
    assert!(matches!(refused(|h| h.rows = 8), UploadError::Length { rows: 8, .. }));
    assert!(matches!(refused(|h| h.rows = 9), UploadError::Length { rows: 9, .. }));
    assert!(matches!(refused(|h| h.role = Role::Query), UploadError::Length { rows: 16, .. }));
    assert_eq!(refused(|h| h.era = u32::MAX), UploadError::Era(u32::MAX));
    // The last block has as many bytes as its rows need.
    for rows in [1, 7, 9, 15] {
        assert!(stored.commit_rows(rows, |_| ()).is_ok());
    }
    assert_eq!(files(&stored.dir.path().join("incoming")), [""; 0]);
}

#[test]
fn blocks_that_are_none_are_refused() {
    let Stored { dir, store, spec } = created();
    let good = blocks(&spec, 3);
    let extent = Extent { role: Role::Training, rows: 3 * spec.block_rows };
    let mut incoming = store.receive(&spec, extent).unwrap();
    for bytes in [&good[1..], b"", &good[..block_bytes(&spec) - 1]] {
        let refused = incoming.blocks_arrived(bytes);
        assert!(matches!(refused, Err(StoreError::Upload(UploadError::Length { .. }))));
    }
    // The last residue of the second block of these two.
    let mut bytes = good[..2 * block_bytes(&spec)].to_vec();
    bytes[2 * block_bytes(&spec) - 6..].fill(0xff);
    assert!(matches!(incoming.blocks_arrived(&bytes), Err(StoreError::Upload(UploadError::Residue(1)))));
    drop(incoming);
    assert_eq!(files(&dir.path().join("incoming")), [""; 0]);
}

#[test]
fn a_store_is_served_once() {
    let stored = created();
    let refused = Store::open(stored.dir.path()).err().expect("it is served");
    assert!(matches!(refused, StoreError::InUse { what: "directory", .. }), "{refused}");
    let place = stored.dir.path().display().to_string();
    assert!(refused.to_string().contains(&place), "{refused}");
    stored.reopened();
}

#[test]
fn a_restart_removes_what_was_under_way_and_nothing_else() {
    let stored = created();
    let incoming = stored.dir.path().join("incoming");
    let file = stored.store.receive(&stored.spec, Extent { role: Role::Training, rows: 1 }).unwrap();
    assert_eq!(files(&incoming).len(), 1);
    // As a killed process leaves it.
    std::mem::forget(file);
    fs::write(incoming.join("notes.txt"), "somebody else's").unwrap();
    stored.commit(1, |_| {}).unwrap();
    fs::write(incoming.join(format!("{}.part", "0".repeat(32))), "a piece that nothing tells of").unwrap();

    let stored = stored.reopened();
    assert_eq!(stored.store.projects().unwrap()[0].uploads.len(), 1);
    assert_eq!(files(&incoming), ["notes.txt"]);
}

#[test]
fn damaged_blobs_are_named() {
    let stored = created();
    let id = stored.commit(2, |_| {}).unwrap();
    let project = stored.spec.id();
    stored.store.save_round(&project, &record(0), None).unwrap();
    let rows = stored.store.upload(&project, &id).unwrap().rows;
    let path = blob(stored.dir.path(), &rows);
    let good = fs::read(&path).unwrap();
    // At once, as far as that is quick to see.
    for damaged in [&good[..good.len() - 1], &[good.as_slice(), b"x"].concat(), b""] {
        fs::write(&path, damaged).unwrap();
        match stored.store.projects() {
            Err(StoreError::Damaged { path: named, .. }) => assert_eq!(named, path),
            Err(e) => panic!("{e}"),
            Ok(_) => panic!("a file of another length was not missed"),
        }
    }
    // Altered in place: at the first opening after a start.
    fs::write(&path, flipped(&good)).unwrap();
    let stored = stored.reopened();
    assert_eq!(stored.store.projects().unwrap().len(), 1);
    for _ in 0..2 {
        let opened = stored.store.rows(&project, &id);
        assert!(matches!(opened, Err(StoreError::Damaged { path: named, .. }) if named == path));
    }
    fs::write(&path, good).unwrap();
    stored.store.rows(&project, &id).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(matches!(stored.store.projects(), Err(StoreError::Damaged { .. })));

    // What is read whole is compared each time.
    for content in [vec![6; 100], vec![7; 100]] {
        let path = blob(stored.dir.path(), &Id(*blake3::hash(&content).as_bytes()));
        stored.store.round(&project, 0).unwrap();
        fs::write(&path, flipped(&content)).unwrap();
        assert!(matches!(stored.store.round(&project, 0), Err(StoreError::Damaged { .. })));
        fs::write(&path, content).unwrap();
    }
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[0] ^= 1;
    bytes
}

/// Where a store keeps a blob.
fn blob(root: &Path, name: &Id) -> PathBuf {
    let name = name.to_string();
    root.join("blobs").join(&name[..2]).join(name)
}

#[test]
fn a_damaged_database_is_named() {
    let stored = created();
    let Stored { dir, store, .. } = stored;
    drop(store);
    let path = dir.path().join("refinery.db");
    let good = fs::read(&path).unwrap();
    for damaged in [vec![0xff; 100], good[..good.len() / 2].to_vec(), flipped(&good)] {
        fs::write(&path, damaged).unwrap();
        let error = Store::open(dir.path()).err().expect("it is damaged").to_string();
        assert!(error.contains("refinery.db"), "{error}");
    }
    fs::write(&path, good).unwrap();
    assert_eq!(Store::open(dir.path()).unwrap().projects().unwrap().len(), 1);
}

#[test]
fn a_store_of_version_0_1_is_refused_in_words() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("projects").join(Id([9; 32]).to_string())).unwrap();
    let error = Store::open(dir.path()).err().expect("it is of another format").to_string();
    assert!(error.contains("format of version 0.1"), "{error}");
}
