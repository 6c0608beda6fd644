//! The server of the live page, as who connects to it finds it.

use std::net::SocketAddr;
use std::time::Duration;

use capspan::page::Page;
use capspan_cli::web;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    async fn new(page: Page) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let metrics = Some(|| "up 1\n".to_owned());
        let task = tokio::spawn(web::serve(listener, page, metrics, async {
            let _stopped = stopped.await;
        }));
        Self {
            address,
            stop,
            task,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// All that is answered to `request` on a connection of its own, until that ends.
    async fn say(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        rest(&mut stream).await
    }

    async fn get(&self, path: &str, headers: &str) -> String {
        let end = "Host: localhost\r\nConnection: close\r\n\r\n";
        self.say(&format!("GET {path} HTTP/1.1\r\n{headers}{end}"))
            .await
    }
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that is cut while more comes is reset.
    let _cut = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

fn page() -> Page {
    Page::new(tokio::time::sleep)
}

#[tokio::test(start_paused = true)]
async fn the_page_and_metrics_are_served() {
    let server = Server::new(page()).await;
    let answer = server.get("/", "").await;
    assert!(
        answer.starts_with("HTTP/1.1 303") && answer.contains("location: /tracez"),
        "{answer}"
    );
    let answer = server.get("/tracez", "").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("</html>"),
        "{answer}"
    );
    let answer = server.get("/metrics", "").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nup 1\n"),
        "{answer}"
    );
    assert!(answer.contains("text/plain; version=0.0.4"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn what_the_page_refuses_is_refused_for_metrics_as_well() {
    let server = Server::new(page().token("0123456789abcdef".parse().unwrap())).await;
    for path in ["/tracez", "/metrics"] {
        let answer = server.get(path, "").await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        let answer = server
            .get(path, "Authorization: Bearer 0123456789abcdef\r\n")
            .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let server = Server::new(page()).await;
    for path in ["/tracez", "/metrics"] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        let answer = server.say(&request).await;
        assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_long_is_refused() {
    let server = Server::new(page()).await;
    let long = format!("X: {}\r\n", "x".repeat(20_000));
    let answer = server.get("/tracez", &long).await;
    assert!(
        answer.starts_with("HTTP/1.1 431") || answer.is_empty(),
        "{answer}"
    );
    let many = "X: x\r\n".repeat(200);
    let answer = server.get("/tracez", &many).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_or_half_of_it_is_not_waited_for() {
    let server = Server::new(page()).await;
    for said in ["", "GET /tracez HTTP/1.1\r\nHost: local"] {
        let began = Instant::now();
        let answer = server.say(said).await;
        assert!(!answer.contains("200"), "{answer}");
        let waited = began.elapsed().as_secs();
        assert!((9..12).contains(&waited), "{waited} s for {said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_does_not_last_for_ever() {
    let server = Server::new(page()).await;
    let mut stream = server.connect().await;
    let began = Instant::now();
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut buffer = [0; 4096];
    while stream.write_all(request).await.is_ok() {
        match stream.read(&mut buffer).await {
            Ok(1..) => tokio::time::sleep(Duration::from_secs(1)).await,
            _ => break,
        }
    }
    let lasted = began.elapsed().as_secs();
    assert!((119..124).contains(&lasted), "{lasted}");
}

#[tokio::test(start_paused = true)]
async fn beyond_64_connections_the_oldest_makes_room() {
    let server = Server::new(page()).await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(server.connect().await);
    }
    let began = Instant::now();
    let answer = server.get("/metrics", "").await;
    assert!(answer.ends_with("up 1\n"), "{answer}");
    rest(&mut silent[0]).await;
    assert!(began.elapsed() < Duration::from_secs(1), "nobody waits");
    // The others are as they were.
    let mut second = silent.swap_remove(1);
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    second.write_all(request).await.unwrap();
    assert!(rest(&mut second).await.ends_with("up 1\n"));
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_it_is_told_to() {
    let server = Server::new(page()).await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 15];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    let began = Instant::now();
    server.stop.send(()).unwrap();
    server.task.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3));
    rest(&mut idle).await;
    assert!(TcpStream::connect(server.address).await.is_err());
}
