//! Blobs: contents under the BLAKE3 of themselves, in a directory or in an object store with a cache before it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use blindsmith_protocol::Id;
use tempfile::NamedTempFile;

use super::directory::{ALTERED, BlobEntry, in_directory, list_directory};
use super::error::{StoreError, damaged, io_error};
use super::failpoint;
use super::files::{self, Incoming};
use super::reach::Reach;
use super::remote::Remote;

/// Where blobs are.
pub(super) struct Blobs {
    place: Place,
    /// Blobs of many bytes that were compared with their names since the start.
    verified: Mutex<HashSet<Id>>,
    incoming: Arc<Incoming>,
    /// Locked by those who add blobs, shared, until something refers to them; alone by who removes some.
    gate: PathBuf,
}

enum Place {
    Directory(PathBuf),
    Remote(Remote),
}

/// As long as it lives no blob is removed.
pub(super) struct Adding(#[expect(dead_code, reason = "unlocked when it is closed")] File);

/// As long as it lives no blob is added.
pub(super) struct Removing(#[expect(dead_code, reason = "unlocked when it is closed")] File);

impl Blobs {
    /// In a directory.
    pub(super) fn directory(
        dir: PathBuf,
        incoming: Arc<Incoming>,
        gate: PathBuf,
    ) -> Result<Self, StoreError> {
        files::make_dir(&dir)?;
        Ok(Blobs { place: Place::Directory(dir), verified: Mutex::default(), incoming, gate })
    }

    /// In an object store.
    pub(super) fn remote(remote: Remote, incoming: Arc<Incoming>, gate: PathBuf) -> Self {
        Blobs { place: Place::Remote(remote), verified: Mutex::default(), incoming, gate }
    }

    /// Whether an object store can be used; none for a directory.
    pub(super) fn reach(&self) -> Option<&Reach> {
        match &self.place {
            Place::Directory(_) => None,
            Place::Remote(remote) => Some(remote.reach()),
        }
    }

    fn gate(&self) -> Result<File, StoreError> {
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&self.gate);
        open.map_err(io_error(&self.gate))
    }

    /// To be held from before a blob is added until what refers to it is committed.
    pub(super) fn adding(&self) -> Result<Adding, StoreError> {
        let gate = self.gate()?;
        gate.lock_shared().map_err(io_error(&self.gate))?;
        Ok(Adding(gate))
    }

    /// To be held from before references are counted until what has none is removed.
    pub(super) fn removing(&self) -> Result<Removing, StoreError> {
        let gate = self.gate()?;
        gate.lock().map_err(io_error(&self.gate))?;
        Ok(Removing(gate))
    }

    fn verified(&self) -> MutexGuard<'_, HashSet<Id>> {
        self.verified.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What a blob is called in messages.
    pub(super) fn place(&self, name: &Id) -> PathBuf {
        match &self.place {
            Place::Directory(dir) => in_directory(dir, name),
            Place::Remote(remote) => remote.place(name).into(),
        }
    }

    /// Keeps a file's content, which has this digest. Durable when it returns.
    pub(super) fn keep(&self, _: &Adding, file: NamedTempFile, name: &Id) -> Result<(), StoreError> {
        match &self.place {
            Place::Directory(dir) => {
                let path = in_directory(dir, name);
                files::make_dir(path.parent().unwrap_or(dir))?;
                // One that is there is replaced: it could have been damaged since.
                files::publish(file, &path)?;
            }
            Place::Remote(remote) => remote.keep(file, name)?,
        }
        self.verified().insert(*name);
        Ok(())
    }

    /// Keeps these bytes; their name.
    pub(super) fn keep_bytes(&self, adding: &Adding, bytes: &[u8]) -> Result<Id, StoreError> {
        let mut file = self.incoming.file()?;
        let path = file.path().to_owned();
        failpoint::write("blob.write", file.as_file_mut(), bytes).map_err(io_error(&path))?;
        let name = Id(*blake3::hash(bytes).as_bytes());
        self.keep(adding, file, &name)?;
        Ok(name)
    }

    /// Whether such a blob could be kept now. Nothing of it stays.
    pub(super) fn rehearse(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut file = self.incoming.file()?;
        let path = file.path().to_owned();
        let written = failpoint::write("rehearsal.write", file.as_file_mut(), bytes);
        written.and_then(|()| file.as_file().sync_all()).map_err(io_error(&path))?;
        match &self.place {
            Place::Directory(_) => Ok(()),
            // Whether it answers.
            Place::Remote(remote) => remote.bytes(&Id([0; 32])).map(drop),
        }
    }

    /// A blob for reading at any place. What was compared with its name once since the start is not again.
    pub(super) fn open(&self, name: &Id) -> Result<File, StoreError> {
        let (path, file) = match &self.place {
            Place::Directory(dir) => {
                let path = in_directory(dir, name);
                let file = File::open(&path).map_err(io_error(&path))?;
                (path, file)
            }
            Place::Remote(remote) => return remote.open(name, &self.incoming),
        };
        if !self.verified().contains(name) {
            if files::digest(&path, &file)? != *name {
                return Err(damaged(&path, ALTERED));
            }
            self.verified().insert(*name);
        }
        Ok(file)
    }

    /// The whole of a blob, compared with its name.
    pub(super) fn read(&self, name: &Id) -> Result<Vec<u8>, StoreError> {
        let path = self.place(name);
        let bytes = match &self.place {
            Place::Directory(_) => files::read_limited(&path, &File::open(&path).map_err(io_error(&path))?)?,
            Place::Remote(remote) => files::read_limited(&path, &remote.open(name, &self.incoming)?)?,
        };
        match Id(*blake3::hash(&bytes).as_bytes()) == *name {
            true => Ok(bytes),
            false => Err(damaged(&path, ALTERED)),
        }
    }

    /// Reads a blob where it is kept, whatever is cached or remembered; whether it is what its name says. None
    /// if it is not there.
    pub(super) fn intact(&self, name: &Id) -> Result<Option<bool>, StoreError> {
        let path = self.place(name);
        let file = match &self.place {
            Place::Directory(_) => match File::open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file.map_err(io_error(&path))?,
            },
            Place::Remote(remote) => match remote.fetch(name, &self.incoming)? {
                None => return Ok(None),
                Some(fetched) => fetched.into_file(),
            },
        };
        Ok(Some(files::digest(&path, &file)? == *name))
    }

    /// A copy of a blob in a directory, by a second name for the same file where that is possible.
    pub(super) fn copy_to(&self, name: &Id, dir: &Path) -> Result<(), StoreError> {
        let to = in_directory(dir, name);
        files::make_dir(to.parent().unwrap_or(dir))?;
        if to.exists() {
            return Ok(());
        }
        let linked = match &self.place {
            Place::Directory(from) => fs::hard_link(in_directory(from, name), &to).is_ok(),
            Place::Remote(_) => false,
        };
        if !linked {
            let mut from = self.open(name)?;
            let beside = tempfile::Builder::new().prefix(".under-way-").tempfile_in(dir);
            let mut beside = beside.map_err(io_error(dir))?;
            io::copy(&mut from, &mut beside).map_err(io_error(&to))?;
            files::publish(beside, &to)?;
        }
        files::synchronise(to.parent().unwrap_or(dir))
    }

    /// Removes a blob, if it is there.
    pub(super) fn remove(&self, _: &Removing, name: &Id) -> Result<(), StoreError> {
        failpoint::refusable("blob.remove").map_err(io_error(&self.place(name)))?;
        self.verified().remove(name);
        match &self.place {
            Place::Directory(dir) => {
                let path = in_directory(dir, name);
                match fs::remove_file(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error(&path)(e)),
                    _ => Ok(()),
                }
            }
            Place::Remote(remote) => remote.remove(name),
        }
    }

    /// All blobs, in no order; and what lies between them and is none.
    pub(super) fn list(&self) -> Result<(Vec<BlobEntry>, Vec<String>), StoreError> {
        match &self.place {
            Place::Directory(dir) => list_directory(dir),
            Place::Remote(remote) => remote.list(),
        }
    }

    /// The bytes of a blob; None if it is not there.
    pub(super) fn bytes(&self, name: &Id) -> Result<Option<u64>, StoreError> {
        match &self.place {
            Place::Directory(dir) => {
                let path = in_directory(dir, name);
                match fs::metadata(&path) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                    found => Ok(Some(found.map_err(io_error(&path))?.len())),
                }
            }
            Place::Remote(remote) => remote.bytes(name),
        }
    }
}
