//! Turns a valid spec and the contents it refers to into the one document its agent receives.
//! Pure: everything it needs was fetched by [`super::gather`]. Knows nothing of tunnels or status.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::{
    document::Document,
    gather::{Gathered, Unresolved},
    pool::Pool,
    references::{Kind, Reference},
    validate::{Valid, ValidFile, ValidService, ValidSource},
};
use crate::{
    model::{Content, DesiredState, Digest, File, NodeId, Salt, Source, features},
    wire,
};

/// A reference that leads to no contents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{user}: {} {}, key {}: {why}", reference.kind, reference.name, reference.key)]
pub struct Missing {
    /// What needs it, such as `file /etc/acme.conf`.
    pub user: String,
    /// What was looked for.
    pub reference: Reference,
    /// What was found instead.
    pub why: Unresolved,
}

/// The references that have to be gathered for a spec.
pub fn needs(valid: &Valid) -> BTreeSet<Reference> {
    let of_files = valid.files.iter().filter_map(|file| match &file.source {
        ValidSource::Object(reference) => Some(reference),
        ValidSource::Inline(_) | ValidSource::Artifact(_) => None,
    });
    let passwords = valid.services.iter().filter_map(|service| service.password.as_ref());
    of_files.chain(passwords).cloned().collect()
}

/// The document of a node. The same spec and contents always give the same bytes.
pub fn render(
    node: &NodeId,
    valid: Valid,
    gathered: &Gathered,
    content_key: &[u8; 32],
    pool: &Pool,
) -> Result<Arc<Document>, Vec<Missing>> {
    let Valid { suspended, directories, files, registry_values, packages, services } = valid;
    let mut shelf = Shelf { node, gathered, content_key, contents: BTreeMap::new(), missing: Vec::new() };
    let mut rendered_files = Vec::with_capacity(files.len());
    for ValidFile { path, source, attributes, drift } in files {
        let source = match source {
            ValidSource::Artifact(artifact) => Source::Artifact(artifact),
            ValidSource::Inline(text) => {
                let digest = Digest::of(text.as_bytes());
                Source::Content(shelf.keep(digest, None, pool.intern(digest, Bytes::from(text))))
            }
            ValidSource::Object(reference) => match shelf.take(reference, || format!("file {path}")) {
                Some(content) => Source::Content(content),
                None => continue,
            },
        };
        rendered_files.push(File { path, source, attributes, drift });
    }
    let mut rendered_services = Vec::with_capacity(services.len());
    for ValidService { mut service, password } in services {
        service.password =
            password.and_then(|reference| shelf.take(reference, || format!("password of service {}", service.name)));
        rendered_services.push(service);
    }
    let Shelf { contents, missing, .. } = shelf;
    if !missing.is_empty() {
        return Err(missing);
    }
    let mut desired = DesiredState {
        node_uid: node.uid.clone(),
        required_features: Vec::new(),
        suspended,
        directories,
        files: rendered_files,
        services: rendered_services,
        registry_values,
        packages,
    };
    desired.required_features = features::used_by(&desired);
    Ok(Document::new(wire::desired::encode(&desired), contents, false))
}

/// Where the contents of one document come from and are put together.
struct Shelf<'a> {
    node: &'a NodeId,
    gathered: &'a Gathered,
    content_key: &'a [u8; 32],
    contents: BTreeMap<Digest, Bytes>,
    missing: Vec<Missing>,
}

impl Shelf<'_> {
    /// What a reference leads to; where it leads nowhere, that is noted.
    fn take(&mut self, reference: Reference, user: impl FnOnce() -> String) -> Option<Content> {
        let found = self.gathered.get(&reference).cloned().unwrap_or(Err(Unresolved::ObjectNotFound));
        match (found, reference.kind) {
            (Ok(shared), Kind::ConfigMap) => Some(self.keep(shared.digest, None, shared.bytes)),
            (Ok(shared), Kind::Secret) => {
                let salt = salt(self.content_key, self.node, &reference);
                Some(self.keep(Digest::of_salted(Some(&salt), &shared.bytes), Some(salt), shared.bytes))
            }
            (Err(why), _) => {
                self.missing.push(Missing { user: user(), reference, why });
                None
            }
        }
    }

    fn keep(&mut self, digest: Digest, salt: Option<Salt>, bytes: Bytes) -> Content {
        let size = bytes.len() as u64;
        self.contents.insert(digest, bytes);
        Content { digest, salt, size }
    }
}

