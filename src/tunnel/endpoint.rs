//! Where an operator is reached: `wss://host:port`. Pure.

use std::fmt;

use rustls::pki_types::ServerName;

/// Host and port of an operator's tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// Why a URL is not one of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is not the URL of a tunnel: {why}; expected wss://HOST or wss://HOST:PORT")]
pub struct EndpointError {
    /// What was given.
    pub url: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Endpoint {
    /// Parses `wss://HOST[:PORT]` or `https://…`; the port is 443 unless told.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let fail = |why| EndpointError { url: url.chars().take(300).collect(), why };
        let uri: http::Uri = url.parse().map_err(|_| fail("it cannot be parsed"))?;
        if !matches!(uri.scheme_str(), Some("wss" | "https")) {
            return Err(fail("its scheme is neither wss nor https"));
        }
        if uri.path_and_query().is_some_and(|path| !matches!(path.as_str(), "" | "/")) {
            return Err(fail("it has a path"));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(fail("it holds a user"));
        }
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(443);
        if port == 0 || uri.authority().is_some_and(|a| a.as_str().ends_with(':')) {
            return Err(fail("its port is not 1 to 65535"));
        }
        ServerName::try_from(host.as_str()).map_err(|_| fail("its host is neither a name nor an address"))?;
        Ok(Self { host, port })
    }

    /// Name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// 1 to 65535.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the server's certificate must name.
    pub fn server_name(&self) -> Result<ServerName<'static>, EndpointError> {
        ServerName::try_from(self.host.clone())
            .map_err(|_| EndpointError { url: self.to_string(), why: "its host is neither a name nor an address" })
    }

    /// `host:port`, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        let Self { host, port } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wss://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_tunnels() {
        for (url, shown) in [
            ("wss://windlass.example.com:8443", "wss://windlass.example.com:8443"),
            ("https://windlass.example.com/", "wss://windlass.example.com:443"),
            ("wss://127.0.0.1:1", "wss://127.0.0.1:1"),
            ("wss://[::1]:8443", "wss://[::1]:8443"),
        ] {
            assert_eq!(Endpoint::parse(url).map(|e| e.to_string()), Ok(shown.to_owned()));
        }
    }

    #[test]
    fn other_urls() {
        for url in
            ["", "host:1", "ws://host", "wss://host/path", "wss://host?x", "wss://u@host", "wss://h:0", "wss://a_b c"]
        {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }
}
