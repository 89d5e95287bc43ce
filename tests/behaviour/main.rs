//! Behaviour through the real binaries and a real kube-apiserver: what a person who applies an EdgeNode sees.

#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]

#[path = "../inspector/mod.rs"]
mod inspector;
mod parts;

mod apply;
mod crashes;
mod deletion;
mod drift;
mod endpoints;
mod enrollment;
mod failures;
mod offline;
mod ownership;
mod policy;
mod proxies;
mod references;
mod schema;
mod services;
mod sessions;
mod trust;
mod writes;
