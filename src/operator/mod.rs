//! The operator: watch → validate → gather → render → deliver; session → decide status → publish.

pub mod document;
pub mod gather;
pub mod metrics;
pub mod pool;
pub mod references;
pub mod render;
pub mod seen;
pub mod sessions;
pub mod validate;
