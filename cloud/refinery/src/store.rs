//! What is on disk: one directory a project, written so that a crash at any moment leaves either the old
//! state or the new one.
//!
//! | path | what |
//! |---|---|
//! | `projects/ID/spec.cbor` | the public specification |
//! | `projects/ID/initial.sealed` | the sealed initial model |
//! | `projects/ID/uploads/ID.rows` | row blocks: sealed labels and packed ciphertext |
//! | `projects/ID/uploads/ID.head` | sequence number and header; its presence makes the upload one |
//! | `projects/ID/uploads/ID.projections` | what the warden keeps of an upload, sealed by it |
//! | `projects/ID/uploads/ID.verdict` | whether the warden admitted it |
//! | `projects/ID/rounds/N.cbor` | what round N left |
//! | `projects/ID/faults/N.cose` | the warden's reports of wrong answers |
//! | `projects/ID/orders/N.cose` | the owner's signed order N |
//! | `projects/ID/enrolments/KEY.cose` | a contributor's newest enrolment |
//! | `projects/ID/withdrawn/ID.cose` | a contributor's withdrawal of an upload, in its place |
//! | `incoming/` | uploads under way; what a crash left of them is removed at start |
//! | `incoming/ID.partial`, `ID.sender` | an upload that comes in chunks, and whose it is: outlives a crash |
//! | `lock` | held by the refinery that serves the store |
//!
//! A file is written beside its place, synchronised, renamed, and its directory synchronised.

mod members;
mod partial;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use blindsmith_protocol::{
    Blob, FrameError, Id, MAX_ROWS, MAX_SEALED, ProjectSpec, RoundRecord, UploadError, UploadHeader,
    block_digest, from_cbor, root_digest, to_cbor,
};
use blindsmith_ring::{backend, zeroed_lanes};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use thiserror::Error;

pub use partial::{Appended, Partial, PartialId};

/// A store that cannot do what is asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The disk.
    #[error("the store at {path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file that is not what was written.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// An upload that does not fit.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// Somebody else serves it.
    #[error("the store at {0} is in use by another refinery: stop that one, or choose another directory")]
    InUse(PathBuf),
    /// Kept orders that do not make a roster.
    #[error("the orders of project {project} are damaged: {why}")]
    Orders {
        /// The project.
        project: Id,
        /// What is wrong.
        why: String,
    },
    /// The project exists with another content.
    #[error("the project {0} exists already")]
    Exists(Id),
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> StoreError + '_ {
    move |source| StoreError::Io { path: path.to_owned(), source }
}

fn damaged(path: &Path, why: impl Into<String>) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), why: why.into() }
}

/// What the names of files under way begin with: nothing else is ever removed from `incoming/`.
const UNDER_WAY: &str = ".under-way-";

/// The directory of everything.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// Locked until the process ends, however it ends.
    _lock: File,
}

/// What a warden found when it read an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It stands in rounds; what tells the warden so.
    Admitted(Blob),
    /// It does not, and why.
    Refused(String),
}

/// A project found on disk.
pub struct StoredProject {
    /// Its specification.
    pub spec: ProjectSpec,
    /// Its uploads, in order of arrival, with what the warden found.
    pub uploads: Vec<(UploadHeader, Option<Verdict>)>,
    /// Its rounds, in order.
    pub rounds: Vec<RoundRecord>,
}

