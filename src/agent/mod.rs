//! The agent: makes this machine what its EdgeNode says, keeps it so without the link, and reports.
//! Knows nothing of Kubernetes. link → store → observe → plan → apply → report.

pub mod contents;
pub mod held;
pub mod host;
pub mod services;
pub mod store;
