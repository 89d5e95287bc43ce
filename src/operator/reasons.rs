//! Reasons that conditions and Events carry, beside those of an invalid spec ([`super::validate::InvalidReason`]).
//! Each stands in docs/reference/reasons.md with what a person can do about it; a test compares.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*
        /// All of them.
        pub const ALL: &[&str] = &[$($text),*];
    };
}

reasons! {
    /// Ready: connected, healthy and as desired.
    READY = "Ready";
    /// ConfigApplied: the desired revision was carried out and nothing failed.
    APPLIED = "Applied";
    /// On the way to the desired revision.
    PROGRESSING = "Progressing";
    /// Reconciling is False: there is nothing to do.
    UP_TO_DATE = "UpToDate";
    /// Stalled is False: nothing waits for a person.
    NO_OBSTACLE = "NoObstacle";
    /// `spec.suspended`.
    SUSPENDED = "Suspended";
    /// No agent has enrolled as this node.
    AWAITING_ENROLLMENT = "AwaitingEnrollment";
    /// An agent has an identity of this node.
    ENROLLED = "Enrolled";
    /// A Secret of another owner has the name of the node's enrollment Secret.
    ENROLLMENT_SECRET_CONFLICT = "EnrollmentSecretConflict";
    /// `spec.identity.revoked`: nobody is let in as this node.
    IDENTITY_REVOKED = "IdentityRevoked";
    /// Two machines hold the identity of this node, and came at the same time.
    DUPLICATE_IDENTITY = "DuplicateIdentity";
    /// A session is up.
    SESSION_UP = "SessionUp";
    /// No session is up.
    NODE_OFFLINE = "NodeOffline";
    /// A session is up and has not reported yet.
    AWAITING_REPORT = "AwaitingReport";
    /// A ConfigMap, a Secret or a key of one does not exist.
    REFERENCE_NOT_FOUND = "ReferenceNotFound";
    /// The operator may not read a ConfigMap or Secret.
    REFERENCE_FORBIDDEN = "ReferenceForbidden";
    /// A Secret of a type that no node may read.
    SECRET_NOT_ALLOWED = "SecretNotAllowed";
    /// A content above the limit.
    CONTENT_TOO_LARGE = "ContentTooLarge";
    /// Some directories or files could not be brought into their state.
    RESOURCES_FAILED = "ResourcesFailed";
    /// Something differs and is left so, as its drift policy is Audit.
    DRIFTED = "Drifted";
    /// Every service is in its state and its probes pass.
    SERVICES_READY = "ServicesReady";
    /// The spec has no services.
    NO_SERVICES = "NoServices";
    /// A service is not in its state, or its probe does not pass.
    SERVICES_NOT_READY = "ServicesNotReady";
    /// The agent lacks a feature that the desired state needs.
    UNSUPPORTED_BY_AGENT = "UnsupportedByAgent";
    /// The desired state that the agent was sent, or the one in its store, is not signed for it by anybody whom it believes.
    UNTRUSTED_DOCUMENT = "UntrustedDocument";
    /// The agent lost what it knew of which things it created.
    STORE_DAMAGED = "StoreDamaged";
    /// The agent cannot write to its store, and changes nothing until it can.
    STORE_UNWRITABLE = "StoreUnwritable";
    /// The machine's administrator does not allow what the spec asks for.
    DENIED_BY_LOCAL_POLICY = "DeniedByLocalPolicy";
    /// The machine's local policy cannot be used, and the agent changes nothing until it can.
    POLICY_UNUSABLE = "PolicyUnusable";
    /// RebootPending: the machine waits for a restart.
    REBOOT_REQUIRED = "RebootRequired";
    /// RebootPending is False.
    NO_REBOOT_REQUIRED = "NoRebootRequired";
    /// The EdgeNode is being deleted and the agent removes what it created.
    CLEANING_UP = "CleaningUp";
    /// Event: the clean-up was given up and the EdgeNode let go.
    CLEANUP_TIMED_OUT = "CleanupTimedOut";
}
