//! How `capspan proxy` is told what to do, and tells how far it is: options, files, signals, systemd.

mod config;
mod process;
mod reference;
mod systemd;
