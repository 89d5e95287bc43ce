//! What the API server alone says to an EdgeNode: refusals, explanations, columns, the examples.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::parts::{Node, World};

/// Asks the API server and expects a refusal with these words.
async fn refused(world: &World, spec: Value, words: &str) {
    let answer = Node::new(world, "refused").try_apply(spec.clone()).await;
    let error = answer.expect_err(&format!("{spec} is refused")).to_string();
    assert!(error.contains(words), "{spec}\nis refused with {error}\nwhich is expected to say {words:?}");
}

fn file(path: &str) -> Value {
    json!({"path": path, "source": {"inline": "x"}})
}

fn service(name: &str, more: Value) -> Value {
    let mut service = json!({"name": name, "command": ["/bin/true"]});
    service.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    service
}

#[tokio::test]
async fn a_source_that_is_not_exactly_one_is_refused() {
    let world = World::new().await;
    let words = "exactly one of inline, configMapKeyRef, secretKeyRef and artifact must be set";
    refused(&world, json!({"files": [{"path": "/a", "source": {}}]}), words).await;
    let two = json!({"inline": "x", "configMapKeyRef": {"name": "a", "key": "b"}});
    refused(&world, json!({"files": [{"path": "/a", "source": two}]}), words).await;
}

#[tokio::test]
async fn a_probe_that_is_not_exactly_one_is_refused() {
    let world = World::new().await;
    let words = "exactly one of httpGet, tcpSocket, exec and grpc must be set";
    refused(&world, json!({"services": [service("a", json!({"readinessProbe": {}}))]}), words).await;
    let two = json!({"livenessProbe": {"tcpSocket": {"port": 1}, "grpc": {"port": 1}}});
    refused(&world, json!({"services": [service("a", two)]}), words).await;
}

#[tokio::test]
async fn a_recovery_action_that_is_not_exactly_one_is_refused() {
    let world = World::new().await;
    let words = "exactly one of restart and none must be set";
    for action in [json!({}), json!({"restart": {}, "none": {}})] {
        refused(&world, json!({"services": [service("a", json!({"recovery": {"actions": [action]}}))]}), words).await;
    }
}

fn value(more: Value) -> Value {
    let mut value = json!({"key": "HKLM\\SOFTWARE\\Acme", "name": "Line"});
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    value
}

#[tokio::test]
async fn a_registry_value_that_is_not_exactly_one_kind_of_data_in_its_range_is_refused() {
    let world = World::new().await;
    let words = "exactly one of string, expandString, multiString, dword, qword and binary must be set";
    for data in [json!({}), json!({"string": "x", "dword": 1})] {
        refused(&world, json!({"registryValues": [value(data)]}), words).await;
    }
    for (data, field) in [
        (json!({"dword": -1}), "dword"),
        (json!({"dword": 4_294_967_296_u64}), "dword"),
        (json!({"qword": -1}), "qword"),
        (json!({"qword": 9_007_199_254_740_992_u64}), "qword"),
        (json!({"qword": 1.5}), "qword"),
        (json!({"qword": 1e300}), "qword"),
        (json!({"qword": "seven"}), "qword"),
        (json!({"binary": "not base64!"}), "binary"),
        (json!({"multiString": [""]}), "multiString[0]"),
        (json!({"view": "Registry16", "dword": 1}), "view"),
    ] {
        refused(&world, json!({"registryValues": [value(data)]}), &format!("spec.registryValues[0].{field}")).await;
    }
    refused(&world, json!({"registryValues": [{"key": "HKLM\\A", "dword": 1}]}), "name").await;
    let twice = [value(json!({"dword": 1})), value(json!({"dword": 2}))];
    refused(&world, json!({"registryValues": twice}), "uplicate").await;
}

#[tokio::test]
async fn every_kind_of_registry_value_comes_back_as_it_was_given() {
    let world = World::new().await;
    let kinds = [
        json!({"name": "", "string": ""}),
        json!({"name": "a", "expandString": "%ProgramData%\\Acme"}),
        json!({"name": "b", "multiString": ["x", "y"]}),
        json!({"name": "c", "dword": u32::MAX}),
        json!({"name": "d", "qword": 9_007_199_254_740_991_u64}),
        json!({"name": "e", "qword": "0xFFFFFFFFFFFFFFFF"}),
        json!({"name": "f", "qword": "18446744073709551615", "view": "Registry32", "drift": "Audit"}),
        json!({"name": "g", "binary": "AP8="}),
    ]
    .map(value);
    let node = Node::new(&world, "press-07");
    node.apply(json!({"registryValues": kinds})).await;
    let read = serde_json::to_value(&node.get().await.spec.registry_values).unwrap();
    assert_eq!(read, json!(kinds));
}

