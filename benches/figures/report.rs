//! The table that a person reads, and the same as JSON.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

/// One figure against its baseline and its goal.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// What was measured.
    pub figure: String,
    /// The value.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// The same of the baseline, in the same run.
    pub baseline: Option<Baseline>,
    /// What it is to be at most: a ratio where there is a baseline, else a value.
    pub goal: Option<f64>,
}

/// What a figure is held against.
#[derive(Debug, Serialize)]
pub struct Baseline {
    /// R0 or K0.
    pub name: &'static str,
    /// In the unit of the figure.
    pub value: f64,
}

impl Row {
    /// Value / baseline.
    pub fn ratio(&self) -> Option<f64> {
        self.baseline.as_ref().map(|baseline| self.value / baseline.value)
    }

    /// Whether the goal is met; `None` without a goal.
    pub fn met(&self) -> Option<bool> {
        Some(self.ratio().unwrap_or(self.value) <= self.goal?)
    }
}

/// Prints the table.
pub fn print(rows: &[Row], about: &[String]) {
    println!("\n{:<64} {:>12} {:<6} {:>16} {:>7} {:>7}  goal", "figure", "value", "unit", "baseline", "ratio", "goal");
    for row in rows {
        let baseline = row.baseline.as_ref().map(|b| format!("{} {:.1}", b.name, b.value)).unwrap_or_default();
        let ratio = row.ratio().map(|r| format!("{r:.2}")).unwrap_or_default();
        let goal = row.goal.map(|g| format!("≤ {g}")).unwrap_or_default();
        let met = match row.met() {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "",
        };
        println!(
            "{:<64} {:>12.1} {:<6} {:>16} {:>7} {:>7}  {}",
            row.figure, row.value, row.unit, baseline, ratio, goal, met
        );
    }
    for line in about {
        println!("{line}");
    }
}

/// Writes it as JSON.
pub fn write(path: &Path, rows: &[Row], about: &[String]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let mut value = serde_json::to_value(row).unwrap_or_default();
            value["ratio"] = serde_json::json!(row.ratio());
            value["met"] = serde_json::json!(row.met());
            value
        })
        .collect();
    let all = serde_json::json!({"figures": rows, "about": about});
    std::fs::write(path, serde_json::to_string_pretty(&all)? + "\n")?;
    Ok(())
}
