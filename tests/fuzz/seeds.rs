//! Valid inputs of the fuzz bodies.

use jiff::Timestamp;
use prost::Message as _;
use rcgen::{CertificateParams, KeyPair};
use windlass::{
    api::EdgeNodeSpec,
    model::{Bundle, Digest, NodeId, Nonce, Statement},
    operator::{
        authority::{Authority, CheckedRequest},
        pool::Pool,
        render::render,
        validate::validate,
    },
    trust::{SigningKey, sign_bundle},
    wire::trust::encode_statement,
    wire::tunnel_v1::{
        AgentMessage, EnrollRequest, Failure, Hello, NodeFacts, Report, ServiceStatus, Want, agent_message,
    },
};

/// Those of one body.
pub fn of(body: &str) -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    match body {
        "agent_message" => agent_messages(),
        "certificate" => vec![certificate()],
        "desired_state" => vec![document(LINUX), document(WINDOWS)],
        "enroll_request" => vec![enroll_request()],
        "enrollment_file" => vec![enrollment_file().into_bytes()],
        "frames" | "inner_line" => {
            agent_messages().iter().map(|message| frame(message)).chain([PING_CLOSE.to_vec()]).collect()
        }
        "host_path" => texts(&[
            "/srv/acme/press.yaml",
            r"C:\ProgramData\Acme\press.yaml",
            r"\\?\C:\Acme\..\NUL.txt:stream",
            r"C:\PROGRA~1\Acme. ",
        ]),
        "local_policy" => texts(&[windlass::agent::policy::file::EXAMPLE]),
        "proxy_answer" => texts(&[
            "HTTP/1.1 200 Connection established\r\nVia: proxy\r\n\r\nTLS",
            "HTTP/1.0 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
        ]),
        "registry_place" => texts(&[
            "HKLM\\SOFTWARE\\WOW6432Node\\Acme\\Press\0Line",
            "HKEY_USERS\\S-1-5-19\\Software\\Acme\0",
            "HKLM\\SOFTWARE\\Classes\\Wow6432Node\\CLSID\\{0}\0x",
        ]),
        "spiffe_uri" => vec![node().spiffe_uri("windlass").into_bytes()],
        "trust" => trust(),
        _ => Vec::new(),
    }
}

const LINUX: &str = r"
directories: [{path: /srv/acme, mode: '0755', owner: acme, drift: Audit}]
files:
- {path: /srv/acme/motd, source: {inline: 'Grüß Gott'}}
- {path: /srv/acme/press, source: {artifact: {url: 'https://example.com/press', sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}}}
services:
- name: press
  command: [/srv/acme/press, --line, '7']
  dependsOn: [db]
  env: [{name: A, value: '1'}]
  restartOnChange: [{file: /srv/acme/motd}]
  recovery: {actions: [{restart: {delaySeconds: 5}}], resetAfterSeconds: 60}
  readinessProbe: {httpGet: {port: 8080, path: /health}}
  livenessProbe: {exec: {command: [/bin/true]}}
- {name: db, command: [/usr/bin/db], readinessProbe: {grpc: {port: 1}}}
";

const WINDOWS: &str = r"
directories: [{path: 'C:\acme', access: {inherit: true, grants: [{account: 'BUILTIN\Users', rights: Read}]}}]
registryValues:
- {key: 'HKLM\SOFTWARE\Acme', name: Line, dword: 7}
- {key: 'HKLM\SOFTWARE\Acme', name: All, multiString: [a, b], view: Registry32}
packages:
- {name: a, exe: {artifact: {url: 'https://example.com/a', sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}, detect: {file: 'C:\a.exe'}}}
- {name: m, msi: {artifact: {url: 'https://example.com/m', sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}, productCode: '{1A247224-1CFD-4648-A9B1-4D2E24C6EDEB}', version: 1.2.3}}
services: [{name: a, command: ['C:\a.exe'], wrap: true}]
";

/// A ping, then a close, both masked.
const PING_CLOSE: &[u8] = &[0x89, 0x80, 1, 2, 3, 4, 0x88, 0x80, 1, 2, 3, 4];

fn node() -> NodeId {
    let uid = "0b6a1c3e-0000-4000-8000-000000000001";
    NodeId { namespace: "plant-a".into(), name: "press-07".into(), uid: uid.into() }
}

fn document(spec: &str) -> Vec<u8> {
    let spec: EdgeNodeSpec = serde_saphyr::from_str(spec).expect("a spec");
    let valid = validate(&spec).expect("valid");
    render(&node(), valid, &[].into(), &[7; 32], &Pool::default()).expect("rendered").bytes.to_vec()
}

fn agent_messages() -> Vec<Vec<u8>> {
    let text = |text: &str| text.to_owned();
    let facts =
        NodeFacts { os: text("windows"), hostname: text("press-07"), boot_time: 1_700_000_000, ..NodeFacts::default() };
    let report = Report {
        held_revision: text("38bf32ac7b8ec857"),
        applied_revision: text("38bf32ac7b8ec857"),
        facts: Some(facts.clone()),
        failures: vec![Failure { resource: text("file /a"), reason: text("IsDirectory"), message: text("it is") }],
        services: vec![ServiceStatus {
            name: text("press"),
            state: text("Running"),
            ready: true,
            ..Default::default()
        }],
        ..Report::default()
    };
    let hello = Hello { last_session: 7, nonce: vec![9; 16].into(), facts: Some(facts), ..Hello::default() };
    let want = Want { digest: vec![1; 32].into(), offset: 65536, length: 65536 };
    [agent_message::Body::Hello(hello), agent_message::Body::Report(report), agent_message::Body::Want(want)]
        .map(|body| AgentMessage { body: Some(body) }.encode_to_vec())
        .into()
}

/// One frame of a client, under the mask 0.
fn frame(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("short").to_be_bytes();
    [&[0x82, 0x80 | 126], &length[..], &[0; 4], message].concat()
}

fn authority() -> Authority {
    let now = Timestamp::from_second(1_800_000_000).expect("in range");
    Authority::read(&Authority::make(now).expect("made")).expect("read")
}

fn request() -> Vec<u8> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    CertificateParams::default().serialize_request(&key).expect("a request").der().to_vec()
}

fn certificate() -> Vec<u8> {
    let checked = CheckedRequest::check(&request()).expect("valid");
    authority().node(&checked, &node()).expect("signed").to_vec()
}

fn enroll_request() -> Vec<u8> {
    let NodeId { namespace, name, .. } = node();
    EnrollRequest { namespace, name, token: "s3cret".into(), certificate_request: request().into() }.encode_to_vec()
}

fn enrollment_file() -> String {
    let authority = authority().pem().replace('\n', "\n  ");
    format!(
        "apiVersion: edge.windlass.dev/v1alpha1\nkind: Enrollment\nurl: wss://windlass.example.com\nnode: {{namespace: \
         plant-a, name: press-07}}\ntoken: s3cret\ncertificateAuthority: |\n  {authority}\n"
    )
}

fn trust() -> Vec<Vec<u8>> {
    let key = SigningKey::generate().expect("a key");
    let bundle = Bundle { serial: 2, signing_keys: vec![key.public()], authorities: vec![certificate()] };
    let (node_uid, digest) = (node().uid, Digest::of(b"document"));
    let statement = Statement { node_uid, nonce: Nonce::new([1; 16]), counter: 1, digest, size: 8 };
    vec![sign_bundle(&bundle, &key).encode_to_vec(), encode_statement(&statement)]
}
