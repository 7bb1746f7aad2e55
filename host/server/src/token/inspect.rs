//! `token inspect`: what a token says, and what a host with this configuration would say to it. Nothing is sent anywhere.

use std::{
    fmt::Write as _,
    io::{self, Read as _},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use agent_host_config::Config;
use agent_host_core::{ports::clock::SystemClock, sanitise};
use agent_host_gateway::{
    auth::{AuthError, Inspected, MAX_TOKEN_BYTES, Verifier, inspect},
    settings::Auth,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::{
    cli::{InspectArgs, Output},
    configuration,
    exit::{Exit, Failure, say},
    safe, settings,
};

/// `token inspect`. Status 0 if it is a token and, where a configuration was named, one that such a host lets in.
pub(crate) fn run(args: &InspectArgs) -> Result<ExitCode, Failure> {
    let token = read(args.file.as_deref())?;
    let Some(inspected) = inspect(&token) else {
        let message = "that is no JSON Web Token: three parts of base64url, with dots between them";
        return Err(Failure::new(Exit::Failed, message)
            .with_remedy("give the bare token, without `Bearer ` and without quotes"));
    };
    let loaded = args.configuration().map(|config| configuration::load(&config)).transpose()?;
    let judged = loaded.map(|loaded| judge(&loaded.config, &token));
    let text = match args.output {
        Output::Json => safe::json(&page(&inspected, judged.as_ref()).to_string()),
        Output::Table => table(&inspected, judged.as_ref(), OffsetDateTime::now_utc()),
    };
    say(&text)?;
    let let_in = judged.is_none_or(|judged| judged.as_user.is_ok() || judged.as_operator.is_ok());
    Ok(if let_in { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Of a file, or of standard input. Never of the command line, which everybody on the machine can read.
fn read(file: Option<&Path>) -> Result<String, Failure> {
    let mut text = String::new();
    let most = MAX_TOKEN_BYTES as u64 + 2;
    let (read, from) = match file {
        None => (io::stdin().take(most).read_to_string(&mut text), "standard input".to_owned()),
        Some(path) => {
            let read = std::fs::File::open(path).and_then(|file| file.take(most).read_to_string(&mut text));
            (read, path.display().to_string())
        }
    };
    read.map_err(|error| Failure::new(Exit::Failed, format!("{from} cannot be read: {error}")))?;
    let token = text.trim();
    if token.len() > MAX_TOKEN_BYTES {
        let message =
            format!("that is longer than {MAX_TOKEN_BYTES} bytes: a host refuses it before it looks at it");
        return Err(Failure::new(Exit::Failed, message));
    }
    Ok(token.to_owned())
}

/// What a host says to it, at each of its two doors.
struct Judged {
    as_user: Result<(), AuthError>,
    as_operator: Result<(), AuthError>,
    /// Keys of an issuer are fetched by a host that serves, and were not here.
    key_set: bool,
}

fn judge(config: &Config, token: &str) -> Judged {
    let gateway = settings::gateway(config);
    let by = |auth: &Auth| Verifier::new(auth, Arc::new(SystemClock)).verify(token).map(drop);
    Judged {
        as_user: by(&gateway.auth),
        as_operator: by(&gateway.admin),
        key_set: config.auth.jwks.is_some(),
    }
}

fn page(inspected: &Inspected, judged: Option<&Judged>) -> Value {
    let one = |told: &Result<(), AuthError>| match told {
        Ok(()) => json!({ "accepted": true }),
        Err(error) => json!({ "accepted": false, "code": error.code.as_str(), "detail": error.detail }),
    };
    let mut page = json!({ "header": inspected.header, "claims": inspected.claims });
    if let Some(judged) = judged {
        page["judged"] = json!({
            "as_user": one(&judged.as_user),
            "as_operator": one(&judged.as_operator),
            "key_set_fetched": false,
        });
    }
    page
}

fn table(inspected: &Inspected, judged: Option<&Judged>, now: OffsetDateTime) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        writeln!(text, "{name:<12} {}", sanitise::line(value, LONGEST)).expect("a String takes all");
    };
    for (part, values) in [("header", &inspected.header), ("claims", &inspected.claims)] {
        let Some(values) = values.as_object() else {
            line(part, &values.to_string());
            continue;
        };
        for (name, value) in values {
            let said = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let time = ["exp", "iat", "nbf"].contains(&name.as_str()).then(|| moment(value, now)).flatten();
            line(
                &sanitise::line(name, LONGEST),
                &time.map_or(said.clone(), |time| format!("{said}, {time}")),
            );
        }
    }
    match judged {
        None => line("judged", "not: name the host's configuration with --config"),
        Some(judged) => {
            let note = match judged.key_set {
                true => " (by the keys of the configuration; those behind `auth.jwks_url` were not fetched)",
                false => "",
            };
            line("as a user", &format!("{}{note}", verdict(&judged.as_user)));
            line("as operator", &verdict(&judged.as_operator));
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// Of a name or a value, in characters.
const LONGEST: usize = 600;

fn verdict(told: &Result<(), AuthError>) -> String {
    match told {
        Ok(()) => "let in".to_owned(),
        Err(error) => format!("refused: {}: {}; {}", error.code, error.detail, error.code.remedy()),
    }
}

/// A time of a token, as a date, and how far away it is.
fn moment(value: &Value, now: OffsetDateTime) -> Option<String> {
    let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))?;
    let at = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    let away = (at - now).whole_seconds();
    let far = match away.unsigned_abs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    };
    let (date, time) = (at.date(), at.time());
    let clock = format!("{date} {:02}:{:02}:{:02} UTC", time.hour(), time.minute(), time.second());
    Some(if away < 0 { format!("{clock} ({far} ago)") } else { format!("{clock} (in {far})") })
}

#[cfg(test)]
mod tests {
    use agent_plugin_protocol::Code;

    use super::*;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap()
    }

    #[test]
    fn times_are_dates_with_their_distance() {
        let now = at(1_000_000);
        assert_eq!(moment(&json!(1_000_060), now).unwrap(), "1970-01-12 13:47:40 UTC (in 60 s)");
        assert_eq!(moment(&json!(992_800.5), now).unwrap(), "1970-01-12 11:46:40 UTC (2 h ago)");
        for none in [json!("soon"), json!(i64::MAX), json!(null)] {
            assert_eq!(moment(&none, now), None, "{none}");
        }
    }

    #[test]
    fn what_a_token_says_acts_on_no_terminal_and_the_verdict_is_last() {
        let inspected = Inspected {
            header: json!({ "alg": "HS256" }),
            claims: json!({ "sub": "al\u{1b}[2Jice", "exp": 1_000_060, "permissions": ["p"] }),
        };
        let error = AuthError { code: Code::AuthExpired, detail: "the token has expired".to_owned() };
        let judged = Judged { as_user: Ok(()), as_operator: Err(error), key_set: true };
        let text = table(&inspected, Some(&judged), at(1_000_000));
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "alg          HS256");
        assert!(text.contains("(in 60 s)") && text.contains("permissions  [\"p\"]"), "{text}");
        assert!(lines[4].starts_with("as a user    let in (by the keys of"), "{text}");
        assert!(
            lines[5].starts_with("as operator  refused: auth.expired: the token has expired; "),
            "{text}"
        );
        assert!(table(&inspected, None, at(0)).contains("--config"));
    }
}
