//! `oarlock-prepare`: started by the SPANK plugin, once a node and step, as
//! root. See [`runtime_core::prepare`]. It is of no use to anybody else: without
//! the plugin's descriptors it says so and ends.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use runtime_core::prepare::{debug, protocol, serve};
use runtime_core::sys::process;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.peek().is_some_and(|word| word == "--version") {
        println!("oarlock-prepare {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let config = arguments
        .next()
        .map_or_else(|| PathBuf::from(runtime_core::CONFIG_PATH), PathBuf::from);
    let ranks = arguments
        .next()
        .and_then(|n| n.to_str()?.parse().ok())
        .unwrap_or(1);
    let descriptors = (
        process::inherited(protocol::SOCKET_FD),
        process::inherited(protocol::REQUEST_FD),
    );
    let (Ok(socket), Ok(request)) = descriptors else {
        eprintln!(
            "oarlock-prepare: is started by the SPANK plugin, not by hand; try: oarlock exec IMAGE COMMAND"
        );
        return ExitCode::FAILURE;
    };
    process::reset_signals();
    // slurmd's umask is the site's; what is made here must be reachable.
    process::set_umask(0o022);
    // Inherited by every child, and done while /proc is the host's own.
    let _ = process::be_killable_when_memory_is_short();
    log_to_journal();
    ExitCode::from(serve::run(&socket, request, &config, ranks))
}

/// The journal is a help, never a condition: a node without one runs jobs too.
fn log_to_journal() {
    let journal = tracing_journald::layer().ok().map(|journal| {
        journal
            .with_syslog_identifier("oarlock".to_owned())
            .with_field_prefix(None)
    });
    let subscriber = tracing_subscriber::registry().with(journal).with(ToUser);
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Shows events to a user who has asked for that.
struct ToUser;

impl<S: Subscriber> Layer<S> for ToUser {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if debug::is_asked() {
            let mut line = Line::default();
            event.record(&mut line);
            debug::show(&format!("{}{}", line.message, line.fields));
        }
    }
}

/// An event as text.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, ", {}: {value:?}", name.to_lowercase()),
        };
    }
}
