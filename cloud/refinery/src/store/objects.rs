//! An object store by URL: how long it is asked again, whether it can be used at the start, and a watch whether it
//! still can.

use std::sync::Arc;
use std::time::Duration;

use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{Error, ObjectStore, ObjectStoreExt, ObjectStoreScheme};
use tokio::time::timeout;
use url::Url;

use super::environment::settings;
use super::error::StoreError;
#[cfg(feature = "objects")]
use super::providers;
use super::reach::{Reach, Standing};
#[cfg(not(feature = "objects"))]
use super::without_providers as providers;

/// In this time a look at the store has ended, or the store is not reachable.
const PATIENCE: Duration = Duration::from_secs(6);
/// How often is looked.
const BEAT: Duration = Duration::from_secs(5);
/// How often, as long as it is not reachable.
const BEAT_AWAY: Duration = Duration::from_secs(1);

/// What the names of objects that only show that the store can be used begin with.
const PROBE: &str = "probe";

/// An object store, and where in it a refinery's objects are.
#[derive(Clone)]
pub(super) struct Objects {
    pub(super) store: Arc<dyn ObjectStore>,
    /// What the objects' names begin with.
    pub(super) prefix: ObjectPath,
    /// As it is named in messages.
    pub(super) url: String,
    /// The same, with the address of its server where that is no provider's own.
    pub(super) place: String,
}

impl Objects {
    /// Names one. Nothing is asked of it.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let parsed: Url = url.parse().map_err(|e| StoreError::Place(format!("{url:?} is no URL: {e}")))?;
        let named = format!("{}://{}{}", parsed.scheme(), parsed.host_str().unwrap_or(""), parsed.path());
        let err = |source: Error| StoreError::Remote { place: named.clone(), source };
        let (scheme, prefix) = ObjectStoreScheme::parse(&parsed).map_err(|e| err(e.into()))?;
        let store = match scheme.clone() {
            ObjectStoreScheme::Local => Ok(Arc::new(LocalFileSystem::new().with_fsync(true)) as _),
            ObjectStoreScheme::Memory => Ok(Arc::new(InMemory::new()) as _),
            scheme => providers::store(&scheme, url).ok_or_else(|| {
                StoreError::Place(format!(
                    "{named} is no object store that this refinery has: {}",
                    providers::SCHEMES
                ))
            })?,
        };
        let store = store.map_err(err)?;
        let endpoint = settings().find(|(name, _)| name == "aws_endpoint" || name == "aws_endpoint_url");
        let place = match endpoint {
            Some((_, server)) if scheme == ObjectStoreScheme::AmazonS3 => format!("{named} at {server}"),
            _ => named.clone(),
        };
        Ok(Objects { store, prefix, url: named, place })
    }

    /// Whether an object is none of a store's, but shows that it can be used.
    pub(super) fn is_probe(&self, location: &ObjectPath) -> bool {
        let rest = location.prefix_match(&self.prefix);
        rest.is_some_and(|mut parts| parts.next().is_some_and(|part| part.as_ref().starts_with(PROBE)))
    }

    fn probe(&self) -> ObjectPath {
        self.prefix.clone().join(PROBE)
    }

    /// Makes sure that objects can be written, read and removed, and leaves the one that is watched.
    pub(super) async fn prove(&self) -> Result<(), StoreError> {
        self.try_out().await?;
        let left = self.store.put(&self.probe(), vec![0; 16].into()).await;
        left.map(drop).map_err(|e| self.unusable("writing an object", &e))
    }

    /// Writes, reads and removes an object.
    pub(super) async fn try_out(&self) -> Result<(), StoreError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|e| StoreError::Place(format!("no randomness: {e}")))?;
        let failed = |what: &'static str| move |e: Error| self.unusable(what, &e);
        let tried = async {
            let name = self.prefix.clone().join(format!("{PROBE}-{:032x}", u128::from_be_bytes(bytes)));
            self.store.put(&name, bytes.to_vec().into()).await.map_err(failed("writing an object"))?;
            let read = async { self.store.get(&name).await?.bytes().await };
            let read = read.await.map_err(failed("reading an object"))?;
            if read[..] != bytes {
                return Err(StoreError::Objects {
                    place: self.place.clone(),
                    why: "an object that was written reads otherwise".into(),
                    advice: "name another with --blobs",
                });
            }
            self.store.delete(&name).await.map_err(failed("removing an object"))
        };
        let late = |_| StoreError::Objects {
            place: self.place.clone(),
            why: "it does not answer in time".into(),
            advice: AWAY,
        };
        timeout(2 * PATIENCE, tried).await.map_err(late)?
    }

    fn unusable(&self, what: &str, e: &Error) -> StoreError {
        let advice = match e {
            Error::NotFound { .. } => "make the bucket, or name another with --blobs",
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                "let these credentials write, read, list and remove objects there, or give others"
            }
            _ => AWAY,
        };
        StoreError::Objects { place: self.place.clone(), why: format!("{what} failed: {}", why(e)), advice }
    }

    /// Whether it can be used now: the object of the start is there, or can be written again.
    async fn standing(&self) -> Standing {
        let looked = async {
            match self.store.head(&self.probe()).await {
                // A bucket that is gone looks the same as an object that is.
                Err(Error::NotFound { .. }) => {
                    self.store.put(&self.probe(), vec![0; 16].into()).await.map(drop)
                }
                found => found.map(drop),
            }
        };
        match timeout(PATIENCE, looked).await {
            Ok(Ok(())) => Standing::Good,
            Ok(Err(e @ Error::NotFound { .. })) => {
                Standing::Unreachable(format!("its bucket is gone: {}", why(&e)))
            }
            Ok(Err(e)) => Standing::Unreachable(why(&e)),
            Err(_) => Standing::Unreachable("it does not answer in time".into()),
        }
    }
}

const AWAY: &str = "start it, or name another with --blobs and its server with AWS_ENDPOINT";

/// What went wrong in one line, with its cause: on a connection only the cause says what happened.
pub(super) fn why(e: &Error) -> String {
    let mut text = e.to_string();
    let mut cause = std::error::Error::source(e);
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = next.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Watches a store until the runtime ends.
pub(super) async fn watch(objects: Objects, reach: Arc<Reach>) {
    loop {
        let good = reach.standing() == Standing::Good;
        reach.pause(if good { BEAT } else { BEAT_AWAY }).await;
        reach.found(objects.standing().await);
    }
}
