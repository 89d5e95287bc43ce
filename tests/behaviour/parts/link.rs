//! The road between an agent and the operator: a TCP relay that can be slow, dead or cut, and that counts.
//! On threads of its own, so that it goes on whatever the test waits for.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

pub struct Link {
    address: SocketAddr,
    road: Arc<Road>,
}

#[derive(Default)]
struct Road {
    target: Mutex<Option<SocketAddr>>,
    /// Bytes per second each way; 0 for as fast as it goes.
    speed: AtomicU64,
    cut: AtomicBool,
    /// How many more connections are carried, if that is limited.
    left: Mutex<Option<u64>>,
    black_hole: AtomicBool,
    ended: AtomicBool,
    connections: AtomicU64,
    /// So many of the first connections carry nothing more, not even their end.
    stranded: AtomicU64,
    up_chunks: AtomicU64,
    down_bytes: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl Link {
    /// A road to `target`.
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let road = Arc::new(Road { target: Mutex::new(Some(target)), ..Road::default() });
        let own = road.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if own.ended.load(Ordering::SeqCst) {
                    return;
                }
                let road = own.clone();
                thread::spawn(move || road.carry(client));
            }
        });
        Self { address, road }
    }

    /// The enrollment with this road instead of the operator's own address.
    pub fn lead(&self, enrollment: &str, url: &str) -> String {
        assert!(enrollment.contains(url), "the enrollment names {url}");
        enrollment.replace(url, &format!("wss://{}", self.address))
    }

    /// Ends all connections and refuses new ones, until [`Link::mend`].
    pub fn cut(&self) {
        self.road.cut.store(true, Ordering::SeqCst);
        self.drop_connections();
    }

    /// Ends all connections; new ones are welcome.
    pub fn drop_connections(&self) {
        for stream in self.road.open.lock().expect("not poisoned").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Carries nothing and ends nothing: both ends believe that they are connected.
    pub fn swallow(&self) {
        self.road.black_hole.store(true, Ordering::SeqCst);
    }

    /// Carries so many more connections and refuses those after them, until [`Link::mend`].
    pub fn allow_only(&self, connections: u64) {
        *self.road.left.lock().expect("not poisoned") = Some(connections);
    }

    /// Carries everything again.
    pub fn mend(&self) {
        self.road.cut.store(false, Ordering::SeqCst);
        self.road.black_hole.store(false, Ordering::SeqCst);
        *self.road.left.lock().expect("not poisoned") = None;
    }

    /// Has today's connections carry nothing more, not even their end; new ones are as they should be.
    pub fn strand(&self) {
        self.road.stranded.store(self.connections(), Ordering::SeqCst);
    }

    /// Limits each way to so many kbit/s.
    pub fn throttle(&self, kbit: u64) {
        self.road.speed.store(kbit * 1000 / 8, Ordering::SeqCst);
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.road.connections.load(Ordering::SeqCst)
    }

    /// How often something came from the agent.
    pub fn chunks_from_agent(&self) -> u64 {
        self.road.up_chunks.load(Ordering::SeqCst)
    }

    /// Bytes that went to the agent.
    pub fn bytes_to_agent(&self) -> u64 {
        self.road.down_bytes.load(Ordering::SeqCst)
    }
}

impl Road {
    fn carry(self: Arc<Self>, client: TcpStream) {
        if self.cut.load(Ordering::SeqCst) || !self.may_pass() {
            return;
        }
        let target = *self.target.lock().expect("not poisoned");
        let Some(server) = target.and_then(|target| TcpStream::connect(target).ok()) else { return };
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        let copy = |stream: &TcpStream| stream.try_clone().expect("a file descriptor");
        self.open.lock().expect("not poisoned").extend([copy(&client), copy(&server)]);
        let (from_agent, to_operator, road) = (copy(&client), copy(&server), self.clone());
        thread::spawn(move || {
            road.pass(number, from_agent, to_operator, |road, _| road.up_chunks.fetch_add(1, Ordering::SeqCst));
        });
        self.pass(number, server, client, |road, bytes| road.down_bytes.fetch_add(bytes, Ordering::SeqCst));
    }

    fn may_pass(&self) -> bool {
        match &mut *self.left.lock().expect("not poisoned") {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    /// Holds what came for as long as the road carries nothing.
    fn hold(&self, number: u64) {
        let is_dead = || self.black_hole.load(Ordering::SeqCst) || number < self.stranded.load(Ordering::SeqCst);
        while is_dead() && !self.ended.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn pass(&self, number: u64, mut from: TcpStream, mut to: TcpStream, count: impl Fn(&Self, u64) -> u64) {
        let mut buffer = [0; 2048];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            self.hold(number);
            let speed = self.speed.load(Ordering::SeqCst);
            if speed > 0 {
                thread::sleep(Duration::from_secs_f64(length as f64 / speed as f64));
            }
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
            count(self, length as u64);
        }
        self.hold(number);
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.road.ended.store(true, Ordering::SeqCst);
        self.drop_connections();
        let _ = TcpStream::connect(self.address); // the listener looks up, and ends
    }
}
