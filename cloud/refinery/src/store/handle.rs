//! A store that is open.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::blobs::Blobs;
use super::error::{StoreError, damaged, io_error};
use super::files;
use super::metadata::{Access, Metadata};
use super::patience::{PATIENCE, RETRY};
use super::places::Places;
use super::reach::{Standing, Use};
use super::remote::Remote;
use super::runtime::Runtime;

/// Everything that is kept. Its methods wait: they must not be called from asynchronous tasks, but may be from
/// their blocking threads.
pub struct Store {
    pub(super) metadata: Metadata,
    pub(super) blobs: Blobs,
    pub(super) incoming: Arc<files::Incoming>,
    /// One for some of the resumable uploads each: held by who appends to one of them.
    pub(super) appending: [Mutex<()>; 16],
    pub(super) places: Places,
    pub(super) runtime: Arc<Runtime>,
    /// Locked until the process ends, however it ends.
    pub(super) lock: Option<File>,
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
        return Err(damaged(database, why));
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
        false => Err(damaged(database, format!("it has {len} bytes, and pages of {page}: it was cut off"))),
    }
}

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
