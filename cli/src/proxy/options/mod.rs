//! What a user can say: on the command line, in a file, or in both.
//!
//! One definition is for both, so that a key of the file is an option's name. What the command line says goes
//! before what the file says; a list replaces a list.
//!
//! - [`ProxyArgs`], [`Options`]: the definition
//! - `values`: what a value may look like
//! - `file`: reads a file, and tells of all that is wrong in it
//! - `load`: puts both together, reads the schemas, and makes the [`Config`](super::Config)

use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroU32, NonZeroUsize};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::listen::Listen;
use super::rules::Pattern;

mod file;
mod load;
pub(super) mod values;

pub use load::Loaded;
use values::one_or_more;
pub use values::{OrNone, Period, Size};

/// The command line of `capspan proxy`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(after_help = AFTER_HELP)]
pub struct ProxyArgs {
    /// What may stand in a file too.
    #[command(flatten)]
    pub options: Options,

    /// A TOML file with any of these options; what the command line says goes first
    #[arg(long, value_name = "FILE", help_heading = CONFIGURATION)]
    pub config: Option<String>,

    /// Read everything, print the configuration that comes of it as TOML, and end
    #[arg(long, help_heading = CONFIGURATION)]
    pub check_config: bool,
}

const AFTER_HELP: &str = "\
Examples:
  capspan proxy --listen unix:/run/front.sock --upstream unix:/run/service.sock
  capspan proxy --listen tcp:127.0.0.1:4000 --upstream tcp:10.0.0.7:4000 \\
      --schema service.capnp --deny Admin --page 127.0.0.1:9000
  capspan proxy --config /etc/capspan/proxy.toml --check-config

Signals: SIGTERM and SIGINT let sessions end, and a second one cuts them; SIGHUP reads the configuration and
the schemas anew, for connections that come from then on.

Exit status: 0 when it was told to end and has; 1 when something went wrong on the way; 2 when what it was told
to do is wrong, a line of the standard error for each mistake.";

const SOCKETS: &str = "Sockets";
const NAMES: &str = "Names and rules";
const OUTPUT: &str = "Where spans go";
const CONFIGURATION: &str = "Configuration";
const WHOLE: &str = "Limits of the proxy";
const SESSION: &str = "Limits of each session";
const PEER: &str = "Limits of each connection's peer (the client, and the service)";

