//! Asks the running agent for its status and writes it for people. Speaks over a connection that it is given.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hyper_util::rt::TokioIo;
use tonic::transport::Endpoint;

use super::local::{AgentStatus, Connection};
use crate::wire::local_v1::{GetStatusRequest, agent_client::AgentClient};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The agent did not answer.
    #[error("ask the agent for its status: {0}")]
    NoAnswer(String),
    /// It answered something else.
    #[error("read the agent's status: {0}; expected an agent of the same version")]
    NotUnderstood(#[from] serde_json::Error),
}

/// How long a running agent may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Asks over this connection.
pub async fn ask(connection: Connection) -> Result<AgentStatus, AskError> {
    let no_answer = |e: &dyn std::error::Error| AskError::NoAnswer(e.to_string());
    let mut connection = Some(connection);
    let connect = tower::service_fn(move |_| {
        let taken = connection.take().ok_or_else(|| std::io::Error::other("the connection was used already"));
        std::future::ready(taken.map(TokioIo::new))
    });
    let asking = async {
        // The name is only for the request's header.
        let channel = Endpoint::from_static("http://agent.local").connect_with_connector(connect).await;
        let mut client = AgentClient::new(channel.map_err(|e| no_answer(&e))?);
        let answer = client.get_status(GetStatusRequest {}).await;
        answer.map_err(|e| AskError::NoAnswer(e.message().to_owned()))
    };
    let answer = tokio::time::timeout(DEADLINE, asking).await.map_err(|e| no_answer(&e))??;
    Ok(serde_json::from_str(&answer.into_inner().status_json)?)
}

/// The status for people; `now` is what times are told against.
pub fn text(status: &AgentStatus, now: SystemTime) -> String {
    let AgentStatus {
        node,
        agent_version,
        link,
        held_revision,
        applied_revision,
        progressing,
        resources,
        failures,
        services,
        notice,
        reboot_pending,
    } = status;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<10}{value}\n"));
    line("Node", &node.as_ref().map_or_else(|| "not enrolled".to_owned(), ToString::to_string));
    line("Agent", agent_version);
    line("Link", &link_text(status.link_state(), link, now));
    let revision = match (held_revision, applied_revision) {
        (None, _) => "none yet".to_owned(),
        (Some(held), Some(applied)) if held == applied => format!("{held}, applied"),
        (Some(held), applied) => {
            let on_the_way = if *progressing { "on the way" } else { "not applied" };
            format!("{held}, {on_the_way} (applied: {})", applied.as_deref().unwrap_or("none"))
        }
    };
    line("Revision", &revision);
    let counts = format!(
        "{} of {} in desired state, {} failed, {} drifted",
        resources.in_desired_state, resources.total, resources.failed, resources.drifted
    );
    line("Resources", &counts);
    if let Some(notice) = notice {
        line("Notice", &format!("{}: {}", notice.reason, notice.message));
    }
    if *reboot_pending {
        line("Reboot", "pending: the machine waits for a restart to finish what was installed");
    }
    if !failures.is_empty() {
        text.push_str("\nFailures\n");
        for failure in failures {
            let _ = writeln!(text, "  {}: {}: {}", failure.resource, failure.reason, failure.message);
        }
    }
    if !services.is_empty() {
        text.push_str("\nServices\n");
        let width = services.iter().map(|s| s.name.len()).max().unwrap_or_default();
        for service in services {
            let ready = if service.ready { "ready" } else { "not ready" };
            let _ = write!(text, "  {:<width$}  {:<10}  {ready}", service.name, service.state.as_str());
            if service.restarts > 0 {
                let plural = if service.restarts == 1 { "" } else { "s" };
                let _ = write!(text, ", {} restart{plural}", service.restarts);
            }
            if !service.message.is_empty() {
                let _ = write!(text, ": {}", service.message);
            }
            text.push('\n');
        }
    }
    text
}

fn link_text(state: &str, link: &serde_json::Value, now: SystemTime) -> String {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let number = |key: &str| link.get(key).and_then(serde_json::Value::as_u64);
    let since = |key: &str| number(key).map(|at| now.saturating_sub(at)).map_or_else(|| "?".to_owned(), span);
    let word = |key: &str| link.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    match state {
        "Connected" => format!("connected for {}, session {}", since("since"), number("session").unwrap_or_default()),
        "Connecting" => format!("connecting to {}", word("url")),
        "Disconnected" => format!("disconnected for {}: {}", since("since"), word("error")),
        "Released" => "released: the EdgeNode is gone, the machine is left as it is".to_owned(),
        other => other.to_owned(),
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}
