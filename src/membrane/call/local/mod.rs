//! Calls that stay in this process and are begun on a wrapper.
//!
//! What is wrapped is called directly, with messages of our own, and not through a request of its own: so
//! the capability tables are ours, and capabilities cross in them without a look at the messages. It is
//! also faster than a call without a membrane, as the queue for pipelined calls is made when there are any.
//!
//! - [`message`]: a message and its capability table.
//! - [`request`]: the request; when it is sent, the parameters.
//! - [`results`]: results under construction.
//! - [`work`]: what the service does, and what is promised from its results.
//! - [`early`]: what is given before the service returns.
//! - [`answer`]: its promise, its pipeline, its response.
//! - [`bell`]: who waits for it, where they are several.

mod answer;
mod bell;
mod early;
mod message;
mod request;
mod results;
mod work;

pub(in crate::membrane) use answer::Local;
pub(in crate::membrane) use request::local_request;
