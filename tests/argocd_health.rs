//! Argo CD's health check of an EdgeNode, run in a Lua interpreter against every status that the decision table
//! produces: what a person sees in Argo CD for each of them.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod decision_table;

use std::{fs, path::Path};

use decision_table::{cases, ready};
use mlua::{Lua, LuaOptions, StdLib, Table, Value};
use windlass::api::EdgeNode;

/// Runs the script as Argo CD does: the object as the global `obj`, the base library and tables, nothing else.
fn health(node: &EdgeNode) -> (String, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/windlass/argocd/edgenode-health.lua");
    let script = fs::read_to_string(script).expect("the script is part of the chart");
    let lua = Lua::new_with(StdLib::TABLE, LuaOptions::default()).expect("an interpreter");
    let json = serde_json::to_value(node).expect("JSON");
    let object = lua_value(&lua, &json).expect("an object");
    lua.globals().set("obj", object).expect("a global");
    let answer: Table = lua.load(script).set_name("edgenode-health.lua").eval().expect("the script ends");
    let text = |key: &str| match answer.get::<Value>(key).expect("a field") {
        Value::String(text) => text.to_string_lossy(),
        other => panic!("{key} is {other:?}"),
    };
    (text("status"), text("message"))
}

fn lua_value(lua: &Lua, json: &serde_json::Value) -> mlua::Result<Value> {
    Ok(match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => Value::Boolean(*value),
        serde_json::Value::Number(number) => Value::Number(number.as_f64().expect("a number")),
        serde_json::Value::String(text) => Value::String(lua.create_string(text)?),
        serde_json::Value::Array(items) => {
            let table = lua.create_table()?;
            for item in items {
                table.push(lua_value(lua, item)?)?;
            }
            Value::Table(table)
        }
        serde_json::Value::Object(fields) => {
            let table = lua.create_table()?;
            for (key, value) in fields {
                table.set(key.as_str(), lua_value(lua, value)?)?;
            }
            Value::Table(table)
        }
    })
}

#[test]
fn every_status_of_the_table_has_the_health_that_the_table_says() {
    let mut wrong = Vec::new();
    for case in cases() {
        let scene = case.scene.written();
        let (status, message) = health(&scene.node);
        if status != case.argo {
            wrong.push(format!("{}: expected {}, got {status}: {message}", case.name, case.argo));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_spec_that_the_operator_has_not_seen_yet_is_on_its_way() {
    let unseen = ready().with(|s| s.node.metadata.generation = Some(2));
    assert_eq!(health(&unseen.node).0, "Progressing");
    assert_eq!(health(&decision_table::new().node).0, "Progressing");
}