fn artifact() -> Value {
    json!({"url": "https://example.com/a", "sha256": "0".repeat(64)})
}

#[tokio::test]
async fn a_package_that_is_not_exactly_one_or_cannot_be_recognised_is_refused() {
    let world = World::new().await;
    let code = "{01234567-89AB-CDEF-0123-456789ABCDEF}";
    let msi = json!({"artifact": artifact(), "productCode": code, "version": "1.0.0"});
    let exe = |detect: Value| json!({"artifact": artifact(), "detect": detect});
    let package = |more: Value| {
        let mut package = json!({"name": "a"});
        package.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"packages": [package]})
    };
    let words = "exactly one of msi and exe must be set";
    refused(&world, package(json!({})), words).await;
    refused(&world, package(json!({"msi": msi, "exe": exe(json!({"file": "C:\\a"}))})), words).await;
    let words = "exactly one of registryValue and file must be set";
    refused(&world, package(json!({"exe": exe(json!({}))})), words).await;
    let bad_code = json!({"artifact": artifact(), "productCode": "x", "version": "1.0.0"});
    refused(&world, package(json!({"msi": bad_code})), "spec.packages[0].msi.productCode").await;
    Node::new(&world, "taken").apply(package(json!({"msi": msi}))).await;
}

#[tokio::test]
async fn paths_of_two_platforms_in_one_node_are_refused() {
    let world = World::new().await;
    refused(&world, json!({"files": [file("/a"), file("C:\\a")]}), "files mix paths of Windows and of Linux").await;
    let directories = json!([{"path": "/a"}, {"path": "C:\\a"}]);
    refused(&world, json!({"directories": directories}), "directories mix paths of Windows and of Linux").await;
    let both = json!({"files": [file("/a")], "directories": [{"path": "C:\\a"}]});
    refused(&world, both, "files and directories are of different platforms").await;
}

#[tokio::test]
async fn a_dependency_on_itself_or_on_nobody_is_refused() {
    let world = World::new().await;
    for name in ["a", "nobody"] {
        let spec = json!({"services": [service("a", json!({"dependsOn": [name]}))]});
        refused(&world, spec, "dependsOn must name other services of this EdgeNode").await;
    }
}

#[tokio::test]
async fn a_path_that_is_not_absolute_is_refused() {
    let world = World::new().await;
    refused(&world, json!({"files": [file("etc/a")]}), "spec.files[0].path").await;
    refused(&world, json!({"directories": [{"path": "..\\a"}]}), "spec.directories[0].path").await;
}

#[tokio::test]
async fn a_number_out_of_its_range_is_refused() {
    let world = World::new().await;
    let spec = |more| json!({"services": [service("a", more)]});
    refused(&world, spec(json!({"stopTimeoutSeconds": 0})), "spec.services[0].stopTimeoutSeconds").await;
    let port = json!({"readinessProbe": {"tcpSocket": {"port": 65_536}}});
    refused(&world, spec(port), "spec.services[0].readinessProbe.tcpSocket.port").await;
}

#[tokio::test]
async fn an_entry_twice_is_refused() {
    let world = World::new().await;
    refused(&world, json!({"files": [file("/a"), file("/a")]}), "uplicate").await;
    refused(&world, json!({"services": [service("a", json!({})), service("a", json!({}))]}), "uplicate").await;
}

#[tokio::test]
async fn a_name_of_more_than_63_characters_is_refused() {
    let world = World::new().await;
    let answer = Node::new(&world, &"n".repeat(64)).try_apply(json!({})).await;
    let error = answer.expect_err("refused").to_string();
    assert!(error.contains("metadata.name must have at most 63 characters"), "{error}");
}

