//! `threads delete`.

use agent_host_gateway::admin::view::DeletedPart;

use super::{
    link::{Method, ask},
    show,
    target::Target,
    words::{encoded, shown},
};
use crate::{cli::ThreadsDeleteArgs, exit::Failure};

/// The permission that it takes.
const CONFIG: &str = "admin:config";

/// Who asks for it names a user, or says that all are meant: a tenant is not deleted by a forgotten option.
pub(crate) fn delete_threads(args: &ThreadsDeleteArgs) -> Result<(), Failure> {
    let target = Target::new(&args.admin, CONFIG)?;
    let mut path = format!("/admin/v1/threads?tenant={}", encoded(&args.tenant));
    if let Some(user) = &args.user {
        path += &format!("&user={}", encoded(user));
    }
    let answer = ask(&target, Method::Delete, &path)?;
    show(&args.admin, &answer.json, || {
        let deleted: DeletedPart = answer.read()?;
        let threads = if deleted.threads == 1 { "thread" } else { "threads" };
        let whose = deleted.user.as_deref().map_or_else(|| "all users".to_owned(), shown);
        Ok(format!("deleted {} {threads} of {whose} ({})", deleted.threads, shown(&deleted.tenant)))
    })
}
