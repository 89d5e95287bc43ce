//! The specification of the conditions: what happened, and what the status says then. tests/decide.rs holds
//! `decide` against it; tests/argocd_health.rs shows every status to Argo CD's health check.

#![allow(dead_code)]

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use windlass::{
    api::{CLEANUP_FINALIZER, DeletionPolicy, EdgeNode, EdgeNodeSpec, EdgeNodeStatus, IdentityEntry},
    model::{Failure, NodeFacts, Notice, Report, ResourceCounts, Revision, ServicePhase, ServiceReport},
    operator::{
        decide::{Decision, Enrollment, Inputs, Limits, Memory, Rendering, decide},
        document::Document,
        gather::Unresolved,
        references::{Kind, Reference},
        render::Missing,
        sessions::{Link, Rival, SessionView},
        validate::{Invalid, InvalidReason},
    },
};

const UID: &str = "0b6a1c3e-0000-4000-8000-000000000001";
/// When the operator started.
const START: i64 = 1_700_000_000;

/// A moment, in seconds after the operator's start.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).expect("in range")
}

/// Everything that a decision is made on.
#[derive(Clone)]
pub struct Scene {
    pub node: EdgeNode,
    pub rendering: Rendering,
    pub enrollment: Enrollment,
    pub session: Option<SessionView>,
    pub replica: &'static str,
    pub memory: Memory,
    pub now: i64,
    pub counts_from: i64,
}

/// A document that differs by its text alone.
pub fn document(text: &str) -> Arc<Document> {
    Document::new(text.into(), [].into(), false)
}

pub fn revision(text: &str) -> Revision {
    document(text).revision.clone()
}

/// A node that was just created, with a valid spec that renders to the document "one".
pub fn new() -> Scene {
    let metadata = ObjectMeta {
        name: Some("press-07".into()),
        namespace: Some("plant-a".into()),
        uid: Some(UID.into()),
        generation: Some(1),
        resource_version: Some("1".into()),
        ..ObjectMeta::default()
    };
    Scene {
        node: EdgeNode { metadata, spec: EdgeNodeSpec::default(), status: None },
        rendering: Rendering::Document(document("one")),
        enrollment: Enrollment::Written("press-07-enrollment".into()),
        session: None,
        replica: "windlass-0",
        memory: Memory::default(),
        now: 100,
        counts_from: 0,
    }
}

/// A report of a machine that rests in the document of that text, with one service.
pub fn report(text: &str) -> Report {
    Report {
        held_revision: Some(revision(text)),
        applied_revision: Some(revision(text)),
        progressing: false,
        resources: ResourceCounts { total: 3, in_desired_state: 3, failed: 0, drifted: 0 },
        failures: Vec::new(),
        services: vec![service("press", ServicePhase::Running, true)],
        facts: NodeFacts {
            os: "linux".into(),
            os_version: "Debian GNU/Linux 12".into(),
            architecture: "amd64".into(),
            hostname: "press-07".into(),
            agent_version: "0.1.0".into(),
            boot_time: 1_699_999_000,
            ..NodeFacts::default()
        },
        notice: None,
        reboot_pending: false,
    }
}

pub fn service(name: &str, state: ServicePhase, ready: bool) -> ServiceReport {
    ServiceReport { name: name.into(), state, ready, restarts: 0, reason: String::new(), message: String::new() }
}

pub fn view(number: u64, link: Link, report: Option<Report>) -> Option<SessionView> {
    let has_reported = report.is_some();
    let peer = ([192, 0, 2, 7], 50000).into();
    let report = report.map(Arc::new);
    Some(SessionView { uid: UID.into(), number, link, peer, rival: None, report, has_reported })
}

impl Scene {
    pub fn decide(&self) -> Decision {
        decide(&Inputs {
            node: &self.node,
            rendering: &self.rendering,
            enrollment: &self.enrollment,
            session: self.session.as_ref(),
            replica: self.replica,
            memory: &self.memory,
            now: at(self.now),
            counts_from: at(self.counts_from),
            limits: Limits {
                disconnect_grace: Duration::from_secs(40),
                missing_reference_grace: Duration::from_secs(60),
                cleanup_timeout: Duration::from_secs(300),
            },
        })
    }

