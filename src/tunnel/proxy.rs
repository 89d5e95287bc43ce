//! Through an HTTP proxy: CONNECT, then the connection is the server's. In: a connection to the proxy.
//! Which proxy to take, if any, is the caller's to know. Source: RFC 9110, section 9.3.6.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::endpoint::Endpoint;

/// Most bytes of a proxy's answer.
const MAX_HEAD: usize = 8 << 10;

/// An HTTP proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Name or address, without brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
    /// Value of `Proxy-Authorization`; never shown.
    pub authorization: Option<String>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port)
    }
}

/// Asks the proxy at the other end of `stream` for a connection to `target`.
pub async fn connect<S>(stream: &mut S, target: &Endpoint, authorization: Option<&str>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let authority = target.authority();
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some(value) = authorization {
        request.push_str(&format!("Proxy-Authorization: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;

    // Byte by byte: what follows the head is the server's.
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_HEAD {
            return Err(io::Error::other("the proxy's answer is longer than 8 KiB"));
        }
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let line = head.lines().next().unwrap_or_default();
    let status = line.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
    match status {
        Some(200..=299) if line.starts_with("HTTP/1.") => Ok(()),
        _ => {
            let line: String = line.chars().take(120).collect();
            let advice = match (status, authorization) {
                (Some(407), None) => "; expected user and password in --proxy, as http://USER:PASSWORD@HOST:PORT",
                (Some(407), Some(_)) => "; expected another user or password, by basic authentication",
                _ => "",
            };
            Err(io::Error::other(format!("the proxy answered {line:?}{advice}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn exchange(answer: &str, authorization: Option<&str>) -> (io::Result<()>, String, String) {
        let (mut near, mut far) = tokio::io::duplex(16 << 10);
        far.write_all(answer.as_bytes()).await.expect("room");
        let target = Endpoint::parse("wss://windlass.example.com:8443").expect("valid");
        let result = connect(&mut near, &target, authorization).await;
        drop(far.shutdown().await);
        let mut rest = String::new();
        let mut asked = vec![0; 4096];
        let n = far.read(&mut asked).await.expect("request");
        drop(far);
        near.read_to_string(&mut rest).await.expect("utf-8");
        (result, String::from_utf8_lossy(&asked[..n]).into_owned(), rest)
    }

    #[tokio::test]
    async fn what_follows_the_answer_is_left_for_the_server() {
        let (result, asked, rest) = exchange("HTTP/1.1 200 Connection established\r\nX: y\r\n\r\nTLS", None).await;
        assert!(result.is_ok());
        assert_eq!(asked, "CONNECT windlass.example.com:8443 HTTP/1.1\r\nHost: windlass.example.com:8443\r\n\r\n");
        assert_eq!(rest, "TLS");
    }

    #[tokio::test]
    async fn a_refusal_is_told() {
        let answer = "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
        let (result, asked, _) = exchange(answer, Some("Basic eDp5")).await;
        assert!(asked.contains("Proxy-Authorization: Basic eDp5\r\n"));
        let told = result.expect_err("refused").to_string();
        assert!(told.contains("407 Proxy Authentication Required") && told.contains("another user"), "{told}");
        let (result, ..) = exchange(answer, None).await;
        assert!(result.expect_err("refused").to_string().contains("http://USER:PASSWORD@HOST:PORT"));
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut_off() {
        let (result, ..) = exchange(&format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(9000)), None).await;
        assert!(result.expect_err("too long").to_string().contains("8 KiB"));
    }

    #[test]
    fn credentials_are_not_shown() {
        let proxy = Proxy { host: "p".into(), port: 3128, authorization: Some("Basic eDp5".into()) };
        assert_eq!(format!("{proxy:?}"), "Proxy(p:3128)");
    }
}
