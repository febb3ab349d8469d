//! What the database promises for a commit that it has acknowledged, as far as its settings tell. `dormouse check` and
//! the start print it.

use super::connect::Connection;
use super::failure::describe;

/// The oldest version whose SQL and protocol are used: 14 as `server_version_num`.
const OLDEST: i32 = 140_000;

/// The settings of a database that decide what an acknowledged commit is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promises {
    /// `server_version_num`, such as 150018.
    pub version: i32,
    /// `server_encoding`.
    pub encoding: String,
    /// `fsync`.
    pub fsync: bool,
    /// `full_page_writes`.
    pub full_page_writes: bool,
    /// `synchronous_commit` of our connections.
    pub synchronous_commit: String,
    /// `synchronous_standby_names`.
    pub synchronous_standby_names: String,
    /// Standbys that are connected.
    pub standbys: i64,
    /// Synchronous ones among them; absent if the user may not see that.
    pub synchronous: Option<i64>,
}

/// A sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// Acknowledged commits may be lost.
    pub is_warning: bool,
    /// The sentence.
    pub text: String,
}

/// The reason why rooms are not kept in this database. The operator must act.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    /// It is too old.
    #[error("the database is PostgreSQL {0}, and Dormouse needs 14 or newer")]
    Version(i32),
    /// Names cannot be stored.
    #[error("the database has the encoding {0}; create one with `ENCODING 'UTF8'`")]
    Encoding(String),
    /// `require_synchronous` is set, and acknowledged commits may be lost.
    #[error("`require_synchronous` is set, but {0}")]
    NotSynchronous(String),
    /// It did not answer.
    #[error("the database did not tell its settings: {0}")]
    Unknown(String),
}

/// Asks a database.
pub async fn promises(connection: &Connection) -> Result<Promises, Refused> {
    let query = "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), \
                 current_setting('fsync')::bool, current_setting('full_page_writes')::bool, \
                 current_setting('synchronous_commit'), current_setting('synchronous_standby_names'), \
                 (SELECT count(*) FROM pg_stat_replication), \
                 (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' \
                     AND sync_state IN ('sync', 'quorum')), \
                 (SELECT count(*) FROM pg_stat_replication WHERE sync_state IS NULL)";
    let row = connection.client().query_one(query, &[]).await.map_err(|error| Refused::Unknown(describe(&error)))?;
    let hidden = row.get::<_, i64>(8);
    Ok(Promises {
        version: row.get(0),
        encoding: row.get(1),
        fsync: row.get(2),
        full_page_writes: row.get(3),
        synchronous_commit: row.get(4),
        synchronous_standby_names: row.get(5),
        standbys: row.get(6),
        synchronous: (hidden == 0).then(|| row.get(7)),
    })
}

impl Promises {
    /// Whether rooms may be kept in this database.
    pub fn check(&self, require_synchronous: bool) -> Result<(), Refused> {
        if self.version < OLDEST {
            return Err(Refused::Version(self.version / 10_000));
        }
        if self.encoding != "UTF8" {
            return Err(Refused::Encoding(self.encoding.clone()));
        }
        let weakness = self.sentences().into_iter().find(|sentence| sentence.is_warning);
        match weakness {
            Some(weakness) if require_synchronous => Err(Refused::NotSynchronous(weakness.text)),
            _ => Ok(()),
        }
    }

    /// The meaning of the settings, in sentences.
    pub fn sentences(&self) -> Vec<Sentence> {
        let warning = |text: &str| Sentence { is_warning: true, text: text.to_owned() };
        let fact = |text: String| Sentence { is_warning: false, text };
        let mut sentences = Vec::new();
        if !self.fsync {
            sentences.push(warning("`fsync` is off: a power loss of the database damages it, set it to on"));
        }
        if !self.full_page_writes {
            sentences.push(warning("`full_page_writes` is off: a power loss may damage the database, set it to on"));
        }
        match self.synchronous_commit.as_str() {
            "off" => sentences.push(warning(
                "`synchronous_commit` is off: a crash of the database loses what clients have seen, set it to on",
            )),
            "local" => sentences
                .push(warning("`synchronous_commit` is local: a failover loses what clients have seen, set it to on")),
            "remote_write" => sentences.push(warning(
                "`synchronous_commit` is remote_write: a crash of the standby's machine may lose what clients have \
                 seen, set it to on",
            )),
            _ => {}
        }
        sentences.push(match (self.synchronous_standby_names.is_empty(), self.synchronous) {
            (true, _) if self.standbys == 0 => {
                warning("the database has no standby: commits survive its restart, and not the loss of its disk")
            }
            (true, _) => {
                warning("`synchronous_standby_names` is empty: a failover to a standby loses what clients have seen")
            }
            (false, Some(0)) => {
                warning("`synchronous_standby_names` is set, and no such standby is connected: commits wait for it")
            }
            (false, Some(1)) => fact("commits are on 1 synchronous standby before they are acknowledged".into()),
            (false, Some(standbys)) => fact(format!(
                "commits wait for synchronous standbys before they are acknowledged; {standbys} are connected"
            )),
            (false, None) => fact(
                "`synchronous_standby_names` is set; grant `pg_monitor` to the user to see which standbys are \
                 connected"
                    .into(),
            ),
        });
        sentences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strong() -> Promises {
        Promises {
            version: 150_018,
            encoding: "UTF8".into(),
            fsync: true,
            full_page_writes: true,
            synchronous_commit: "on".into(),
            synchronous_standby_names: "ANY 1 (b)".into(),
            standbys: 1,
            synchronous: Some(1),
        }
    }

    #[test]
    fn each_weak_setting_is_told_and_refused_if_synchronous_commits_are_required() {
        assert_eq!(strong().check(true), Ok(()));
        assert_eq!(Promises { synchronous: None, ..strong() }.check(true), Ok(()));
        let weak = [
            Promises { fsync: false, ..strong() },
            Promises { full_page_writes: false, ..strong() },
            Promises { synchronous_commit: "off".into(), ..strong() },
            Promises { synchronous_commit: "local".into(), ..strong() },
            Promises { synchronous_commit: "remote_write".into(), ..strong() },
            Promises { synchronous_standby_names: String::new(), ..strong() },
            Promises { synchronous_standby_names: String::new(), standbys: 0, synchronous: Some(0), ..strong() },
            Promises { synchronous: Some(0), ..strong() },
        ];
        for promises in weak {
            assert_eq!(promises.sentences().iter().filter(|sentence| sentence.is_warning).count(), 1);
            assert_eq!(promises.check(false), Ok(()));
            assert!(matches!(promises.check(true), Err(Refused::NotSynchronous(_))), "{promises:?}");
        }
    }

    #[test]
    fn an_old_version_and_another_encoding_are_refused() {
        assert_eq!(Promises { version: 130_014, ..strong() }.check(false), Err(Refused::Version(13)));
        let latin = Promises { encoding: "LATIN1".into(), ..strong() };
        assert_eq!(latin.check(false), Err(Refused::Encoding("LATIN1".into())));
    }
}