/// All options that a file may have too, under the same names.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Options {
    /// Where to listen: unix:/run/a.sock, tcp:127.0.0.1:4000, systemd for the sockets that it passes, or
    /// systemd:NAME for those with a name
    #[arg(long, value_name = "ADDRESS", num_args = 1.., help_heading = SOCKETS)]
    #[serde(
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub listen: Vec<Listen>,

    /// Where the service is
    #[arg(long, value_name = "ADDRESS", help_heading = SOCKETS)]
    pub upstream: Option<Address>,

    /// How long to try to reach the service for one connection [default: 10s]
    #[arg(long, value_name = "TIME", help_heading = SOCKETS)]
    pub connect_timeout: Option<Period>,

    /// How long sessions may go on after SIGTERM [default: 30s]
    #[arg(long, value_name = "TIME", help_heading = SOCKETS)]
    pub drain_timeout: Option<Period>,

    /// How many event loops, each on a thread; 0 is one for each core [default: 1]
    #[arg(long, value_name = "COUNT", help_heading = SOCKETS)]
    pub threads: Option<u16>,

    /// How long an event loop looks for the next message before it sleeps, while they come as quickly as that
    /// one after the other, if there are more cores than event loops; none takes less of the processor, and
    /// more time for each call [default: 200us]
    #[arg(long, value_name = "TIME", help_heading = SOCKETS)]
    pub busy_poll: Option<OrNone<Period>>,

    /// Schemas that name interfaces and methods: .capnp files, which the `capnp` program compiles, or what
    /// `capnp compile -o-` has said
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = NAMES)]
    #[serde(
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub schema: Vec<String>,

    /// Folders in which .capnp files find what they import with a leading slash
    #[arg(long, value_name = "FOLDER", num_args = 1.., help_heading = NAMES)]
    #[serde(
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub import_path: Vec<String>,

    /// What may be called, and nothing else: Interface, Interface/method, 0xID, 0xID/ORDINAL, or *
    #[arg(long, value_name = "PATTERN", num_args = 1.., help_heading = NAMES)]
    #[serde(
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub allow: Vec<Pattern>,

    /// What may not be called, even where --allow lets it pass
    #[arg(long, value_name = "PATTERN", num_args = 1.., help_heading = NAMES)]
    #[serde(
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub deny: Vec<Pattern>,

    /// Events don't join their callers' traces; they link to them [default: false]
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        help_heading = OUTPUT,
    )]
    pub no_propagation: Option<bool>,

    /// The service that spans are of [default: capspan-proxy]
    #[arg(long, value_name = "NAME", help_heading = OUTPUT)]
    pub service: Option<String>,

    /// Send spans by OTLP over HTTP to a collector, as http://127.0.0.1:4318 (it adds /v1/traces)
    #[arg(long, value_name = "URL", help_heading = OUTPUT)]
    pub otlp: Option<String>,

    /// Write span records as JSON lines at the end of a file; - is the standard output
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub json: Option<String>,

    /// Show a live page at an address of this machine, as 127.0.0.1:9000 is
    #[arg(long, value_name = "ADDRESS", help_heading = OUTPUT)]
    pub page: Option<SocketAddr>,

    /// A file with the token that the page asks for; with it, the page may be at any address
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub page_token_file: Option<String>,

    /// Say nothing on the standard error but what is wrong at the start, or at the end [default: false]
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        help_heading = OUTPUT,
    )]
    pub quiet: Option<bool>,

    /// Connections at once; more are closed [default: 10000]
    #[arg(long, value_name = "COUNT", help_heading = WHOLE)]
    pub max_connections: Option<NonZeroUsize>,

    /// Calls of all clients together that are not over; each event loop has its part, and beyond it answers
    /// calls as overloaded [default: none]
    #[arg(long, value_name = "COUNT", help_heading = WHOLE)]
    pub all_calls: Option<OrNone<NonZeroUsize>>,

    /// Capabilities of all clients together, those they hold and those they have given; likewise [default: none]
    #[arg(long, value_name = "COUNT", help_heading = WHOLE)]
    pub all_capabilities: Option<OrNone<NonZeroUsize>>,

    /// Bytes of all clients together: of calls in flight, of messages that arrive, and of what waits to be read;
    /// likewise, and messages of more than 16 KiB end their connection then [default: none]
    #[arg(long, value_name = "SIZE", help_heading = WHOLE)]
    pub all_bytes: Option<OrNone<Size>>,

    /// How long a session may last [default: none]
    #[arg(long, value_name = "TIME", help_heading = SESSION)]
    pub session_time: Option<OrNone<Period>>,

    /// How long nothing may happen in a session [default: none]
    #[arg(long, value_name = "TIME", help_heading = SESSION)]
    pub idle_time: Option<OrNone<Period>>,

    /// Capabilities alive in a session, in both directions together [default: 10000]
    #[arg(long, value_name = "COUNT", help_heading = SESSION)]
    pub session_capabilities: Option<NonZeroUsize>,

    /// Capabilities in one message of a session [default: 1024]
    #[arg(long, value_name = "COUNT", help_heading = SESSION)]
    pub session_message_capabilities: Option<NonZeroUsize>,

    /// Calls in flight in a session, in both directions together [default: 1024]
    #[arg(long, value_name = "COUNT", help_heading = SESSION)]
    pub session_calls: Option<NonZeroUsize>,

    /// Its calls that have not returned [default: 16384]
    #[arg(long, value_name = "COUNT", help_heading = PEER)]
    pub max_calls: Option<NonZeroUsize>,

    /// Its calls that are not over for both sides, canceled ones among them [default: 65536]
    #[arg(long, value_name = "COUNT", help_heading = PEER)]
    pub max_unfinished: Option<NonZeroUsize>,

    /// Bytes of its calls that have not returned [default: 64MiB]
    #[arg(long, value_name = "SIZE", help_heading = PEER)]
    pub max_call_bytes: Option<Size>,

    /// Capabilities that it holds [default: 65536]
    #[arg(long, value_name = "COUNT", help_heading = PEER)]
    pub max_exports: Option<NonZeroUsize>,

    /// Capabilities that it has given away [default: 65536]
    #[arg(long, value_name = "COUNT", help_heading = PEER)]
    pub max_imports: Option<NonZeroUsize>,

    /// Capabilities in one of its messages [default: 1024]
    #[arg(long, value_name = "COUNT", help_heading = PEER)]
    pub max_capabilities: Option<NonZeroU32>,

    /// How deep its calls may be pipelined [default: 64]
    #[arg(long, value_name = "COUNT", help_heading = PEER)]
    pub max_pipeline_depth: Option<NonZeroU8>,

    /// How many promises may lead to each other [default: 64]
    #[arg(long, value_name = "COUNT", help_heading = PEER)]
    pub max_hops: Option<NonZeroU8>,

    /// Its promises that have resolved to what is itself promised [default: 1024]
    #[arg(long, value_name = "COUNT", help_heading = PEER)]
    pub max_waiting: Option<NonZeroUsize>,

    /// Messages that it may send in a second [default: none]
    #[arg(long, value_name = "COUNT", help_heading = PEER)]
    pub messages_a_second: Option<OrNone<NonZeroU32>>,

    /// Bytes that it may send in a second [default: none]
    #[arg(long, value_name = "SIZE", help_heading = PEER)]
    pub bytes_a_second: Option<OrNone<Size>>,

    /// Calls of which it may cancel no more than half within a second [default: 500]
    #[arg(long, value_name = "COUNT", help_heading = PEER)]
    pub max_canceled_of: Option<NonZeroU32>,

    /// Bytes of answers that it leaves unread for a turn of the event loop [default: 4MiB]
    #[arg(long, value_name = "SIZE", help_heading = PEER)]
    pub max_queued: Option<Size>,

    /// Bytes of answers that wait for it, for however short a time [default: 64MiB]
    #[arg(long, value_name = "SIZE", help_heading = PEER)]
    pub max_burst: Option<Size>,

    /// How long its first message may take [default: 30s]
    #[arg(long, value_name = "TIME", help_heading = PEER)]
    pub first_message: Option<Period>,

    /// How long a message may take from its first byte to its last [default: 30s]
    #[arg(long, value_name = "TIME", help_heading = PEER)]
    pub half_message: Option<Period>,

    /// How long it may take to read what waits for it at the end of its connection [default: 30s]
    #[arg(long, value_name = "TIME", help_heading = PEER)]
    pub last_message: Option<Period>,
}
