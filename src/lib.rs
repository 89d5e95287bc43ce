//! windlass: desired state for machines that are not Kubernetes nodes, over a tunnel that they dialled.
//!
//! The rooms, in the order that data goes through them, are described in ARCHITECTURE.md.

pub mod model;
pub mod trust;
pub mod tunnel;
pub mod wire;

#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "operator")]
pub mod api;
#[cfg(feature = "operator")]
pub mod operator;