impl Store {
    /// Opens or creates a store; removes what unfinished uploads left.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        use std::os::unix::fs::DirBuilderExt;
        let incoming = root.join("incoming");
        for dir in [root, &root.join("projects"), &incoming] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(io_error(dir))?;
        }
        let path = root.join("lock");
        let lock = File::create(&path).map_err(io_error(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(StoreError::InUse(root.to_owned())),
            Err(fs::TryLockError::Error(e)) => return Err(io_error(&path)(e)),
        }
        for entry in fs::read_dir(&incoming).map_err(io_error(&incoming))? {
            let path = entry.map_err(io_error(&incoming))?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(UNDER_WAY)) {
                fs::remove_file(&path).map_err(io_error(&path))?;
            }
        }
        Ok(Store { root: root.to_owned(), _lock: lock })
    }

    fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    fn project(&self, id: &Id) -> PathBuf {
        self.root.join("projects").join(id.to_string())
    }

    fn upload(&self, project: &Id, upload: &Id, extension: &str) -> PathBuf {
        self.project(project).join("uploads").join(format!("{upload}.{extension}"))
    }

    /// Creates a project; the same specification and model again change nothing.
    pub fn create(&self, spec: &ProjectSpec, model: &[u8]) -> Result<(), StoreError> {
        let id = spec.id();
        let dir = self.project(&id);
        if dir.join("spec.cbor").exists() {
            let path = dir.join("initial.sealed");
            let same = read_limited(&path)? == model;
            return if same { Ok(()) } else { Err(StoreError::Exists(id)) };
        }
        for dir in [dir.join("uploads"), dir.join("rounds")] {
            fs::create_dir_all(&dir).map_err(io_error(&dir))?;
        }
        self.write(&dir.join("initial.sealed"), model)?;
        self.write(&dir.join("spec.cbor"), &to_cbor(spec))
    }

    /// The sealed initial model.
    pub fn initial_model(&self, project: &Id) -> Result<Vec<u8>, StoreError> {
        read_limited(&self.project(project).join("initial.sealed"))
    }

    /// Writes a file in one piece.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let err = io_error(path);
        let mut file = self.under_way()?;
        file.write_all(bytes).map_err(&err)?;
        self.publish(file, path)
    }

    fn under_way(&self) -> Result<NamedTempFile, StoreError> {
        let dir = self.incoming();
        tempfile::Builder::new().prefix(UNDER_WAY).tempfile_in(&dir).map_err(io_error(&dir))
    }

    fn publish(&self, file: NamedTempFile, path: &Path) -> Result<(), StoreError> {
        let err = io_error(path);
        file.as_file().sync_all().map_err(&err)?;
        file.persist(path).map_err(|e| err(e.error))?;
        let dir = path.parent().unwrap_or(&self.root);
        File::open(dir).and_then(|d| d.sync_all()).map_err(&err)
    }

    /// Starts an upload of a project.
    pub fn receive(&self, spec: &ProjectSpec) -> Result<Incoming<'_>, StoreError> {
        let file = self.under_way()?;
        let check = zeroed_lanes(spec.packed_block_bytes() / 50);
        Ok(Incoming { store: self, spec: spec.clone(), file, digests: Vec::new(), check })
    }

    /// The rows of an upload, for reading.
    pub fn rows(&self, project: &Id, upload: &Id) -> Result<File, StoreError> {
        let path = self.upload(project, upload, "rows");
        File::open(&path).map_err(io_error(&path))
    }

    /// A file for projections: without a name until [`Store::judge`] gives it one.
    pub fn projections(&self) -> Result<NamedTempFile, StoreError> {
        self.under_way()
    }

    /// The projections of an admitted upload, for reading.
    pub fn kept(&self, project: &Id, upload: &Id) -> Result<File, StoreError> {
        let path = self.upload(project, upload, "projections");
        File::open(&path).map_err(io_error(&path))
    }

    /// Makes a verdict on an upload durable, with the projections of an admitted one.
    pub fn judge(
        &self,
        project: &Id,
        upload: &Id,
        projections: NamedTempFile,
        verdict: &Verdict,
    ) -> Result<(), StoreError> {
        if let Verdict::Admitted(_) = verdict {
            self.publish(projections, &self.upload(project, upload, "projections"))?;
        }
        self.write(&self.upload(project, upload, "verdict"), &to_cbor(verdict))
    }

    /// Stores what a round left.
    pub fn save_round(&self, project: &Id, record: &RoundRecord) -> Result<(), StoreError> {
        let path = self.project(project).join("rounds").join(format!("{}.cbor", record.summary.round));
        self.write(&path, &to_cbor(record))
    }

    /// Keeps a report of a wrong answer.
    pub fn save_fault(&self, project: &Id, report: &[u8]) -> Result<(), StoreError> {
        let dir = self.project(project).join("faults");
        fs::create_dir_all(&dir).map_err(io_error(&dir))?;
        let count = files(&dir, "cose")?.len();
        self.write(&dir.join(format!("{count}.cose")), report)
    }

    /// The reports of wrong answers, in order.
    pub fn faults(&self, project: &Id) -> Result<Vec<Blob>, StoreError> {
        let dir = self.project(project).join("faults");
        let count = if dir.exists() { files(&dir, "cose")?.len() } else { 0 };
        (0..count).map(|n| Ok(Blob(read_limited(&dir.join(format!("{n}.cose")))?))).collect()
    }

    /// Reads a round.
    pub fn round(&self, project: &Id, round: u64) -> Result<RoundRecord, StoreError> {
        let path = self.project(project).join("rounds").join(format!("{round}.cbor"));
        decode(&path)
    }

    /// Everything that is there.
    pub fn projects(&self) -> Result<Vec<StoredProject>, StoreError> {
        let dir = self.root.join("projects");
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).map_err(io_error(&dir))? {
            let path = entry.map_err(io_error(&dir))?.path();
            // A project without its specification was never acknowledged.
            if path.join("spec.cbor").exists() {
                found.push(self.load(&path)?);
            }
        }
        Ok(found)
    }

    fn load(&self, dir: &Path) -> Result<StoredProject, StoreError> {
        let path = dir.join("spec.cbor");
        let spec: ProjectSpec = decode(&path)?;
        spec.validate().map_err(|e| damaged(&path, e.to_string()))?;
        if dir.file_name().is_none_or(|name| *name != *spec.id().to_string()) {
            return Err(damaged(&path, "it is not the specification that names its project"));
        }
        let mut uploads = Vec::new();
        for (_, header) in self::uploads(&dir.join("uploads"), &spec)? {
            let path = dir.join("uploads").join(format!("{}.verdict", header.id()));
            let verdict = if path.exists() { Some(decode(&path)?) } else { None };
            uploads.push((header, verdict));
        }
        let mut rounds: Vec<RoundRecord> = Vec::new();
        for path in files(&dir.join("rounds"), "cbor")? {
            let record: RoundRecord = decode(&path)?;
            if path.file_stem().is_none_or(|name| *name != *record.summary.round.to_string()) {
                return Err(damaged(&path, "it is another round's"));
            }
            rounds.push(record);
        }
        rounds.sort_by_key(|r| r.summary.round);
        Ok(StoredProject { spec, uploads, rounds })
    }
}

