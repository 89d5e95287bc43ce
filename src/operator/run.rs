//! Starts the operator's parts, holds them, and ends them in order. In: settings. IO: everything, through the parts.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use anyhow::Context as _;
use futures::{Stream, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
    core::PartialObjectMeta,
    runtime::{
        controller::{self, applier},
        watcher,
    },
};
use tokio::{net::TcpListener, sync::watch::Sender, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{debug, info, warn};

use super::{
    accept::{self, Gate},
    admin::{self, Admin, Readiness},
    authority::Authority,
    authority_secret,
    decide::Limits,
    directory::{Nodes, reference},
    dirty::Dirty,
    enroll::SecretRegistrar,
    gather::{FromCluster, Gatherer},
    metrics::Metrics,
    publish::Publisher,
    reconcile::{Context, reconcile, retry},
    references::{Kind, ObjectKey},
    seen::{Seen, Sight},
    sessions::{NodeKey, Sessions},
    settings::Settings,
    signing::{Keyring, Rotation, Signer, secret::KeyringSecret},
    watch::{Change, advice, slim, watch},
};
use crate::{api::EdgeNode, tunnel::keepalive::Heartbeat};

/// Reconciles at a time: enough to hide the API server's latency, few enough to leave it to others.
const CONCURRENCY: u16 = 32;
/// EdgeNodes, ConfigMaps, Secrets.
const KINDS: u32 = 3;
/// How long what is under way may take to end.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// Pauses between tries to load the authority and the signing keys.
const AUTHORITY_RETRY: Duration = Duration::from_secs(5);

/// Runs the operator until `shutdown`: agents are told, what is being written is written, then it returns.
pub async fn run(settings: Settings, shutdown: CancellationToken) -> anyhow::Result<()> {
    let started = Timestamp::now();
    let config = cluster(&settings).await?;
    let namespace = settings.operator_namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).context("cannot set up a client of the API server")?;

    let tunnel = bind(settings.tunnel_listen, "--tunnel-listen").await?;
    let admin = bind(settings.admin_listen, "--admin-listen").await?;
    let (tunnel_address, admin_address) = (tunnel.local_addr()?, admin.local_addr()?);

    let metrics = Metrics::with(|_| {});
    let nodes = Arc::new(Nodes::new(client.clone()));
    let sessions = Arc::new(Sessions::default());
    let readiness = Arc::new(Readiness::default());
    let ended = CancellationToken::new();
    let endpoints = Admin {
        readiness: Arc::clone(&readiness),
        metrics: Arc::clone(&metrics),
        nodes: Arc::clone(&nodes),
        sessions: Arc::clone(&sessions),
    };
    let mut admin = tokio::spawn(admin::serve(admin, endpoints, ended.clone()));
    info!(tunnel = %tunnel_address, admin = %admin_address, url = %settings.tunnel_url, "listening");

    let loading = authority(&client, &namespace, &settings.authority_secret);
    let Some(authority) = shutdown.run_until_cancelled(loading).await else { return Ok(()) };
    let authority = Arc::new(authority);
    let rotation = rotation(&settings);
    let authorities = vec![authority.certificate().to_vec()];
    let secret = (namespace.as_str(), settings.signing_keys_secret.as_str());
    let secret = KeyringSecret::new(client.clone(), secret, authorities, rotation, Timestamp::now);
    let Some(keyring) = shutdown.run_until_cancelled(keyring(&secret)).await else { return Ok(()) };
    let signer = Arc::new(Signer::new(keyring, rotation, Timestamp::now));
    let directory = Arc::clone(&nodes);
    let registrar = SecretRegistrar::new(
        client.clone(),
        Arc::clone(&authority),
        Arc::clone(&signer),
        directory.clone(),
        Arc::clone(&metrics),
    );
    let gate = Gate::new(
        (&authority, Arc::clone(&signer)),
        &settings.tunnel_url,
        directory,
        Arc::new(registrar),
        Heartbeat::from_seconds(settings.heartbeat_seconds),
        Timestamp::now,
    )?;

    let context = Arc::new(Context {
        gatherer: Gatherer::new(Box::new(FromCluster(client.clone())), Arc::clone(&metrics)),
        publisher: Publisher::new(client.clone(), &settings.replica, Arc::clone(&metrics)),
        client: client.clone(),
        nodes,
        seen: Seen::default(),
        references: Mutex::default(),
        sessions: Arc::clone(&sessions),
        authority,
        url: settings.tunnel_url.clone(),
        gate: Arc::clone(&gate),
        metrics,
        replica: settings.replica.clone(),
        limits: limits(&settings),
        started,
        clock: Timestamp::now,
        states: Mutex::default(),
    });
    let mut serving = tokio::spawn(accept::serve(tunnel, gate, sessions, shutdown.clone()));
    readiness.listening.store(true, Ordering::Release);
    if let Some(file) = &settings.ready_file {
        std::fs::write(file, format!("tunnel={tunnel_address}\nadmin={admin_address}\n"))
            .with_context(|| format!("cannot write --ready-file {}", file.display()))?;
    }

    let controlling = control(client, settings.namespaces.0.clone(), context, readiness.clone(), ended.clone());
    let mut controlling = tokio::spawn(controlling);
    let mut rotating = AbortOnDropHandle::new(tokio::spawn(secret.keep(signer)));
    let ended_early = async {
        tokio::select! {
            result = &mut controlling => anyhow::anyhow!("the controller ended: {result:?}"),
            result = &mut serving => anyhow::anyhow!("the tunnel's listener ended: {result:?}"),
            result = &mut admin => anyhow::anyhow!("the admin endpoints ended: {result:?}"),
            result = &mut rotating => anyhow::anyhow!("the rotation of signing keys ended: {result:?}"),
        }
    };
    until_shutdown(&shutdown, ended_early).await?;
    readiness.draining.store(true, Ordering::Release);
    info!("shutting down: telling agents, writing what is under way");
    serving.await.context("the tunnel's listener")?;
    ended.cancel();
    if tokio::time::timeout(DRAIN_DEADLINE, controlling).await.is_err() {
        warn!(deadline = ?DRAIN_DEADLINE, "what was under way did not end in time");
    }
    // A scrape that hangs holds up nothing.
    let _ = tokio::time::timeout(Duration::from_secs(1), admin).await;
    info!("ended");
    Ok(())
}

