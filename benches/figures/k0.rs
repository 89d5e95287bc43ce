//! K0, the baseline of a change: what the Kubernetes API and a disk alone take for the same steps,
//! with plain kube calls: patch the spec, see it in a watch, fsync a file, patch the status, see that.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::json;
use windlass::api::EdgeNode;

/// Makes a node that no operator watches and takes the time of that many changes of it.
pub async fn measure(client: Client, namespace: &str, changes: usize) -> Result<Vec<Duration>> {
    let nodes: Api<EdgeNode> = Api::namespaced(client, namespace);
    let node: EdgeNode = serde_json::from_value(json!({
        "apiVersion": "edge.windlass.dev/v1alpha1", "kind": "EdgeNode", "metadata": {"name": "k0"},
        "spec": super::fleet::spec(0),
    }))?;
    let _ = nodes.delete("k0", &Default::default()).await;
    let made = nodes.create(&PostParams::default(), &node).await?;
    let version = made.metadata.resource_version.unwrap_or_default();
    let by_name = WatchParams::default().fields("metadata.name=k0").timeout(280);
    let mut agent = nodes.watch(&by_name, &version).await?.boxed();
    let mut person = nodes.watch(&by_name, &version).await?.boxed();
    let dir = tempfile::tempdir()?;
    let mut times = Vec::new();
    for change in 1..=changes {
        let begun = Instant::now();
        let patch = json!({"spec": super::fleet::spec(change)});
        let changed = nodes.patch("k0", &PatchParams::default(), &Patch::Merge(patch)).await?;
        let generation = changed.metadata.generation;
        until(&mut agent, |node| node.metadata.generation == generation).await?;
        let mut file = std::fs::File::create(dir.path().join("content"))?;
        file.write_all(change.to_string().as_bytes())?;
        file.sync_all()?;
        let status = json!({"status": {"observedGeneration": generation}});
        nodes.patch_status("k0", &PatchParams::default(), &Patch::Merge(status)).await?;
        until(&mut person, |node| node.status.as_ref().is_some_and(|s| s.observed_generation == generation)).await?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// Waits for an event of the watch with a node that is so.
pub async fn until(
    watch: &mut (impl futures::Stream<Item = kube::Result<WatchEvent<EdgeNode>>> + Unpin),
    is_so: impl Fn(&EdgeNode) -> bool,
) -> Result<()> {
    let wait = async {
        while let Some(event) = watch.try_next().await? {
            if let WatchEvent::Added(node) | WatchEvent::Modified(node) = event
                && is_so(&node)
            {
                return Ok(());
            }
        }
        anyhow::bail!("the watch ended")
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.context("no such event in 60 s")?
}