/// The uploads in `dir`, each with all its rows. Rows without a header were never acknowledged, and go.
fn uploads(dir: &Path, spec: &ProjectSpec) -> Result<Vec<(u64, UploadHeader)>, StoreError> {
    let mut uploads: Vec<(u64, UploadHeader)> = Vec::new();
    for path in files(dir, "head")? {
        let (sequence, header): (u64, UploadHeader) = decode(&path)?;
        if header.validate(&spec.id()).is_err()
            || path.file_stem().is_none_or(|n| *n != *header.id().to_string())
        {
            return Err(damaged(&path, "it is not the header that names its upload"));
        }
        let rows = path.with_extension("rows");
        let (found, expected) =
            (fs::metadata(&rows).map_err(io_error(&rows))?.len(), header.body_bytes(spec));
        if found != expected {
            return Err(damaged(&rows, format!("it has {found} bytes where {expected} were stored")));
        }
        uploads.push((sequence, header));
    }
    for rows in files(dir, "rows")? {
        if !rows.with_extension("head").exists() {
            fs::remove_file(&rows).map_err(io_error(&rows))?;
        }
    }
    uploads.sort_by_key(|(sequence, _)| *sequence);
    Ok(uploads)
}

fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error(dir))? {
        let path = entry.map_err(io_error(dir))?.path();
        if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

fn read_limited(path: &Path) -> Result<Vec<u8>, StoreError> {
    let err = io_error(path);
    let mut bytes = Vec::new();
    File::open(path).map_err(&err)?.take(MAX_SEALED as u64 + 1).read_to_end(&mut bytes).map_err(&err)?;
    if bytes.len() > MAX_SEALED {
        return Err(damaged(path, "it is too large"));
    }
    Ok(bytes)
}

fn decode<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    let bytes = read_limited(path)?;
    from_cbor(&bytes).map_err(|e: FrameError| damaged(path, e.to_string()))
}

