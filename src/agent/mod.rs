//! The agent: makes this machine what its EdgeNode says, keeps it so without the link, and reports.
//! Knows nothing of Kubernetes. link → store → observe → plan → apply → report.

pub mod apply;
pub mod artifact;
pub mod contents;
pub mod converge;
pub mod conversation;
pub mod difference;
pub mod enroll;
pub mod enrollment_file;
pub mod entries;
pub mod events;
pub mod fetch;
pub mod held;
pub mod host;
pub mod identity;
pub mod link;
pub mod local;
pub mod log_file;
pub mod logging;
pub mod observe;
pub mod place;
pub mod plan;
pub mod product;
pub mod proxies;
pub mod receipt;
pub mod report;
pub mod retry;
pub mod run;
pub mod scm;
pub mod serve;
pub mod service;
pub mod services;
pub mod state_loop;
pub mod status;
pub mod store;
pub mod trust;
