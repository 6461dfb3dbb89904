//! What is kept: records in a database, contents as blobs beside it, so that a crash at any moment leaves
//! either the old state or the new one. `docs/store.md` has it in words for those who run one.
//!
//! | path | what |
//! |---|---|
//! | `refinery.db` | the records, unless they are in PostgreSQL |
//! | `blobs/ab/abcd...` | contents under their BLAKE3, unless they are in an object store |
//! | `cache/` | local copies of blobs in an object store |
//! | `incoming/` | uploads under way, and what resumable ones have sent |
//! | `lock` | held by the refinery that serves the store |
//! | `blobs.lock` | held by who adds blobs, shared, and alone by who removes some |
//!
//! A change writes its blobs first and durably, then commits the records that refer to them: an upload, a
//! round, a project is there when its record is. Blobs that nothing refers to are what a crash leaves;
//! [`Store::gc`] removes them.

mod backup;
mod blobs;
mod error;
mod failpoint;
mod files;
mod fsck;
mod incoming;
mod jobs;
mod members;
mod metadata;
mod named;
mod objects;
mod partials;
mod projects;
mod reach;
mod remote;
mod rounds;
mod runtime;
mod schema;
mod uploads;
mod writer;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub use backup::Backup;
pub use error::StoreError;
pub use fsck::{Collected, Findings};
pub(crate) use incoming::most_bytes;
pub use incoming::{Extent, Incoming};
pub use jobs::{JobName, Lease, Queued, ROUND_JOB};
pub use partials::{Partial, PartialId};
pub use projects::StoredProject;
pub use reach::Standing;
pub use uploads::{StoredUpload, UploadState};

use blobs::Blobs;
use error::io_error;
use metadata::{Access, Location, Metadata};
use objects::Objects;
use reach::Use;
use remote::Remote;
use runtime::Runtime;

/// Where a store is.
#[derive(Debug, Clone)]
pub struct Places {
    /// Its directory: always needed, for its locks and for what is under way.
    pub root: PathBuf,
    /// A PostgreSQL database by URL for the records, instead of a file in the directory.
    pub metadata: Option<String>,
    /// An object store by URL (`s3`, `gs`, `az`, `file`, `memory`) for blobs, instead of the directory.
    pub blobs: Option<String>,
    /// Bytes that local copies of blobs in an object store may take, beside those that are in use.
    pub cache_bytes: u64,
}

/// The local copies' share unless somebody says otherwise: 16 GiB.
pub const CACHE_BYTES: u64 = 16 << 30;

impl Places {
    /// All of it in one directory.
    pub fn directory(root: &Path) -> Self {
        Places { root: root.to_owned(), metadata: None, blobs: None, cache_bytes: CACHE_BYTES }
    }

    fn location(&self) -> Result<Location, StoreError> {
        match &self.metadata {
            Some(url) => Location::parse(url),
            None => Location::file(&self.root.join("refinery.db")),
        }
    }

    /// What records and blobs are called in logs: without passwords.
    pub fn names(&self) -> Result<(String, String), StoreError> {
        let blobs = match &self.blobs {
            Some(url) => Objects::parse(url)?.place,
            None => self.root.join("blobs").display().to_string(),
        };
        Ok((self.location()?.place, blobs))
    }

    /// Whether a store could be opened here, or be made: changes nothing but that an object is written and removed
    /// again. May be done beside a refinery.
    pub fn try_out(&self) -> Result<(), StoreError> {
        if self.root.exists() {
            let look = fs::read_dir(&self.root).map_err(io_error(&self.root))?;
            drop(look);
        }
        let runtime = Runtime::new(&self.root)?;
        metadata::try_out(&self.location()?, &runtime)?;
        match &self.blobs {
            Some(url) => runtime.block_on(Objects::parse(url)?.try_out()),
            None => Ok(()),
        }
    }
}

/// Everything that is kept. Its methods wait: they must not be called from asynchronous tasks, but may be from
/// their blocking threads.
pub struct Store {
    metadata: Metadata,
    blobs: Blobs,
    incoming: Arc<files::Incoming>,
    /// One for some of the resumable uploads each: held by who appends to one of them.
    appending: [Mutex<()>; 16],
    places: Places,
    runtime: Arc<Runtime>,
    /// Locked until the process ends, however it ends.
    lock: Option<File>,
}

