//! What the program is asked to be.

mod program;
mod service;
mod settings;

use std::thread;

use clap::{Parser, Subcommand};

use settings::Settings;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Does nothing for as long as it lives: Wine ends its services when the last program of a person ends.
    Sleep,
    /// Is a service; for the service control manager alone.
    Service(Settings),
    /// Is a service in the agent's place: takes the agent's command, and writes to C:\\windlass-agent.log.
    Run {
        #[arg(long)]
        service: bool,
    },
    /// Is a program of the console that ends at CTRL+BREAK.
    Program(Settings),
}

pub fn main() {
    match Cli::parse().role {
        Role::Sleep => loop {
            thread::park();
        },
        Role::Service(settings) => service::serve(settings),
        Role::Run { service: _ } => service::serve(Settings::in_the_agents_place()),
        Role::Program(settings) => program::run(settings),
    }
}
