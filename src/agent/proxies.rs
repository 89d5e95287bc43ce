//! What may lie between this machine and the operator: an HTTP proxy, by the settings or by HTTPS_PROXY, ALL_PROXY and
//! NO_PROXY as curl reads them, and proxies that end TLS. Pure once made; the environment is read in `main`.

use hyper_util::client::proxy::matcher::Matcher;

use crate::tunnel::{additional_ca::AdditionalCa, endpoint::Endpoint, proxy::Proxy};

/// How the operator is reached.
#[derive(Debug)]
pub struct Way {
    /// Which HTTP proxy connects to it.
    pub proxies: Proxies,
    /// Who may end TLS on the way; nobody unless told.
    pub additional_ca: Option<AdditionalCa>,
}

/// Which HTTP proxy to take.
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

    /// This proxy, whatever the environment says; none for an empty URL.
    pub fn always(url: &ProxyUrl) -> Self {
        Self::of(&url.0, "")
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

/// `http://[USER:PASSWORD@]HOST[:PORT]`, never shown: it may hold a password. Empty for no proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(String);

impl std::fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProxyUrl")
    }
}

impl ProxyUrl {
    /// Takes what a person has set.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let expected = "expected http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, special characters of user and \
                        password as %XX";
        let is_proxy = |uri: &http::Uri| {
            uri.scheme_str() == Some("http")
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri.path_and_query().is_none_or(|path| matches!(path.as_str(), "" | "/"))
        };
        match text.parse() {
            _ if text.is_empty() => Ok(Self(String::new())),
            Ok(uri) if is_proxy(&uri) => Ok(Self(text.to_owned())),
            _ => Err(expected),
        }
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
    #[test]
    fn a_proxy_that_is_set_counts_for_every_operator() {
        let operator = Endpoint::parse("wss://windlass.example.com:8443").expect("valid");
        let proxy = |url| Proxies::always(&ProxyUrl::parse(url).expect("valid")).to(&operator);
        let found = proxy("http://plant:p%40ss@proxy.example.com:3128").expect("a proxy");
        assert_eq!((found.host.as_str(), found.port), ("proxy.example.com", 3128));
        // "plant:p@ss"
        assert_eq!(found.authorization.as_deref(), Some("Basic cGxhbnQ6cEBzcw=="));
        assert_eq!(proxy(""), None);
    }

    #[test]
    fn what_is_no_http_proxy_is_refused_and_not_passed_by() {
        for url in ["proxy:3128", "https://proxy", "socks5://proxy", "http://", "http://proxy/path", "http://a b"] {
            assert!(ProxyUrl::parse(url).is_err(), "{url}");
        }
        let url = ProxyUrl::parse("http://plant:secret@proxy").expect("valid");
        assert!(!format!("{url:?}").contains("secret"));
    }
}
