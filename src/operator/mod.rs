//! The operator: watch → validate → gather → render → deliver; session → decide status → publish.

pub mod document;
pub mod references;
pub mod sessions;
pub mod validate;
