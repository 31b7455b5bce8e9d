//! Jobs as their clients see them: submitted, changed, stopped, deleted.

pub(crate) mod clients;
pub(crate) mod outputs;
pub(crate) mod request;
pub(crate) mod reuse;
pub(crate) mod submit;
pub(crate) mod suspend;