#[tokio::test]
async fn the_largest_node_that_the_schema_allows_is_accepted() {
    let world = World::new().await;
    let name = |number: usize| format!("{}{number:03}", "s".repeat(60));
    let files: Vec<Value> = (0..512).map(|number| file(&format!("/{}{number:03}", "f".repeat(200)))).collect();
    let services: Vec<Value> = (0..64)
        .map(|number| {
            let depends_on: Vec<String> = (0..16).map(|other| name((number + 1 + other) % 64)).collect();
            service(&name(number), json!({"dependsOn": depends_on}))
        })
        .collect();
    Node::new(&world, "large").apply(json!({"files": files, "services": services})).await;

    let file = |number: usize| {
        let grants: Vec<Value> = (0..32).map(|n| json!({"account": format!("A{n}"), "rights": "Modify"})).collect();
        let mut file = file(&format!("C:\\{number}"));
        file["access"] = json!({"inherit": true, "grants": grants});
        file
    };
    let values: Vec<Value> = (0..256).map(|number| value(json!({"name": number.to_string(), "qword": 1}))).collect();
    let packages: Vec<Value> = (0..64)
        .map(|number| {
            let exe = json!({"artifact": artifact(), "detect": {"file": "C:\\a"}});
            json!({"name": format!("a{number}"), "exe": exe})
        })
        .collect();
    let files: Vec<Value> = (0..100).map(file).collect();
    Node::new(&world, "large-windows")
        .apply(json!({"files": files, "registryValues": values, "packages": packages}))
        .await;
}

#[tokio::test]
async fn every_field_is_explained() {
    let world = World::new().await;
    for (field, words) in [
        ("edgenode", "machine that is not a Kubernetes node"),
        ("en.spec.services", "They start in the order of their dependencies"),
        ("en.spec.services.readinessProbe.failureThreshold", "Defaults to 3"),
        ("en.spec.files.source.secretKeyRef.key", "Key within the object"),
        ("en.spec.registryValues.qword", "Number of 64 bits"),
        ("en.spec.packages.msi.productCode", "a GUID in braces"),
        ("en.spec.services.wrap", "does so for it"),
        ("en.status.conditions", "Reconciling: on the way"),
    ] {
        let text = world.cluster.kubectl_ok(&["explain", field]).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(words), "kubectl explain {field} is expected to say {words:?}, says:\n{text}");
    }
    let crd = world.cluster.kubectl_ok(&["get", "crd", "edgenodes.edge.windlass.dev", "--output", "json"]);
    let crd: Value = serde_json::from_str(&crd).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let mut bare = Vec::new();
    for root in ["spec", "status"] {
        find_undescribed(root, &schema[root], &mut bare);
    }
    assert!(bare.is_empty(), "without a description: {bare:?}");
}

fn find_undescribed(path: &str, schema: &Value, bare: &mut Vec<String>) {
    if schema["description"].as_str().is_none_or(str::is_empty) {
        bare.push(path.to_owned());
    }
    let inner = if schema["type"] == "array" { &schema["items"] } else { schema };
    for (name, field) in inner["properties"].as_object().into_iter().flatten() {
        find_undescribed(&format!("{path}.{name}"), field, bare);
    }
}

#[tokio::test]
async fn the_short_name_and_the_category_list_the_nodes_with_their_columns() {
    let world = World::new().await;
    Node::new(&world, "press-07").apply(json!({})).await;
    for what in ["en", "windlass"] {
        let table = world.cluster.kubectl_ok(&["get", what, "--namespace", &world.namespace]);
        let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(head, ["NAME", "READY", "REASON", "CONNECTED", "REVISION", "AGE"]);
        assert!(table.contains("press-07"), "{table}");
    }
    let table = world.cluster.kubectl_ok(&["get", "en", "--namespace", &world.namespace, "--output", "wide"]);
    let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["NAME", "READY", "REASON", "CONNECTED", "REVISION", "OS", "AGENT", "REPLICA", "AGE"]);
}

#[tokio::test]
async fn the_examples_are_accepted() {
    let world = World::new().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).expect("examples/") {
        let path = entry.expect("entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let (path, namespace) = (path.to_str().unwrap(), world.namespace.as_str());
            world.cluster.kubectl_ok(&[
                "create",
                "--dry-run=server",
                "--validate=strict",
                "--namespace",
                namespace,
                "--filename",
                path,
            ]);
            seen += 1;
        }
    }
    assert!(seen >= 2, "examples/ is expected to hold a node for Linux and one for Windows");
}
