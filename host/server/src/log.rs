//! `threads` and `db`: the log for operators, on the store's folder itself, whether or not a host is running.

mod db;
mod threads;

use agent_host_core::ports::store::StoreError;
use agent_host_store::{Archive, Place};

pub(crate) use self::{db::db, threads::threads};
use crate::{
    cli::StoreArgs,
    configuration,
    exit::{Exit, Failure},
};

/// Where the log is: in the folder that the command line names, or the configuration.
fn place(args: &StoreArgs) -> Result<Place, Failure> {
    match &args.store {
        Some(folder) => Ok(Place::within(folder)),
        None => Ok(Place::within(&configuration::load(&args.config)?.config.store.path)),
    }
}

fn open(args: &StoreArgs) -> Result<Archive, Failure> {
    Archive::open(&place(args)?).map_err(failed)
}

fn failed(error: StoreError) -> Failure {
    Failure::new(Exit::Failed, format!("{} [{}]", error.reason, error.code))
}
