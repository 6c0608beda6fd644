//! Work that leaves no half-written files when the user wants no more.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::signal;
use tokio::sync::oneshot;

use crate::failure::Failure;

/// The files that are being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Unfinished(Arc<Mutex<Vec<PathBuf>>>);

impl Unfinished {
    /// `file` is to go if the work is broken off.
    pub(super) fn add(&self, file: PathBuf) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.push(file);
    }

    fn remove_all(&self) {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for file in files.iter() {
            // It may have got its own name meanwhile.
            let _ = fs::remove_file(file);
        }
    }
}

/// Does `work` until it is done or the user presses Ctrl-C. The work may be reading something that never
/// comes, so that nobody waits for it then: its thread ends with the process.
pub(super) fn or_interrupted(
    work: impl FnOnce(Unfinished) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::told(format!("event loop: {error}")))?;
    let unfinished = Unfinished::default();
    let (done, is_done) = oneshot::channel();
    runtime.block_on(async {
        // From here on it does not end the process.
        let interrupted = signal::unix::signal(signal::unix::SignalKind::interrupt());
        let mut interrupted =
            interrupted.map_err(|error| Failure::told(format!("signals: {error}")))?;
        let files = unfinished.clone();
        let worker = thread::spawn(move || {
            let _ = done.send(work(files));
        });
        tokio::select! {
            biased;
            result = is_done => match result {
                Ok(result) => result,
                // It panicked: so does this.
                Err(_) => match worker.join() {
                    Err(panic) => std::panic::resume_unwind(panic),
                    Ok(()) => Ok(()),
                },
            },
            _ = interrupted.recv() => {
                unfinished.remove_all();
                Err(Failure::Interrupted)
            }
        }
    })
}
