//! How `windlass-operator run` is set: flags, their environment variables and defaults. Pure.

use std::{net::SocketAddr, path::PathBuf};

use crate::tunnel::endpoint::Endpoint;

/// Settings of `windlass-operator run`.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Address that agents' connections come to. Port 0: any free one.
    #[arg(long, env = "WINDLASS_TUNNEL_LISTEN", default_value = "0.0.0.0:8443", value_name = "ADDRESS")]
    pub tunnel_listen: SocketAddr,

    /// URL at which agents reach that address, such as wss://windlass.example.com:8443. It is written into every
    /// enrollment file.
    #[arg(long, env = "WINDLASS_TUNNEL_URL", value_name = "URL", value_parser = endpoint)]
    pub tunnel_url: Endpoint,

    /// Address of /livez, /readyz and /metrics. Port 0: any free one.
    #[arg(long, env = "WINDLASS_ADMIN_LISTEN", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub admin_listen: SocketAddr,

    /// Namespaces whose EdgeNodes are served, separated by commas. Empty: all, which needs a ClusterRole.
    #[arg(long, env = "WINDLASS_NAMESPACES", default_value = "", value_name = "NAMES", value_parser = names)]
    pub namespaces: Namespaces,

    /// Namespace of the operator's own Secrets. Default: that of its pod or of the kubeconfig's context.
    #[arg(long, env = "WINDLASS_OPERATOR_NAMESPACE", value_name = "NAME")]
    pub operator_namespace: Option<String>,

    /// Secret that holds the operator's certificate authority; it is made if it is not there. Losing it means
    /// enrolling every node anew.
    #[arg(long, env = "WINDLASS_AUTHORITY_SECRET", default_value = "windlass-authority", value_name = "NAME")]
    pub authority_secret: String,

    /// Secret that holds the keys that documents are signed with; it is made if it is not there. Losing it means
    /// enrolling every node anew.
    #[arg(long, env = "WINDLASS_SIGNING_KEYS_SECRET", default_value = "windlass-signing-keys", value_name = "NAME")]
    pub signing_keys_secret: String,

    /// Seconds from one signing key to the next. 0: it is never replaced.
    #[arg(long, env = "WINDLASS_SIGNING_KEY_ROTATION_SECONDS", default_value_t = 7_776_000, value_name = "SECONDS",
          value_parser = clap::value_parser!(u32).range(0..=315_360_000))]
    pub signing_key_rotation_seconds: u32,

    /// Seconds from the announcement of a signing key to its use, and from there to the end of the one before it.
    #[arg(long, env = "WINDLASS_SIGNING_KEY_OVERLAP_SECONDS", default_value_t = 1_209_600, value_name = "SECONDS",
          value_parser = clap::value_parser!(u32).range(0..=31_536_000))]
    pub signing_key_overlap_seconds: u32,

    /// Name of this replica, as status.session.replica and Events show it.
    #[arg(long, env = "WINDLASS_REPLICA", default_value = "windlass-0", value_name = "NAME")]
    pub replica: String,

    /// Seconds between an agent's heartbeats, 1 to 300. A node that is silent for three of them is cut off.
    #[arg(long, env = "WINDLASS_HEARTBEAT_SECONDS", default_value_t = 10, value_name = "SECONDS",
          value_parser = clap::value_parser!(u32).range(1..=300))]
    pub heartbeat_seconds: u32,

    /// Seconds from the end of a session, or from the operator's start, until a node counts as offline.
    #[arg(long, env = "WINDLASS_DISCONNECT_GRACE_SECONDS", default_value_t = 40, value_name = "SECONDS",
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub disconnect_grace_seconds: u32,

    /// Seconds from an EdgeNode's deletion until a clean-up is given up and the EdgeNode let go.
    #[arg(long, env = "WINDLASS_CLEANUP_TIMEOUT_SECONDS", default_value_t = 300, value_name = "SECONDS",
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub cleanup_timeout_seconds: u32,

    /// Seconds that a ConfigMap or Secret may be missing before the node is Stalled.
    #[arg(long, env = "WINDLASS_MISSING_REFERENCE_GRACE_SECONDS", default_value_t = 60, value_name = "SECONDS",
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub missing_reference_grace_seconds: u32,

    /// Kubeconfig to use. Default: the pod's service account, else $KUBECONFIG or ~/.kube/config.
    #[arg(long, env = "WINDLASS_KUBECONFIG_FILE", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig. Default: its current one.
    #[arg(long, env = "WINDLASS_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,

    /// Where the bound addresses are written once they serve.
    #[arg(long, env = "WINDLASS_READY_FILE", value_name = "FILE", hide = true)]
    pub ready_file: Option<PathBuf>,
}

/// Namespaces to serve; none means all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Namespaces(pub Vec<String>);

fn endpoint(text: &str) -> Result<Endpoint, String> {
    Endpoint::parse(text).map_err(|e| e.to_string())
}

fn names(text: &str) -> Result<Namespaces, String> {
    let mut names: Vec<String> =
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    for name in &names {
        let valid = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') && name.len() <= 63;
        if !valid || name.starts_with('-') || name.ends_with('-') {
            return Err(format!("{name:?} is not the name of a namespace: expected lower-case letters, digits and -"));
        }
    }
    names.sort();
    names.dedup();
    Ok(Namespaces(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_a_list_and_none_means_all() {
        let list = |text| names(text).map(|n| n.0);
        assert_eq!(list(""), Ok(vec![]));
        assert_eq!(list(" b, a,,a"), Ok(vec!["a".into(), "b".into()]));
        assert!(list("A").is_err());
        assert!(list("-a").is_err());
    }
}
