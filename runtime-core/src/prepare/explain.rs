//! `--container-explain` and `oarlock exec --explain`: what would be done on this node, in lines for people.
//!
//! Opens the image with the user's rights and asks the site's rules, as for a step
//! that runs; mounts, copies and starts nothing.

use std::os::fd::AsFd;

use super::choose::{Choice, Chosen};
use crate::config::SiteConfig;
use crate::image::layout::Partition;
use crate::image::source::{Layout, Source};
use crate::image::trust::{self, Method};
use crate::plan::Plan;
use crate::request::{Request, Unshare};

/// The lines.
pub(super) fn lines(
    chosen: &Chosen,
    plan: &Plan,
    request: &Request,
    config: &SiteConfig,
) -> Vec<String> {
    let mut out = Vec::new();
    match &chosen.choice {
        Choice::Run(source, method) => at_once(source, *method, request, config, &mut out),
        Choice::StageFirst(source, _) => {
            image(source, request, &mut out);
            out.push(format!(
                "it is copied to {} first, and checked there",
                config.store.path.display()
            ));
        }
    }
    if chosen.behind.is_some() {
        out.push(format!(
            "a copy for later steps is made in {} while the step runs",
            config.store.path.display()
        ));
    }
    options(request, &mut out);
    out.extend(plan.to_string().lines().map(str::to_owned));
    out
}

/// The same for a container that a user makes for himself.
pub(crate) fn of_own(
    source: &Source,
    method: Method,
    plan: &Plan,
    request: &Request,
    config: &SiteConfig,
) -> Vec<String> {
    let mut out = Vec::new();
    at_once(source, method, request, config, &mut out);
    options(request, &mut out);
    out.extend(plan.to_string().lines().map(str::to_owned));
    out
}

fn at_once(
    source: &Source,
    method: Method,
    request: &Request,
    config: &SiteConfig,
    out: &mut Vec<String>,
) {
    image(source, request, out);
    // Who runs a server for himself runs it as himself.
    let as_whom = match request.job {
        0 => String::new(),
        _ => format!(", as {}", config.fuse.user),
    };
    out.push(match (&source.layout, method) {
        (Layout::Directory, _) => "the directory is bound as it is".to_owned(),
        (Layout::File(_), Method::Kernel) => "the kernel mounts it".to_owned(),
        (Layout::File(_), Method::Fuse) => {
            format!("{} serves it{as_whom}", config.fuse.server.display())
        }
    });
}

fn image(source: &Source, request: &Request, out: &mut Vec<String>) {
    out.push(format!(
        "image {}: lies at {}",
        request.image(),
        source.path.display()
    ));
    if let Layout::File(layout) = &source.layout {
        let part = |what: &str, part: &Partition| {
            format!(
                "{what}: {} of {} bytes at byte {}",
                part.kind, part.size, part.offset
            )
        };
        out.push(part("root file system", &layout.root));
        out.extend(layout.overlays.iter().map(|o| part("overlay", o)));
        out.push(match trust::doubt(source.fd.as_fd()) {
            None => "trusted: only root can have written it".to_owned(),
            Some(doubt) => format!("not trusted: {doubt}"),
        });
    }
}

fn options(request: &Request, out: &mut Vec<String>) {
    let options = &request.options;
    let mut say = |on: bool, text: &str| out.extend(on.then(|| text.to_owned()));
    say(options.writable == Some(true), "its files can be changed");
    say(options.remap_root == Some(true), "the user is root inside");
    say(
        options.entrypoint == Some(true),
        "its entry point runs first, once on this node",
    );
    let Unshare {
        net,
        ipc,
        uts,
        pid,
        cgroup,
    } = options.unshare;
    say(net, "network: the step's own");
    say(ipc, "System V IPC and message queues: the step's own");
    say(uts, "host name: the step's own");
    say(pid, "process ids: the step's own");
    say(cgroup, "control groups: the step's own alone are seen");
    if let Some(name) = &options.name {
        out.push(format!("kept as container {}", name.name));
    }
    for overlay in &options.overlays {
        let what = match overlay.writable {
            Some(true) => "takes its changes",
            _ => "lies over it",
        };
        out.push(format!("overlay {} {what}", overlay.path));
    }
    for name in &options.env {
        out.push(format!("variable {} from the job", name.to_string_lossy()));
    }
    if let Some(workdir) = &options.workdir {
        out.push(format!("starts in {workdir}"));
    }
}
