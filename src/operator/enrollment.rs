//! The Secret `<name>-enrollment` of an EdgeNode: what an agent needs to enroll, and whom its token belongs to.
//! Talks to the API server. The decision whether a token still counts is [`judge`], which is pure.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, Resource as _, ResourceExt as _, api::PostParams};
use rand::RngCore as _;
use serde::Serialize;
use subtle::ConstantTimeEq as _;

use super::authority::Authority;
use crate::{
    api::{ENROLLMENT_SECRET_TYPE, EdgeNode},
    model::{Digest, NodeId},
    tunnel::endpoint::Endpoint,
};

/// Annotation: UID of the EdgeNode that the token enrolls.
pub const UID_ANNOTATION: &str = "edge.windlass.dev/uid";
/// Annotation: SHA-256 of the public key that showed the token first.
pub const BOUND_KEY_ANNOTATION: &str = "edge.windlass.dev/bound-key";
/// Annotation: `"true"` once that key's certificate has connected.
pub const USED_ANNOTATION: &str = "edge.windlass.dev/used";
/// Annotation: what [`fingerprint`] said when the file was written.
pub const FINGERPRINT_ANNOTATION: &str = "edge.windlass.dev/enrollment-fingerprint";
/// Key of the Secret that holds the file for the agent.
const FILE: &str = "enrollment.yaml";
/// Key of the Secret that holds the token alone.
const TOKEN: &str = "token";
/// How often an update is tried again because somebody else's came between.
const TRIES: usize = 5;

/// Why the Secret is not there, or not brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum EnrollmentError {
    /// A Secret of that name is somebody else's.
    #[error("Secret {0} exists and is not windlass's own; rename or delete it so that the node can be enrolled")]
    Conflict(String),
    /// The API server did not answer, or refused.
    #[error("Secret {0}: {1}")]
    Api(String, Box<kube::Error>),
    /// The EdgeNode has no namespace, name or UID.
    #[error("the EdgeNode has no namespace, name or UID")]
    Unnamed,
    /// The file cannot be written.
    #[error("enrollment.yaml: {0}")]
    File(String),
}

/// Name of a node's enrollment Secret.
pub fn secret_name(node: &str) -> String {
    format!("{node}-enrollment")
}

/// What an enrollment file depends on besides its token: one with another fingerprint is to be written anew, by
/// [`ensure`].
pub fn fingerprint(authority: &Authority, url: &Endpoint) -> String {
    Digest::of(format!("{url}\n{}", authority.pem()).as_bytes()).to_string()[..16].to_owned()
}

/// Sees to it that the node's Secret is there and tells the present URL and authority. A token that is there
/// is kept.
pub async fn ensure(
    client: Client,
    authority: &Authority,
    node: &EdgeNode,
    url: &Endpoint,
) -> Result<(), EnrollmentError> {
    let (Some(namespace), Some(name), Some(uid)) = (node.namespace(), node.meta().name.clone(), node.uid()) else {
        return Err(EnrollmentError::Unnamed);
    };
    let id = NodeId { namespace, name, uid };
    let secret = secret_name(&id.name);
    let full = format!("{}/{secret}", id.namespace);
    let api: Api<Secret> = Api::namespaced(client, &id.namespace);
    let failed = |error| EnrollmentError::Api(full.clone(), Box::new(error));
    for _ in 0..TRIES {
        let result = match api.get_opt(&secret).await.map_err(failed)? {
            None => {
                let new = render(authority, node, &id, url, &new_token())?;
                api.create(&PostParams::default(), &new).await.map(|_| ())
            }
            Some(found) if found.type_.as_deref() != Some(ENROLLMENT_SECRET_TYPE) => {
                return Err(EnrollmentError::Conflict(full));
            }
            // Of an EdgeNode of the same name that is gone: its token enrolls nobody.
            Some(found) if found.annotations().get(UID_ANNOTATION) != Some(&id.uid) => {
                // Replaced, not deleted: no right to delete Secrets is needed for it. The new owner keeps the garbage
                // collector from it, whose deletion names the resourceVersion that it saw.
                let mut new = render(authority, node, &id, url, &new_token())?;
                new.metadata.resource_version = found.resource_version();
                api.replace(&secret, &PostParams::default(), &new).await.map(|_| ())
            }
            Some(mut found) => {
                let current = fingerprint(authority, url);
                if found.annotations().get(FINGERPRINT_ANNOTATION) == Some(&current) {
                    return Ok(());
                }
                let token = token_of(&found).unwrap_or_else(new_token);
                let new = render(authority, node, &id, url, &token)?;
                found.data = new.data;
                found.annotations_mut().insert(FINGERPRINT_ANNOTATION.to_owned(), current);
                api.replace(&secret, &PostParams::default(), &found).await.map(|_| ())
            }
        };
        match result {
            Ok(()) => return Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) && !is_terminating(&status) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(EnrollmentError::Conflict(full))
}

/// A namespace that is being deleted answers 403, other clashes 409; a namespace that is gone 404.
fn is_terminating(status: &kube::core::Status) -> bool {
    status.code == 404 && status.message.contains("namespaces")
}

/// What `enrollment.yaml` says. The agent reads it by `agent::identity`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    api_version: &'static str,
    kind: &'static str,
    url: String,
    node: FileNode<'a>,
    token: &'a str,
    certificate_authority: &'a str,
}

