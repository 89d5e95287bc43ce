//! The operator: watch → validate → gather → render → deliver; session → decide status → publish.

pub mod accept;
pub mod admission;
pub mod authority;
pub mod authority_secret;
pub mod document;
pub mod enroll;
pub mod enrollment;
pub mod gather;
pub mod metrics;
pub mod pool;
pub mod references;
pub mod render;
pub mod seen;
pub mod session;
pub mod sessions;
pub mod validate;
