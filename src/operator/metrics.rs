//! What the operator counts, as OpenMetrics. No label names a node: a fleet has thousands.

use std::sync::Arc;

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::{references::Kind, sessions::Traffic};

/// Content type of what [`Metrics::encode`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Kind and outcome of a write to the API server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReadyLabels {
    connected: &'static str,
    ready: &'static str,
}

/// How many nodes are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// By connected (no, yes) and ready (no, yes).
    pub by_state: [[i64; 2]; 2],
}

/// All of the operator's metrics.
pub struct Metrics {
    registry: Registry,
    nodes: Family<ReadyLabels, Gauge>,
    sessions: Gauge,
    opened: Counter,
    sent: Counter,
    reconciles: Family<OutcomeLabel, Counter>,
    reconcile_duration: Histogram,
    renders: Family<OutcomeLabel, Counter>,
    enrollments: Family<ReasonLabel, Counter>,
    fetches: Family<KindLabel, Counter>,
    writes: Family<WriteLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("windlass");
        let nodes = Family::default();
        let sessions = Gauge::default();
        let opened = Counter::default();
        let sent = Counter::default();
        let reconciles = Family::default();
        let reconcile_duration = Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0]);
        let renders = Family::default();
        let enrollments = Family::default();
        let fetches = Family::default();
        let writes = Family::default();
        registry.register("nodes", "EdgeNodes, by whether they are connected and ready", nodes.clone());
        registry.register("sessions", "Sessions that are up", sessions.clone());
        registry.register("sessions_opened", "Sessions opened", opened.clone());
        registry.register_with_unit("tunnel_sent", "Messages sent to agents", Unit::Bytes, sent.clone());
        registry.register("reconciles", "Reconciles of EdgeNodes, by outcome", reconciles.clone());
        let help = "Time that a reconcile took, waits for the API server included";
        registry.register_with_unit("reconcile_duration", help, Unit::Seconds, reconcile_duration.clone());
        registry.register("renders", "Documents rendered, by outcome", renders.clone());
        let help = "Answers to agents that ask for a certificate, by reason: Enrolled, or why it was refused";
        registry.register("enrollments", help, enrollments.clone());
        registry.register("object_reads", "ConfigMaps and Secrets read, by kind", fetches.clone());
        registry.register("api_writes", "Writes to the API server, by kind and outcome", writes.clone());
        Self {
            registry,
            nodes,
            sessions,
            opened,
            sent,
            reconciles,
            reconcile_duration,
            renders,
            enrollments,
            fetches,
            writes,
        }
    }
}

impl Metrics {
    /// A registry to which further metrics of the operator were added by `more`.
    pub fn with(more: impl FnOnce(&mut Registry)) -> Arc<Self> {
        let mut metrics = Self::default();
        more(&mut metrics.registry);
        Arc::new(metrics)
    }

    /// A ConfigMap or Secret was read.
    pub fn fetched(&self, kind: Kind) {
        self.fetches.get_or_create(&KindLabel { kind: kind.to_string() }).inc();
    }

    /// An agent that asked for a certificate was answered.
    pub fn enrolled(&self, reason: &'static str) {
        self.enrollments.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A document was rendered, or could not be.
    pub fn rendered(&self, outcome: &'static str) {
        self.renders.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// How many documents were rendered or could not be.
    pub fn renders(&self) -> u64 {
        ["document", "invalid", "missing"]
            .into_iter()
            .map(|outcome| self.renders.get_or_create(&OutcomeLabel { outcome }).get())
            .sum()
    }

    /// A reconcile ended after so many seconds.
    pub fn reconciled(&self, outcome: &'static str, seconds: f64) {
        self.reconciles.get_or_create(&OutcomeLabel { outcome }).inc();
        self.reconcile_duration.observe(seconds);
    }

    /// Something was written to the API server, or refused by it.
    pub fn wrote(&self, kind: &'static str, outcome: &'static str) {
        self.writes.get_or_create(&WriteLabels { kind, outcome }).inc();
    }

    /// The text that `/metrics` serves.
    pub fn encode(&self, nodes: NodeCounts, connected: usize, traffic: Traffic) -> Result<String, std::fmt::Error> {
        for (i, connected) in ["false", "true"].into_iter().enumerate() {
            for (j, ready) in ["false", "true"].into_iter().enumerate() {
                self.nodes.get_or_create(&ReadyLabels { connected, ready }).set(nodes.by_state[i][j]);
            }
        }
        self.sessions.set(i64::try_from(connected).unwrap_or(i64::MAX));
        self.opened.inc_by(traffic.opened.saturating_sub(self.opened.get()));
        self.sent.inc_by(traffic.sent_bytes.saturating_sub(self.sent.get()));
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_openmetrics_with_units_and_without_names_of_nodes() {
        let metrics = Metrics::default();
        metrics.fetched(Kind::ConfigMap);
        metrics.wrote("status", "ok");
        metrics.reconciled("ok", 0.01);
        let text = metrics
            .encode(NodeCounts { by_state: [[1, 0], [2, 3]] }, 5, Traffic { opened: 7, sent_bytes: 900 })
            .expect("text");
        for line in [
            "windlass_nodes{connected=\"true\",ready=\"true\"} 3",
            "windlass_sessions 5",
            "windlass_sessions_opened_total 7",
            "windlass_tunnel_sent_bytes_total 900",
            "windlass_object_reads_total{kind=\"ConfigMap\"} 1",
            "windlass_api_writes_total{kind=\"status\",outcome=\"ok\"} 1",
            "# UNIT windlass_reconcile_duration_seconds seconds",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
