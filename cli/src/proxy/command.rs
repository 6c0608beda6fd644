//! `capspan proxy`, from its command line to its end.

use std::io::Write as _;

use super::options::ProxyArgs;
use super::run::run_with;
use super::systemd::Inherited;
use crate::failure::Failure;

/// Does what the command line says.
///
/// # Errors
/// [`Failure::Wrong`], and nothing is begun, where what the user says is wrong; else whatever ended the proxy
/// before its time, or was lost on the way.
pub fn command(args: &ProxyArgs) -> Result<(), Failure> {
    // Before anything else: reading schemas may start threads, and programs.
    let inherited = Inherited::from_env().map_err(Failure::at_work)?;
    let loaded = args.load()?;
    if args.check_config {
        let text = loaded.to_toml()?;
        let mut out = std::io::stdout().lock();
        return out
            .write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(Failure::output);
    }
    let args = args.clone();
    let reload = move || args.load().map(|loaded| loaded.config);
    run_with(loaded.config, inherited, reload).map_err(Failure::at_work)
}
