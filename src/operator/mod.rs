//! The operator: watch → gather → validate → render → deliver; session → decide status → publish.

pub mod document;
pub mod sessions;