/// The document that has a node remove everything it created.
pub fn cleanup(node: &NodeId) -> Arc<Document> {
    let desired = DesiredState { node_uid: node.uid.clone(), ..DesiredState::default() };
    Document::new(wire::desired::encode(&desired), BTreeMap::new(), true)
}

/// The same for every version of a Secret's key on one node, and unlike any other: a rotation back to an
/// earlier content is recognised, and equal contents of two keys or nodes do not show as equal.
fn salt(content_key: &[u8; 32], node: &NodeId, reference: &Reference) -> Salt {
    // Keys of any length are taken: the error cannot come.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(content_key) else { return Salt::new([0; 32]) };
    for part in ["windlass content salt v1", &node.uid, &node.namespace, &reference.name, &reference.key] {
        mac.update(part.as_bytes());
        mac.update(&[0]);
    }
    Salt::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        api::EdgeNodeSpec,
        operator::{gather::Shared, validate::validate},
    };

    const KEY: [u8; 32] = [7; 32];

    fn node(uid: &str) -> NodeId {
        NodeId { namespace: "plant-a".into(), name: "press-07".into(), uid: uid.into() }
    }

    fn spec() -> EdgeNodeSpec {
        serde_saphyr::from_str(
            r"
directories:
- {path: /srv/acme, mode: '0755', owner: acme}
- {path: /srv/acme/data}
files:
- {path: /srv/acme/motd, source: {inline: 'Grüß Gott'}}
- {path: /srv/acme/press.yaml, source: {configMapKeyRef: {name: press, key: press.yaml}}}
- {path: /srv/acme/pin, source: {secretKeyRef: {name: press, key: pin}}}
- {path: /srv/acme/press, mode: '0755', source: {artifact: {url: 'https://example.com/press', sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}}}
services:
- name: press
  command: [/srv/acme/press, --config, /srv/acme/press.yaml]
  dependsOn: [db]
  env: [{name: B, value: '2'}, {name: A, value: '1'}]
  restartOnChange: [{file: /srv/acme/press.yaml}, {file: /srv/acme/pin}]
  readinessProbe: {httpGet: {port: 8080, path: /health}}
- {name: db, command: [/usr/bin/db]}
",
        )
        .expect("spec")
    }

    fn gathered() -> Gathered {
        let shared = |text: &'static str| {
            Ok(Shared { bytes: Bytes::from_static(text.as_bytes()), digest: Digest::of(text.as_bytes()) })
        };
        [
            (Reference { kind: Kind::ConfigMap, name: "press".into(), key: "press.yaml".into() }, shared("line: 7")),
            (Reference { kind: Kind::Secret, name: "press".into(), key: "pin".into() }, shared("1234")),
        ]
        .into()
    }

    fn document(uid: &str, spec: &EdgeNodeSpec) -> Arc<Document> {
        render(&node(uid), validate(spec).expect("valid"), &gathered(), &KEY, &Pool::default()).expect("rendered")
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A document that does not use what a later schema adds keeps its bytes, or every node would get a new
    /// revision with an upgrade of the operator.
    #[test]
    fn the_bytes_of_this_document_stay_for_ever() {
        let document = document("0b6a1c3e-0000-4000-8000-000000000001", &spec());
        insta::assert_snapshot!("golden_document", hex(&document.bytes));
        assert_eq!(document.revision.as_str(), &hex(document.digest.as_bytes())[..16]);
    }

    #[test]
    fn contents_of_secrets_are_named_by_another_digest_on_every_node() {
        let (one, other) = (document("1", &spec()), document("2", &spec()));
        let secret = |d: &Document| d.contents.iter().find(|(_, b)| b.as_ref() == b"1234").map(|(d, _)| *d);
        assert_ne!(secret(&one), secret(&other));
        assert_ne!(secret(&one), Some(Digest::of(b"1234")));
        assert_eq!(secret(&one), secret(&document("1", &spec())));
    }

    const OF_WINDOWS: &str = r"
directories: [{path: 'C:\acme', access: {inherit: true}}]
registryValues:
- {key: 'HKLM\SOFTWARE\Acme', name: Line, dword: 7}
- {key: 'HKLM\SOFTWARE\Acme', name: '', string: x}
packages:
- {name: b, exe: {artifact: {url: 'https://example.com/b', sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}, detect: {file: 'C:\b.exe'}}}
- {name: a, exe: {artifact: {url: 'https://example.com/a', sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}, detect: {file: 'C:\a.exe'}}}
services:
- {name: a, command: ['C:\a.exe'], account: '.\a', passwordSecretRef: {name: press, key: pin}, wrap: true}
";

    #[test]
    fn a_password_travels_as_the_contents_of_a_secret_do() {
        let spec: EdgeNodeSpec = serde_saphyr::from_str(OF_WINDOWS).expect("spec");
        let secret = Reference { kind: Kind::Secret, name: "press".into(), key: "pin".into() };
        assert_eq!(needs(&validate(&spec).expect("valid")), [secret].into());
        let document = document("1", &spec);
        let desired = wire::desired::decode(&document.bytes).expect("decodes");
        let password = desired.services[0].password.as_ref().expect("a password");
        assert!(password.salt.is_some());
        assert_eq!(document.contents[&password.digest].as_ref(), b"1234");
        assert!(!document.bytes.windows(4).any(|bytes| bytes == b"1234"));
        let missing = render(&node("1"), validate(&spec).expect("valid"), &Gathered::new(), &KEY, &Pool::default())
            .expect_err("missing");
        assert_eq!(
            missing[0].to_string(),
            "password of service a: Secret press, key pin: it does not exist; create it"
        );
    }

    #[test]
    fn a_document_requires_the_features_that_it_uses_and_no_other() {
        let desired = |yaml: &str| {
            let spec = serde_saphyr::from_str(yaml).expect("spec");
            wire::desired::decode(&document("1", &spec).bytes).expect("decodes")
        };
        assert_eq!(desired(OF_WINDOWS).required_features, features::ALL);
        let first_version =
            "files: [{path: 'C:\\a', owner: a, source: {inline: x}}]\nservices: [{name: a, command: ['C:\\a.exe']}]";
        assert_eq!(desired(first_version).required_features, [""; 0]);
        for (yaml, feature) in [
            ("files: [{path: 'C:\\a', hidden: false, source: {inline: x}}]", features::WINDOWS_ATTRIBUTES),
            ("registryValues: [{key: 'HKLM\\SOFTWARE\\A', name: a, dword: 1}]", features::REGISTRY_VALUES),
            ("services: [{name: a, command: ['C:\\a.exe'], wrap: true}]", features::WRAP),
        ] {
            assert_eq!(desired(yaml).required_features, [feature], "{yaml}");
        }
    }

    #[test]
    fn every_reference_that_leads_nowhere_is_told() {
        let missing = render(&node("1"), validate(&spec()).expect("valid"), &Gathered::new(), &KEY, &Pool::default())
            .expect_err("missing");
        let told: Vec<String> = missing.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "file /srv/acme/pin: Secret press, key pin: it does not exist; create it",
                "file /srv/acme/press.yaml: ConfigMap press, key press.yaml: it does not exist; create it",
            ]
        );
    }

    #[test]
    fn a_clean_up_is_the_document_of_a_node_that_should_have_nothing() {
        let document = cleanup(&node("1"));
        assert!(document.cleanup);
        let desired = wire::desired::decode(&document.bytes).expect("decodes");
        assert_eq!(desired, DesiredState { node_uid: "1".into(), ..DesiredState::default() });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_order_of_lists_of_windows_makes_no_other_document(
            registry_values in Just(serde_saphyr::from_str::<EdgeNodeSpec>(OF_WINDOWS).expect("spec").registry_values).prop_shuffle(),
            packages in Just(serde_saphyr::from_str::<EdgeNodeSpec>(OF_WINDOWS).expect("spec").packages).prop_shuffle(),
        ) {
            let spec: EdgeNodeSpec = serde_saphyr::from_str(OF_WINDOWS).expect("spec");
            let shuffled = EdgeNodeSpec { registry_values, packages, ..spec.clone() };
            prop_assert_eq!(&document("1", &shuffled).bytes, &document("1", &spec).bytes);
        }

        #[test]
        fn the_order_of_lists_makes_no_other_document(
            directories in Just(spec().directories).prop_shuffle(),
            files in Just(spec().files).prop_shuffle(),
            services in Just(spec().services).prop_shuffle(),
            env in Just(spec().services[0].env.clone()).prop_shuffle(),
            restarts in Just(spec().services[0].restart_on_change.clone()).prop_shuffle(),
        ) {
            let mut shuffled = EdgeNodeSpec { directories, files, services, ..spec() };
            for service in &mut shuffled.services {
                if service.name == "press" {
                    service.env = env.clone();
                    service.restart_on_change = restarts.clone();
                }
            }
            prop_assert_eq!(&document("1", &shuffled).bytes, &document("1", &spec()).bytes);
        }
    }
}
