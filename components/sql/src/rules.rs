//! Which names, functions and pragmas statements may use: those of Cloudflare's Durable Objects. Nothing here guards the
//! host; it keeps a database in the form that this crate, and Cloudflare, expect.

/// The arguments that a pragma may have.
#[derive(Clone, Copy)]
enum Takes {
    Nothing,
    /// A boolean, or nothing to read it.
    Flag,
    /// The name of a table or an index.
    Name,
    NameOrNothing,
    NumberOrNothing,
    NumberNameOrNothing,
}

const PRAGMAS: [(&str, Takes); 19] = [
    ("case_sensitive_like", Takes::Flag),
    ("data_version", Takes::Nothing),
    ("defer_foreign_keys", Takes::Flag),
    ("foreign_key_check", Takes::NameOrNothing),
    ("foreign_key_list", Takes::Name),
    ("foreign_keys", Takes::Flag),
    ("ignore_check_constraints", Takes::Flag),
    ("index_info", Takes::Name),
    ("index_list", Takes::Name),
    ("index_xinfo", Takes::Name),
    ("legacy_alter_table", Takes::Flag),
    ("optimize", Takes::NumberOrNothing),
    ("page_size", Takes::Nothing),
    ("quick_check", Takes::NumberNameOrNothing),
    ("recursive_triggers", Takes::Flag),
    ("reverse_unordered_selects", Takes::Flag),
    ("table_info", Takes::Name),
    ("table_list", Takes::NameOrNothing),
    ("table_xinfo", Takes::Name),
];

/// The names of booleans in SQLite.
const FLAGS: [&str; 8] = ["true", "false", "yes", "no", "on", "off", "1", "0"];

/// The modules of virtual tables.
const MODULES: [&str; 4] = ["fts5", "fts5vocab", "rtree", "rtree_i32"];

/// Functions of SQLite about itself that `ALTER TABLE` uses. The others tell about the build.
const OWN_FUNCTIONS: [&str; 5] = [
    "sqlite_drop_column",
    "sqlite_rename_column",
    "sqlite_rename_quotefix",
    "sqlite_rename_table",
    "sqlite_rename_test",
];

/// The start of names that are reserved.
const RESERVED: &str = "_cf_";

/// Whether a table, an index, a view or a trigger may have this name.
pub(crate) fn is_name(name: &str) -> bool {
    !name.get(..RESERVED.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED))
}

/// Whether a statement has a reserved name somewhere.
pub(crate) fn has_reserved_name(sql: &str) -> bool {
    sql.to_ascii_lowercase().contains(RESERVED)
}

pub(crate) fn is_function(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !name.starts_with("sqlite_") || OWN_FUNCTIONS.contains(&name.as_str())
}

pub(crate) fn is_module(name: &str) -> bool {
    MODULES.iter().any(|module| module.eq_ignore_ascii_case(name))
}

pub(crate) fn is_pragma(name: &str, argument: Option<&str>) -> bool {
    let Some((_, takes)) = PRAGMAS.iter().find(|(pragma, _)| pragma.eq_ignore_ascii_case(name)) else { return false };
    let Some(argument) = argument else { return !matches!(takes, Takes::Name) };
    match takes {
        Takes::Nothing => false,
        Takes::Flag => FLAGS.iter().any(|flag| flag.eq_ignore_ascii_case(without_quotes(argument))),
        Takes::Name | Takes::NameOrNothing | Takes::NumberNameOrNothing => is_name(argument),
        Takes::NumberOrNothing => is_number(argument),
    }
}

fn without_quotes(text: &str) -> &str {
    let inner = |quote| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    inner('\'').or_else(|| inner('"')).unwrap_or(text)
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    match digits.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).is_ok(),
        None => digits.parse::<u32>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pragmas_have_only_their_own_arguments() {
        for (name, argument) in [
            ("data_version", None),
            ("table_info", Some("votes")),
            ("FOREIGN_KEYS", Some("OFF")),
            ("defer_foreign_keys", Some("'true'")),
            ("defer_foreign_keys", None),
            ("optimize", Some("-1")),
            ("optimize", Some("0x10002")),
            ("quick_check", Some("5")),
            ("foreign_key_check", None),
        ] {
            assert!(is_pragma(name, argument), "{name} {argument:?}");
        }
        for (name, argument) in [
            ("journal_mode", Some("off")),
            ("journal_mode", None),
            ("writable_schema", Some("1")),
            ("cache_size", Some("100000")),
            ("data_version", Some("5")),
            ("page_size", Some("8192")),
            ("foreign_keys", Some("maybe")),
            ("foreign_keys", Some("'")),
            ("table_info", None),
            ("table_info", Some("_CF_KV")),
            ("optimize", Some("all")),
            ("synchronous", Some("off")),
        ] {
            assert!(!is_pragma(name, argument), "{name} {argument:?}");
        }
    }

    #[test]
    fn names_functions_and_modules_are_those_of_cloudflare() {
        assert!(is_name("votes") && is_name("cf_") && is_name("_c") && is_name("ünï"));
        assert!(!is_name("_cf_KV") && !is_name("_CF_x") && has_reserved_name("ALTER TABLE a RENAME TO \"_Cf_b\""));
        assert!(is_function("json_extract") && is_function("sqlite_rename_column"));
        assert!(!is_function("sqlite_version") && !is_function("SQLITE_compileoption_get"));
        assert!(is_module("FtS5") && is_module("rtree") && !is_module("dbstat"));
    }
}