#[derive(Serialize)]
struct FileNode<'a> {
    namespace: &'a str,
    name: &'a str,
}

fn render(
    authority: &Authority,
    node: &EdgeNode,
    id: &NodeId,
    url: &Endpoint,
    token: &str,
) -> Result<Secret, EnrollmentError> {
    let file = File {
        api_version: "edge.windlass.dev/v1alpha1",
        kind: "Enrollment",
        url: url.to_string(),
        node: FileNode { namespace: &id.namespace, name: &id.name },
        token,
        certificate_authority: authority.pem(),
    };
    let file = serde_saphyr::to_string(&file).map_err(|e| EnrollmentError::File(e.to_string()))?;
    let annotations =
        [(UID_ANNOTATION.to_owned(), id.uid.clone()), (FINGERPRINT_ANNOTATION.to_owned(), fingerprint(authority, url))];
    let mut owner = node.controller_owner_ref(&()).ok_or(EnrollmentError::Unnamed)?;
    owner.block_owner_deletion = Some(true);
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(secret_name(&id.name)),
            namespace: Some(id.namespace.clone()),
            annotations: Some(BTreeMap::from(annotations)),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some(ENROLLMENT_SECRET_TYPE.to_owned()),
        data: Some(
            [(FILE, file), (TOKEN, token.to_owned())]
                .into_iter()
                .map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())))
                .collect(),
        ),
        ..Secret::default()
    })
}

fn new_token() -> String {
    let mut token = [0; 32];
    rand::rng().fill_bytes(&mut token);
    URL_SAFE_NO_PAD.encode(token)
}

fn token_of(secret: &Secret) -> Option<String> {
    let token = secret.data.as_ref()?.get(TOKEN)?;
    String::from_utf8(token.0.clone()).ok().filter(|token| !token.is_empty())
}

/// What a token that was shown is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Shown for the first time: bind it to this key, then sign.
    Bind,
    /// Bound to this key: sign.
    Repeat,
    /// Not a token of that node.
    Unknown,
    /// Bound to another key.
    Bound,
    /// The certificate that it was for has connected.
    Used,
}

/// Judges a token. `uid` is the present UID of the EdgeNode that was named.
pub fn judge(secret: Option<&Secret>, uid: Option<&str>, token: &str, key: &Digest) -> Verdict {
    let (Some(secret), Some(uid)) = (secret, uid) else { return Verdict::Unknown };
    let annotation = |name| secret.annotations().get(name).map(String::as_str);
    let own = secret.type_.as_deref() == Some(ENROLLMENT_SECRET_TYPE) && annotation(UID_ANNOTATION) == Some(uid);
    let expected = token_of(secret).unwrap_or_default();
    let fits = bool::from(expected.as_bytes().ct_eq(token.as_bytes())) && !expected.is_empty();
    match (own && fits, annotation(USED_ANNOTATION), annotation(BOUND_KEY_ANNOTATION)) {
        (false, ..) => Verdict::Unknown,
        (true, Some("true"), _) => Verdict::Used,
        (true, _, None) => Verdict::Bind,
        (true, _, Some(bound)) if bound == key.to_string() => Verdict::Repeat,
        (true, _, Some(_)) => Verdict::Bound,
    }
}

