//! The option that names a database, and what `dormouse check` says about it.

use anyhow::{Context, bail};
use clap::Args;
use dormouse::config::{Config, StoreUrl};
use dormouse::store::postgres::{Purpose, compare_key, connect, promises};

use crate::print;

/// The database of a command.
#[derive(Args)]
pub(crate) struct Database {
    /// Keep rooms in this PostgreSQL database, such as postgres://dormouse@db1/dormouse, and only a cache in the data
    /// directory [default: rooms are in the data directory]. Other users can read arguments, so a password belongs in
    /// the variable or in a passfile
    // It is read as any text: an error of clap would show it.
    #[arg(long, value_name = "URL", env = "DORMOUSE_STORE", hide_env_values = true)]
    store: Option<String>,
}

impl Database {
    /// Puts the address into a configuration.
    pub(crate) fn set(&self, config: &mut Config) -> anyhow::Result<()> {
        let Some(text) = &self.store else { return Ok(()) };
        let url = text.parse::<StoreUrl>().context("--store or DORMOUSE_STORE")?;
        let is_argument = std::env::args().any(|argument| argument.contains(text.as_str()));
        if is_argument && url.has_password() {
            bail!(
                "--store has a password, which other users of this machine can read; set DORMOUSE_STORE to the address, \
                 or keep the password in a passfile"
            );
        }
        config.store.url = Some(url);
        Ok(())
    }
}

/// Connects to the database of a configuration, and prints what it promises.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    let Some(settings) = dormouse::database(config)? else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("the runtime cannot start")?;
    let (host, promised, stranger) = runtime.block_on(async {
        let connection = connect(&settings.target, Purpose::Setup).await?;
        let promised = promises(&connection).await?;
        let stranger = match &settings.cluster_key {
            Some(key) => compare_key(&connection, key).await.map_err(anyhow::Error::msg)?,
            None => None,
        };
        anyhow::Ok((connection.host().to_owned(), promised, stranger))
    })?;
    if let Some(stranger) = stranger {
        bail!("the node at {stranger} has another cluster key; all nodes need the same");
    }
    promised.check(settings.require_synchronous)?;
    let (major, minor) = (promised.version / 10_000, promised.version % 10_000);
    print::line(format_args!("store {}: PostgreSQL {major}.{minor} at {host}", settings.target))?;
    promised.sentences().into_iter().try_for_each(|sentence| {
        print::line(format_args!("  {}{}", if sentence.is_warning { "warning: " } else { "" }, sentence.text))
    })
}
