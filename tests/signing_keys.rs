//! The Secret of the signing keys against an API server that can be made to do what a real one does rarely: another
//! operator that is faster, somebody who writes or deletes the Secret in between.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Method, Request, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::client::Body;
use serde_json::{Value, json};
use windlass::operator::signing::{
    Keyring, Rotation, Signer,
    secret::{KeyringSecret, SecretError},
};

/// One Secret in memory.
#[derive(Default)]
struct Server {
    secret: Option<Value>,
    version: u64,
    /// What somebody else does before the next write is answered.
    meddles: Option<fn(&mut Server)>,
    writes: u32,
}

impl Server {
    fn answer(&mut self, method: &Method, body: Value) -> (StatusCode, Value) {
        let status = |code: StatusCode| {
            let reason = if code == StatusCode::NOT_FOUND { "NotFound" } else { "Conflict" };
            (code, json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code.as_u16()}))
        };
        if method != Method::GET
            && let Some(meddle) = self.meddles.take()
        {
            meddle(self);
        }
        match (method, &self.secret) {
            (&Method::GET, None) => status(StatusCode::NOT_FOUND),
            (&Method::GET, Some(secret)) => (StatusCode::OK, secret.clone()),
            (&Method::POST, Some(_)) => status(StatusCode::CONFLICT),
            (&Method::PUT, None) => status(StatusCode::NOT_FOUND),
            (&Method::PUT, Some(there))
                if there["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] =>
            {
                status(StatusCode::CONFLICT)
            }
            _ => {
                self.writes += 1;
                (StatusCode::OK, self.put(body))
            }
        }
    }

    fn put(&mut self, mut secret: Value) -> Value {
        self.version += 1;
        secret["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.secret = Some(secret.clone());
        secret
    }

    /// What somebody else writes.
    fn keyring(&mut self, keyring: &Keyring) {
        let data: Option<std::collections::BTreeMap<String, ByteString>> = Some(keyring.data());
        let secret = Secret { data, type_: Some("edge.windlass.dev/signing-keys".into()), ..Secret::default() };
        let mut secret = serde_json::to_value(secret).unwrap();
        secret["metadata"] = json!({"name": "keys", "namespace": "a"});
        self.put(secret);
    }

    fn kept(&self) -> Keyring {
        let secret: Secret = serde_json::from_value(self.secret.clone().unwrap()).unwrap();
        Keyring::read(&secret.data.unwrap()).expect("signing keys")
    }
}

const ROTATION: Rotation = Rotation { period: SignedDuration::from_hours(1), overlap: SignedDuration::ZERO };

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + hour * 3600).unwrap()
}

/// An operator at that time, with the certificate authority `ca`.
fn operator(server: &Arc<Mutex<Server>>, clock: fn() -> Timestamp) -> KeyringSecret {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let shared = Arc::clone(server);
    let service = tower::service_fn(move |request: Request<Body>| {
        let shared = Arc::clone(&shared);
        async move {
            let (parts, body) = request.into_parts();
            let body = serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap_or(Value::Null);
            let (code, value) = shared.lock().unwrap().answer(&parts.method, body);
            let body = Body::from(serde_json::to_vec(&value).unwrap());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    let client = kube::Client::new(service, "a");
    KeyringSecret::new(client, ("a", "keys"), vec![b"ca".to_vec()], ROTATION, clock)
}

fn make() -> Keyring {
    Keyring::make(vec![b"ca".to_vec()], at(0)).expect("made")
}

#[tokio::test]
async fn the_first_start_makes_the_keys_and_later_ones_read_them() {
    let server = Arc::default();
    let made = operator(&server, || at(0)).bring(None).await.expect("made");
    let read = operator(&server, || at(0)).bring(None).await.expect("read");
    assert_eq!((made.data(), server.lock().unwrap().writes), (read.data(), 1));
}

#[tokio::test]
async fn two_operators_that_start_at_once_end_with_the_same_keys() {
    let server: Arc<Mutex<Server>> = Arc::default();
    server.lock().unwrap().meddles = Some(|server| server.keyring(&make()));
    let keyring = operator(&server, || at(0)).bring(None).await.expect("read");
    let server = server.lock().unwrap();
    assert_eq!((keyring.data(), server.writes), (server.kept().data(), 0));
}

#[tokio::test]
async fn of_two_rotations_at_once_nothing_is_lost() {
    let server: Arc<Mutex<Server>> = Arc::default();
    server.lock().unwrap().keyring(&make());
    server.lock().unwrap().meddles = Some(|server| {
        let step = server.kept().step(&[b"another authority".to_vec()], at(0), &ROTATION).expect("made");
        server.keyring(&step.expect("due"));
    });
    let keyring = operator(&server, || at(1)).bring(None).await.expect("rotated");
    // The other's bundle, the new key, and with no overlap the end of the old one.
    assert_eq!((keyring.serial(), keyring.after(0).len()), (4, 4));
    assert_eq!(server.lock().unwrap().kept().data(), keyring.data());
}

#[tokio::test]
async fn a_secret_that_was_deleted_is_written_back_and_one_that_was_damaged_is_left() {
    let server: Arc<Mutex<Server>> = Arc::default();
    let made = operator(&server, || at(0)).bring(None).await.expect("made");
    let signer = Signer::new(made.clone(), ROTATION, || at(0));
    server.lock().unwrap().secret = None;
    let back = operator(&server, || at(0)).bring(Some(&signer.keyring())).await.expect("written");
    assert_eq!((back.data(), server.lock().unwrap().kept().data()), (made.data(), made.data()));

    let damage = |change: &dyn Fn(&mut Value)| change(server.lock().unwrap().secret.as_mut().unwrap());
    damage(&|secret| secret["type"] = "Opaque".into());
    let refused = operator(&server, || at(9)).bring(None).await;
    assert!(matches!(refused, Err(SecretError::Foreign(name, _)) if name == "a/keys"));
    damage(&|secret| secret["type"] = "edge.windlass.dev/signing-keys".into());
    damage(&|secret| secret["data"]["keys.json"] = "W10=".into());
    let refused = operator(&server, || at(9)).bring(None).await;
    assert!(matches!(refused, Err(SecretError::Keyring(..))));
    assert_eq!(server.lock().unwrap().writes, 2);
}
