//! Where jobs can run: the places of `petctl.toml` and of the user's file, checked, each value with where it comes from.
//!
//! ```text
//! files ──▶ layer (one file, overrides, names) ──▶ read (a place, by the table in keys) ──▶ Places
//!                                                   └─▶ kube: plain data and its rules, which travel to a coordinator
//! ```

mod azure;
mod error;
mod files;
mod keys;
mod kube;
mod layer;
mod places;
mod read;
mod reference;
mod sets;
mod source;

pub use azure::{AzurePlace, AzurePool};
pub use error::{Fault, Result, SettingsError};
pub use files::FILE_NAME;
pub use keys::MAX_FILE_BYTES;
pub use kube::{
    Blob, BlobProtocol, Coordinator, DEFAULT_GPU_RESOURCE, DEFAULT_NAMESPACE,
    DEFAULT_OPERATOR_VERSION, DEFAULT_PLUGIN_IMAGE, DEFAULT_SERVICE_ACCOUNT,
    DEFAULT_START_TIMEOUT_MS, DEFAULT_STORAGE_BYTES, DEFAULT_USER, Effect, Gpu, GpuPlugin,
    KubePlace, MAX_ITEMS, Operator, PullPolicy, Resources, Sharing, Spread, StateStorage,
    Toleration, Volume, VolumeSource, check_object_name,
};
pub use places::{Backend, Chosen, Entry, PLACE_VARIABLE, Places};
pub use reference::{EXAMPLE, reference, schema_text};
pub use sets::{Override, Sets};
pub use source::{Setting, Source};
