//! What can be read only once: the standard input, a pipe.

use std::io::{self, Read};
use std::thread;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Step;
use super::grown::POLL;
use crate::failure::Failure;
use crate::trace::source::CHUNK;

/// Bytes that a thread of their own reads, as reading may take for ever: nobody waits for that thread.
pub(super) struct Stream {
    bytes: mpsc::Receiver<io::Result<Vec<u8>>>,
    title: String,
}

impl Stream {
    pub(super) fn read(title: String, mut input: impl Read + Send + 'static) -> Self {
        let (sender, bytes) = mpsc::channel(4);
        thread::spawn(move || {
            let mut chunk = vec![0; CHUNK];
            loop {
                let read = match input.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(read) => Ok(chunk[..read].to_vec()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let is_over = read.is_err();
                if sender.blocking_send(read).is_err() || is_over {
                    return;
                }
            }
        });
        Self { bytes, title }
    }

    pub(super) async fn next(&mut self) -> Result<Step, Failure> {
        match timeout(POLL, self.bytes.recv()).await {
            Err(_) => Ok(Step::Rest),
            Ok(None) => Ok(Step::End),
            Ok(Some(Ok(bytes))) => Ok(Step::Bytes(bytes)),
            Ok(Some(Err(error))) => Err(Failure::told(format!("{}: {error}", self.title))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[tokio::test]
    async fn bytes_come_as_they_are_written_and_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut stream = Stream::read("pipe".into(), reader);
        writer.write_all(b"one").unwrap();
        assert_eq!(next(&mut stream).await, Step::Bytes(b"one".into()));
        writer.write_all(b"two").unwrap();
        assert_eq!(next(&mut stream).await, Step::Bytes(b"two".into()));
        drop(writer);
        assert_eq!(next(&mut stream).await, Step::End);
    }

    async fn next(stream: &mut Stream) -> Step {
        loop {
            match stream.next().await.unwrap() {
                Step::Rest => {}
                step => return step,
            }
        }
    }
}
