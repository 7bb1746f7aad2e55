//! `check FILE.so…`: says whether plugins are fit to ship: the loader's own verdict, in a worker process, and the
//! conformance suite.

mod advice;
mod examine;
mod report;
mod subject;
mod table;

use std::process::ExitCode;

use serde::Serialize;

use self::report::Checked;
use crate::{
    cli::{CheckArgs, Output},
    exit::{self, Exit, Failure},
};

/// Checks each file in turn. Ends with 0 if all are fit, with 1 if one is not.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Failed, format!("no runtime: {error}")))?;
    let mut plugins = Vec::new();
    for file in &args.files {
        let checked = runtime.block_on(examine::examine(file, args));
        if args.output == Output::Table {
            exit::say(&table::text(&checked))?;
        }
        plugins.push(checked);
    }
    // A worker that was left behind is killed by its own parent-death signal; nothing here is waited for.
    runtime.shutdown_background();
    let fit = plugins.iter().all(|plugin| plugin.fit);
    if args.output == Output::Json {
        let json = serde_json::to_string_pretty(&All { fit, plugins });
        exit::say(&json.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?)?;
    }
    Ok(if fit { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed.status()) })
}

/// The JSON document.
#[derive(Serialize)]
struct All {
    fit: bool,
    plugins: Vec<Checked>,
}