/// Waits for the shutdown. A part of the operator that ends sooner is an error, as it cannot do without: they end
/// with the shutdown too, and where nothing is to be drained both are there at once.
async fn until_shutdown(
    shutdown: &CancellationToken,
    ended_early: impl Future<Output = anyhow::Error>,
) -> anyhow::Result<()> {
    tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        error = ended_early => Err(error),
    }
}

async fn cluster(settings: &Settings) -> anyhow::Result<Config> {
    let options = KubeConfigOptions { context: settings.context.clone(), ..KubeConfigOptions::default() };
    match (&settings.kubeconfig, &settings.context) {
        (Some(file), _) => {
            let kubeconfig =
                Kubeconfig::read_from(file).with_context(|| format!("cannot read --kubeconfig {}", file.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .with_context(|| format!("cannot use --kubeconfig {}", file.display()))
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.context("cannot use the kubeconfig"),
        (None, None) => Config::infer().await.context("found neither a pod's service account nor a kubeconfig"),
    }
}

async fn bind(address: std::net::SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {flag} {address}"))
}

/// Without the authority nothing can be enrolled or let in: it is worth waiting for.
async fn authority(client: &Client, namespace: &str, name: &str) -> Authority {
    loop {
        match authority_secret::load_or_create(client.clone(), namespace, name, Timestamp::now()).await {
            Ok(authority) => return authority,
            Err(error) => {
                let error = anyhow::Error::new(error);
                warn!(secret = format!("{namespace}/{name}"), error = format!("{error:#}"), retry_after = ?AUTHORITY_RETRY, "cannot load the certificate authority");
                tokio::time::sleep(AUTHORITY_RETRY).await;
            }
        }
    }
}

/// As for the authority: what is not signed, no node takes.
async fn keyring(secret: &KeyringSecret) -> Keyring {
    loop {
        match secret.bring(None).await {
            Ok(keyring) => return keyring,
            Err(error) => {
                warn!(%error, retry_after = ?AUTHORITY_RETRY, "cannot load the signing keys");
                tokio::time::sleep(AUTHORITY_RETRY).await;
            }
        }
    }
}

fn rotation(settings: &Settings) -> Rotation {
    let seconds = |n: u32| SignedDuration::from_secs(n.into());
    Rotation {
        period: seconds(settings.signing_key_rotation_seconds),
        overlap: seconds(settings.signing_key_overlap_seconds),
    }
}

fn limits(settings: &Settings) -> Limits {
    let seconds = |n: u32| Duration::from_secs(n.into());
    Limits {
        disconnect_grace: seconds(settings.disconnect_grace_seconds),
        missing_reference_grace: seconds(settings.missing_reference_grace_seconds),
        cleanup_timeout: seconds(settings.cleanup_timeout_seconds),
    }
}

/// Watches, and reconciles what the watches and the sessions say has changed.
async fn control(
    client: Client,
    namespaces: Vec<String>,
    context: Arc<Context>,
    readiness: Arc<Readiness>,
    ended: CancellationToken,
) -> anyhow::Result<()> {
    let dirty = Arc::new(Dirty::default());
    // How many kinds have had their first list.
    let (synced, mut all_synced) = tokio::sync::watch::channel(0);
    let mut watches = JoinSet::new();
    watches.spawn(watch_nodes(&client, &namespaces, &context, &dirty, &synced));
    watches.spawn(watch_objects(
        watch::<PartialObjectMeta<ConfigMap>>(&client, &namespaces, slim_metadata, log("ConfigMaps")),
        Kind::ConfigMap,
        Arc::clone(&context),
        Arc::clone(&dirty),
        synced.clone(),
    ));
    watches.spawn(watch_objects(
        watch::<PartialObjectMeta<Secret>>(&client, &namespaces, slim_metadata, log("Secrets")),
        Kind::Secret,
        Arc::clone(&context),
        Arc::clone(&dirty),
        synced,
    ));
    watches.spawn({
        let (sessions, dirty) = (Arc::clone(&context.sessions), Arc::clone(&dirty));
        async move {
            loop {
                dirty.mark(sessions.changes().await);
            }
        }
    });

    let first_lists = all_synced.wait_for(|kinds| *kinds == KINDS);
    if ended.run_until_cancelled(first_lists).await.is_none_or(|result| result.is_err()) {
        return Ok(());
    }
    readiness.synced.store(true, Ordering::Release);
    info!(nodes = context.nodes.store().len(), "watching");

    let queue = dirty.stream().map(|key| Ok::<_, Infallible>(reference(&key))).take_until(ended.cancelled());
    let store = context.nodes.store();
    let config = controller::Config::default().concurrency(CONCURRENCY);
    let reconciles = applier(|node, context| Box::pin(reconcile(node, context)), retry, context, store, queue, config);
    let reconciling = reconciles.for_each(|result| async move {
        // A node that is gone, or whose error `retry` has told already.
        if let Err(error) = result {
            debug!(%error, "not reconciled");
        }
    });
    tokio::select! {
        () = reconciling => Ok(()),
        ended = watches.join_next() => anyhow::bail!("a watch ended: {ended:?}"),
    }
}

fn watch_nodes(
    client: &Client,
    namespaces: &[String],
    context: &Arc<Context>,
    dirty: &Arc<Dirty>,
    synced: &Sender<u32>,
) -> impl Future<Output = ()> + Send + 'static {
    let changes = watch::<EdgeNode>(client, namespaces, slim, log("EdgeNodes"));
    let (context, dirty, synced) = (Arc::clone(context), Arc::clone(dirty), synced.clone());
    async move {
        let mut changes = pin!(changes);
        while let Some(change) = changes.next().await {
            let (is_gone, is_synced) = (matches!(change, Change::Gone(_)), matches!(change, Change::Synced));
            let node = context.nodes.take(change);
            if is_synced {
                synced.send_modify(|kinds| *kinds += 1);
            }
            if is_gone {
                node.iter().for_each(|key| context.forget(key));
            } else {
                dirty.mark(node);
            }
        }
    }
}

async fn watch_objects<K: kube::ResourceExt>(
    changes: impl Stream<Item = Change<K>>,
    kind: Kind,
    context: Arc<Context>,
    dirty: Arc<Dirty>,
    synced: Sender<u32>,
) {
    let mut changes = pin!(changes);
    while let Some(change) = changes.next().await {
        let (key, is_new) = match change {
            Change::Applied(object) => {
                let key = super::watch::key_of(&object);
                let sight = Sight::new(object.resource_version(), Some(object.annotations()));
                let object = object_key(kind, &key);
                let is_new = context.seen.applied(object.clone(), sight);
                (object, is_new)
            }
            Change::Gone(key) => {
                let object = object_key(kind, &key);
                let was_there = context.seen.gone(&object);
                (object, was_there)
            }
            Change::Synced => {
                synced.send_modify(|kinds| *kinds += 1);
                continue;
            }
        };
        if is_new {
            let users = context.references.lock().unwrap_or_else(std::sync::PoisonError::into_inner).users(&key);
            dirty.mark(users);
            dirty.mark(enrolled_by(&key).filter(|node| context.nodes.store().get(&reference(node)).is_some()));
        }
    }
}

fn object_key(kind: Kind, key: &NodeKey) -> ObjectKey {
    ObjectKey { kind, namespace: key.namespace.clone(), name: key.name.clone() }
}

/// The node that a Secret enrolls, by its name: if somebody removes it, it is written again.
fn enrolled_by(key: &ObjectKey) -> Option<NodeKey> {
    let name = key.name.strip_suffix("-enrollment").filter(|_| key.kind == Kind::Secret)?;
    Some(NodeKey { namespace: key.namespace.clone(), name: name.to_owned() })
}

/// Of a ConfigMap's or Secret's metadata only the annotations of windlass are read.
fn slim_metadata<K: kube::ResourceExt>(object: &mut K) {
    slim(object);
    object.labels_mut().clear();
    object.annotations_mut().retain(|name, _| name.starts_with(crate::api::GROUP));
}

/// Logs what keeps a watch from coming about, once for each thing that does.
fn log(kind: &'static str) -> impl Fn(Option<&watcher::Error>) + Send + 'static {
    let told = Mutex::new(None::<String>);
    move |error| {
        let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let advice = error.map(|error| advice(kind, error));
        if *told != advice {
            match (&advice, error) {
                (Some(advice), Some(error)) => warn!(kind, %error, "{advice}"),
                _ => info!(kind, "the watch is up again"),
            }
            *told = advice;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn parts_that_end_with_the_shutdown_are_no_error() {
        let shutdown = CancellationToken::new();
        let ended_early = || std::future::ready(anyhow::anyhow!("ended"));
        assert!(until_shutdown(&shutdown, ended_early()).await.is_err());
        shutdown.cancel();
        // Without an order between them it would be left to chance.
        for _ in 0..100 {
            assert!(until_shutdown(&shutdown, ended_early()).await.is_ok());
        }
    }
}
