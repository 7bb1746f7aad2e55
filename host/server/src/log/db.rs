//! `db check`, `backup` and `restore`.

use agent_host_store::restore;
use serde_json::json;

use super::{failed, open, place};
use crate::{
    cli::{DbCheckArgs, DbCommand},
    exit::{self, Exit, Failure},
};

/// The command.
pub(crate) fn db(command: &DbCommand) -> Result<(), Failure> {
    match command {
        DbCommand::Check(args) => check(args),
        DbCommand::Backup(args) => {
            open(&args.store)?.backup(&args.file).map_err(failed)?;
            exit::say(&format!("the log is copied to {}", args.file.display()))
        }
        DbCommand::Restore(args) => {
            let aside = restore(&place(&args.store)?, &args.file).map_err(failed)?;
            exit::say(&match aside {
                Some(aside) => format!("restored; what was there is in {}", aside.display()),
                None => "restored; there was no log before".to_owned(),
            })
        }
    }
}

fn check(args: &DbCheckArgs) -> Result<(), Failure> {
    let found = open(&args.store)?.check().map_err(failed)?;
    match args.output {
        crate::cli::Output::Json => {
            exit::say(&format!("{:#}", json!({ "whole": found.is_empty(), "found": found })))?;
        }
        crate::cli::Output::Table if found.is_empty() => exit::say("the log is whole")?,
        crate::cli::Output::Table => exit::say(&found.join("\n"))?,
    }
    if found.is_empty() {
        return Ok(());
    }
    let hint = "stop the host and restore a backup: agent-host db restore FILE";
    Err(Failure::new(Exit::Failed, format!("the log is damaged in {} places; {hint}", found.len())))
}
