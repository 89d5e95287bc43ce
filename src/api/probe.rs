//! Checks of a service, with the kubelet's semantics.
//! Source: Kubernetes, "Configure Liveness, Readiness and Startup Probes".

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A check that the agent makes again and again: exactly one of httpGet, tcpSocket, exec and grpc is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.httpGet), has(self.tcpSocket), has(self.exec), has(self.grpc)].filter(x, x).size() == 1")
        .message("exactly one of httpGet, tcpSocket, exec and grpc must be set")
)]
pub struct ProbeEntry {
    /// A GET that passes with any status from 200 to 399.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGetCheck>,

    /// Passes when the port accepts a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocketCheck>,

    /// A program on the machine that passes when it ends with 0. It runs as the service's account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecCheck>,

    /// Passes when the gRPC health service answers SERVING, at 127.0.0.1 without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcCheck>,

    /// Seconds between the start of the service and the first check. Defaults to 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub initial_delay_seconds: Option<i32>,

    /// Seconds between checks. Defaults to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub period_seconds: Option<i32>,

    /// Seconds after which a check counts as failed. Defaults to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub timeout_seconds: Option<i32>,

    /// Passes in a row after which the probe passes, having failed. Defaults to 1; must be 1 for a
    /// livenessProbe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub success_threshold: Option<i32>,

    /// Failures in a row after which the probe fails. Defaults to 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub failure_threshold: Option<i32>,
}

/// A GET over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct HttpGetCheck {
    /// Name or address to connect to. Defaults to 127.0.0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,

    /// Port.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i32,

    /// Path of the request. Defaults to /.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^/"))]
    pub path: Option<String>,

    /// HTTP (the default), or HTTPS without a check of the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<UriScheme>,

    /// Headers of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub http_headers: Vec<HttpHeader>,
}

/// Scheme of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::undescribed)]
pub enum UriScheme {
    /// Plain.
    #[serde(rename = "HTTP")]
    Http,
    /// Over TLS.
    #[serde(rename = "HTTPS")]
    Https,
}

/// A header of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
pub struct HttpHeader {
    /// Name.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[-A-Za-z0-9]+$"))]
    pub name: String,

    /// Value.
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// A connection over TCP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
pub struct TcpSocketCheck {
    /// Name or address to connect to. Defaults to 127.0.0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,

    /// Port.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i32,
}

/// A program on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
pub struct ExecCheck {
    /// Program, by its absolute path, and its arguments. No shell is involved.
    #[schemars(length(min = 1, max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,
}

/// The gRPC health checking protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
pub struct GrpcCheck {
    /// Port.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i32,

    /// Name of the service to ask for. Defaults to the server as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service: Option<String>,
}
