//! A collector of OpenTelemetry's that does as it is told: HTTP/1.1 on a port of this machine, a thread a connection.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

/// What it does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A status, headers, and a body.
    Answer(u16, &'static str, Vec<u8>),
    /// Nothing, until the collector is gone.
    Hang,
    /// An answer that promises more than ever comes.
    Half,
    /// The connection is closed.
    Close,
}

impl Reply {
    /// It has taken all.
    pub fn ok() -> Self {
        Self::Answer(200, "", Vec::new())
    }

    /// Another status, and nothing to say.
    pub fn status(status: u16) -> Self {
        Self::Answer(status, "", b"no".to_vec())
    }
}

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Of its URL.
    pub path: String,
    /// In lower case.
    pub headers: Vec<String>,
    /// As it came.
    pub body: Vec<u8>,
}

/// A collector that runs. Dropping it kills it, with all connections.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Each request, when it is to be replied to.
    pub requests: mpsc::Receiver<Request>,
    connections: Arc<Mutex<Option<Vec<TcpStream>>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// At a port of its own; `reply` is asked with the number of a request, from 0.
    ///
    /// # Panics
    ///
    /// Where there is no port.
    pub fn start(reply: impl FnMut(usize) -> Reply + Send + 'static) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), reply)
    }

    /// The same at a place that is free.
    ///
    /// # Panics
    ///
    /// Where it is not.
    pub fn start_at(
        address: SocketAddr,
        mut reply: impl FnMut(usize) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("it is free");
        let address = listener.local_addr().expect("it has an address");
        let (say, requests) = mpsc::channel();
        let connections = Arc::new(Mutex::new(Some(Vec::new())));
        let mut number = 0;
        let reply = Arc::new(Mutex::new(move |request| {
            // The test may have seen enough.
            let _ = say.send(request);
            number += 1;
            reply(number - 1)
        }));
        let accepted = connections.clone();
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                // One that is over already.
                let Ok(stream) = stream else { continue };
                match (&mut *lock(&accepted), stream.try_clone()) {
                    (Some(open), Ok(other)) => open.push(other),
                    _ => return,
                }
                let reply = reply.clone();
                thread::spawn(move || {
                    // A connection may end at any time.
                    let _ = serve(stream, |request| (lock(&reply))(request));
                });
            }
        });
        Self {
            address,
            requests,
            connections,
            accepting: Some(accepting),
        }
    }

    /// For whoever exports.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends all connections, and listens no more.
    pub fn stop(&mut self) {
        let open = lock(&self.connections).take();
        for stream in open.into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(accepting) = self.accepting.take() {
            // The one that it waits for.
            let _ = TcpStream::connect(self.address);
            let _ = accepting.join();
        }
    }

    /// The requests so far.
    pub fn so_far(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A test that has failed elsewhere is told of there.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: TcpStream, mut reply: impl FnMut(Request) -> Reply) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let request = read(&mut reader)?;
        match reply(request) {
            Reply::Answer(status, headers, body) => {
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n");
                writer.write_all(head.as_bytes())?;
                writer.write_all(&body)?;
            }
            Reply::Hang => wait(&mut reader)?,
            Reply::Half => {
                writer.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 1000\r\n\r\nhalf")?;
                wait(&mut reader)?;
            }
            Reply::Close => return writer.shutdown(Shutdown::Both),
        }
    }
}

/// Until the connection is over.
fn wait(reader: &mut BufReader<TcpStream>) -> io::Result<()> {
    reader.read_exact(&mut [0])
}

fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Request> {
    let mut line = || {
        let mut line = String::new();
        match reader.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok::<_, io::Error>(line.trim_end().to_owned()),
        }
    };
    let first = line()?;
    let mut request = Request {
        path: first.split(' ').nth(1).unwrap_or_default().to_owned(),
        ..Request::default()
    };
    loop {
        let header = line()?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        request.headers.push(header);
    }
    let length = request.headers.iter();
    let length = length
        .filter_map(|header| header.strip_prefix("content-length: "))
        .next();
    request.body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut request.body)?;
    Ok(request)
}
