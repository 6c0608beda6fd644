//! A service with a live page, for a browser to look at: two event loops on which visitors come and go, a
//! session whose cursor somebody has forgotten, and whatever its standard input says, a word a line:
//!
//! - `hostile`: opens a session whose name, peer and attributes are what nobody wants on a page
//! - `call`: calls the forgotten cursor
//! - `find`: lets go of the forgotten cursor
//! - `stall`: makes the second event loop stand still until the next line comes
//!
//! It ends when its input does. What it says first is where the page is.

#![forbid(unsafe_code)]

mod catalog;
mod visitors;

use std::sync::mpsc::{Receiver, channel};

use capspan::page::Page;
use capspan_cli::web;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use visitors::Loop;

/// Something to be done on the second event loop's thread.
enum Order {
    /// Stands still until this is dropped.
    Stall(Receiver<()>),
}

fn main() -> std::io::Result<()> {
    let page = Page::new(tokio::time::sleep).title("catalog");
    let (orders, to_be_done) = tokio::sync::mpsc::unbounded_channel();
    let second = page.clone();
    std::thread::spawn(move || second_loop(&second, to_be_done));
    let runtime = runtime()?;
    LocalSet::new().block_on(&runtime, first_loop(page, orders))
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

async fn first_loop(
    page: Page,
    orders: tokio::sync::mpsc::UnboundedSender<Order>,
) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/tracez", listener.local_addr()?);
    let metrics = Some(|| "# TYPE up gauge\nup 1\n".to_owned());
    let server = web::serve(listener, page.clone(), metrics, std::future::pending());
    let server = tokio::task::spawn_local(server);

    let event_loop = Loop::new(&page, "loop 0", 1);
    let mut forgotten = Some(event_loop.forget_a_cursor().await);
    event_loop.receive_visitors(3);
    let mut stalled = None;
    let mut hostile = Vec::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        drop(stalled.take());
        match &*line {
            "hostile" => hostile.push(event_loop.hostile().await),
            "find" => drop(forgotten.take()),
            "call" => {
                if let Some(forgotten) = &forgotten {
                    let _answer = forgotten.cursor.number_request().send().promise.await;
                }
            }
            "stall" => {
                let (hold, held) = channel();
                let _gone = orders.send(Order::Stall(held));
                stalled = Some(hold);
            }
            _ => {}
        }
        println!("done");
    }
    server.abort();
    Ok(())
}

fn second_loop(page: &Page, mut orders: tokio::sync::mpsc::UnboundedReceiver<Order>) {
    let Ok(runtime) = runtime() else { return };
    LocalSet::new().block_on(&runtime, async {
        let event_loop = Loop::new(page, "loop 1", 2);
        event_loop.receive_visitors(2);
        while let Some(Order::Stall(held)) = orders.recv().await {
            // On purpose: nothing else of this thread runs meanwhile.
            let _let_go = held.recv();
        }
    });
}
