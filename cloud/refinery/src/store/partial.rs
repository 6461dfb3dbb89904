//! Uploads and queries that come in chunks, over connections that may break: nothing of them counts before they are
//! committed, and what was acknowledged outlives the process.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use blindsmith_protocol::{Id, MAX_ROWS, ProjectSpec, UploadError};
use tempfile::{NamedTempFile, TempPath};

use super::members::remove;
use super::{Incoming, Store, StoreError, UNDER_WAY, damaged, files, io_error, read_limited};

/// Bytes of row blocks that are read at a time, about.
const PIECE: usize = 4 << 20;

/// Names what is under way: 32 hexadecimal digits, by chance, so that nobody finds it by trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartialId(pub [u8; 16]);

impl std::fmt::Display for PartialId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::str::FromStr for PartialId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(());
        }
        u128::from_str_radix(text, 16).map(|n| PartialId(n.to_be_bytes())).map_err(|_| ())
    }
}

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// The project.
    pub project: Id,
    /// Whose it is.
    pub sender: Id,
    /// Bytes that are here for good.
    pub durable: u64,
}

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is here for good, as all before it: so many bytes.
    Durable(u64),
    /// It does not begin where the bytes that are here for good end.
    Mismatch {
        /// Where they end.
        durable: u64,
    },
}

impl Store {
    fn partial_file(&self, id: &PartialId) -> PathBuf {
        self.incoming().join(format!("{id}.partial"))
    }

    fn partial_sender(&self, id: &PartialId) -> PathBuf {
        self.incoming().join(format!("{id}.sender"))
    }

    /// Begins an upload or a query.
    pub fn begin_partial(&self, project: &Id, sender: &Id) -> Result<PartialId, StoreError> {
        let mut id = PartialId([0; 16]);
        let random = getrandom::fill(&mut id.0);
        random.map_err(|e| io_error(&self.incoming())(std::io::Error::other(e)))?;
        self.write(&self.partial_file(&id), &[])?;
        self.write(&self.partial_sender(&id), &[project.0, sender.0].concat())?;
        Ok(id)
    }

    /// What is under way by this name; none if there is nothing.
    pub fn partial(&self, id: &PartialId) -> Result<Option<Partial>, StoreError> {
        let (sender, rows) = (self.partial_sender(id), self.partial_file(id));
        if !sender.exists() || !rows.exists() {
            return Ok(None);
        }
        let bytes = read_limited(&sender)?;
        let Ok(bytes) = <[u8; 64]>::try_from(bytes) else {
            return Err(damaged(&sender, "it does not name project and sender"));
        };
        let (mut project, mut key) = (Id([0; 32]), Id([0; 32]));
        project.0.copy_from_slice(&bytes[..32]);
        key.0.copy_from_slice(&bytes[32..]);
        let durable = fs::metadata(&rows).map_err(io_error(&rows))?.len();
        Ok(Some(Partial { project, sender: key, durable }))
    }

    /// Everything of a sender that is under way in a project.
    pub fn partials(&self, project: &Id, sender: &Id) -> Result<Vec<Partial>, StoreError> {
        let mut found = Vec::new();
        for id in files(&self.incoming(), "sender")?.iter().filter_map(|path| name(path)) {
            if let Some(partial) = self.partial(&id)?
                && (partial.project, partial.sender) == (*project, *sender)
            {
                found.push(partial);
            }
        }
        Ok(found)
    }

    /// Appends a chunk at an offset; it is here for good when this returns.
    pub fn append_partial(&self, id: &PartialId, offset: u64, bytes: &[u8]) -> Result<Appended, StoreError> {
        let path = self.partial_file(id);
        let err = io_error(&path);
        let file = OpenOptions::new().write(true).open(&path).map_err(&err)?;
        let durable = file.metadata().map_err(&err)?.len();
        if durable != offset {
            return Ok(Appended::Mismatch { durable });
        }
        if let Err(e) = file.write_all_at(bytes, offset).and_then(|()| file.sync_data()) {
            // Half a chunk was never acknowledged, and must not look as if it were.
            file.set_len(offset).map_err(&err)?;
            return Err(err(e));
        }
        Ok(Appended::Durable(offset + bytes.len() as u64))
    }

    /// Reads all that came, which is then an upload to be committed, or a query; it is not under way any more.
    pub fn open_partial(&self, id: &PartialId, spec: &ProjectSpec) -> Result<Incoming<'_>, StoreError> {
        let path = self.partial_file(id);
        let err = io_error(&path);
        // From here on it is removed when it is dropped, and by the next start.
        let named = self.incoming().join(format!("{UNDER_WAY}{id}"));
        fs::rename(&path, &named).map_err(&err)?;
        let rows = TempPath::try_from_path(&named).map_err(&err)?;
        remove(&self.partial_sender(id))?;
        let file = OpenOptions::new().read(true).write(true).open(&named).map_err(&err)?;
        let whole = file.metadata().map_err(&err)?.len();
        let size = spec.block_bytes();
        let most = u64::from(MAX_ROWS.div_ceil(spec.block_rows() as u32)) * size as u64;
        if whole == 0 || !whole.is_multiple_of(size as u64) || whole > most {
            let expected = whole.max(1).next_multiple_of(size as u64).min(most);
            return Err(UploadError::Length { got: whole, expected, rows: 0 }.into());
        }
        let mut incoming = self.receive(spec)?;
        incoming.file = NamedTempFile::from_parts(file, rows);
        let mut piece = vec![0; size * (PIECE / size).max(1)];
        let mut at = 0;
        while at < whole {
            let len = piece.len().min((whole - at) as usize);
            incoming.file.as_file().read_exact_at(&mut piece[..len], at).map_err(&err)?;
            incoming.inspect(&piece[..len])?;
            at += len as u64;
        }
        Ok(incoming)
    }

    /// Forgets what is under way.
    pub fn abandon_partial(&self, id: &PartialId) -> Result<(), StoreError> {
        remove(&self.partial_sender(id))?;
        remove(&self.partial_file(id))
    }

    /// Forgets what nothing was appended to for so long; how many.
    pub fn expire_partials(&self, idle: Duration) -> Result<usize, StoreError> {
        let mut expired = 0;
        for path in files(&self.incoming(), "partial")? {
            let changed = fs::metadata(&path).and_then(|m| m.modified()).map_err(io_error(&path))?;
            let old = SystemTime::now().duration_since(changed).is_ok_and(|age| age > idle);
            if let (true, Some(id)) = (old, name(&path)) {
                self.abandon_partial(&id)?;
                expired += 1;
            }
        }
        Ok(expired)
    }
}

fn name(path: &Path) -> Option<PartialId> {
    path.file_stem()?.to_str()?.parse().ok()
}
