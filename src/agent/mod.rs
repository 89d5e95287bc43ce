//! The agent: makes this machine what its EdgeNode says, keeps it so without the link, and reports.
//! Knows nothing of Kubernetes. link → store → observe → plan → apply → report.

pub mod contents;
pub mod conversation;
pub mod enroll;
pub mod enrollment_file;
pub mod fetch;
pub mod held;
pub mod host;
pub mod identity;
pub mod link;
pub mod proxies;
pub mod services;
pub mod store;
