//! Blobs in an object store, and local copies of those that are in use: products need files that are read at
//! any place. The store is watched: what needs it is refused at once while it does not answer.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use blindsmith_protocol::Id;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStoreExt, WriteMultipart};
use tempfile::NamedTempFile;

use super::directory::{ALTERED, BlobEntry, in_directory, is_unused, list_directory};
use super::error::{StoreError, damaged, io_error};
use super::failpoint;
use super::files::{self, Incoming};
use super::objects::{Objects, watch};
use super::reach::{Reach, Use};
use super::runtime::Runtime;

/// Bytes of a part of a large object; what is no larger is sent at once.
const PART: usize = 8 << 20;
/// Parts on their way at once.
const AT_ONCE: usize = 4;

pub(super) struct Remote {
    objects: Objects,
    reach: Arc<Reach>,
    cache: PathBuf,
    /// Bytes that the local copies may take, but for those in use.
    limit: u64,
    copies: Mutex<Copies>,
    runtime: Arc<Runtime>,
}

/// The local copies.
#[derive(Default)]
struct Copies {
    /// Each one's bytes, when it was used last, and whether it was compared with its name since the start.
    known: HashMap<Id, Copy>,
    clock: u64,
    bytes: u64,
}

struct Copy {
    bytes: u64,
    used: u64,
    verified: bool,
}

impl Copies {
    fn add(&mut self, name: Id, bytes: u64, verified: bool) {
        self.forget(&name);
        self.clock += 1;
        self.bytes += bytes;
        self.known.insert(name, Copy { bytes, used: self.clock, verified });
    }

    fn forget(&mut self, name: &Id) {
        if let Some(copy) = self.known.remove(name) {
            self.bytes -= copy.bytes;
        }
    }
}

impl Remote {
    pub(super) fn connect(
        url: &str,
        cache: &Path,
        limit: u64,
        runtime: &Arc<Runtime>,
    ) -> Result<Self, StoreError> {
        let objects = Objects::parse(url)?;
        let reach = Arc::new(Reach::new("object store", &objects.place));
        files::make_dir(cache)?;
        let (mut found, _) = list_directory(cache)?;
        found.sort_by_key(|f| f.written);
        let mut copies = Copies::default();
        found.iter().for_each(|f| copies.add(f.name, f.bytes, false));
        let remote = Remote {
            objects,
            reach,
            cache: cache.to_owned(),
            limit,
            copies: Mutex::new(copies),
            runtime: runtime.clone(),
        };
        remote.evict();
        Ok(remote)
    }

    /// Makes sure that it can be used, then watches whether it still can.
    pub(super) fn begin(&self) -> Result<(), StoreError> {
        self.runtime.block_on(async {
            self.objects.prove().await?;
            tokio::spawn(watch(self.objects.clone(), self.reach.clone()));
            Ok(())
        })
    }

    /// Whether it can be used.
    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Waits for what is asked of it, as long as it can be used.
    fn ask<T>(&self, used: Use, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.runtime.block_on(self.reach.guard(used, work))
    }

    fn copies(&self) -> MutexGuard<'_, Copies> {
        self.copies.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn object(&self, name: &Id) -> ObjectPath {
        let name = name.to_string();
        self.objects.prefix.clone().join(&name[..2]).join(name.as_str())
    }

    pub(super) fn place(&self, name: &Id) -> String {
        let text = name.to_string();
        format!("{}/{}/{text}", self.objects.url.trim_end_matches('/'), &text[..2])
    }

    fn error(&self, name: &Id) -> impl Fn(object_store::Error) -> StoreError {
        self.failure(self.place(name))
    }

    fn failure(&self, place: String) -> impl Fn(object_store::Error) -> StoreError {
        let reach = self.reach.clone();
        move |source| match source {
            // It was asked again before.
            object_store::Error::Generic { .. } => {
                reach.suspect();
                reach.unreachable(super::objects::why(&source))
            }
            source => StoreError::Remote { place: place.clone(), source },
        }
    }

    /// Sends a file's content, then takes the file as the local copy.
    pub(super) fn keep(&self, file: NamedTempFile, name: &Id) -> Result<(), StoreError> {
        let bytes = self.send(&file, name)?;
        let path = in_directory(&self.cache, name);
        files::make_dir(path.parent().unwrap_or(&self.cache))?;
        // What a crash leaves of a copy is found by its digest.
        file.persist(&path).map_err(|e| io_error(&path)(e.error))?;
        self.copies().add(*name, bytes, true);
        self.evict();
        Ok(())
    }

    fn send(&self, file: &NamedTempFile, name: &Id) -> Result<u64, StoreError> {
        let err = io_error(file.path());
        failpoint::refusable("object.put").map_err(&err)?;
        let mut reader = file.as_file();
        let bytes = reader.metadata().map_err(&err)?.len();
        reader.rewind().map_err(&err)?;
        let object = self.object(name);
        let mut part = vec![0; PART.min(bytes as usize)];
        let failed = self.error(name);
        if bytes <= PART as u64 {
            reader.read_exact(&mut part).map_err(&err)?;
            self.ask(Use::Write, async {
                self.objects.store.put(&object, part.into()).await.map_err(&failed)
            })?;
        } else {
            self.ask(Use::Write, async {
                let upload = self.objects.store.put_multipart(&object).await.map_err(&failed)?;
                let mut writer = WriteMultipart::new_with_chunk_size(upload, PART);
                let sent = async {
                    let mut left = bytes;
                    while left > 0 {
                        let part = &mut part[..PART.min(left as usize)];
                        reader.read_exact(part).map_err(&err)?;
                        failpoint::refusable("object.part").map_err(&err)?;
                        writer.wait_for_capacity(AT_ONCE).await.map_err(&failed)?;
                        writer.write(part);
                        left -= part.len() as u64;
                    }
                    Ok(())
                };
                match sent.await {
                    Ok(()) => writer.finish().await.map(|_| ()).map_err(&failed),
                    Err(e) => {
                        // Parts without an object cost: that they go is tried, and told of by who looks.
                        _ = writer.abort().await;
                        Err(e)
                    }
                }
            })?;
        }
        failpoint::passed("object.there");
        Ok(bytes)
    }

