//! How many files the process may have open: each client takes two, one for the service.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What it needs besides: listeners, the page's visitors, files of its own.
const OTHERS: u64 = 128;

/// Takes as many as the system lets it have; for how many clients that is enough.
pub(super) fn room_for_clients() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let now = match setrlimit(Resource::Nofile, most) {
        Ok(()) => limit.maximum,
        // It has to do with what there is.
        Err(_) => limit.current,
    };
    clients(now)
}

fn clients(files: Option<u64>) -> usize {
    let clients = files.map_or(u64::MAX, |files| files.saturating_sub(OTHERS) / 2);
    usize::try_from(clients).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_takes_two_files() {
        assert_eq!(clients(Some(1024)), 448);
        assert_eq!(clients(Some(3)), 1);
        assert_eq!(
            clients(None),
            usize::try_from(u64::MAX).unwrap_or(usize::MAX)
        );
    }
}
