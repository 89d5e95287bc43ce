//! What a person sees of a Windows machine: the real windlass-agent.exe under Wine, through the real operator and a
//! real kube-apiserver. `hack/test windows` builds what these tests run and says where it lies.

#![allow(clippy::expect_used, clippy::unwrap_used, dead_code, missing_docs, unused_imports)]

#[path = "../behaviour/parts/mod.rs"]
mod parts;

mod agent_msi;
mod agent_service;
mod machine;
mod packages;
mod policy;
mod registry;
mod road;
mod service_changes;
mod service_failures;
mod services;
mod wrap;