    /// The object as a file under way; None if it is not there.
    pub(super) fn fetch(&self, name: &Id, incoming: &Incoming) -> Result<Option<NamedTempFile>, StoreError> {
        let failed = self.error(name);
        let mut file = incoming.file()?;
        let path = file.path().to_owned();
        self.ask(Use::Read, async {
            let mut stream = match self.objects.store.get(&self.object(name)).await {
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                found => found.map_err(&failed)?.into_stream(),
            };
            while let Some(bytes) = stream.next().await {
                file.write_all(&bytes.map_err(&failed)?).map_err(io_error(&path))?;
            }
            Ok(Some(file))
        })
    }

    /// The local copy, fetched if need be, and not removed as long as it is open.
    pub(super) fn open(&self, name: &Id, incoming: &Incoming) -> Result<File, StoreError> {
        if let Some(file) = self.copy(name)? {
            return Ok(file);
        }
        let fetched = self.fetch(name, incoming)?;
        let fetched = fetched.ok_or_else(|| damaged(Path::new(&self.place(name)), "it is not there"))?;
        if files::digest(fetched.path(), fetched.as_file())? != *name {
            return Err(damaged(Path::new(&self.place(name)), ALTERED));
        }
        let path = in_directory(&self.cache, name);
        let err = io_error(&path);
        files::make_dir(path.parent().unwrap_or(&self.cache))?;
        // A handle of its own for reading, locked before anybody can find the file.
        let file = File::open(fetched.path()).map_err(&err)?;
        file.lock_shared().map_err(&err)?;
        let bytes = file.metadata().map_err(&err)?.len();
        fetched.persist(&path).map_err(|e| err(e.error))?;
        self.copies().add(*name, bytes, true);
        self.evict();
        Ok(file)
    }

    /// The local copy, if there is a good one.
    fn copy(&self, name: &Id) -> Result<Option<File>, StoreError> {
        let path = in_directory(&self.cache, name);
        let (file, verified) = {
            // Locked as long as copies are: nothing is evicted between.
            let mut copies = self.copies();
            copies.clock += 1;
            let clock = copies.clock;
            let Some(copy) = copies.known.get_mut(name) else { return Ok(None) };
            let Ok(file) = File::open(&path) else {
                copies.forget(name);
                return Ok(None);
            };
            copy.used = clock;
            file.lock_shared().map_err(io_error(&path))?;
            (file, copy.verified)
        };
        if verified {
            return Ok(Some(file));
        }
        let good = files::digest(&path, &file)? == *name;
        let mut copies = self.copies();
        match good {
            true => copies.known.get_mut(name).into_iter().for_each(|copy| copy.verified = true),
            false => copies.forget(name),
        }
        Ok(good.then_some(file))
    }

    /// Removes copies until they are within their limit, those first that were not used for longest.
    fn evict(&self) {
        let mut copies = self.copies();
        if copies.bytes <= self.limit {
            return;
        }
        let mut oldest: Vec<(u64, Id)> = copies.known.iter().map(|(name, copy)| (copy.used, *name)).collect();
        oldest.sort();
        for (_, name) in oldest {
            if copies.bytes <= self.limit {
                break;
            }
            let path = in_directory(&self.cache, &name);
            if is_unused(&path) && fs::remove_file(&path).is_ok() {
                copies.forget(&name);
            }
        }
    }

    pub(super) fn remove(&self, name: &Id) -> Result<(), StoreError> {
        _ = fs::remove_file(in_directory(&self.cache, name));
        self.copies().forget(name);
        self.ask(Use::Write, async {
            match self.objects.store.delete(&self.object(name)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(e) => Err(self.error(name)(e)),
            }
        })
    }

    pub(super) fn bytes(&self, name: &Id) -> Result<Option<u64>, StoreError> {
        self.ask(Use::Read, async {
            match self.objects.store.head(&self.object(name)).await {
                Ok(found) => Ok(Some(found.size)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(e) => Err(self.error(name)(e)),
            }
        })
    }

    pub(super) fn list(&self) -> Result<(Vec<BlobEntry>, Vec<String>), StoreError> {
        let listed = self.ask(Use::Read, async {
            let listed = self.objects.store.list(Some(&self.objects.prefix));
            listed.try_collect::<Vec<_>>().await.map_err(self.failure(self.objects.url.clone()))
        })?;
        let (mut blobs, mut others) = (Vec::new(), Vec::new());
        for object in listed {
            let name = object.location.filename().and_then(|n| n.parse::<Id>().ok());
            match name.filter(|name| self.object(name) == object.location) {
                None if self.objects.is_probe(&object.location) => {}
                None => others.push(object.location.to_string()),
                Some(name) => {
                    let written = object.last_modified.into();
                    blobs.push(BlobEntry { name, bytes: object.size, written });
                }
            }
        }
        Ok((blobs, others))
    }
}
