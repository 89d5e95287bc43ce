//! A program of the console, which is no service.

use super::settings::{Settings, wait};

pub fn run(settings: Settings) {
    let settings: &'static Settings = Box::leak(Box::new(settings));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut asked = tokio::signal::windows::ctrl_break().expect("CTRL+BREAK");
        println!("{} writes to its output", settings.name);
        eprintln!("{} writes of its errors", settings.name);
        settings.work();
        loop {
            asked.recv().await;
            println!("{} is asked to stop", settings.name);
            if !settings.refuses_stop {
                break;
            }
            settings.tell("refuses to stop");
        }
    });
    settings.tell("stopping");
    wait(settings.stop_takes_milliseconds);
    settings.tell("stopped");
}
