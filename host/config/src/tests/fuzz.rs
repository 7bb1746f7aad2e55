//! Fuzzes the reader of configurations: any file is a configuration or errors with their places, safe to be shown; and a
//! configuration, written down as it is shown, is the same one.

use agent_host_fuzz::{Target, Trace};
use serde_json::Value;

use super::{Given, SECRET, shipped::switched_on};
use crate::{ConfigErrors, Loaded, Origin, toml_of};

/// So many of the seeds are valid, and hold nothing that is not shown.
const VALID: usize = 3;

/// A folder that is used over and over.
struct Folder(Given);

impl Folder {
    fn new() -> Self {
        Self(Given::files(&[("host.toml", "")]).env("TWO", "a-plugin-s-secret"))
    }

    fn load(&self, text: &[u8]) -> Result<Loaded, ConfigErrors> {
        std::fs::write(self.0.dir.path().join("host.toml"), text).unwrap();
        self.0.load()
    }
}

fn judge(folder: &Folder, input: &[u8], write: impl Fn(&Value) -> String) -> Result<Trace, String> {
    let mut trace = Trace::default();
    match folder.load(input) {
        Err(errors) => wrong(input, &errors, &mut trace)?,
        Ok(loaded) => {
            if format!("{:?}", loaded.values).contains(SECRET) {
                return Err("a secret is shown".to_owned());
            }
            let set: Vec<(&str, &Value)> =
                loaded.settings().filter(|it| is_of_file(it.origin)).map(|it| (it.key, it.value)).collect();
            trace.counted("keys", set.len());
            set.iter().for_each(|(key, value)| trace.saw((*key, value.is_null(), value.is_array())));
            if let Some(text) = written(&set, write) {
                trace.saw("written down");
                same(&loaded, folder.load(text.as_bytes()), &text)?;
            }
        }
    }
    Ok(trace)
}

fn is_of_file(origin: &Origin) -> bool {
    matches!(origin, Origin::File(_))
}

fn wrong(input: &[u8], errors: &ConfigErrors, trace: &mut Trace) -> Result<(), String> {
    let lines = String::from_utf8_lossy(input).matches('\n').count() + 1;
    for error in errors.iter() {
        if !error.code.as_str().starts_with("config.") {
            return Err(format!("refused with {}", error.code));
        }
        if let Origin::File(place) = &error.origin {
            let (line, column) = place.line_and_column();
            if !(1..=lines).contains(&line) || column == 0 || column > input.len() + 1 {
                return Err(format!("a place at {line}:{column} of {lines} lines"));
            }
        }
        let section = error.key.split('.').next().unwrap_or_default().len().min(12);
        trace.saw((error.code.as_str(), section, error.hint.is_some()));
        // Up to where it quotes the file.
        let words = error.reason.split(['"', '`']).next().unwrap_or_default();
        let words: String = words.chars().filter(char::is_ascii_lowercase).collect();
        trace.saw(words);
    }
    let shown = errors.to_string();
    let unsafe_char = shown.chars().find(|c| c.is_control() && *c != '\n');
    match unsafe_char {
        Some(c) => Err(format!("{c:?} is shown: {shown:?}")),
        None if shown.contains(SECRET) => Err("a secret is shown".to_owned()),
        None => Ok(()),
    }
}

/// What was set, as TOML. `None`: something of it is not shown as it was written.
fn written(set: &[(&str, &Value)], write: impl Fn(&Value) -> String) -> Option<String> {
    let plain = |key: &str| key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    let redacted = |value: &Value| value.to_string().contains("<redacted>");
    if set.iter().any(|(key, value)| !plain(key) || key.contains("..") || value.is_null() || redacted(value))
    {
        return None;
    }
    Some(set.iter().map(|(key, value)| format!("{key} = {}\n", write(value))).collect())
}

fn same(loaded: &Loaded, again: Result<Loaded, ConfigErrors>, text: &str) -> Result<(), String> {
    let again = again.map_err(|errors| format!("what is shown of it is refused: {errors}\n{text}"))?;
    for (key, value) in &loaded.values {
        if again.values.get(key) != Some(value) {
            return Err(format!(
                "{key} was {value}, and is {:?} once written:\n{text}",
                again.values.get(key)
            ));
        }
    }
    Ok(())
}

