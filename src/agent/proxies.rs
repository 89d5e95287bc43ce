//! Which HTTP proxy leads to the operator, by HTTPS_PROXY, ALL_PROXY and NO_PROXY as curl reads them.
//! Pure once made; the environment is read in `main`.

use hyper_util::client::proxy::matcher::Matcher;

use crate::tunnel::{endpoint::Endpoint, proxy::Proxy};

/// Rules of the environment.
#[derive(Debug)]
pub struct Proxies(Matcher);

impl Proxies {
    /// Reads the process's environment.
    pub fn from_env() -> Self {
        Self(Matcher::from_env())
    }

    /// Takes the values that HTTPS_PROXY and NO_PROXY have.
    pub fn of(https_proxy: &str, no_proxy: &str) -> Self {
        Self(Matcher::builder().https(https_proxy.to_owned()).no(no_proxy.to_owned()).build())
    }

    /// The proxy on the way to an operator. Only plain HTTP proxies: what goes through them is TLS anyway.
    pub fn to(&self, endpoint: &Endpoint) -> Option<Proxy> {
        let target: http::Uri = format!("https://{}/", endpoint.authority()).parse().ok()?;
        let found = self.0.intercept(&target)?;
        let uri = found.uri();
        if uri.scheme_str().is_some_and(|scheme| scheme != "http") {
            return None;
        }
        Some(Proxy {
            host: uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: uri.port_u16().unwrap_or(80),
            authorization: found.basic_auth().and_then(|value| value.to_str().ok()).map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_rules_are_followed() {
        let proxy = |https: &str, no: &str, url: &str| {
            Proxies::of(https, no).to(&Endpoint::parse(url).expect("valid")).map(|p| (p.host, p.port, p.authorization))
        };
        let operator = "wss://windlass.example.com:8443";
        assert_eq!(proxy("", "", operator), None);
        assert_eq!(proxy("http://proxy:3128", "", operator), Some(("proxy".into(), 3128, None)));
        assert_eq!(proxy("http://proxy:3128", "example.com", operator), None);
        assert_eq!(proxy("http://proxy:3128", "10.0.0.0/8", "wss://10.1.2.3:8443"), None);
        assert_eq!(proxy("http://x:y@[::1]", "", operator), Some(("::1".into(), 80, Some("Basic eDp5".into()))));
        assert_eq!(proxy("socks5://proxy:1080", "", operator), None);
    }
}
