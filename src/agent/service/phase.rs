//! The life of the service as the SCM sees it: what is reported in each phase, and what a control makes of it.
//! Pure; the source is Win32, "SERVICE_STATUS structure" and "Service Control Handler Function".

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

/// Where the service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Opens what it has on this machine.
    Starting,
    /// Runs, with or without a network.
    Running,
    /// Was asked to stop.
    Stopping,
    /// The machine goes down, and the node's services are stopped first.
    StoppingMachine,
    /// Has ended.
    Stopped(End),
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As it was asked to.
    Asked,
    /// By itself: the SCM starts it again.
    Failed,
}

impl End {
    /// Runs the service's program. One that panics has failed like any other: while the service does not say that it
    /// stopped, nobody starts it again.
    pub fn of<E>(program: impl FnOnce() -> Result<(), E>) -> Self {
        match catch_unwind(AssertUnwindSafe(program)) {
            Ok(Ok(())) => Self::Asked,
            // Its reasons were logged, those of a panic by the panic's hook.
            Ok(Err(_)) | Err(_) => Self::Failed,
        }
    }
}

/// What the SCM asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// A person or a program stops the service.
    Stop,
    /// The machine goes down, and there is no time left.
    Shutdown,
    /// The machine is about to go down, and waits.
    Preshutdown,
}

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The agent ends, and no service with it.
    StopAgent,
    /// The node's services are stopped in reverse order, then the agent ends.
    StopMachine,
    /// Nothing.
    Nothing,
}

/// What is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported {
    /// Controls that are taken.
    pub accepts: &'static [Control],
    /// Within this the next report comes.
    pub wait_hint: Duration,
    /// Whether the service is on the way, so that every report counts one checkpoint more.
    pub is_pending: bool,
}

/// How often a report is made while the service is on the way.
pub const REPORT_PERIOD: Duration = Duration::from_secs(2);
/// Opening a store that must be repaired first can take long.
const STARTING: Duration = Duration::from_secs(60);
const STOPPING: Duration = Duration::from_secs(15);

impl Phase {
    /// What the SCM is told.
    pub fn reported(self) -> Reported {
        let (accepts, wait_hint): (&'static [Control], _) = match self {
            Self::Starting => (&[], STARTING),
            Self::Running => (&[Control::Stop, Control::Shutdown, Control::Preshutdown], Duration::ZERO),
            Self::Stopping | Self::StoppingMachine => (&[], STOPPING),
            Self::Stopped(_) => (&[], Duration::ZERO),
        };
        Reported { accepts, wait_hint, is_pending: wait_hint > Duration::ZERO }
    }

    /// The phase after a control, and what is done.
    pub fn after(self, control: Control) -> (Self, Answer) {
        match (self, control) {
            (Self::Running | Self::Starting, Control::Preshutdown) => (Self::StoppingMachine, Answer::StopMachine),
            // At the machine's shutdown every service is told by the SCM itself.
            (Self::Running | Self::Starting, Control::Stop | Control::Shutdown) => (Self::Stopping, Answer::StopAgent),
            (Self::StoppingMachine, Control::Shutdown) => (Self::Stopping, Answer::StopAgent),
            (Self::Stopping | Self::StoppingMachine | Self::Stopped(_), _) => (self, Answer::Nothing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_ends_the_agent_alone_and_a_preshutdown_stops_the_services_first() {
        use {Answer::*, Control::*, Phase::*};
        for (before, control, after) in [
            (Running, Stop, (Stopping, StopAgent)),
            (Running, Shutdown, (Stopping, StopAgent)),
            (Running, Preshutdown, (StoppingMachine, StopMachine)),
            (Starting, Stop, (Stopping, StopAgent)),
            (Starting, Preshutdown, (StoppingMachine, StopMachine)),
            (StoppingMachine, Preshutdown, (StoppingMachine, Nothing)),
            (StoppingMachine, Stop, (StoppingMachine, Nothing)),
            (StoppingMachine, Shutdown, (Stopping, StopAgent)),
            (Stopping, Preshutdown, (Stopping, Nothing)),
            (Stopped(End::Failed), Stop, (Stopped(End::Failed), Nothing)),
        ] {
            assert_eq!(before.after(control), after, "{before:?} {control:?}");
        }
    }

    #[test]
    fn a_program_that_panics_has_failed() {
        assert_eq!(End::of(|| Ok::<(), String>(())), End::Asked);
        assert_eq!(End::of(|| Err("the disk is full")), End::Failed);
        assert_eq!(End::of(|| -> Result<(), String> { panic!("a part of the agent") }), End::Failed);
    }

    #[test]
    fn controls_are_taken_while_it_runs_and_at_no_other_time() {
        for phase in [Phase::Starting, Phase::Stopping, Phase::StoppingMachine, Phase::Stopped(End::Asked)] {
            assert!(phase.reported().accepts.is_empty(), "{phase:?}");
        }
        assert_eq!(Phase::Running.reported().accepts.len(), 3);
    }

    #[test]
    fn on_the_way_a_hint_is_given_that_outlasts_the_period_of_reports() {
        for phase in [Phase::Starting, Phase::Stopping, Phase::StoppingMachine] {
            let reported = phase.reported();
            assert!(reported.is_pending && reported.wait_hint > REPORT_PERIOD * 3, "{phase:?}");
        }
        for phase in [Phase::Running, Phase::Stopped(End::Asked)] {
            assert_eq!((phase.reported().is_pending, phase.reported().wait_hint), (false, Duration::ZERO));
        }
    }
}
