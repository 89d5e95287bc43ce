//! `windlass-service-host`: stands in for a program that is no service of Windows. Thin.

use std::process::ExitCode;

fn main() -> ExitCode {
    windlass::agent::host::machine::service_host()
}
