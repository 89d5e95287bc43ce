//! The real parts that the tests put together, and the faults that they put between them.
//! Every wait has a deadline and says what it waited for; everything started is ended on drop, by its pid.

mod agent;
mod artifacts;
mod cluster;
mod link;
mod machine;
mod node;
mod operator;
mod process;
mod world;

pub use agent::Agent;
pub use artifacts::{Artifacts, Fault};
pub use cluster::{ControlPlane, Write};
pub use link::Link;
pub use machine::Machine;
pub use node::{Node, condition, is};
pub use operator::{Operator, free_port};
pub use process::{Process, is_alive, signal};
pub use world::World;

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// The longest that anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `question` has an answer, looking often: for what cannot be watched, such as files.
pub async fn until<T>(what: &str, mut question: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Awaits `future`, but not for ever.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain until {what}"),
    }
}

/// A text that does not compress to nothing and has so many bytes.
pub fn text_of(length: usize) -> String {
    (0..length).map(|number| char::from(b'a' + ((number / 7 + number % 23 * (number % 19)) % 26) as u8)).collect()
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