/// Judges a token against the API server's Secret, and binds it where it was not bound.
pub async fn show(
    client: Client,
    (namespace, name): (&str, &str),
    uid: Option<&str>,
    token: &str,
    key: &Digest,
) -> Result<Verdict, kube::Error> {
    let api: Api<Secret> = Api::namespaced(client, namespace);
    let secret_name = secret_name(name);
    let mut tries = 0;
    loop {
        let secret = api.get_opt(&secret_name).await?;
        let verdict = judge(secret.as_ref(), uid, token, key);
        let (Verdict::Bind, Some(mut secret)) = (verdict, secret) else { return Ok(verdict) };
        secret.annotations_mut().insert(BOUND_KEY_ANNOTATION.to_owned(), key.to_string());
        tries += 1;
        // With the resourceVersion that was read: of two keys that come at once, one binds.
        match api.replace(&secret_name, &PostParams::default(), &secret).await {
            Ok(_) => return Ok(Verdict::Bind),
            Err(kube::Error::Api(status)) if status.code == 409 && tries < TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

/// Notes that the certificate that the node's token was for has connected.
pub async fn mark_used(client: Client, node: &NodeId) -> Result<(), kube::Error> {
    let api: Api<Secret> = Api::namespaced(client, &node.namespace);
    let secret_name = secret_name(&node.name);
    let Some(mut secret) = api.get_opt(&secret_name).await? else { return Ok(()) };
    let own = secret.type_.as_deref() == Some(ENROLLMENT_SECRET_TYPE)
        && secret.annotations().get(UID_ANNOTATION) == Some(&node.uid);
    if !own || secret.annotations().get(USED_ANNOTATION).is_some_and(|used| used == "true") {
        return Ok(());
    }
    secret.annotations_mut().insert(USED_ANNOTATION.to_owned(), "true".to_owned());
    api.replace(&secret_name, &PostParams::default(), &secret).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> Authority {
        let now = jiff::Timestamp::from_second(1_800_000_000).expect("in range");
        Authority::read(&Authority::make(now).expect("made")).expect("read")
    }

    fn rendered() -> (Secret, String) {
        let mut node = EdgeNode::new("n", Default::default());
        node.metadata.namespace = Some("a".into());
        node.metadata.uid = Some("u".into());
        let id = NodeId { namespace: "a".into(), name: "n".into(), uid: "u".into() };
        let url = Endpoint::parse("wss://windlass.example.com:8443").expect("valid");
        let token = new_token();
        (render(&authority(), &node, &id, &url, &token).expect("rendered"), token)
    }

    #[test]
    fn the_secret_belongs_to_its_edgenode_and_holds_a_file_for_the_agent() {
        let (secret, token) = rendered();
        let owner = &secret.owner_references()[0];
        assert_eq!((owner.kind.as_str(), owner.uid.as_str(), owner.controller), ("EdgeNode", "u", Some(true)));
        assert_eq!(owner.block_owner_deletion, Some(true));
        assert_eq!(token.len(), 43, "32 bytes in base64");
        let file = &secret.data.as_ref().expect("data")[FILE].0;
        let file: serde_json::Value = serde_saphyr::from_str(std::str::from_utf8(file).expect("text")).expect("YAML");
        assert_eq!(file["url"], "wss://windlass.example.com:8443");
        assert_eq!((&file["node"]["namespace"], &file["node"]["name"]), (&"a".into(), &"n".into()));
        assert_eq!(file["token"], token);
        assert!(file["certificateAuthority"].as_str().expect("text").starts_with("-----BEGIN CERTIFICATE-----"));
    }

    #[tokio::test]
    async fn the_secret_of_an_earlier_edgenode_of_that_name_is_replaced_and_none_is_deleted() {
        use std::sync::{Arc, Mutex};
        let (mut stale, token) = rendered();
        stale.metadata.resource_version = Some("7".into());
        stale.annotations_mut().insert(UID_ANNOTATION.to_owned(), "earlier".to_owned());
        stale.annotations_mut().insert(USED_ANNOTATION.to_owned(), "true".to_owned());
        let stale = serde_json::to_vec(&stale).expect("JSON");
        let writes = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&writes);
        let server = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (stale, seen) = (stale.clone(), Arc::clone(&seen));
            async move {
                let (parts, body) = request.into_parts();
                let mut answer = stale;
                if parts.method != http::Method::GET {
                    answer = body.collect_bytes().await.expect("body").to_vec();
                    seen.lock().expect("unpoisoned").push((parts.method, answer.clone()));
                }
                Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::from(answer)))
            }
        });
        let mut node = EdgeNode::new("n", Default::default());
        node.metadata.namespace = Some("a".into());
        node.metadata.uid = Some("u".into());
        let url = Endpoint::parse("wss://windlass.example.com:8443").expect("valid");
        ensure(Client::new(server, "a"), &authority(), &node, &url).await.expect("ensured");

        let writes = writes.lock().expect("unpoisoned");
        let [(method, body)] = &writes[..] else { panic!("one write, not {}", writes.len()) };
        assert_eq!(method, http::Method::PUT);
        let new: Secret = serde_json::from_slice(body).expect("a Secret");
        assert_eq!(new.resource_version().as_deref(), Some("7"));
        assert_eq!(new.owner_references()[0].uid, "u");
        assert_eq!(
            (new.annotations().get(UID_ANNOTATION), new.annotations().get(USED_ANNOTATION)),
            (Some(&"u".into()), None)
        );
        assert_ne!(token_of(&new), Some(token));
    }

    #[test]
    fn a_token_is_good_for_the_first_key_until_its_certificate_has_connected() {
        let (fresh, token) = rendered();
        let (key, other) = (Digest::of(b"key"), Digest::of(b"other"));
        let with = |annotations: &[(&str, &str)]| {
            let mut secret = fresh.clone();
            for (name, value) in annotations {
                secret.annotations_mut().insert((*name).to_owned(), (*value).to_owned());
            }
            secret
        };
        let hex = key.to_string();
        let bound = with(&[(BOUND_KEY_ANNOTATION, &hex)]);
        let used = with(&[(BOUND_KEY_ANNOTATION, &hex), (USED_ANNOTATION, "true")]);
        let mut foreign = fresh.clone();
        foreign.type_ = Some("Opaque".into());
        let mut emptied = fresh.clone();
        emptied.data = None;
        for (secret, uid, token, key, verdict) in [
            (Some(&fresh), Some("u"), token.as_str(), &key, Verdict::Bind),
            (Some(&fresh), Some("u"), "guessed", &key, Verdict::Unknown),
            (Some(&fresh), Some("u"), "", &key, Verdict::Unknown),
            (Some(&fresh), Some("u2"), &token, &key, Verdict::Unknown),
            (Some(&fresh), None, &token, &key, Verdict::Unknown),
            (None, Some("u"), &token, &key, Verdict::Unknown),
            (Some(&bound), Some("u"), &token, &key, Verdict::Repeat),
            (Some(&bound), Some("u"), &token, &other, Verdict::Bound),
            (Some(&bound), Some("u"), "guessed", &key, Verdict::Unknown),
            (Some(&used), Some("u"), &token, &key, Verdict::Used),
            (Some(&used), Some("u"), &token, &other, Verdict::Used),
            (Some(&used), Some("u"), "guessed", &key, Verdict::Unknown),
            (Some(&foreign), Some("u"), &token, &key, Verdict::Unknown),
            (Some(&emptied), Some("u"), "", &key, Verdict::Unknown),
        ] {
            assert_eq!(judge(secret, uid, token, key), verdict, "{uid:?} {token}");
        }
    }
}
