//! What the running agent answers to programs on its own machine, over a socket that administrators alone can
//! open: its status, as JSON. Knows nothing of how the socket is made.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::Connected},
};

use super::link::LinkState;
use crate::{
    model::{Failure, NodeId, Notice, Report, ResourceCounts, ServiceReport},
    wire::local_v1::{
        GetStatusRequest, GetStatusResponse,
        agent_server::{Agent, AgentServer},
    },
};

/// The agent's status, as docs/reference/agent.md describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    /// Which EdgeNode this is; absent before enrollment.
    pub node: Option<NodeId>,
    /// Version of the running agent.
    pub agent_version: String,
    /// What the link is doing: an object with `state` Connecting, Connected, Disconnected or Released.
    pub link: serde_json::Value,
    /// Revision of the document in force.
    pub held_revision: Option<String>,
    /// Revision that was carried out whole, last.
    pub applied_revision: Option<String>,
    /// Whether it is still on the way to the held revision.
    pub progressing: bool,
    /// Directories, files and services, counted.
    pub resources: ResourceCounts,
    /// What is not as it should be.
    pub failures: Vec<Failure>,
    /// In order of the document.
    pub services: Vec<ServiceReport>,
    /// Something about the node as a whole.
    pub notice: Option<Notice>,
    /// Whether the machine waits for a restart to finish what was installed (Windows).
    pub reboot_pending: bool,
}

impl AgentStatus {
    /// From what the agent reports and what its link does.
    pub fn of(node: Option<NodeId>, report: &Report, link: &LinkState) -> Self {
        let Report {
            held_revision,
            applied_revision,
            progressing,
            resources,
            failures,
            services,
            facts,
            notice,
            reboot_pending,
        } = report.clone();
        Self {
            node,
            agent_version: facts.agent_version,
            link: serde_json::to_value(link).unwrap_or_default(),
            held_revision: held_revision.map(|r| r.to_string()),
            applied_revision: applied_revision.map(|r| r.to_string()),
            progressing,
            resources,
            failures,
            services,
            notice,
            reboot_pending,
        }
    }

    /// Connected, and everything in its desired state.
    pub fn is_well(&self) -> bool {
        self.link_state() == "Connected"
            && self.held_revision.is_some()
            && self.held_revision == self.applied_revision
            && !self.progressing
            && self.failures.is_empty()
            && self.services.iter().all(|service| service.ready)
            && self.resources.in_desired_state == self.resources.total
    }

    /// Connecting, Connected, Disconnected or Released.
    pub fn link_state(&self) -> &str {
        self.link.get("state").and_then(serde_json::Value::as_str).unwrap_or("Unknown")
    }
}

/// Connections from programs on this machine.
pub type Incoming = BoxStream<'static, io::Result<Connection>>;

/// One of them.
pub struct Connection(Box<dyn Duplex>);

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Connection {
    /// Wraps a socket or pipe.
    pub fn new(duplex: impl Duplex + 'static) -> Self {
        Self(Box::new(duplex))
    }
}

/// Answers until `shutdown`. `status` is asked for each answer.
pub async fn serve(
    incoming: Incoming,
    status: Arc<dyn Fn() -> AgentStatus + Send + Sync>,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    Server::builder()
        .timeout(Duration::from_secs(10))
        .concurrency_limit_per_connection(4)
        .add_service(AgentServer::new(Answers(status)))
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
        .await
}

struct Answers(Arc<dyn Fn() -> AgentStatus + Send + Sync>);

#[tonic::async_trait]
impl Agent for Answers {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        let status_json = serde_json::to_string(&(self.0)()).map_err(|e| Status::internal(e.to_string()))?;
        Ok(Response::new(GetStatusResponse { status_json }))
    }
}

impl Connected for Connection {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
