//! Behind proxies that end TLS: everything works, and who stands in the middle reads nothing and changes nothing.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
};

use rustls::version::TLS13;
use serde_json::json;
use windlass::agent::enrollment_file;

use crate::{
    inspector::{Direction, Inspector, PlantCa},
    parts::{Agent, Process, World, free_port, text_of, until},
};

const NGINX: &str = "/usr/sbin/nginx";

/// nginx before the operator, with the configuration that docs/proxies.md shows, in a folder of its own.
async fn nginx(folder: &Path, listen: SocketAddr, operator: SocketAddr, authority_pem: &str, ca: &PlantCa) -> Process {
    assert!(Path::new(NGINX).exists(), "{NGINX} is not there; .ci/run installs it, or: apt-get install nginx");
    let shown = include_str!("../../docs/proxies.md");
    let server = shown.split("```nginx\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a configuration");
    let folder_text = folder.to_str().expect("UTF-8");
    let server = server
        .replace("listen 443", &format!("listen {listen}"))
        .replace("windlass.windlass-system.svc:8443", &operator.to_string())
        .replace("/etc/nginx/tls", folder_text)
        .replace("windlass.example.com", "localhost");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder_text}/{kind};\n"))
        .concat();
    // One process, which ends with the test.
    let whole = format!(
        "daemon off;\nmaster_process off;\npid {folder_text}/nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n\
         {temporary}{server}}}\n"
    );
    fs::create_dir_all(folder).expect("temporary folder");
    let (certificate, key) = ca.certify("localhost");
    for (name, text) in [
        ("localhost.crt", certificate.as_str()),
        ("localhost.key", &key),
        ("windlass-ca.crt", authority_pem),
        ("nginx.conf", &whole),
    ] {
        fs::write(folder.join(name), text).expect("temporary file");
    }
    let configuration = folder.join("nginx.conf");
    let program = [NGINX, "-e", "stderr", "-p", folder_text, "-c", configuration.to_str().expect("UTF-8")];
    let mut nginx = Process::start(&program, &[], &folder.join("nginx.log"));
    until("nginx listens", || {
        assert!(nginx.has_ended().is_none(), "nginx ended:\n{}", nginx.log());
        TcpStream::connect(listen).ok()
    })
    .await;
    nginx
}

#[tokio::test]
async fn a_machine_behind_nginx_enrolls_and_gets_its_files_once_its_settings_name_nginxs_authority() {
    let world = World::new().await;
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let operator = world.operator_with(&["--tunnel-url", &format!("wss://localhost:{}", listen.port())]).await;
    let mut agent = Agent::prepare(&world, "press-07");
    world.config_map("press", json!({"recipe": text_of(200_000)})).await;
    let source = json!({"configMapKeyRef": {"name": "press", "key": "recipe"}});
    let path = agent.machine.path("recipe");
    let node = world.node("press-07", json!({"files": [{"path": path, "source": source}]})).await;
    let enrollment = node.enrollment().await;
    let authority = enrollment_file::parse(&enrollment).expect("an enrollment").authority_pem;
    let ca = PlantCa::new();
    let nginx = nginx(&world.path("nginx"), listen, operator.tunnel, &authority, &ca).await;

    agent.enroll_with(&enrollment);
    let told = "was issued by \"CN=Plant A inspection\"; expected TLS 1.3 by the authority of the enrollment file; \
                where a proxy on the way ends TLS, set --additional-ca";
    agent.until_log("not enrolled yet").await;
    until("windlass-agent status says whose the certificate is", || {
        String::from_utf8_lossy(&agent.status(&[]).stdout).contains(told).then_some(())
    })
    .await;
    agent.stop().await;

    let ca = ca.write_to(&world.path("nginx"));
    agent.set_environment("WINDLASS_ADDITIONAL_CA", ca.to_str());
    agent.start();
    node.until_ready().await;
    assert_eq!(fs::read_to_string(&path).expect("the file"), text_of(200_000));
    assert!(agent.log().contains("inner_tls=true"), "it went through nginx's TLS");
    drop(nginx);
    agent.until_disconnected().await;
}

#[tokio::test]
async fn a_proxy_that_reads_and_alters_gets_no_secret_and_gets_nothing_accepted() {
    let world = World::new().await;
    let operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    world.secret("press", "Opaque", json!({"recipe": "the recipe of the plant"})).await;
    let source = json!({"secretKeyRef": {"name": "press", "key": "recipe"}});
    let path = agent.machine.path("recipe");
    let node = world.node("press-07", json!({"files": [{"path": path, "source": source}]})).await;
    let enrollment = node.enrollment().await;
    let file = enrollment_file::parse(&enrollment).expect("an enrollment");
    let ca = PlantCa::new();
    // "plant:p@ss"
    let proxy = Inspector::before((operator.tunnel, &file.authority_pem), &ca, &TLS13, Some("cGxhbnQ6cEBzcw=="));
    agent.set_environment("WINDLASS_PROXY", Some(&format!("http://plant:p%40ss@{}", proxy.address)));
    agent.set_environment("WINDLASS_ADDITIONAL_CA", ca.write_to(&world.path("press-07")).to_str());

    agent.enroll_with(&enrollment);
    node.until_ready().await;
    assert_eq!(fs::read_to_string(&path).expect("the file"), "the recipe of the plant");
    assert!(proxy.saw("windlass.inner.v1"), "it sees what is in clear");
    for secret in [&file.token, "recipe", "press-07", &file.namespace, "CERTIFICATE"] {
        assert!(!proxy.saw(secret), "{secret} can be read in the proxy");
    }
    for direction in [Direction::ToOperator, Direction::ToAgent] {
        let so_far = agent.log().matches("bytes were changed on the way").count();
        proxy.change_next(direction);
        until("the agent tells of it", || {
            (agent.log().matches("bytes were changed on the way").count() > so_far).then_some(())
        })
        .await;
        agent.until_connected().await;
    }
    // Meanwhile and afterwards nothing but what the operator says is carried out.
    world.secret("press", "Opaque", json!({"recipe": "a better recipe"})).await;
    until("the file is changed", || (fs::read_to_string(&path).ok()? == "a better recipe").then_some(())).await;
    assert!(!agent.log().contains("p%40ss") && !agent.log().contains("p@ss"), "the password is in the log");
}