/// An upload under way: nothing of it counts before [`Incoming::commit`].
pub struct Incoming<'a> {
    store: &'a Store,
    spec: ProjectSpec,
    file: NamedTempFile,
    digests: Vec<Id>,
    check: Vec<blindsmith_ring::Lanes>,
}

impl Incoming<'_> {
    /// Bytes received.
    pub fn bytes(&self) -> u64 {
        self.digests.len() as u64 * self.spec.block_bytes() as u64
    }

    /// Row blocks received.
    pub fn blocks(&self) -> u32 {
        self.digests.len() as u32
    }

    /// Takes whole row blocks, in order; each residue must be below q.
    pub fn blocks_arrived(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let size = self.spec.block_bytes();
        if bytes.is_empty() || !bytes.len().is_multiple_of(size) {
            let expected = bytes.len().next_multiple_of(size) as u64;
            return Err(UploadError::Length { got: bytes.len() as u64, expected, rows: 0 }.into());
        }
        let most = u64::from(MAX_ROWS.div_ceil(self.spec.block_rows() as u32)) * size as u64;
        let got = self.bytes() + bytes.len() as u64;
        if got > most {
            return Err(UploadError::Length { got, expected: most, rows: MAX_ROWS }.into());
        }
        self.inspect(bytes)?;
        self.file.write_all(bytes).map_err(io_error(self.file.path()))
    }

    /// Takes note of whole row blocks, in order; each residue must be below q.
    fn inspect(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        for block in bytes.chunks_exact(self.spec.block_bytes()) {
            let index = self.digests.len() as u32;
            let packed = &block[self.spec.sealed_label_bytes()..];
            if !backend::active().unpack(bytemuck::cast_slice_mut(&mut self.check), packed) {
                return Err(UploadError::Residue(index).into());
            }
            self.digests.push(block_digest(index, block));
        }
        Ok(())
    }

    /// Checks content against header.
    pub fn check(&self, header: &UploadHeader) -> Result<(), StoreError> {
        header.validate(&self.spec.id())?;
        let expected = header.body_bytes(&self.spec);
        if self.bytes() != expected {
            return Err(UploadError::Length { got: self.bytes(), expected, rows: header.rows }.into());
        }
        if root_digest(&self.digests) != header.root {
            return Err(UploadError::Digest.into());
        }
        Ok(())
    }

    /// Makes the upload durable. `sequence` orders uploads by arrival.
    pub fn commit(self, header: &UploadHeader, sequence: u64) -> Result<(), StoreError> {
        self.check(header)?;
        let (project, upload) = (self.spec.id(), header.id());
        self.store.publish(self.file, &self.store.upload(&project, &upload, "rows"))?;
        let head = to_cbor(&(sequence, header));
        self.store.write(&self.store.upload(&project, &upload, "head"), &head)
    }

    /// Turns the content into a file without a name, for a query that is answered and forgotten.
    pub fn into_file(self, header: &UploadHeader) -> Result<File, StoreError> {
        self.check(header)?;
        Ok(self.file.into_file())
    }
}

/// Reads `buffer.len()` bytes at `offset`.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(buffer, offset)
}
