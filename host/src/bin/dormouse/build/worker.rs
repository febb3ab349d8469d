//! The modules of a wrangler project: one for each Durable Object, by the name of its binding, and one of the Worker.
//!
//! `dormouse-bundle` makes them, from the packages of the project: it knows wrangler's configuration, and the code that
//! the classes of Cloudflare need around them. This knows only how it is called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use super::bundle::{Bundle, find};
use crate::children;

/// The name of the Worker's module.
pub(crate) const ROUTER: &str = "router";

/// The beginnings of the lines with which `dormouse-bundle` names a module that it made, and the folder of the page.
const MADE: &str = "made ";
const ASSETS: &str = "assets ";

/// What a wrangler project consists of.
pub(crate) struct Worker {
    /// By the names of the bindings, and [`ROUTER`].
    pub(crate) modules: BTreeMap<String, Bundle>,
    /// The folder of its static files, if it has one.
    pub(crate) assets: Option<PathBuf>,
}

/// Bundles a wrangler project into a folder.
pub(crate) fn bundle_worker(config: &Path, folder: &Path) -> anyhow::Result<Worker> {
    let shown = config.display();
    ensure!(config.is_file(), "{shown} is no file; give the wrangler configuration of the project");
    let Some(program) = find("dormouse-bundle", config)? else {
        bail!(
            "{shown}: dormouse-bundle is missing, which bundles a Worker: run `npm install` in the project; its packages \
             are @dormouse/bundle and @dormouse/durable-objects"
        );
    };
    let mut command = Command::new(&program);
    command.arg(config).arg("-o").arg(folder);
    let output = children::output(&mut command).with_context(|| format!("{} cannot be run", program.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown} cannot be bundled:\n{}", errors.trim_end());
    if !errors.trim().is_empty() {
        dormouse::log::line(errors.trim_end());
    }
    let written = String::from_utf8_lossy(&output.stdout);
    let named = |what| written.lines().filter_map(move |line| line.strip_prefix(what));
    let modules = named(MADE).map(|file| {
        let file = Path::new(file);
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, Bundle::read(file)?))
    });
    let modules = modules.collect::<anyhow::Result<_>>()?;
    Ok(Worker { modules, assets: named(ASSETS).next().map(PathBuf::from) })
}
