//! Object stores of providers.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreScheme, RetryConfig};

use super::environment::settings;

/// What the URL of a store must begin with.
pub(super) const SCHEMES: &str = "use s3, gs, az or file";

/// For so long a connection is waited for.
const CONNECTION: Duration = Duration::from_secs(3);
/// For so long something is asked again that failed. Whoever can wait longer tries again itself.
const AGAIN: Duration = Duration::from_secs(5);
/// The longest pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// A builder with a URL, limits on how long it tries, and the settings that the environment has for it.
macro_rules! built {
    ($builder:ty, $key:ty, $url:expr) => {{
        let client = ClientOptions::new().with_connect_timeout(CONNECTION);
        let builder = <$builder>::new().with_url($url).with_retry(retries()).with_client_options(client);
        let settings = settings().filter_map(|(name, value)| Some((name.parse::<$key>().ok()?, value)));
        let builder = settings.fold(builder, |builder, (key, value)| builder.with_config(key, value));
        builder.build().map(|store| Arc::new(store) as Arc<dyn ObjectStore>)
    }};
}

fn retries() -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: PAUSE, ..BackoffConfig::default() };
    RetryConfig { backoff, retry_timeout: AGAIN, ..RetryConfig::default() }
}

/// The store of a scheme; none if no provider has it.
pub(super) fn store(scheme: &ObjectStoreScheme, url: &str) -> Option<Result<Arc<dyn ObjectStore>, Error>> {
    // Another part of the program may have chosen one already.
    _ = rustls::crypto::ring::default_provider().install_default();
    Some(match scheme {
        ObjectStoreScheme::AmazonS3 => built!(AmazonS3Builder, AmazonS3ConfigKey, url),
        ObjectStoreScheme::GoogleCloudStorage => {
            built!(GoogleCloudStorageBuilder, GoogleConfigKey, url)
        }
        ObjectStoreScheme::MicrosoftAzure => built!(MicrosoftAzureBuilder, AzureConfigKey, url),
        _ => return None,
    })
}
