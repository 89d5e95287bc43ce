//! `make bench`: the figures of DESIGN, against R0 and K0 in the same run, as a table and as JSON.
//! Real tunnels and agent logic with machines in memory, the real operator process, a real control plane.
//!
//! Environment: WINDLASS_BENCH_NODES (default 1000,5000), WINDLASS_BENCH_CHANGES (default 200),
//! WINDLASS_BENCH_IDLE_SECONDS (default 60).

#![allow(missing_docs)]

mod agent;
mod child;
mod fleet;
mod k0;
mod meter;
mod plane;
mod r0;
mod report;

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    fleet::Fleet,
    meter::{percentile, sample},
    plane::{Operator, Plane},
    report::{Baseline, Row},
};

const NAMESPACE: &str = "bench";
/// Changes of a single node are limited by the operator's patches per node, so fewer are made.
const CHANGES_OF_ONE_NODE: usize = 13;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    if let [_, verb, dir] = &args[..]
        && verb == "r0-serve"
    {
        return r0::serve(dir.into()).await;
    }
    let counts: Vec<usize> = setting("WINDLASS_BENCH_NODES", "1000,5000")
        .split(',')
        .map(|n| n.trim().parse().context("WINDLASS_BENCH_NODES: numbers, comma between"))
        .collect::<Result<_>>()?;
    let changes: usize = setting("WINDLASS_BENCH_CHANGES", "200").parse().context("WINDLASS_BENCH_CHANGES")?;
    let idle = Duration::from_secs(setting("WINDLASS_BENCH_IDLE_SECONDS", "60").parse()?);
    let _ = rustls::crypto::ring::default_provider().install_default();

    let mut rows = Vec::new();
    step(&format!("R0: {counts:?} raw sockets"));
    let r0 = r0::measure(&counts).await?;
    step("control plane and operator");
    let plane = Plane::start(&[NAMESPACE, "k0"]).await?;
    let operator = Operator::start(&plane, NAMESPACE).await?;
    let mut fleet = Fleet::new(plane.client.clone(), NAMESPACE)?;

    step("a first node, which pays for what all share");
    fleet.create(0, 1).await?;
    fleet.connect(0, 1).await?;
    let empty = sample(operator.pid())?;
    let paced = changes.min(CHANGES_OF_ONE_NODE);
    step(&format!("{changes} changes of K0, and {paced} of 1 node, one in 20 s"));
    let k0 = k0::measure(plane.client.clone(), "k0", changes).await?;
    rows.extend(latency("1 node", &k0, &fleet.change(1, paced).await?));

    let mut connected = 1;
    for (count, r0) in counts.iter().zip(&r0) {
        step(&format!("{count} EdgeNodes, not connected"));
        let before = sample(operator.pid())?;
        fleet.create(connected, *count).await?;
        let created = sample(operator.pid())?;
        step(&format!("{count} agents: enroll, connect, apply"));
        fleet.connect(connected, *count).await?;
        step(&format!("{} s idle", idle.as_secs()));
        let (_, lines) = plane.writes(NAMESPACE, 0)?;
        let settled = settle(&plane, lines).await?;
        tokio::time::sleep(idle).await;
        let (writes, _) = plane.writes(NAMESPACE, settled)?;
        let after = sample(operator.pid())?;
        let object = created.resident.saturating_sub(before.resident) as f64 / (count - connected) as f64;
        let node = after.resident.saturating_sub(empty.resident) as f64 / (count - 1) as f64;
        rows.push(Row {
            figure: format!("operator: resident memory per idle node, {count} nodes"),
            value: node / 1024.0,
            unit: "KiB",
            baseline: Some(Baseline { name: "R0", value: r0.bytes_per_connection / 1024.0 }),
            goal: Some(1.5),
        });
        rows.push(Row {
            figure: format!("  of it the EdgeNode and its Secret before it connects, {count} nodes"),
            value: object / 1024.0,
            unit: "KiB",
            baseline: None,
            goal: None,
        });
        rows.push(Row {
            figure: format!("API writes per idle node and hour, {count} nodes"),
            value: writes as f64 / *count as f64 * 3600.0 / idle.as_secs_f64(),
            unit: "1/h",
            baseline: None,
            goal: Some(0.0),
        });
        connected = *count;

        if *count == 1000 || counts.len() == 1 {
            step(&format!("{changes} changes of K0 and among {count} nodes"));
            let k0 = k0::measure(plane.client.clone(), "k0", changes).await?;
            rows.extend(latency(&format!("{count} nodes"), &k0, &fleet.change(*count, changes).await?));
        }

        step(&format!("{count} agents connect again"));
        fleet.disconnect().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (_, lines) = plane.writes(NAMESPACE, 0)?;
        let before = sample(operator.pid())?;
        fleet.connect(0, *count).await?;
        operator.until_connected(*count).await?;
        let after = sample(operator.pid())?;
        let (writes, _) = plane.writes(NAMESPACE, lines)?;
        rows.push(Row {
            figure: format!("operator: CPU per connect, {count} nodes"),
            value: (after.cpu - before.cpu).as_micros() as f64 / *count as f64,
            unit: "µs",
            baseline: Some(Baseline { name: "R0", value: r0.cpu_per_connect_us }),
            goal: Some(1.25),
        });
        rows.push(Row {
            figure: format!("API writes per reconnect, {count} nodes"),
            value: writes as f64 / *count as f64,
            unit: "",
            baseline: None,
            goal: Some(0.0),
        });
    }
    let (spec, object) = fleet.size_of_a_node().await?;
    fleet.disconnect().await;

    step("an idle agent, the real binary");
    rows.extend(agent::idle_figures(&fleet, idle).await?);
    operator.end().await?;
    plane.end().await?;

    let about = vec![
        format!("Each EdgeNode: {spec} bytes of spec, {object} bytes with metadata and status, as JSON."),
        "R0: tokio-tungstenite and rustls with mutual TLS, tuned, and nothing else. K0: plain kube calls for the \
         same steps: patch spec, watch event, fsync, patch status, watch event. Both in this run, on this machine."
            .to_owned(),
    ];
    report::print(&rows, &about);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/figures.json");
    report::write(&path, &rows, &about)?;
    println!("written to {}", path.display());
    Ok(())
}

/// Waits until no write came for five seconds; returns how many lines the audit log has then.
async fn settle(plane: &Plane, mut lines: usize) -> Result<usize> {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (writes, now) = plane.writes(NAMESPACE, lines)?;
        if writes == 0 {
            return Ok(now);
        }
        lines = now;
    }
}

fn latency(of: &str, k0: &[Duration], windlass: &[Duration]) -> Vec<Row> {
    let milliseconds = |times, p| percentile(times, p).as_secs_f64() * 1000.0;
    [(50, Some(1.3)), (99, None)]
        .map(|(p, goal)| Row {
            figure: format!("from spec patch to condition, p{p}, {of}"),
            value: milliseconds(windlass, p),
            unit: "ms",
            baseline: Some(Baseline { name: "K0", value: milliseconds(k0, p) }),
            goal,
        })
        .into()
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn step(what: &str) {
    eprintln!("bench: {what}");
}
