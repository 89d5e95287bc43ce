//! The part of `validate` that reads commands and probes.

use super::{Check, InvalidReason as Reason};
use crate::{
    api::{ExecCheck, GrpcCheck, HttpGetCheck, HttpHeader, ProbeEntry, TcpSocketCheck, UriScheme},
    model::{self, Probe},
};

const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PATH: &str = "/";
const DEFAULT_PERIOD_SECONDS: u32 = 10;
const DEFAULT_TIMEOUT_SECONDS: u32 = 1;
const DEFAULT_SUCCESS_THRESHOLD: u32 = 1;
const DEFAULT_FAILURE_THRESHOLD: u32 = 3;

/// A program by its absolute path, and its arguments. The program stands as its path is normalised.
pub(super) fn command(check: &mut Check, field: &str, entries: &[String]) -> Vec<String> {
    let mut command = entries.to_vec();
    match entries.first() {
        None => check.error(field, Reason::InvalidCommand, "is empty; name a program by its absolute path"),
        Some(program) => {
            if let Some(path) = check.path(&format!("{field}[0]"), program, Reason::InvalidCommand) {
                command[0] = path.to_string();
            }
        }
    }
    arguments(check, field, entries, 1);
    command
}

/// Arguments from the `first` on.
pub(super) fn arguments(check: &mut Check, field: &str, entries: &[String], first: usize) {
    for (i, argument) in entries.iter().enumerate().skip(first) {
        if argument.contains('\0') {
            check.error(format!("{field}[{i}]"), Reason::InvalidCommand, "holds a NUL character; remove it");
        }
    }
}

pub(super) fn liveness(check: &mut Check, field: &str, entry: &ProbeEntry) -> Option<Probe> {
    if let Some(threshold) = entry.success_threshold.filter(|t| *t != 1) {
        let message = format!("is {threshold}; a liveness probe passes with 1, so remove it or set 1");
        check.error(format!("{field}.successThreshold"), Reason::InvalidProbe, message);
    }
    probe(check, field, entry)
}

pub(super) fn probe(check: &mut Check, field: &str, entry: &ProbeEntry) -> Option<Probe> {
    let ProbeEntry {
        http_get,
        tcp_socket,
        exec,
        grpc,
        initial_delay_seconds,
        period_seconds,
        timeout_seconds,
        success_threshold,
        failure_threshold,
    } = entry;
    let tried = match (http_get, tcp_socket, exec, grpc) {
        (Some(get), None, None, None) => http(check, &format!("{field}.httpGet"), get),
        (None, Some(TcpSocketCheck { host, port }), None, None) => model::Check::TcpSocket {
            host: host.clone().unwrap_or_else(|| DEFAULT_HOST.into()),
            port: self::port(check, &format!("{field}.tcpSocket.port"), *port),
        },
        (None, None, Some(ExecCheck { command }), None) => {
            model::Check::Exec { command: self::command(check, &format!("{field}.exec.command"), command) }
        }
        (None, None, None, Some(GrpcCheck { port, service })) => model::Check::Grpc {
            port: self::port(check, &format!("{field}.grpc.port"), *port),
            service: service.clone().unwrap_or_default(),
        },
        _ => {
            check.error(field, Reason::InvalidProbe, "set exactly one of httpGet, tcpSocket, exec and grpc");
            return None;
        }
    };
    let mut number = |name: &str, value: &Option<i32>, default: u32, least: u32, most: u32| {
        check.number(&format!("{field}.{name}"), *value, default, least..=most)
    };
    Some(Probe {
        check: tried,
        initial_delay_seconds: number("initialDelaySeconds", initial_delay_seconds, 0, 0, 3600),
        period_seconds: number("periodSeconds", period_seconds, DEFAULT_PERIOD_SECONDS, 1, 3600),
        timeout_seconds: number("timeoutSeconds", timeout_seconds, DEFAULT_TIMEOUT_SECONDS, 1, 3600),
        success_threshold: number("successThreshold", success_threshold, DEFAULT_SUCCESS_THRESHOLD, 1, 100),
        failure_threshold: number("failureThreshold", failure_threshold, DEFAULT_FAILURE_THRESHOLD, 1, 100),
    })
}

fn http(check: &mut Check, field: &str, entry: &HttpGetCheck) -> model::Check {
    let HttpGetCheck { host, port, path, scheme, http_headers } = entry;
    let path = path.clone().unwrap_or_else(|| DEFAULT_PATH.into());
    if path.parse::<http::uri::PathAndQuery>().is_err() || !path.starts_with('/') {
        let message = format!("{path:?} is no path of a request; expected /… with special characters percent-encoded");
        check.error(format!("{field}.path"), Reason::InvalidProbe, message);
    }
    for (i, HttpHeader { name, value }) in http_headers.iter().enumerate() {
        if http::HeaderName::try_from(name).is_err() || http::HeaderValue::try_from(value).is_err() {
            let message = format!("{name:?} is no header of a request, by its name or its value");
            check.error(format!("{field}.httpHeaders[{i}]"), Reason::InvalidProbe, message);
        }
    }
    model::Check::HttpGet {
        host: host.clone().unwrap_or_else(|| DEFAULT_HOST.into()),
        port: self::port(check, &format!("{field}.port"), *port),
        path,
        tls: *scheme == Some(UriScheme::Https),
        headers: http_headers.iter().map(|h| (h.name.clone(), h.value.clone())).collect(),
    }
}

fn port(check: &mut Check, field: &str, port: i32) -> u16 {
    let port = check.number(field, Some(port), 1, 1..=65_535);
    u16::try_from(port).unwrap_or(1)
}
