//! The EdgeNodes that there are: the watch's store, and what the tunnel asks of it.
//! In: changes. Out: answers. IO: one GET where a node is said to be gone.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        reflector::{ObjectRef, Store, store::Writer},
        watcher::Event,
    },
};

use super::{
    accept::{Directory, Found},
    sessions::NodeKey,
    watch::{Change, key_of},
};
use crate::{
    api::{EdgeNode, condition},
    model::NodeId,
};

/// For the API server's answer to a GET.
const DEADLINE: Duration = Duration::from_secs(10);

/// All EdgeNodes of the watched namespaces.
pub struct Nodes {
    client: Client,
    store: Store<EdgeNode>,
    writer: Mutex<Writer<EdgeNode>>,
    synced: AtomicBool,
}

impl Nodes {
    /// None, until the watch has said which there are.
    pub fn new(client: Client) -> Self {
        let mut writer = Writer::new(());
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        Self { client, store: writer.as_reader(), writer: Mutex::new(writer), synced: AtomicBool::new(false) }
    }

    /// Takes what the watch said; returns the node that it is about.
    pub fn take(&self, change: Change<EdgeNode>) -> Option<NodeKey> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Applied(node) => {
                let key = key_of(&node);
                writer.apply_watcher_event(&Event::Apply(node));
                Some(key)
            }
            Change::Gone(key) => {
                if let Some(node) = self.store.get(&reference(&key)) {
                    writer.apply_watcher_event(&Event::Delete((*node).clone()));
                }
                Some(key)
            }
            Change::Synced => {
                self.synced.store(true, Ordering::Release);
                None
            }
        }
    }

    /// The store.
    pub fn store(&self) -> Store<EdgeNode> {
        self.store.clone()
    }

    /// Whether the first list is here.
    pub fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }
}

/// How the store names a node.
pub fn reference(key: &NodeKey) -> ObjectRef<EdgeNode> {
    ObjectRef::new(&key.name).within(&key.namespace)
}

impl Directory for Nodes {
    fn find(&self, key: &NodeKey) -> Found {
        if !self.is_synced() {
            return Found::NotSynced;
        }
        let Some(node) = self.store.get(&reference(key)) else { return Found::Absent };
        let status = node.status.as_ref();
        let enrolled =
            status.is_some_and(|s| s.conditions.iter().any(|c| c.type_ == condition::ENROLLED && c.status == "True"));
        let session = status.and_then(|s| s.session.as_ref()).map(|s| (s.id, s.replica.clone()));
        let revoked = node.spec.is_revoked();
        Found::Known { uid: node.uid().unwrap_or_default(), session, enrolled, revoked }
    }

    fn confirm_gone<'a>(&'a self, node: &'a NodeId) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let api: Api<EdgeNode> = Api::namespaced(self.client.clone(), &node.namespace);
            match tokio::time::timeout(DEADLINE, api.get_metadata_opt(&node.name)).await {
                Ok(Ok(None)) => true,
                Ok(Ok(Some(found))) => found.metadata.uid.as_deref() != Some(&node.uid),
                // Not knowing is no reason to let a machine go.
                Ok(Err(_)) | Err(_) => false,
            }
        })
    }
}
