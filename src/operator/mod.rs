//! The operator: watch → validate → gather → render → deliver; session → decide status → publish.

pub mod accept;
pub mod admin;
pub mod admission;
pub mod authority;
pub mod authority_secret;
pub mod decide;
pub mod directory;
pub mod dirty;
pub mod document;
pub mod enroll;
pub mod enrollment;
pub mod gather;
pub mod metrics;
pub mod pool;
pub mod publish;
pub mod reasons;
pub mod reconcile;
pub mod references;
pub mod render;
pub mod run;
pub mod seen;
pub mod session;
pub mod sessions;
pub mod settings;
pub mod validate;
pub mod watch;
