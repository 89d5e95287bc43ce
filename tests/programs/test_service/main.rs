//! A program that tests run on a Windows machine as a real service, as a program that is no service, or as the
//! person who never logs off. What it does it writes to a file, a line each, so that tests read the order of several.

#![allow(clippy::expect_used, missing_docs)]

#[cfg(windows)]
mod windows;

#[cfg(windows)]
fn main() {
    windows::main();
}

#[cfg(not(windows))]
fn main() {
    eprintln!("windlass-test-service is for Windows");
}
