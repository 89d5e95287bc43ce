//! A child process that says READY on its standard output and ends when its standard input does.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{ChildStdin, Command},
};

/// A running child.
pub struct Child {
    process: tokio::process::Child,
    stdin: Option<ChildStdin>,
    /// What followed READY.
    pub ready: String,
}

impl Child {
    /// Runs this very program with other arguments.
    pub async fn of_this_program(args: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(args);
        Self::start(command, Duration::from_secs(30)).await
    }

    /// Starts a command and waits for its READY line.
    pub async fn start(mut command: Command, deadline: Duration) -> Result<Self> {
        let shown = format!("{:?}", command.as_std());
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {shown}"))?;
        let stdin = process.stdin.take();
        let mut lines = BufReader::new(process.stdout.take().context("its output")?).lines();
        let ready = tokio::time::timeout(deadline, async {
            while let Some(line) = lines.next_line().await? {
                if let Some(rest) = line.strip_prefix("READY ") {
                    return Ok(rest.to_owned());
                }
            }
            bail!("{shown} ended before it was ready")
        })
        .await
        .with_context(|| format!("{shown} was not ready in {deadline:?}"))??;
        Ok(Self { process, stdin, ready })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id().unwrap_or_default()
    }

    /// Ends its standard input and waits for it.
    pub async fn end(&mut self) -> Result<()> {
        drop(self.stdin.take());
        tokio::time::timeout(Duration::from_secs(60), self.process.wait()).await.context("end of a child")??;
        Ok(())
    }
}
