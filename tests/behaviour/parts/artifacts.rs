//! An HTTP server for artifacts, with ranges and faults, and for probes, with health that can be switched.
//! On threads of its own.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use sha2::{Digest as _, Sha256};

pub struct Artifacts {
    address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Default)]
struct Shelf {
    bytes: BTreeMap<String, Vec<u8>>,
    fault: Option<Fault>,
    requests: Vec<String>,
}

/// What goes wrong with every request from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Status 503.
    Unavailable,
    /// The connection ends after so many bytes of the body.
    CutAfter(usize),
}

impl Artifacts {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let own = shelf.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shelf = own.clone();
                thread::spawn(move || answer(client, &shelf));
            }
        });
        Self { address, shelf }
    }

    /// Puts something on the shelf and gives its URL and SHA-256.
    pub fn put(&self, name: &str, bytes: &[u8]) -> (String, String) {
        self.shelf.lock().expect("not poisoned").bytes.insert(format!("/{name}"), bytes.to_vec());
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        (format!("http://{}/{name}", self.address), digest)
    }

    /// Takes it off: 404.
    pub fn take(&self, name: &str) {
        self.shelf.lock().expect("not poisoned").bytes.remove(&format!("/{name}"));
    }

    pub fn set_fault(&self, fault: Option<Fault>) {
        self.shelf.lock().expect("not poisoned").fault = fault;
    }

    /// What was asked for, each as `/name` or `/name bytes=5-`.
    pub fn requests(&self) -> Vec<String> {
        self.shelf.lock().expect("not poisoned").requests.clone()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

fn answer(client: TcpStream, shelf: &Mutex<Shelf>) -> Option<()> {
    let mut lines = BufReader::new(client.try_clone().ok()?).lines();
    let request = lines.next()?.ok()?;
    let path = request.split(' ').nth(1)?.to_owned();
    let mut range = None;
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(':') {
            range = range.or(name.eq_ignore_ascii_case("range").then(|| value.trim().to_owned()));
        }
    }
    let (bytes, fault) = {
        let mut shelf = shelf.lock().expect("not poisoned");
        shelf.requests.push(range.iter().fold(path.clone(), |all, range| format!("{all} {range}")));
        (shelf.bytes.get(&path).cloned(), shelf.fault)
    };
    send(client, bytes.as_deref(), fault, range.as_deref())
}

fn send(mut client: TcpStream, bytes: Option<&[u8]>, fault: Option<Fault>, range: Option<&str>) -> Option<()> {
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse::<usize>().ok());
    let (status, body) = match (fault, bytes, from) {
        (Some(Fault::Unavailable), ..) => ("503 Service Unavailable".to_owned(), &[][..]),
        (_, None, _) => ("404 Not Found".to_owned(), &[][..]),
        (_, Some(bytes), Some(from)) if from >= bytes.len() => {
            (format!("416 Range Not Satisfiable\r\nContent-Range: bytes */{}", bytes.len()), &[][..])
        }
        (_, Some(bytes), Some(from)) => {
            let (last, all) = (bytes.len() - 1, bytes.len());
            (format!("206 Partial Content\r\nContent-Range: bytes {from}-{last}/{all}"), &bytes[from..])
        }
        (_, Some(bytes), None) => ("200 OK\r\nAccept-Ranges: bytes".to_owned(), bytes),
    };
    let head =
        format!("HTTP/1.1 {status}\r\nETag: \"1\"\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    client.write_all(head.as_bytes()).ok()?;
    let length = match fault {
        Some(Fault::CutAfter(length)) => length.min(body.len()),
        _ => body.len(),
    };
    client.write_all(&body[..length]).ok()
}
