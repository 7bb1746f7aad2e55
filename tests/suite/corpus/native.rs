//! Tiny libraries in C, with or without a forged descriptor, whose constructors run inside `dlopen`.

use std::{path::Path, process::Command};

use super::case::Case;
use crate::harness::elf::Library;

const CRASHED: &[&str] = &["plugin.load_crashed", "plugin.handshake_failed"];
const SYMBOL: &[&str] = &["plugin.missing_symbol", "plugin.load_failed"];

/// A library whose constructor does this.
struct Native {
    name: &'static str,
    row: u8,
    /// The body of the constructor, in C.
    body: &'static str,
    codes: &'static [&'static str],
    forged: bool,
}

/// With the descriptor of a sound plugin: it passes for one until it is loaded.
const fn forged(name: &'static str, row: u8, body: &'static str, codes: &'static [&'static str]) -> Native {
    Native { name, row, body, codes, forged: true }
}

const ALL: &[Native] = &[
    Native {
        name: "c-undescribed",
        row: 7,
        body: "raise(SIGSEGV);",
        codes: &["plugin.no_descriptor"],
        forged: false,
    },
    forged("c-does-nothing", 7, "", SYMBOL),
    forged("c-segv", 7, "*(volatile int *)8 = 1;", CRASHED),
    forged("c-abort", 7, "abort();", CRASHED),
    forged("c-exit-0", 7, "exit(0);", CRASHED),
    forged("c-exit-1", 7, "_exit(1);", CRASHED),
    forged("c-fpe", 7, "raise(SIGFPE);", CRASHED),
    forged("c-trap", 7, "__builtin_trap();", CRASHED),
    forged("c-hang", 4, "for (;;) pause();", &["plugin.load_timeout"]),
    forged("c-spin", 4, "for (volatile int i = 0;; i++);", &["plugin.load_timeout"]),
    forged(
        "c-stop",
        31,
        "raise(SIGSTOP);",
        &["plugin.load_timeout", "plugin.missing_symbol", "plugin.load_failed"],
    ),
    forged(
        "c-fork",
        31,
        "if (fork() == 0) { for (;;) pause(); }",
        &["plugin.missing_symbol", "plugin.load_failed", "plugin.load_crashed"],
    ),
    forged(
        "c-fork-and-leave",
        31,
        "if (fork() == 0) { setsid(); if (fork() == 0) for (;;) pause(); _exit(0); } _exit(0);",
        &["plugin.load_crashed", "plugin.handshake_failed", "plugin.load_timeout"],
    ),
    forged("c-prints", 32, "puts(\"\\033]0;owned\\007<script>alert(1)</script>\"); fflush(stdout);", SYMBOL),
    forged(
        "c-prints-much",
        32,
        "for (int i = 0; i < 20000; i++) puts(\"all work and no play\");",
        &["plugin.missing_symbol", "plugin.load_failed", "plugin.load_timeout"],
    ),
    forged(
        "c-closes-descriptors",
        31,
        "for (int i = 0; i < 1024; i++) close(i);",
        &[
            "plugin.load_crashed",
            "plugin.handshake_failed",
            "plugin.missing_symbol",
            "plugin.load_failed",
            "plugin.load_timeout",
        ],
    ),
    forged(
        "c-writes-to-the-channel",
        31,
        "for (int i = 0; i < 64; i++) write(i, \"garbage garbage \", 16);",
        &[
            "plugin.handshake_failed",
            "plugin.load_crashed",
            "plugin.protocol_violation",
            "plugin.missing_symbol",
        ],
    ),
    forged("c-ignores-signals", 31, "for (int i = 1; i < 65; i++) signal(i, SIG_IGN);", SYMBOL),
    forged(
        "c-eats-memory",
        5,
        "for (;;) { char *p = malloc(1 << 24); if (!p) abort(); for (int i = 0; i < 1 << 24; i += 4096) p[i] = 1; }",
        CRASHED,
    ),
    forged(
        "c-kills-its-parent",
        31,
        "kill(getppid(), SIGKILL);",
        &["plugin.missing_symbol", "plugin.load_failed", "plugin.load_crashed"],
    ),
    forged(
        "c-kills-its-group",
        31,
        "kill(0, SIGKILL);",
        &["plugin.missing_symbol", "plugin.load_failed", "plugin.load_crashed"],
    ),
    forged("c-changes-folder", 31, "chdir(\"/\"); clearenv(); umask(0);", SYMBOL),
];

/// Every library that a C compiler makes of them.
pub(crate) fn cases(folder: &Path) -> Vec<Case> {
    let descriptor = Library::echo().descriptor();
    ALL.iter()
        .map(|native| {
            let library = folder.join(format!("{}.so", native.name));
            compile(native, &descriptor, folder, &library);
            let mut case = Case::file(native.name, library, native.codes);
            case.row = native.row;
            case
        })
        .collect()
}

fn compile(native: &Native, descriptor: &[u8], folder: &Path, to: &Path) {
    let source = folder.join(format!("{}.c", native.name));
    let bytes: Vec<String> = descriptor.iter().map(u8::to_string).collect();
    let descriptor = match native.forged {
        true => format!(
            "__attribute__((section(\".agent_plugin\"), used)) static const unsigned char descriptor[] = {{{}}};\n",
            bytes.join(",")
        ),
        false => String::new(),
    };
    let text = format!(
        "#define _GNU_SOURCE\n#include <signal.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <sys/stat.h>\n\
         #include <unistd.h>\n{descriptor}__attribute__((constructor)) static void begin(void) {{ {} }}\n",
        native.body
    );
    std::fs::write(&source, text).expect("the test's folder can be written");
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-w", "-O0", "-o"])
        .arg(to)
        .arg(&source)
        .output()
        .expect("there is a C compiler");
    assert!(output.status.success(), "{}: {}", native.name, String::from_utf8_lossy(&output.stderr));
    crate::harness::elf::mode(to, 0o644);
}
