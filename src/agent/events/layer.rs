//! Hands log events to the event log: warnings and errors always, information where it is asked for.
//! Takes node and revision from the events that name them, so that every later entry carries them.

use std::{
    fmt::{Debug, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use tracing::{Event, Level, Subscriber, field::Field, field::Visit};
use tracing_subscriber::layer::{Context, Layer};

use super::{
    EventLog, Severity,
    entry::{Fields, Known},
};

/// The layer.
pub struct EventLayer {
    log: Arc<dyn EventLog>,
    information: bool,
    known: Mutex<Known>,
}

impl EventLayer {
    /// Tells `log`; `information` as well, or only what is worse.
    pub fn new(log: Arc<dyn EventLog>, information: bool) -> Self {
        Self { log, information, known: Mutex::default() }
    }
}

impl<S: Subscriber> Layer<S> for EventLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let Ok(severity) = Severity::try_from(metadata.level()) else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let entry = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            // A failed enrollment names the node that this machine did not become.
            if severity == Severity::Information {
                known.learn(&fields);
            }
            known.entry(metadata.target(), severity, &fields)
        };
        if let Some(entry) = entry
            && (self.information || severity > Severity::Information)
        {
            self.log.report(&entry);
        }
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(Level::INFO.into())
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        self.all.push((field.name(), text));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.all.push((field.name(), value.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use tracing::{debug, error, info, warn};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::{super::Entry, *};

    #[derive(Default)]
    struct Recorded(Mutex<Vec<Entry>>);

    impl EventLog for Recorded {
        fn report(&self, entry: &Entry) {
            self.0.lock().expect("whole").push(entry.clone());
        }
    }

    fn told(information: bool, log: impl FnOnce()) -> Vec<(u16, [String; 4])> {
        let recorded = Arc::new(Recorded::default());
        let layer = EventLayer::new(recorded.clone(), information);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let entries = recorded.0.lock().expect("whole");
        entries.iter().map(|entry| (entry.kind.id, entry.strings.clone())).collect()
    }

    fn a_day() {
        let revision = Some("9c1e".to_owned());
        info!(target: "windlass::agent::serve", node = %"plant-a/press-07", revision, "windlass-agent starts");
        debug!(target: "windlass::agent::link", "not connected");
        warn!(target: "windlass::agent::link", error = "no route", "not connected");
        info!(target: "windlass::agent::conversation", revision = "ffff", "desired document received");
        info!(target: "windlass::agent::state_loop", actions = 1, "carried out");
        error!(target: "elsewhere", node = "another", "what nobody expected");
    }

    #[test]
    fn warnings_and_errors_are_told_with_the_node_and_revision_of_their_time() {
        let strings = |strings: [&str; 4]| strings.map(str::to_owned);
        let mut expected = vec![
            (212, strings(["not connected: no route", "plant-a/press-07", "9c1e", "-"])),
            (3, strings(["what nobody expected", "plant-a/press-07", "ffff", "-"])),
        ];
        assert_eq!(told(false, a_day), expected);
        expected.insert(0, (100, strings(["windlass-agent starts", "plant-a/press-07", "9c1e", "-"])));
        expected.insert(2, (300, strings(["desired document received", "plant-a/press-07", "ffff", "-"])));
        assert_eq!(told(true, a_day), expected, "information that is listed as well");
    }
}