fn target<R>(run: impl FnOnce(Target<'_>) -> R) -> R {
    let plugin = "[plugins.a]\npath = \"/l.so\"\nkind = \"agent\"\nenabled = true\n[plugins.a.config]\nm.x = 1\nm.z = \"a text\"\n\
                  m.y = [true, \"\\u202e\"]\n[plugins.a.secrets]\ntwo = { env = \"TWO\" }\n[plugins.a.limits]\n\
                  memory = \"1GiB\"\n[plugins.a.timeouts]\nrun = \"4s\"\n";
    let valid: [&str; VALID] = [
        plugin,
        "version = 1\n[limits]\nframe_bytes = \"256KiB\"\nmessages_per_minute = 0\n[drain]\ngrace = \"60s\"\n",
        "gateway = { listen = \"127.0.0.1:0\", origins = [\"https://a.example\"] }\nlog.level = \"debug\"\n",
    ];
    let mut seeds: Vec<Vec<u8>> = valid.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    // The shipped file, each section by itself: small inputs are tried faster, and changed to more effect.
    let shipped: String = switched_on(&["#~ ", "#"])
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(" #").next().unwrap_or_default().trim_end().to_owned() + "\n")
        .collect();
    seeds.extend(shipped.split("\n[").map(|section| format!("[{section}\n").into_bytes()));
    seeds.push(b"log.levle = 1\n[a\nb = 'c".to_vec());
    let words: &[&[u8]] = &[
        b"[",
        b"]",
        b"[[",
        b"]]",
        b"=",
        b"\"",
        b"'''",
        b"\"\"\"",
        b"{",
        b"}",
        b",",
        b".",
        b"\n",
        b"#",
        b"true",
        b"1979-05-27",
        b"inf",
        b"nan",
        b"0x1F",
        b"1_000",
        b"\\u202e",
        b"\\u0000",
        b"\\n",
        b"\\\"",
        b"\\\\",
        b"\"4s\"",
        b"\"1h30m\"",
        b"\"0\"",
        b"\"64KiB\"",
        b"\"16EiB\"",
        b"version = 1\n",
        b"[limits]\n",
        b"[plugins.a]\n",
        b"[plugins.b]\npath = \"/b.so\"\n",
        b"[plugins.a.config]\n",
        b"[routing]\norder = [\"a\"]\n",
        b"frame_bytes = ",
        b"path = ",
        b"env = ",
        b"file = ",
        b"\xef\xbb\xbf",
        b"\r\n",
        b"\xff",
    ];
    run(Target { name: "configuration", seeds: &seeds, words, longest: 2048 })
}

/// Else the target would only ever see errors.
#[test]
fn the_seeds_are_configurations_that_can_be_written_down() {
    let folder = Folder::new();
    target(|target| {
        for seed in &target.seeds[..VALID] {
            let mut expected = Trace::default();
            expected.saw("written down");
            let trace = judge(&folder, seed, toml_of).unwrap();
            let loaded = folder.load(seed).unwrap_or_else(|errors| panic!("{errors}"));
            assert!(trace.contains(&expected), "{:?}", loaded.values);
        }
    });
}

#[test]
fn fuzz_configuration_is_read_or_refused_with_its_places() {
    let folder = Folder::new();
    target(|target| target.survives(|input| judge(&folder, input, toml_of)));
}

/// A writer that escapes nothing. One seed, most of it a text: how fast inputs are tried here, files and all, a text
/// with something to escape would else take minutes.
#[test]
fn fuzz_configuration_finds_a_writer_that_does_not_escape() {
    let folder = Folder::new();
    let plain = |value: &Value| match value {
        Value::String(text) => format!("\"{text}\""),
        other => toml_of(other),
    };
    let text = format!("[plugins.a]\npath = \"/l.so\"\nconfig.z = \"{}\"\n", "a long text ".repeat(20));
    let seeds = [text.into_bytes()];
    let found =
        target(|target| Target { seeds: &seeds, ..target }.finds(|input| judge(&folder, input, plain)));
    assert!(found.objection.contains("refused") || found.objection.contains("once written"), "{found:?}");
}