impl Store {
    /// Opens or creates a store in a directory, to serve it; removes what unfinished uploads left.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_at(&Places::directory(root))
    }

    /// The same, with records or blobs elsewhere.
    pub fn open_at(places: &Places) -> Result<Self, StoreError> {
        Self::with(places, Access::Serve)
    }

    /// Opens a store that is there beside the refinery that may serve it, to look at it or to copy it.
    pub fn beside(places: &Places) -> Result<Self, StoreError> {
        Self::with(places, Access::Beside)
    }

    fn with(places: &Places, access: Access) -> Result<Self, StoreError> {
        let root = &places.root;
        let database = root.join("refinery.db");
        if root.join("projects").is_dir() {
            return Err(StoreError::OldFormat(root.clone()));
        }
        if access == Access::Beside && !root.join("incoming").is_dir() {
            return Err(StoreError::Place(format!("{} is no store", root.display())));
        }
        if access == Access::Beside && places.metadata.is_none() && !database.exists() {
            let place = database.display();
            return Err(StoreError::Place(format!("there is no {place}: name the database by --metadata")));
        }
        let incoming = Arc::new(files::Incoming(root.join("incoming")));
        files::make_dir(root)?;
        files::make_dir(&incoming.0)?;
        let lock = match access {
            Access::Serve => Some(lock(root)?),
            Access::Beside => None,
        };
        if places.metadata.is_none() {
            require_records(&database, &root.join("blobs"))?;
        }
        let runtime = Arc::new(Runtime::new(root)?);
        let metadata = Metadata::open(places.location()?, access, &runtime)?;
        let gate = root.join("blobs.lock");
        let blobs = match &places.blobs {
            Some(url) => {
                let cache = root.join("cache");
                let remote = Remote::connect(url, &cache, places.cache_bytes, &runtime)?;
                if access == Access::Serve {
                    remote.begin()?;
                }
                Blobs::remote(remote, incoming.clone(), gate)
            }
            None => Blobs::directory(root.join("blobs"), incoming.clone(), gate)?,
        };
        let places = places.clone();
        let appending = Default::default();
        let store = Store { metadata, blobs, incoming, appending, places, runtime, lock };
        if access == Access::Serve {
            store.incoming.clear()?;
            store.clear_partials()?;
            if let Err(e) = store.finish_withdrawals() {
                // They are gone for everybody but the disk, and are tried again.
                tracing::warn!("withdrawn rows could not be removed yet: {e}");
            }
        }
        Ok(store)
    }

    /// Where records and blobs stand; none for blobs in the directory.
    pub fn standing(&self) -> (Standing, Option<Standing>) {
        (self.metadata.reach.standing(), self.blobs.reach().map(|reach| reach.standing()))
    }

    /// Whether changes can be made now, as far as is known: asks nobody.
    pub fn check(&self) -> Result<(), StoreError> {
        self.metadata.reach.check(Use::Write)?;
        self.blobs.reach().map_or(Ok(()), |reach| reach.check(Use::Write))
    }

    /// Waits until another refinery took the records over; then nothing is left to do here.
    pub async fn taken(&self) -> StoreError {
        self.metadata.reach.taken().await
    }

    /// Whether the directory is there, the database reads, and changes can be made.
    pub fn answers(&self) -> Result<(), StoreError> {
        self.check()?;
        fs::metadata(&self.incoming.0).map_err(io_error(&self.incoming.0))?;
        self.metadata.row(sqlx::query("SELECT id FROM projects LIMIT 1")).map(drop)
    }

    /// Bytes that are free on the file system of the directory.
    pub fn free_bytes(&self) -> Result<u64, StoreError> {
        let root = &self.places.root;
        let found = rustix::fs::statvfs(root).map_err(|e| io_error(root)(e.into()))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// A file for projections: without a name until [`Store::judge`] gives it one.
    pub fn projections(&self) -> Result<tempfile::NamedTempFile, StoreError> {
        self.incoming.file()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Elsewhere than on a thread that may wait, connections end with the process.
        if tokio::runtime::Handle::try_current().is_err() {
            self.metadata.close();
        }
        // A process that is being started may hold a copy of the handle for a moment: to close it is not enough.
        if let Some(lock) = &self.lock {
            _ = lock.unlock();
        }
    }
}

/// SQLite takes a file without a header for a new database, and one that is a little short for whole: where there are
/// blobs there were records.
fn require_records(database: &Path, blobs: &Path) -> Result<(), StoreError> {
    const MAGIC: &[u8; 16] = b"SQLite format 3\0";
    if fs::read_dir(blobs).map_or(true, |mut found| found.next().is_none()) {
        return Ok(());
    }
    let mut header = [0; 18];
    let read = File::open(database).and_then(|file| {
        file.read_exact_at(&mut header, 0)?;
        Ok(file.metadata()?.len())
    });
    let (Ok(len), true) = (read, header.starts_with(MAGIC)) else {
        let why = "it is empty, gone or no database, but blobs are there: restore it from a copy";
        return Err(error::damaged(database, why));
    };
    // 1 stands for 65536.
    let page = match u64::from(u16::from_be_bytes([header[16], header[17]])) {
        1 => 65536,
        page => page.max(1),
    };
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    let logged = fs::metadata(Path::new(&log)).is_ok_and(|found| found.len() > 0);
    // What a crash left half written is in the log once more.
    match logged || len % page == 0 {
        true => Ok(()),
        false => {
            Err(error::damaged(database, format!("it has {len} bytes, and pages of {page}: it was cut off")))
        }
    }
}

/// The longest wait for whoever has the store to end.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often is looked whether it did.
const RETRY: Duration = Duration::from_millis(20);

fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("lock");
    let lock = File::create(&path).map_err(io_error(&path))?;
    let start = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            // Who has it may be about to end, or have a child that is about to become another program.
            Err(fs::TryLockError::WouldBlock) if start.elapsed() < PATIENCE => {
                std::thread::sleep(RETRY);
            }
            Err(fs::TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { what: "directory", place: root.display().to_string() });
            }
            Err(fs::TryLockError::Error(e)) => return Err(io_error(&path)(e)),
        }
    }
}

/// Reads `buffer.len()` bytes at `offset`.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(buffer, offset)
}
