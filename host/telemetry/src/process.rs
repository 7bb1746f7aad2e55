//! The process's own metrics, read from `/proc` at each scrape. What cannot be read is left out, never guessed.

use std::{fmt::Write as _, fs};

use crate::metric::PROCESS;

/// Appends them to a page.
pub(crate) fn render(page: &mut String) {
    let sample = Sample::read();
    for metric in PROCESS {
        if let Some(value) = sample.value(metric.name) {
            // Writing to a `String` cannot fail.
            let _ = write!(
                page,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n",
                name = metric.name,
                help = metric.help,
                kind = metric.kind
            );
        }
    }
}

/// What `/proc` says of this process.
#[derive(Debug, Default, PartialEq)]
struct Sample {
    cpu_seconds: Option<f64>,
    resident_bytes: Option<u64>,
    virtual_bytes: Option<u64>,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
    threads: Option<u64>,
    start_seconds: Option<f64>,
}

impl Sample {
    fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let status = text("/proc/self/status");
        let ticks = fs::read("/proc/self/auxv").ok().and_then(|auxv| ticks_per_second(&auxv));
        let times = ticks.zip(times(&text("/proc/self/stat")));
        let boot = number_after(&text("/proc/stat"), "btime ");
        Self {
            cpu_seconds: times.map(|(ticks, times)| times.cpu / ticks),
            resident_bytes: number_after(&status, "VmRSS:").map(|kib| kib * 1024),
            virtual_bytes: number_after(&status, "VmSize:").map(|kib| kib * 1024),
            // Less the one that reads the folder.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|all| (all.count() as u64).saturating_sub(1)),
            max_fds: number_after(&text("/proc/self/limits"), "Max open files"),
            threads: number_after(&status, "Threads:"),
            start_seconds: times.zip(boot).map(|((ticks, times), boot)| boot as f64 + times.start / ticks),
        }
    }

    fn value(&self, name: &str) -> Option<f64> {
        let whole = |value: Option<u64>| value.map(|value| value as f64);
        match name {
            "process_cpu_seconds_total" => self.cpu_seconds,
            "process_resident_memory_bytes" => whole(self.resident_bytes),
            "process_virtual_memory_bytes" => whole(self.virtual_bytes),
            "process_open_fds" => whole(self.open_fds),
            "process_max_fds" => whole(self.max_fds),
            "process_threads" => whole(self.threads),
            "process_start_time_seconds" => self.start_seconds,
            _ => None,
        }
    }
}

/// In clock ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Times {
    cpu: f64,
    /// After the machine's start.
    start: f64,
}

/// From `/proc/self/stat`. The program's name, second, may hold spaces and brackets: fields are counted behind it.
fn times(stat: &str) -> Option<Times> {
    let (_, fields) = stat.rsplit_once(')')?;
    // The first of these is field 3 of proc(5).
    let field = |number: usize| fields.split_whitespace().nth(number - 3)?.parse::<f64>().ok();
    Some(Times { cpu: field(14)? + field(15)?, start: field(22)? })
}

/// How the kernel counts time for programs: `AT_CLKTCK` of the auxiliary vector.
fn ticks_per_second(auxv: &[u8]) -> Option<f64> {
    const AT_CLKTCK: usize = 17;
    const WORD: usize = size_of::<usize>();
    let word = |bytes: &[u8]| bytes.try_into().ok().map(usize::from_ne_bytes);
    let mut pairs = auxv.chunks_exact(2 * WORD);
    let ticks = pairs.find_map(|pair| {
        (word(pair.get(..WORD)?)? == AT_CLKTCK).then(|| word(pair.get(WORD..)?)).flatten()
    })?;
    (ticks > 0).then_some(ticks as f64)
}

/// The first number behind a word that begins a line.
fn number_after(text: &str, word: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 3 0 12345 1 2";
        assert_eq!(times(stat), Some(Times { cpu: 200.0, start: 12345.0 }));
        assert_eq!(times(""), None);
        assert_eq!(times("42 (cut"), None);
    }

    #[test]
    fn numbers_are_found_behind_the_word_that_begins_a_line() {
        let status = "Name:\tVmRSS: 1\nVmRSS:\t  2048 kB\nThreads:\t7\n";
        assert_eq!(number_after(status, "VmRSS:"), Some(2048));
        assert_eq!(number_after(status, "Threads:"), Some(7));
        assert_eq!(number_after(status, "VmSwap:"), None);
        // No limit is no number.
        assert_eq!(number_after("Max open files   unlimited  unlimited files", "Max open files"), None);
    }

    #[test]
    fn the_tick_is_found_in_the_auxiliary_vector() {
        let words = |words: &[usize]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
        assert_eq!(ticks_per_second(&words(&[6, 4096, 17, 100, 0, 0])), Some(100.0));
        assert_eq!(ticks_per_second(&words(&[6, 17, 0, 0])), None);
        assert_eq!(ticks_per_second(&words(&[17, 0])), None);
        assert_eq!(ticks_per_second(&[17]), None);
    }

    #[test]
    fn every_declared_metric_of_this_process_has_a_value() {
        let mut page = String::new();
        render(&mut page);
        for metric in PROCESS {
            // A process without a limit of descriptors has none to tell.
            let absent = metric.name == "process_max_fds" && Sample::read().max_fds.is_none();
            assert!(absent || page.contains(&format!("\n{} ", metric.name)), "{}:\n{page}", metric.name);
        }
        let sample = Sample::read();
        assert!(sample.start_seconds.is_some_and(|start| start > 1.5e9), "{sample:?}");
        assert!(sample.open_fds.is_some_and(|fds| fds >= 3), "{sample:?}");
    }
}