    /// The scene after what was decided in it was written.
    pub fn written(mut self) -> Self {
        let decision = self.decide();
        if let Some(status) = decision.status {
            self.node.status = Some(status);
        }
        self.memory = decision.memory;
        self
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Time goes on.
    pub fn later(self, seconds: i64) -> Self {
        self.with(|s| s.now += seconds)
    }

    pub fn reports(self, report: Report) -> Self {
        let now = self.now;
        self.with(|s| {
            let (number, link) = s.session.as_ref().map_or((1, Link::Up(at(now))), |s| (s.number, s.link));
            s.session = view(number, link, Some(report));
        })
    }

    pub fn disconnected(self) -> Self {
        let now = self.now;
        self.with(|s| {
            if let Some(session) = &mut s.session {
                session.link = Link::Down(at(now));
            }
        })
    }

    /// A new spec, which renders to this.
    pub fn respecified(self, rendering: Rendering) -> Self {
        self.with(|s| {
            s.node.metadata.generation = s.node.metadata.generation.map(|g| g + 1);
            s.rendering = rendering;
        })
    }

    pub fn deleted(self, policy: DeletionPolicy) -> Self {
        let now = self.now;
        self.with(|s| {
            s.node.spec.deletion_policy = policy;
            s.node.metadata.finalizers = Some(vec![CLEANUP_FINALIZER.into()]);
            s.node.metadata.deletion_timestamp = Some(Time(at(now)));
            s.rendering = Rendering::Document(Document::new(b"empty".to_vec(), [].into(), true));
        })
    }

    pub fn status(&self) -> EdgeNodeStatus {
        self.node.status.clone().unwrap_or_default()
    }
}

/// A node that is connected and ready in the document "one".
pub fn ready() -> Scene {
    new().written().later(1).reports(report("one")).written().later(100)
}

/// A node that was ready and is offline.
pub fn offline() -> Scene {
    ready().disconnected().later(41).written().later(100)
}

/// What stands for it in the status.
pub fn missing(why: Unresolved) -> Rendering {
    let reference = Reference { kind: Kind::ConfigMap, name: "press".into(), key: "press.yaml".into() };
    Rendering::Missing(vec![Missing { user: "file /etc/press.yaml".into(), reference, why }])
}

pub fn invalid() -> Rendering {
    Rendering::Invalid(vec![Invalid {
        field: "spec.services[0].dependsOn".into(),
        reason: InvalidReason::DependencyCycle,
        message: "cycle a → b → a; remove one of these dependencies".into(),
    }])
}

fn failed() -> Report {
    Report {
        applied_revision: None,
        resources: ResourceCounts { total: 3, in_desired_state: 2, failed: 1, drifted: 0 },
        failures: vec![Failure {
            resource: "file /etc/press.yaml".into(),
            reason: "IsDirectory".into(),
            message: "a directory is in its place".into(),
        }],
        ..report("one")
    }
}

fn denied(resource: &str) -> Report {
    let message = format!("403: {resource} is denied by the local policy");
    let failure = Failure { resource: resource.into(), reason: "DeniedByLocalPolicy".into(), message };
    Report { failures: vec![failure], ..failed() }
}

fn applying(text: &str) -> Report {
    Report { held_revision: Some(revision(text)), progressing: true, ..report("one") }
}

fn noticed(reason: &str) -> Report {
    Report { notice: Some(Notice { reason: reason.into(), message: "as it is".into() }), ..report("one") }
}

fn windows(reboot_pending: bool) -> Report {
    Report { reboot_pending, facts: NodeFacts { os: "windows".into(), ..report("one").facts }, ..report("one") }
}

fn serving(state: ServicePhase, is_ready: bool) -> Report {
    if matches!(state, ServicePhase::BackingOff | ServicePhase::Failed) {
        let failure = Failure {
            resource: "service press".into(),
            reason: "ServiceCrashing".into(),
            message: "it ended with status 1".into(),
        };
        return Report {
            services: vec![service("press", state, is_ready)],
            resources: ResourceCounts { total: 3, in_desired_state: 2, failed: 1, drifted: 0 },
            failures: vec![failure],
            ..report("one")
        };
    }
    Report { services: vec![service("press", state, is_ready)], ..report("one") }
}

/// One line of the specification.
pub struct Case {
    /// What happened.
    pub name: &'static str,
    /// Before it is decided on.
    pub scene: Scene,
    /// Ready, Reconciling, Stalled, Enrolled, Connected, ConfigApplied, Healthy: status and reason.
    pub conditions: [&'static str; 7],
    /// RebootPending, where the machine is one of Windows.
    pub reboot: Option<&'static str>,
    /// Whether that is to be written.
    pub writes: bool,
    /// Reason of the Event.
    pub event: Option<&'static str>,
    /// Seconds until it is looked at again.
    pub again: Option<u64>,
    /// What Argo CD makes of it.
    pub argo: &'static str,
}

impl Case {
    fn reboot(mut self, said: &'static str) -> Self {
        self.reboot = Some(said);
        self
    }
}

/// The specification.
#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    const READY: [&str; 7] = ["True Ready", "False UpToDate", "False NoObstacle", "True Enrolled", "True SessionUp", "True Applied", "True ServicesReady"];
    const OFFLINE: [&str; 7] = ["Unknown NodeOffline", "False UpToDate", "False NoObstacle", "True Enrolled", "False NodeOffline", "True Applied", "Unknown NodeOffline"];
    let case = |name, scene, conditions, (writes, event, again), argo| Case { name, scene, conditions, reboot: None, writes, event, again, argo };
    let suspend = |s: &mut Scene| { s.node.spec.suspended = true; s.node.metadata.generation = Some(2); s.rendering = Rendering::Document(document("two")); };
    const REVOKED: [&str; 7] = ["False IdentityRevoked", "False IdentityRevoked", "True IdentityRevoked", "False IdentityRevoked", "False IdentityRevoked", "True Applied", "Unknown IdentityRevoked"];
    let revoke = |s: &mut Scene| s.node.spec.identity = Some(IdentityEntry { revoked: true });
    let meet = |s: &mut Scene| if let Some(session) = &mut s.session { session.rival = Some(Rival { peer: ([198, 51, 100, 9], 40000).into(), at: at(s.now) }) };
    let shared: [&str; 7] = { let mut all = READY; all[4] = "True DuplicateIdentity"; all };
    vec![
        // ---- before there is an agent
        case("an EdgeNode is new", new(),
            ["False AwaitingEnrollment", "True AwaitingEnrollment", "False NoObstacle", "False AwaitingEnrollment", "False AwaitingEnrollment", "False AwaitingEnrollment", "Unknown AwaitingEnrollment"],
            (true, None, None), "Progressing"),
        case("its enrollment Secret's name is taken", new().with(|s| s.enrollment = Enrollment::Conflict("Secret plant-a/press-07-enrollment is somebody's".into())),
            ["False EnrollmentSecretConflict", "False EnrollmentSecretConflict", "True EnrollmentSecretConflict", "False EnrollmentSecretConflict", "False AwaitingEnrollment", "False AwaitingEnrollment", "Unknown AwaitingEnrollment"],
            (true, Some("EnrollmentSecretConflict"), None), "Degraded"),
        case("its first agent has connected and not reported", new().written().later(1).with(|s| s.session = view(1, Link::Up(at(101)), None)),
            ["False AwaitingEnrollment", "True AwaitingEnrollment", "False NoObstacle", "False AwaitingEnrollment", "False AwaitingEnrollment", "False AwaitingEnrollment", "Unknown AwaitingEnrollment"],
            (false, None, Some(5)), "Progressing"),
        case("its first agent still has not reported", new().written().later(10).with(|s| s.session = view(1, Link::Up(at(101)), None)),
            ["False Progressing", "True Progressing", "False NoObstacle", "True Enrolled", "True SessionUp", "False Progressing", "Unknown AwaitingReport"],
            (true, Some("Enrolled"), None), "Progressing"),
        case("its first agent reports that it begins", new().written().later(1).reports(Report { applied_revision: None, progressing: true, services: vec![service("press", ServicePhase::Waiting, false)], ..report("one") }),
            ["False Progressing", "True Progressing", "False NoObstacle", "True Enrolled", "True SessionUp", "False Progressing", "Unknown Progressing"],
            (true, Some("Enrolled"), Some(10)), "Progressing"),
        case("its first agent reports that all is done", new().written().later(1).reports(report("one")),
            READY, (true, Some("Enrolled"), None), "Healthy"),
        // ---- nothing changes
        case("nothing happens", ready(), READY, (false, None, None), "Healthy"),
        case("services were restarted by the way", ready().reports(Report { services: vec![ServiceReport { restarts: 7, ..service("press", ServicePhase::Running, true) }], ..report("one") }),
            READY, (false, None, None), "Healthy"),
        case("the boot time jitters", ready().reports(Report { facts: NodeFacts { boot_time: 1_699_999_001, ..report("one").facts }, ..report("one") }),
            READY, (false, None, None), "Healthy"),
        case("the agent was upgraded", ready().reports(Report { facts: NodeFacts { agent_version: "0.2.0".into(), ..report("one").facts }, ..report("one") }),
            READY, (true, None, None), "Healthy"),
        // ---- connecting
        case("the session ended a moment ago", ready().disconnected().later(39), READY, (false, None, Some(1)), "Healthy"),
        case("the session came back in time", ready().disconnected().later(39).with(|s| s.session = view(2, Link::Up(at(230)), Some(report("one")))),
            READY, (false, None, None), "Healthy"),
        case("the session is gone for good", ready().disconnected().later(41), OFFLINE, (true, Some("NodeOffline"), None), "Suspended"),
        case("the operator restarted", ready().with(|s| { s.session = None; s.counts_from = 190; s.now = 200; }), READY, (false, None, Some(30)), "Healthy"),
        case("the operator restarted and the node connected but has not reported", ready().with(|s| { s.session = view(2, Link::Up(at(195)), None); s.counts_from = 190; s.now = 220; }),
            READY, (false, None, None), "Healthy"),
        case("the operator restarted and the node did not come", ready().with(|s| { s.session = None; s.counts_from = 190; s.now = 231; }),
            OFFLINE, (true, Some("NodeOffline"), None), "Suspended"),
        case("the node is still offline", offline(), OFFLINE, (false, None, None), "Suspended"),
        case("the node returned as it was", offline().reports(report("one")).with(|s| s.session = view(2, Link::Up(at(s.now)), Some(report("one")))),
            READY, (true, Some("SessionUp"), None), "Healthy"),
        case("the node returned and has not reported yet", offline().with(|s| { s.session = view(2, Link::Up(at(s.now)), Some(report("one"))); s.session.as_mut().expect("session").has_reported = false; }),
            OFFLINE, (false, None, Some(5)), "Suspended"),
        case("a session of an EdgeNode that had this name before", new().with(|s| { s.session = view(1, Link::Up(at(100)), Some(report("one"))); s.session.as_mut().expect("session").uid = "other".into(); }),
            ["False AwaitingEnrollment", "True AwaitingEnrollment", "False NoObstacle", "False AwaitingEnrollment", "False AwaitingEnrollment", "False AwaitingEnrollment", "Unknown AwaitingEnrollment"],
            (true, None, None), "Progressing"),
        case("another replica took the node over", ready().with(|s| s.replica = "windlass-1").with(|s| { s.session.as_mut().expect("session").number = 0; s.rendering = Rendering::Document(document("two")); }),
            READY, (false, None, None), "Healthy"),
        case("this replica took the node over", ready().with(|s| { s.replica = "windlass-1"; s.session = view(2, Link::Up(at(150)), Some(report("one"))); }),
            READY, (true, None, None), "Healthy"),
        // ---- changing
        case("the spec changed", ready().respecified(Rendering::Document(document("two"))),
            ["False Progressing", "True Progressing", "False NoObstacle", "True Enrolled", "True SessionUp", "False Progressing", "True ServicesReady"],
            (true, None, Some(10)), "Progressing"),
        case("the agent applies the change", ready().respecified(Rendering::Document(document("two"))).written().later(1).reports(applying("two")),
            ["False Progressing", "True Progressing", "False NoObstacle", "True Enrolled", "True SessionUp", "False Progressing", "True ServicesReady"],
            (false, None, Some(9)), "Progressing"),
        case("the service restarts for the change", ready().respecified(Rendering::Document(document("two"))).written().later(1).reports(Report { services: vec![service("press", ServicePhase::Starting, false)], ..report("two") }),
            ["False Progressing", "True Progressing", "False NoObstacle", "True Enrolled", "True SessionUp", "False Progressing", "True ServicesReady"],
            (false, None, Some(9)), "Progressing"),
        case("the change is applied", ready().respecified(Rendering::Document(document("two"))).written().later(2).reports(report("two")),
            READY, (true, Some("Ready"), None), "Healthy"),
        case("the change takes long", ready().respecified(Rendering::Document(document("two"))).written().later(11).reports(Report { services: vec![service("press", ServicePhase::Starting, false)], ..report("two") }),
            ["False Progressing", "True Progressing", "False NoObstacle", "True Enrolled", "True SessionUp", "True Applied", "False Progressing"],
            (true, None, Some(49)), "Progressing"),
        case("the service never becomes ready", ready().respecified(Rendering::Document(document("two"))).written().later(61).reports(Report { services: vec![service("press", ServicePhase::Starting, false)], ..report("two") }),
            ["False ServicesNotReady", "False ServicesNotReady", "False NoObstacle", "True Enrolled", "True SessionUp", "True Applied", "False ServicesNotReady"],
            (true, Some("ServicesNotReady"), None), "Degraded"),
        case("the change brings a service that cannot start", ready().respecified(Rendering::Document(document("two"))).written().later(2).reports(Report { held_revision: Some(revision("two")), progressing: true, ..serving(ServicePhase::Failed, false) }),
            ["False ServicesNotReady", "True ServicesNotReady", "False NoObstacle", "True Enrolled", "True SessionUp", "False ServicesNotReady", "False ServicesNotReady"],
            (true, Some("ServicesNotReady"), Some(58)), "Degraded"),
        case("the spec changed without another document", ready().respecified(Rendering::Document(document("one"))),
            READY, (true, None, None), "Healthy"),
        case("the spec changed while the node is offline", offline().respecified(Rendering::Document(document("two"))),
            ["Unknown NodeOffline", "True NodeOffline", "False NoObstacle", "True Enrolled", "False NodeOffline", "False NodeOffline", "Unknown NodeOffline"],
            (true, None, None), "Progressing"),
        // ---- faults of the machine
        case("a file cannot be written", ready().reports(failed()),
            ["False ResourcesFailed", "True ResourcesFailed", "False NoObstacle", "True Enrolled", "True SessionUp", "False ResourcesFailed", "True ServicesReady"],
            (true, Some("ResourcesFailed"), Some(60)), "Degraded"),
        case("the same failure in other words", ready().reports(failed()).written().later(1).reports(Report { failures: vec![Failure { message: "still".into(), ..failed().failures.remove(0) }], ..failed() }),
            ["False ResourcesFailed", "True ResourcesFailed", "False NoObstacle", "True Enrolled", "True SessionUp", "False ResourcesFailed", "True ServicesReady"],
            (false, None, Some(59)), "Degraded"),
        case("the failure is mended", ready().reports(failed()).written().later(70).reports(report("one")),
            READY, (true, Some("Ready"), None), "Healthy"),
        case("something drifted under Audit", ready().reports(Report { resources: ResourceCounts { total: 3, in_desired_state: 2, failed: 0, drifted: 1 }, ..report("one") }),
            ["False Drifted", "False Drifted", "False NoObstacle", "True Enrolled", "True SessionUp", "False Drifted", "True ServicesReady"],
            (true, Some("Drifted"), None), "Degraded"),
        case("a service fell over", ready().reports(serving(ServicePhase::BackingOff, false)),
            ["False ServicesNotReady", "False ServicesNotReady", "False NoObstacle", "True Enrolled", "True SessionUp", "True Applied", "False ServicesNotReady"],
            (true, Some("ServicesNotReady"), None), "Degraded"),
        case("a service that fell over is being started", ready().reports(serving(ServicePhase::BackingOff, false)).written().later(1).reports(serving(ServicePhase::Starting, false)),
            ["False ServicesNotReady", "False ServicesNotReady", "False NoObstacle", "True Enrolled", "True SessionUp", "True Applied", "False ServicesNotReady"],
            (false, None, Some(10)), "Degraded"),
        case("a service is left failed", ready().reports(serving(ServicePhase::Failed, false)),
            ["False ServicesNotReady", "False ServicesNotReady", "False NoObstacle", "True Enrolled", "True SessionUp", "True Applied", "False ServicesNotReady"],
            (true, Some("ServicesNotReady"), None), "Degraded"),
        case("a readiness probe fails", ready().reports(serving(ServicePhase::Running, false)),
            ["False ServicesNotReady", "False ServicesNotReady", "False NoObstacle", "True Enrolled", "True SessionUp", "True Applied", "False ServicesNotReady"],
            (true, Some("ServicesNotReady"), None), "Degraded"),
        case("a service restarts by the way", ready().reports(serving(ServicePhase::Starting, false)),
            READY, (false, None, Some(10)), "Healthy"),
        case("there are no services", ready().reports(Report { services: Vec::new(), ..report("one") }),
            ["True Ready", "False UpToDate", "False NoObstacle", "True Enrolled", "True SessionUp", "True Applied", "True NoServices"],
            (true, None, None), "Healthy"),
        case("the agent lost its ledger", ready().reports(noticed("StoreDamaged")),
            ["True StoreDamaged", "False UpToDate", "False NoObstacle", "True Enrolled", "True SessionUp", "True Applied", "True ServicesReady"],
            (true, Some("StoreDamaged"), None), "Healthy"),
        case("the agent cannot write", ready().reports(noticed("StoreUnwritable")),
            ["True StoreUnwritable", "False UpToDate", "False NoObstacle", "True Enrolled", "True SessionUp", "True Applied", "True ServicesReady"],
            (true, Some("StoreUnwritable"), None), "Healthy"),
        case("the agent cannot write and a change is to come", ready().respecified(Rendering::Document(document("two"))).written().later(61).reports(Report { held_revision: Some(revision("two")), ..noticed("StoreUnwritable") }),
            ["False StoreUnwritable", "True StoreUnwritable", "False NoObstacle", "True Enrolled", "True SessionUp", "False StoreUnwritable", "True ServicesReady"],
            (true, Some("StoreUnwritable"), None), "Progressing"),
        case("the machine's policy denies a file", ready().reports(denied("file /etc/press.yaml")),
            ["False DeniedByLocalPolicy", "False DeniedByLocalPolicy", "True DeniedByLocalPolicy", "True Enrolled", "True SessionUp", "False DeniedByLocalPolicy", "True ServicesReady"],
            (true, Some("DeniedByLocalPolicy"), Some(60)), "Degraded"),
        case("the machine's policy denies the removal of a service", ready().reports(Report { resources: report("one").resources, ..denied("service oven") }),
            ["False DeniedByLocalPolicy", "False DeniedByLocalPolicy", "True DeniedByLocalPolicy", "True Enrolled", "True SessionUp", "False DeniedByLocalPolicy", "True ServicesReady"],
            (true, Some("DeniedByLocalPolicy"), Some(10)), "Degraded"),
        case("the machine's policy denies something and something else failed first", ready().reports(Report { failures: failed().failures.into_iter().chain(denied("file /etc/x").failures).collect(), ..failed() }),
            ["False DeniedByLocalPolicy", "False DeniedByLocalPolicy", "True DeniedByLocalPolicy", "True Enrolled", "True SessionUp", "False DeniedByLocalPolicy", "True ServicesReady"],
            (true, Some("DeniedByLocalPolicy"), Some(60)), "Degraded"),
        case("it is allowed now", ready().reports(denied("file /etc/press.yaml")).written().later(70).reports(report("one")),
            READY, (true, Some("Ready"), None), "Healthy"),
        case("the machine's policy cannot be used", ready().reports(noticed("PolicyUnusable")),
            ["True PolicyUnusable", "False UpToDate", "False NoObstacle", "True Enrolled", "True SessionUp", "True Applied", "True ServicesReady"],
            (true, Some("PolicyUnusable"), None), "Healthy"),
        case("the machine's policy cannot be used and a change is to come", ready().respecified(Rendering::Document(document("two"))).written().later(61).reports(Report { held_revision: Some(revision("two")), ..noticed("PolicyUnusable") }),
            ["False PolicyUnusable", "False PolicyUnusable", "True PolicyUnusable", "True Enrolled", "True SessionUp", "False PolicyUnusable", "True ServicesReady"],
            (true, Some("PolicyUnusable"), None), "Degraded"),
        case("the operator restarted while a service crashes", ready().reports(serving(ServicePhase::BackingOff, false)).written().later(9).with(|s| s.session = view(2, Link::Up(at(s.now)), None)),
            ["False ServicesNotReady", "False ServicesNotReady", "False NoObstacle", "True Enrolled", "True SessionUp", "True Applied", "False ServicesNotReady"],
            (false, None, None), "Degraded"),
        case("the agent is too old for the document", ready().reports(noticed("UnsupportedByAgent")),
            ["False UnsupportedByAgent", "False UnsupportedByAgent", "True UnsupportedByAgent", "True Enrolled", "True SessionUp", "False UnsupportedByAgent", "True ServicesReady"],
            (true, Some("UnsupportedByAgent"), None), "Degraded"),
        case("the agent is sent a document that nobody signed for it", ready().respecified(Rendering::Document(document("two"))).written().later(1).reports(noticed("UntrustedDocument")),
            ["False UntrustedDocument", "False UntrustedDocument", "True UntrustedDocument", "True Enrolled", "True SessionUp", "False UntrustedDocument", "True ServicesReady"],
            (true, Some("UntrustedDocument"), Some(59)), "Degraded"),
        case("it is sent one that it believes", ready().reports(noticed("UntrustedDocument")).written().later(1).reports(report("one")),
            READY, (true, Some("Ready"), None), "Healthy"),
        // ---- restarts of the machine
        case("a machine of Windows waits for no restart", ready().reports(windows(false)), READY, (true, None, None), "Healthy").reboot("False NoRebootRequired"),
        case("a machine of Windows waits for a restart", ready().reports(windows(false)).written().reports(windows(true)), READY, (true, Some("RebootRequired"), None), "Healthy").reboot("True RebootRequired"),
        case("it still waits for the restart", ready().reports(windows(true)).written().later(100).reports(windows(true)), READY, (false, None, None), "Healthy").reboot("True RebootRequired"),
        case("it was restarted", ready().reports(windows(true)).written().later(100).reports(windows(false)), READY, (true, Some("NoRebootRequired"), None), "Healthy").reboot("False NoRebootRequired"),
        case("it waits for a restart and is offline", ready().reports(windows(true)).written().disconnected().later(41), OFFLINE, (true, Some("NodeOffline"), None), "Suspended").reboot("True RebootRequired"),
        case("it waits for a restart and the operator restarted", ready().reports(windows(true)).written().with(|s| { s.session = None; s.counts_from = 190; s.now = 200; }), READY, (false, None, Some(30)), "Healthy").reboot("True RebootRequired"),
        case("a package asks for a restart while it is applied", ready().reports(windows(false)).written().respecified(Rendering::Document(document("two"))).written().later(1).reports(Report { reboot_pending: true, facts: windows(true).facts, ..applying("two") }),
            ["False Progressing", "True Progressing", "False NoObstacle", "True Enrolled", "True SessionUp", "False Progressing", "True ServicesReady"],
            (false, None, Some(9)), "Progressing").reboot("False NoRebootRequired"),
        case("what asks for a restart is applied", ready().reports(windows(false)).written().respecified(Rendering::Document(document("two"))).written().later(2).reports(Report { reboot_pending: true, facts: windows(true).facts, ..report("two") }),
            READY, (true, Some("RebootRequired"), None), "Healthy").reboot("True RebootRequired"),
        case("a service falls over on a machine that waits for a restart", ready().reports(windows(false)).written().reports(Report { reboot_pending: true, facts: windows(true).facts, ..serving(ServicePhase::BackingOff, false) }),
            ["False ServicesNotReady", "False ServicesNotReady", "False NoObstacle", "True Enrolled", "True SessionUp", "True Applied", "False ServicesNotReady"],
            (true, Some("ServicesNotReady"), None), "Degraded").reboot("True RebootRequired"),
        // ---- faults of the spec
        case("the spec is wrong", ready().respecified(invalid()),
            ["False DependencyCycle", "False DependencyCycle", "True DependencyCycle", "True Enrolled", "True SessionUp", "False DependencyCycle", "True ServicesReady"],
            (true, Some("DependencyCycle"), None), "Degraded"),
        case("the spec is mended", ready().respecified(invalid()).written().later(61).respecified(Rendering::Document(document("one"))),
            READY, (true, Some("Ready"), None), "Healthy"),
        case("the spec is wrong and the node is offline", offline().respecified(invalid()),
            ["False DependencyCycle", "False DependencyCycle", "True DependencyCycle", "True Enrolled", "False NodeOffline", "False DependencyCycle", "Unknown NodeOffline"],
            (true, Some("DependencyCycle"), None), "Degraded"),
        case("a ConfigMap does not exist yet", ready().respecified(missing(Unresolved::ObjectNotFound)),
            ["False ReferenceNotFound", "True ReferenceNotFound", "False NoObstacle", "True Enrolled", "True SessionUp", "False ReferenceNotFound", "True ServicesReady"],
            (true, None, Some(60)), "Progressing"),
        case("a ConfigMap still does not exist", ready().respecified(missing(Unresolved::ObjectNotFound)).written().later(30),
            ["False ReferenceNotFound", "True ReferenceNotFound", "False NoObstacle", "True Enrolled", "True SessionUp", "False ReferenceNotFound", "True ServicesReady"],
            (false, None, Some(30)), "Progressing"),
        case("a ConfigMap has been missing for a minute", ready().respecified(missing(Unresolved::ObjectNotFound)).written().later(60),
            ["False ReferenceNotFound", "False ReferenceNotFound", "True ReferenceNotFound", "True Enrolled", "True SessionUp", "False ReferenceNotFound", "True ServicesReady"],
            (true, Some("ReferenceNotFound"), None), "Degraded"),
        case("it is missing and the operator restarted", ready().respecified(missing(Unresolved::ObjectNotFound)).written().later(60).written().later(5).with(|s| s.memory = Memory::default()),
            ["False ReferenceNotFound", "False ReferenceNotFound", "True ReferenceNotFound", "True Enrolled", "True SessionUp", "False ReferenceNotFound", "True ServicesReady"],
            (false, None, None), "Degraded"),
        case("the ConfigMap appeared", ready().respecified(missing(Unresolved::ObjectNotFound)).written().later(70).written().later(61).with(|s| s.rendering = Rendering::Document(document("two"))),
            ["False Progressing", "True Progressing", "False NoObstacle", "True Enrolled", "True SessionUp", "False Progressing", "True ServicesReady"],
            (true, None, Some(10)), "Progressing"),
        case("a Secret of a refused type", ready().respecified(missing(Unresolved::SecretNotAllowed("helm.sh/release.v1".into()))),
            ["False SecretNotAllowed", "False SecretNotAllowed", "True SecretNotAllowed", "True Enrolled", "True SessionUp", "False SecretNotAllowed", "True ServicesReady"],
            (true, Some("SecretNotAllowed"), None), "Degraded"),
        case("a ConfigMap that the operator may not read", ready().respecified(missing(Unresolved::Forbidden("no".into()))),
            ["False ReferenceForbidden", "False ReferenceForbidden", "True ReferenceForbidden", "True Enrolled", "True SessionUp", "False ReferenceForbidden", "True ServicesReady"],
            (true, Some("ReferenceForbidden"), None), "Degraded"),
        case("a content above the limit", ready().respecified(missing(Unresolved::TooLarge(2 << 20))),
            ["False ContentTooLarge", "False ContentTooLarge", "True ContentTooLarge", "True Enrolled", "True SessionUp", "False ContentTooLarge", "True ServicesReady"],
            (true, Some("ContentTooLarge"), None), "Degraded"),
        // ---- identity
        case("the identity is revoked", ready().with(revoke), REVOKED, (true, Some("IdentityRevoked"), None), "Degraded"),
        case("the identity was revoked and the session has ended", ready().with(revoke).written().disconnected().later(60), REVOKED, (false, None, None), "Degraded"),
        case("the identity was revoked and the operator restarted", ready().with(revoke).written().later(60).with(|s| { s.session = None; s.counts_from = s.now; }),
            REVOKED, (false, None, None), "Degraded"),
        case("the identity of a suspended node is revoked", ready().with(suspend).written().with(revoke),
            { let mut all = REVOKED; all[5] = "Unknown Suspended"; all }, (true, Some("IdentityRevoked"), None), "Degraded"),
        case("the identity of a node that is offline and behind is revoked", offline().respecified(Rendering::Document(document("two"))).with(revoke),
            { let mut all = REVOKED; all[5] = "False IdentityRevoked"; all }, (true, Some("IdentityRevoked"), None), "Degraded"),
        case("the identity of a node that never enrolled is revoked", new().with(revoke),
            { let mut all = REVOKED; all[5] = "False IdentityRevoked"; all }, (true, Some("IdentityRevoked"), None), "Degraded"),
        case("the revocation was called off and the node has returned", ready().with(revoke).written().later(60).with(|s| s.node.spec.identity = None).reports(report("one")),
            READY, (true, Some("Enrolled"), None), "Healthy"),
        case("a second machine came with the node's identity", ready().with(meet), shared, (true, Some("DuplicateIdentity"), Some(900)), "Healthy"),
        case("the second machine comes again and again", ready().with(meet).written().later(400).with(meet), shared, (false, None, Some(900)), "Healthy"),
        case("the second machine stays away", ready().with(meet).written().later(900), READY, (true, None, None), "Healthy"),
        // ---- suspended
        case("the node is suspended", ready().with(suspend),
            ["Unknown Suspended", "False Suspended", "False NoObstacle", "True Enrolled", "True SessionUp", "Unknown Suspended", "True ServicesReady"],
            (true, None, None), "Suspended"),
        case("the node is suspended and the spec is wrong", ready().with(suspend).with(|s| s.rendering = invalid()),
            ["Unknown Suspended", "False DependencyCycle", "True DependencyCycle", "True Enrolled", "True SessionUp", "Unknown Suspended", "True ServicesReady"],
            (true, Some("DependencyCycle"), None), "Degraded"),
        case("a service falls over while the node is suspended", ready().with(suspend).written().later(5).reports(Report { services: vec![service("press", ServicePhase::BackingOff, false)], held_revision: Some(revision("two")), ..serving(ServicePhase::BackingOff, false) }),
            ["Unknown Suspended", "False Suspended", "False NoObstacle", "True Enrolled", "True SessionUp", "Unknown Suspended", "False ServicesNotReady"],
            (true, None, None), "Suspended"),
        // ---- deleted, with a clean-up
        case("the EdgeNode is deleted and is to be cleaned up", ready().deleted(DeletionPolicy::Cleanup),
            ["False CleaningUp", "True CleaningUp", "False CleaningUp", "True Enrolled", "True SessionUp", "True Applied", "True ServicesReady"],
            (true, None, Some(300)), "Progressing"),
    ]
}
