//! `explain`: what an error code means and what to do.

use agent_plugin_protocol::Code;

use crate::exit::{Exit, Failure};

pub(crate) fn run(name: &str) -> Result<(), Failure> {
    let code = Code::parse(name).ok_or_else(|| {
        let group = name.split('.').next().unwrap_or_default();
        let near: Vec<&str> =
            Code::ALL.iter().map(|code| code.as_str()).filter(|code| code.starts_with(group)).collect();
        let hint = if near.is_empty() {
            String::new()
        } else {
            format!("; of that group there are {}", near.join(", "))
        };
        Failure::new(Exit::Failed, format!("there is no code {name:?}{hint}"))
    })?;
    println!("{}", text(code));
    Ok(())
}

fn text(code: Code) -> String {
    let again = if code.retryable() { "the same may succeed later" } else { "the same will fail again" };
    format!(
        "{code}\n  what happened: {}\n  trying again:  {again}\n  what to do:    {}",
        code.meaning(),
        code.remedy()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained() {
        for code in Code::ALL {
            assert!(text(*code).contains(code.remedy()) && run(code.as_str()).is_ok());
        }
        assert!(run("plugin.nope").is_err());
    }
}
