//! No object stores of providers: what a build without the feature `objects` has in their place.

use std::sync::Arc;

use object_store::{Error, ObjectStore, ObjectStoreScheme};

/// What the URL of a store must begin with.
pub(super) const SCHEMES: &str =
    "use file; a refinery built with the feature `objects` has s3, gs and az too";

/// None has any.
pub(super) fn store(_: &ObjectStoreScheme, _: &str) -> Option<Result<Arc<dyn ObjectStore>, Error>> {
    None
}
