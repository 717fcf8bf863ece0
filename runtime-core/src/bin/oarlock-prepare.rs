//! `oarlock-prepare`: started by the SPANK plugin, once a node and step, as
//! root. See [`runtime_core::prepare`]. It is of no use to anybody else: without
//! the plugin's descriptors it says so and ends.

use std::path::PathBuf;
use std::process::ExitCode;

use runtime_core::prepare::{protocol, serve};
use runtime_core::sys::process;
use tracing_subscriber::layer::SubscriberExt;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
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
    if let Ok(journal) = tracing_journald::layer() {
        let subscriber = tracing_subscriber::registry().with(
            journal
                .with_syslog_identifier("oarlock".to_owned())
                .with_field_prefix(None),
        );
        let _ = tracing::subscriber::set_global_default(subscriber);
    }
}
