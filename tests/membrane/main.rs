//! Membranes: M1 to M8, and all that a policy may say. What counts the memory of a whole process is in
//! `membrane_*.rs`, beside this folder.

mod cap_table;
mod cap_table_hostile;
mod cap_table_levels;
mod circle;
mod crossing;
mod errors;
mod handle;
mod inspect;
mod limits;
mod local;
mod local_waiting;
mod m1_closure;
mod m1_places;
mod m2_identity;
mod m3_promises;
mod m5_revocation;
mod m6_completion;
mod m8_faults;
mod model;
mod policy;
mod reentrancy;
mod reentrancy_policy;
mod reentrancy_setting;
mod scenarios;
mod scenarios_end;
mod stacked;
mod watch;
