//! `/livez`, `/readyz` and `/metrics` for whoever runs the operator. IO: serves HTTP. Tells nothing of single nodes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    directory::Nodes,
    metrics::{self, Metrics, NodeCounts},
    sessions::Sessions,
};
use crate::api::{EdgeNode, condition};

/// What has to be so for the operator to be ready.
#[derive(Debug, Default)]
pub struct Readiness {
    /// The first lists of EdgeNodes, ConfigMaps and Secrets are here.
    pub synced: AtomicBool,
    /// Agents can dial.
    pub listening: AtomicBool,
    /// The operator is shutting down.
    pub draining: AtomicBool,
}

impl Readiness {
    /// What is still wanting.
    fn wanting(&self) -> Vec<&'static str> {
        let mut wanting = Vec::new();
        if !self.synced.load(Ordering::Acquire) {
            wanting.push("the first lists of EdgeNodes, ConfigMaps and Secrets are not here yet");
        }
        if !self.listening.load(Ordering::Acquire) {
            wanting.push("the tunnel is not listening yet");
        }
        if self.draining.load(Ordering::Acquire) {
            wanting.push("shutting down");
        }
        wanting
    }
}

/// What the endpoints speak of.
#[derive(Clone)]
pub struct Admin {
    /// For `/readyz`.
    pub readiness: Arc<Readiness>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Counted by `/metrics`.
    pub nodes: Arc<Nodes>,
    /// Counted by `/metrics`.
    pub sessions: Arc<Sessions>,
}

/// Serves until told to stop.
pub async fn serve(listener: TcpListener, admin: Admin, shutdown: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(admin);
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn readyz(State(admin): State<Admin>) -> Response {
    match admin.readiness.wanting()[..] {
        [] => "ok\n".into_response(),
        ref wanting => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", wanting.join("; "))).into_response(),
    }
}

async fn metrics_text(State(admin): State<Admin>) -> Response {
    let nodes = count(&admin.nodes.store().state());
    match admin.metrics.encode(nodes, admin.sessions.connected(), admin.sessions.traffic()) {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn count(nodes: &[Arc<EdgeNode>]) -> NodeCounts {
    let mut counts = NodeCounts::default();
    for node in nodes {
        let is = |kind: &str| {
            let conditions = node.status.iter().flat_map(|status| &status.conditions);
            usize::from(conditions.into_iter().any(|c| c.type_ == kind && c.status == "True"))
        };
        counts.by_state[is(condition::CONNECTED)][is(condition::READY)] += 1;
    }
    counts
}
